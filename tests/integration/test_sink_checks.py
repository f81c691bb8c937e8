"""What a sink could not take of a version stops a run before it encodes; what may come is noted."""

from pathlib import Path
from typing import Any

import pytest

from tasks.config import from_dict
from tasks.errors import ColumnMissing, ConfigError
from tasks.plan import plan
from tasks.run import Options, Run, open_run
from tasks.store.catalog import Catalog
from tests.pipeline import config, refresh, write_jsonl
from tests.publishing import SPACE, notes, published, sink_of
from tests.stores.peer import peer


def planned(settings: dict[str, Any], store: str) -> list[str]:
    run = Run(from_dict(settings, "a test"), store, Options(backfill=True))
    with open_run(run, write=False) as opened:
        plan.fn(opened)
    return run.notes


def test_a_sink_that_could_not_take_a_version_is_told_before_it_is_made(tmp_path: Path) -> None:
    corpus, store = tmp_path / "corpus", str(tmp_path / "store")
    write_jsonl(corpus / "a.jsonl", notes(0, 5))
    good = {"use": "parquet", "path": str(tmp_path / "out"), "columns": ["year"]}
    bad = config(corpus, publish=[good | {"compress": {"dim": 33}}])
    for version in (0, 1):
        with pytest.raises(ConfigError, match="vectors have 32 components"):
            planned(bad, store)
        with pytest.raises(ConfigError, match="vectors have 32 components"):
            refresh(bad, store)
        assert len(Catalog(store).versions(SPACE)) == version
        refresh(config(corpus, publish=[good]), store)
    refresh(bad, store, limit=2)


def test_a_column_that_no_record_has_yet_keeps_a_version_from_a_sink_and_not_from_being(
    tmp_path: Path,
) -> None:
    corpus, store, place = tmp_path / "corpus", str(tmp_path / "store"), peer("parquet", tmp_path)
    sink = sink_of(place, columns=["year"])
    settings = config(corpus, publish=[sink.model_dump(mode="json")])
    nobody = [one | {"year": None} for one in notes(0, 4)]
    told = "sink 'parquet' takes column 'year', and space 'notes' has none"
    note = f"publishing to 'parquet' will be refused until that column is there: {told}"
    write_jsonl(corpus / "a.jsonl", nobody)
    assert note in planned(settings, store)
    assert note in refresh(settings, store)["notes"]
    with pytest.raises(ColumnMissing, match=told):
        published(store, sink)
    write_jsonl(corpus / "a.jsonl", [*nobody, *notes(4, 1)])
    assert planned(settings, store) == []
    assert refresh(settings, store)["notes"] == []
    assert published(store, sink).to_version == 2
    assert planned(settings | {"encoder": {"use": "hashing", "dim": 48}}, store) == []
