"""Runs that stop before they encode, since a sink could not take what they would make."""

from pathlib import Path

import pytest

from tasks.config import from_dict
from tasks.errors import ConfigError
from tasks.plan import plan
from tasks.run import Options, Run, open_run
from tasks.store.catalog import Catalog
from tests.pipeline import config, refresh, write_jsonl
from tests.publishing import SPACE, notes


def test_a_sink_that_could_not_take_a_version_is_told_before_it_is_made(tmp_path: Path) -> None:
    corpus, store = tmp_path / "corpus", str(tmp_path / "store")
    write_jsonl(corpus / "a.jsonl", notes(0, 5))
    good = {"use": "parquet", "path": str(tmp_path / "out"), "columns": ["year"]}
    bad = config(corpus, publish=[good | {"columns": ["yaer"]}])
    told = r"sink 'parquet' takes column 'yaer', and space 'notes' has year, did you mean 'year'\?"

    def planned() -> None:
        run = Run(from_dict(bad, "a test"), store, Options(backfill=True))
        with open_run(run, write=False) as opened:
            plan.fn(opened)

    for version in (0, 1):
        with pytest.raises(ConfigError, match=told):
            planned()
        with pytest.raises(ConfigError, match=told):
            refresh(bad, store)
        assert len(Catalog(store).versions(SPACE)) == version
        refresh(config(corpus, publish=[good]), store)
    refresh(bad, store, limit=2)
