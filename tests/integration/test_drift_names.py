"""Names under `drift:` that nothing has are refused before any work is done."""

from pathlib import Path
from typing import Any

import pytest

from tasks.errors import ConfigError
from tasks.store import tags
from tasks.store.catalog import Catalog
from tasks.store.table import Table
from tests.drift import notes
from tests.pipeline import config, refresh, write_jsonl


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "corpus" / "a.jsonl", notes(0, 60))
    return tmp_path / "corpus"


@pytest.mark.parametrize(
    ("drift", "said"),
    [
        ({"columns": ["year", "venue"]}, "drift.columns = 'venue': no metadata column."),
        ({"group": "yeer"}, "drift.group = 'yeer': no metadata column, did you mean 'year'?"),
        (
            {"window": {"column": "day", "days": 7}},
            "drift.window.column = 'day': no metadata column.",
        ),
    ],
    ids=["columns", "group", "window"],
)
def test_a_column_that_the_sources_have_not_stops_a_run(
    corpus: Path, tmp_path: Path, drift: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        refresh(config(corpus, drift=drift), tmp_path / "vectors")
    assert str(caught.value) == f"{said} There are year: `source.metadata` names them"
    assert Catalog(str(tmp_path / "vectors")).versions("notes") == []
    refresh(config(corpus), tmp_path / "vectors")
    with pytest.raises(ConfigError, match="no metadata column"):  # where no file has changed, too
        refresh(config(corpus, drift=drift), tmp_path / "vectors")


def test_a_baseline_that_is_nearly_a_name_that_there_is_stops_a_run(
    corpus: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "vectors")
    with pytest.raises(ConfigError) as caught:
        refresh(config(corpus, drift={"baseline": "refrence"}), store)
    assert str(caught.value) == (
        "drift.baseline = 'refrence', did you mean 'reference'? Expected reference, serving, "
        "latest, a version's number or tag, or a time"
    )
    refresh(config(corpus), store)
    entry = Catalog(store).resolve("notes", "1")
    tags.put(Table(store, entry.table), "golden", entry.lance_version)
    with pytest.raises(ConfigError, match="'goldn', did you mean 'golden'"):
        refresh(config(corpus, drift={"baseline": "goldn"}), store)
    assert refresh(config(corpus, drift={"baseline": "golden"}), store)["drift"]["verdict"] == (
        "cannot tell"
    )
