"""Upkeep between runs: nobody notices but the disk."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import maintain as flow
from schemas.config import IndexConfig, Retention
from tasks.errors import ConfigError, LeaseHeld
from tasks.maintain import maintain, tidy
from tasks.sources.base import Record, Shard
from tasks.sources.jsonl import JsonlSource
from tasks.space import open_space
from tasks.store import maintenance
from tasks.store.catalog import Catalog
from tasks.store.lease import lease
from tests.pipeline import books, config, refresh, write_jsonl

KEEP_ALL = Retention(versions=100, days=0)
INDEXED = IndexConfig(columns=("year",), rows=20)


@pytest.fixture(autouse=True)
def gather_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "SPARE_FRAGMENTS", 0)


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """A space of three versions, from files that are old enough to be trusted."""
    settings = config(tmp_path / "corpus")
    for n in range(3):
        path = tmp_path / "corpus" / f"{n}.jsonl"
        write_jsonl(
            path, [{"id": f"r{n}.{m}", "text": f"text {n} {m}", "year": m} for m in range(9)]
        )
        os.utime(path, (time.time() - 60,) * 2)
        refresh(settings, tmp_path / "vectors")
    return settings


def test_a_run_after_upkeep_reads_no_file_again(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "vectors"
    before = open_space("notes", str(store))
    done = maintain.fn(str(store), before.entry.table, KEEP_ALL, INDEXED, 0.0)
    assert done["freed_bytes"] >= 0
    assert {**done, "freed_bytes": 0} == {
        "table": before.entry.table,
        "dropped": False,
        "retired": [],
        "freed_bytes": 0,
        "fragments_before": 3,
        "fragments": 1,
        "index": {
            "kind": "IVF_RQ",
            "recall": 1.0,
            "nprobes": 20,
            "refine": 3,
            "columns": ["year"],
            "retrained": False,
        },
        "notes": [],
    }

    def read(source: JsonlSource, shard: Shard) -> Iterator[Record]:
        raise AssertionError(f"{shard} is read again")

    monkeypatch.setattr(JsonlSource, "read", read)
    made = refresh(settings, store)
    assert (books(made), made["version"]) == ({"read": 27, "unchanged": 27}, 3)
    after = open_space("notes", str(store))
    assert after.entry.lance_version > before.entry.lance_version
    assert after.to_arrow().equals(before.to_arrow())


def test_a_run_after_upkeep_changes_what_changed(settings: dict[str, Any], tmp_path: Path) -> None:
    store = tmp_path / "vectors"
    maintain.fn(
        str(store), open_space("notes", str(store)).entry.table, KEEP_ALL, IndexConfig(), 0.0
    )
    write_jsonl(tmp_path / "corpus" / "1.jsonl", [{"id": "r1.1", "text": "other", "year": 1}])
    made = refresh(settings, store)
    assert books(made) == {"read": 19, "changed": 1, "unchanged": 18, "removed": 8}
    space = open_space("notes", str(store))
    assert (space.version, space.rows) == (4, 19)
    assert (space.row("r1.1") or {})["text"] == "other"


def test_upkeep_waits_for_the_lease(settings: dict[str, Any], tmp_path: Path) -> None:
    del settings
    store = str(tmp_path / "vectors")
    table = open_space("notes", store).entry.table
    with lease(store, table), pytest.raises(LeaseHeld):
        maintain.fn(store, table, KEEP_ALL, IndexConfig(), 0.0)


def test_a_run_on_one_table_does_not_keep_the_rest_waiting(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], tmp_path: Path
) -> None:
    done = []

    def upkeep(store: str, name: str, *wanted: Any) -> dict[str, Any]:
        done.append(name)
        return maintain.fn(store, name, *wanted)

    store = str(tmp_path / "vectors")
    table = open_space("notes", store).entry.table
    monkeypatch.setattr(flow, "maintain_table", upkeep)
    monkeypatch.setattr(flow, "tidy", lambda store: done.append("tidy"))
    with lease(store, table), pytest.raises(LeaseHeld):
        flow.maintain.fn("notes", settings, store, 0.0)
    assert done == [table, "tidy"]


def test_the_version_that_drift_is_measured_from_stays(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], tmp_path: Path
) -> None:
    monkeypatch.setattr(flow, "maintain_table", maintain.fn)  # which need no server
    monkeypatch.setattr(flow, "tidy", tidy.fn)
    store = str(tmp_path / "vectors")
    for number in range(4, 7):
        write_jsonl(tmp_path / "corpus" / "9.jsonl", [{"id": "a", "text": f"{number}", "year": 1}])
        refresh(settings, store, promote="no")
    kept = settings | {"retention": {"versions": 1, "days": 0}, "drift": {"baseline": 4}}
    flow.maintain.fn("notes", kept, store, 0.0)
    there = [one.version for one in Catalog(store).versions("notes")]
    assert (4 in there, 5 in there, there[-1]) == (True, False, 6)


def test_a_column_to_index_that_the_newest_table_lacks_stops_upkeep_before_it_begins(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    del settings
    store = str(tmp_path / "vectors")
    before = open_space("notes", store).entry
    wanted = IndexConfig(columns=("venue",))
    with pytest.raises(ConfigError, match=r"index.columns = 'venue'.*there are: year"):
        maintain.fn(store, before.table, KEEP_ALL, wanted, 0.0)
    assert open_space("notes", store).entry == before
