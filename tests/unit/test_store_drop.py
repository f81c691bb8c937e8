"""Tables and spaces that are dropped: what readers are told, what is left, kill -9 in between."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from schemas.catalog import VersionEntry
from schemas.config import IndexConfig, Retention
from tasks import failpoints
from tasks.drop import drop, droppable, finish_drops
from tasks.errors import ConfigError, LeaseHeld
from tasks.maintain import maintain
from tasks.space import open_space
from tasks.store import canaries, layout, maintenance, manifests, receipts
from tasks.store.catalog import Catalog
from tasks.store.heal import heal
from tasks.store.lease import lease
from tasks.store.table import Table
from tests.clock import Clock
from tests.tables import FINGERPRINT, content, new_table, put, receipt

OTHER = "0" * 64


def make(store: Path, fingerprint: str, n: int) -> VersionEntry:
    """Version n with one row, in a new table of that encoder."""
    table, catalog = new_table(store, fingerprint=fingerprint), Catalog(str(store))
    return fill(table, catalog, n)


def fill(table: Table, catalog: Catalog, n: int) -> VersionEntry:
    run_id = f"r{n}"
    catalog.put_config("papers", table.settings().fingerprint, {"n": n}, run_id)
    manifests.write(table.store_uri, table.name, run_id, Retention())
    entry = catalog.add_version(table, put(table, run_id, {f"id{n}": n}))
    assert entry.version == n
    return entry


def promote(catalog: Catalog, version: int) -> None:
    serving = catalog.serving("papers")
    before = None if serving is None else serving.version
    catalog.promote("papers", version, who="me", why="a test", expected_from=before)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Table, Table, Catalog]:
    """A space with versions 1 and 3 in one table, 2 in another one; 3 serves."""
    store, catalog = str(tmp_path), Catalog(str(tmp_path))
    one, other = (new_table(tmp_path, fingerprint=which) for which in (FINGERPRINT, OTHER))
    fill(one, catalog, 1)
    promote(catalog, 1)
    fill(other, catalog, 2)
    promote(catalog, 2)
    fill(one, catalog, 3)
    promote(catalog, 3)
    for table in (one, other):
        canaries.write(store, table.name, np.ones((16, 4), np.float32))
        receipts.publish(store, receipt(table, "r9"))
    return one, other, catalog


def left(store: Path) -> set[str]:
    """What is there besides the catalog and locks."""
    return {
        path.name
        for folder in (store, store / "runs", store / "_state")
        for path in (folder.iterdir() if folder.exists() else ())
        if path.name not in ("_catalog", "_leases", "_state", "runs")
    }


def test_a_table_goes_with_its_versions_and_their_numbers_are_not_given_again(
    two: tuple[Table, Table, Catalog], tmp_path: Path
) -> None:
    one, other, catalog = two
    assert droppable(str(tmp_path), "papers", other.name) == [other.name]
    done = drop(str(tmp_path), "papers", [other.name], "ann", 0.0)
    assert done.pop("freed_bytes") > 1000
    assert done == {"space": "papers", "tables": [other.name], "versions": [2]}
    assert left(tmp_path) == {f"{one.name}.lance", one.name, f"{one.name}.canaries.lance"}
    assert [entry.version for entry in catalog.versions("papers")] == [1, 3]
    assert [entry.version for entry in catalog.made("papers")] == [1, 3]
    assert [entry.config["n"] for entry in catalog.configs("papers")] == [1, 3]
    with pytest.raises(ConfigError, match=r"version 2 of space 'papers' was dropped on .* by ann"):
        open_space("papers", str(tmp_path), 2)
    assert catalog.rollback("papers", who="me").to_version == 1
    assert make(tmp_path, OTHER, 4).table == other.name
    assert content(other) == {"id4": 4}
    fill(one, catalog, 5)


def test_a_dropped_space_is_not_listed_and_can_be_made_anew(
    two: tuple[Table, Table, Catalog], tmp_path: Path
) -> None:
    one, other, catalog = two
    names = droppable(str(tmp_path), "papers", None)
    assert names == sorted([one.name, other.name])
    done = drop(str(tmp_path), "papers", names, "ann", 0.0)
    assert (done["tables"], done["versions"]) == (names, [1, 2, 3])
    assert left(tmp_path) == set()
    assert (catalog.spaces(), catalog.tables(), catalog.config("papers")) == ([], {}, None)
    assert (catalog.serving("papers"), catalog.serving_history("papers")) == (None, [])
    assert catalog.dropping("papers") == []
    for version in ("serving", "latest", "2"):
        with pytest.raises(
            ConfigError, match=r"no space 'papers', which was dropped on .* by ann; it has: none"
        ):
            open_space("papers", str(tmp_path), version)
    with pytest.raises(ConfigError, match="was dropped"):
        droppable(str(tmp_path), "papers", None)
    with pytest.raises(ConfigError, match="has no space 'letters'; it has"):
        droppable(str(tmp_path), "letters", None)
    entry = make(tmp_path, FINGERPRINT, 4)
    assert not catalog.moved_since(entry)
    promote(catalog, 4)
    assert open_space("papers", str(tmp_path)).version == 4
    assert (catalog.hold("papers"), catalog.spaces()) == (False, ["papers"])
    with pytest.raises(ConfigError, match="no earlier serving version"):
        catalog.rollback("papers", who="me")
    with pytest.raises(ConfigError, match="version 3 of space 'papers' was dropped"):
        open_space("papers", str(tmp_path), 3)


def test_a_run_with_an_id_that_a_dropped_version_had_makes_a_new_one(tmp_path: Path) -> None:
    first = make(tmp_path, FINGERPRINT, 1)
    promote(Catalog(str(tmp_path)), 1)
    drop(str(tmp_path), "papers", [first.table], "ann", 0.0)
    table, catalog = new_table(tmp_path), Catalog(str(tmp_path))
    entry = catalog.add_version(table, put(table, "r1", {"a": 1}))
    assert (entry.version, entry.run_id) == (2, first.run_id)
    assert not catalog.moved_since(entry)
    promote(catalog, 2)
    assert catalog.moved_since(entry)


def test_the_table_that_serves_goes_only_with_the_space(
    two: tuple[Table, Table, Catalog], tmp_path: Path
) -> None:
    one, _, catalog = two
    before = left(tmp_path)
    with pytest.raises(ConfigError, match=r"version 3 of space 'papers' serves, and is in table"):
        drop(str(tmp_path), "papers", [one.name], "ann", 0.0)
    assert (left(tmp_path), catalog.dropping("papers")) == (before, [])
    with pytest.raises(ConfigError, match=f"no table 'x'; it has: .*{one.name}"):
        droppable(str(tmp_path), "papers", "x")


def test_a_damaged_table_and_one_without_versions_can_be_dropped(tmp_path: Path) -> None:
    entry = make(tmp_path, FINGERPRINT, 1)
    for manifest in (tmp_path / f"{entry.table}.lance" / "_versions").iterdir():
        manifest.write_bytes(b"")
    new_table(tmp_path, fingerprint=OTHER)
    new_table(tmp_path, space="papers.try")
    names = droppable(str(tmp_path), "papers", None)
    assert names == sorted(layout.table_name("papers", which) for which in (FINGERPRINT, OTHER))
    drop(str(tmp_path), "papers", names, "ann", 0.0)
    assert left(tmp_path) == {f"{layout.table_name('papers.try', FINGERPRINT)}.lance"}


def test_a_table_that_is_written_is_not_dropped(
    two: tuple[Table, Table, Catalog], tmp_path: Path
) -> None:
    one, other, catalog = two
    with lease(str(tmp_path), one.name), pytest.raises(LeaseHeld):
        drop(str(tmp_path), "papers", [one.name, other.name], "ann", 0.0)
    assert len(catalog.versions("papers")) == 3


DROP = """
import sys
from tasks.drop import drop
drop(sys.argv[1], "papers", sys.argv[2:], "ann", 0.0)
"""


@pytest.mark.parametrize("point", ["drop:1", "drop:2", "drop-data:1", "drop-data:2"])
@pytest.mark.parametrize("by", ["drop", "maintain", "run"])
def test_a_drop_that_is_killed_is_gone_on_with(
    two: tuple[Table, Table, Catalog], tmp_path: Path, point: str, by: str
) -> None:
    one, other, catalog = two
    killed = subprocess.run(
        [sys.executable, "-c", DROP, str(tmp_path), one.name, other.name],
        env={**os.environ, failpoints.VARIABLE: point},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    begun = [other.name] if point == "drop:1" else [one.name, other.name]
    stays = [] if len(begun) == 2 else [1, 3]  # the table that serves comes last
    assert [entry.version for entry in catalog.versions("papers")] == stays
    if by == "drop":
        drop(str(tmp_path), "papers", droppable(str(tmp_path), "papers", None), "bob", 0.0)
        assert (catalog.versions("papers"), left(tmp_path)) == ([], set())
    elif by == "maintain":
        finish_drops(str(tmp_path), "papers", 0.0)
        assert all(name.startswith(one.name) for name in left(tmp_path))
        assert bool(left(tmp_path)) == bool(stays)
    else:
        with lease(str(tmp_path), other.name):
            notes = heal(other, catalog)
        if point.startswith("drop:"):
            assert notes == [
                f"table {other.name} was dropped, and what was left of it is removed now"
            ]
        assert not other.exists()
        assert [entry.version for entry in catalog.versions("papers")] == stays
        make(tmp_path, OTHER, 4)
    assert other.name not in catalog.dropping("papers")


def test_upkeep_drops_a_table_of_another_encoder_that_is_of_no_use(
    two: tuple[Table, Table, Catalog], tmp_path: Path, clock: Clock
) -> None:
    one, other, catalog = two
    clock.days = 31

    def expired(table: Table, days: int = 30) -> bool:
        return maintenance.expired(table, catalog, days=days, now=clock.now())

    receipts.clear(str(tmp_path), receipts.paths(str(tmp_path), other.name))
    assert not expired(other)  # it served lately
    clock.days = 0
    for n in (4, 5):
        fill(one, catalog, n)
        promote(catalog, n)
    clock.days = 31
    assert not expired(other)  # since then nothing was made
    fill(one, catalog, 6)
    assert expired(other)
    assert not expired(other, days=32)
    assert not expired(one)
    receipts.publish(str(tmp_path), receipt(other, "r9"))
    assert not expired(other)
    receipts.clear(str(tmp_path), receipts.paths(str(tmp_path), other.name))
    other.open().tags.create("mine", 2)
    assert not expired(other)
    other.open().tags.delete("mine")
    done = maintain.fn(str(tmp_path), other.name, Retention(tables=0), IndexConfig(), 0.0)
    assert done.pop("freed_bytes") > 1000
    assert done == {"table": other.name, "dropped": True, "notes": []}
    assert not other.exists()
    with pytest.raises(
        ConfigError, match=r"version 2 .* was dropped on .* by its retention policy"
    ):
        catalog.resolve("papers", "2")
