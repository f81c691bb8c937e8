"""kill -9 at each step from the fragments to the catalog, then whoever comes next."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.catalog import VersionEntry
from tasks import failpoints
from tasks.store import files, layout, quarantine, receipts
from tasks.store.catalog import Catalog
from tasks.store.heal import heal
from tasks.store.lease import lease
from tasks.store.swap import manifest_path
from tests.tables import content, new_table, put

RUN = """
import sys
from schemas.receipt import Receipt
from tasks.store import receipts
from tasks.store.catalog import Catalog
from tasks.store.commit import commit
from tasks.store.table import Table
from tests.tables import change
table = Table(sys.argv[1], sys.argv[2])
made = change(table, "two", {"b": 3, "c": 4}, removed=("a",))
receipts.publish(table.store_uri, Receipt(
    table=table.name, run_id="two", session="s", job=0, attempt=0, fragments=made.fragments,
    rows=2, records=2, encoded=2, encoder_loads=1, tokens=4, truncated=0,
    checksum="", quarantined=(), seconds={}))
catalog = Catalog(table.store_uri)
entry = catalog.add_version(table, commit(table, made))
catalog.promote("papers", entry.version, who="me", why="auto", expected_from=None)
receipts.drop(table.store_uri, receipts.list(table.store_uri, table.name)[0])
"""
STEPS = ("before-receipt", "after-receipt", "before-commit", "after-commit", "after-tag", "promote")
COMMITTED = ("after-commit", "after-tag", "promote")


@pytest.mark.parametrize("step", STEPS)
def test_a_run_killed_at_any_step_makes_one_version_or_none(tmp_path: Path, step: str) -> None:
    table = new_table(tmp_path)
    catalog = Catalog(str(tmp_path))
    first = catalog.add_version(table, put(table, "one", {"a": 1, "b": 2}))
    killed = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path), table.name],
        env={**os.environ, failpoints.VARIABLE: step},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL

    healed = heal(table, catalog)
    assert heal(table, catalog) == []

    numbers = [(entry.version, entry.run_id, entry.rows) for entry in catalog.versions("papers")]
    left = receipts.list(str(tmp_path), table.name)[0]
    assert catalog.versions("papers")[0] == first
    assert catalog.serving("papers") is None
    if step in COMMITTED:
        assert content(table) == {"b": 3, "c": 4}
        assert numbers == [(1, "one", 2), (2, "two", 2)]
        assert table.open().tags.list()["run-two"]["version"] == 3
        assert left == ()
        assert [s.endswith("it is version 2 of papers") for s in healed] == [True] * (
            step != "promote"
        )
    else:
        assert content(table) == {"a": 1, "b": 2}
        assert numbers == [(1, "one", 2)]
        assert [receipt.run_id for receipt in left] == ["two"] * (step != "before-receipt")
        assert healed == []
        put(table, "two", {"b": 3, "c": 4}, removed=("a",))
        assert content(table) == {"b": 3, "c": 4}


def test_manifests_that_a_power_cut_emptied_are_moved_aside_and_reported(store: str) -> None:
    table = new_table(store)
    catalog = Catalog(store)
    entry = catalog.add_version(table, put(table, "one", {"a": 1}))
    put(table, "two", {"b": 2})
    catalog.put_config("papers", "f", {"space": "papers"})
    quarantine.write(store, table.name, [])
    for uri in (table.uri, layout.log_uri(store)):
        files.of(uri).write(manifest_path(uri, 3), "")

    done = heal(table, catalog)

    assert [sentence.split(",")[0] for sentence in done] == [
        "the newest manifest of log.lance",
        f"the newest manifest of {table.name}.lance",
    ]
    assert content(table) == {"a": 1}
    assert catalog.versions("papers") == [entry]
    assert catalog.config("papers") is None
    put(table, "three", {"c": 3})
    assert content(table) == {"a": 1, "c": 3}
    assert table.open().version == 3


def test_heal_of_a_table_that_is_not_there_does_nothing(tmp_path: Path) -> None:
    table = new_table(tmp_path, "papers")
    missing = type(table)(str(tmp_path), "other.123456789012")
    assert heal(missing, Catalog(str(tmp_path))) == []


def test_a_commit_found_by_heal_is_the_one_that_the_run_would_have_recorded(store: str) -> None:
    table = new_table(store)
    catalog = Catalog(store)
    with lease(store, table.name) as held:
        put(table, "one", {"a": 1, "b": 2})
        heal(table, catalog)
    settings = table.settings()
    entry = catalog.versions("papers")[0]
    assert held.token == 1
    assert entry == VersionEntry(
        space="papers",
        version=1,
        table=table.name,
        fingerprint=settings.fingerprint,
        lance_version=2,
        run_id="one",
        rows=2,
        data_digest="data of one",
        created_at=entry.created_at,
    )
    assert catalog.add_version(table, 2) == entry
