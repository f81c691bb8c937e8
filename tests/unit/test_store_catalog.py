"""Versions, serving and configs, also with two processes at once."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from schemas.catalog import ServingEntry
from tasks.errors import ConfigError, StoreError
from tasks.store.catalog import Catalog
from tests.tables import new_table, put


def three_versions(store: str | Path) -> Catalog:
    """Space papers with versions 1 to 3."""
    table, catalog = new_table(store), Catalog(str(store))
    for number, name in enumerate(("one", "two", "three")):
        catalog.add_version(table, put(table, name, {name: number}))
    return catalog


def moves(history: list[ServingEntry]) -> list[tuple[int | None, int, str, str, bool]]:
    return [(one.from_version, one.to_version, one.who, one.why, one.hold) for one in history]


def test_versions_are_numbered_per_space_and_each_run_gets_one(store: str) -> None:
    catalog = three_versions(store)
    other = new_table(store, "images")
    entry = catalog.add_version(other, put(other, "one", {"a": 1, "b": 2}))
    assert catalog.add_version(other, entry.lance_version) == entry
    assert catalog.spaces() == ["images", "papers"]
    assert [(v.version, v.run_id, v.lance_version, v.rows) for v in catalog.versions("papers")] == [
        (1, "one", 2, 1),
        (2, "two", 3, 2),
        (3, "three", 4, 3),
    ]
    assert catalog.latest("images") == entry
    assert (entry.version, entry.rows, entry.data_digest) == (1, 2, "data of one")
    with pytest.raises(StoreError, match="no run made Lance version 1 of table"):
        catalog.add_version(other, 1)


def test_a_version_is_found_by_number_word_tag_and_time(tmp_path: Path) -> None:
    catalog = three_versions(tmp_path)
    one, two, three = catalog.versions("papers")
    new_table(tmp_path, "images").open()
    with pytest.raises(ConfigError, match=r"promote papers 3.*--version latest"):
        catalog.resolve("papers", "serving")
    catalog.promote("papers", 2, who="me", why="good", expected_from=None)
    assert catalog.resolve("papers", "serving") == two
    assert catalog.resolve("papers", "latest") == three
    assert catalog.resolve("papers", "1") == one
    assert catalog.resolve("papers", "run-two") == two
    assert catalog.resolve("papers", two.created_at.isoformat()) == two
    assert catalog.resolve("papers", (three.created_at + timedelta(days=1)).isoformat()) == three
    for version, message in (
        ("7", "has no version 7; it has: 1, 2, 3"),
        ("nonsense", "'nonsense' is no version of space 'papers'"),
        ("2001-01-01", "had no version at 2001-01-01"),
    ):
        with pytest.raises(ConfigError, match=message):
            catalog.resolve("papers", version)
    with pytest.raises(ConfigError, match="no space 'images'; it has: papers"):
        catalog.resolve("images", "latest")


def test_rollback_goes_to_the_version_that_served_before_and_holds_until_promote(
    tmp_path: Path,
) -> None:
    catalog = three_versions(tmp_path)
    with pytest.raises(ConfigError, match="no earlier serving version"):
        catalog.rollback("papers", who="me")
    catalog.promote("papers", 1, who="me", why="first", expected_from=None)
    catalog.promote("papers", 3, who="me", why="better", expected_from=1)
    again = catalog.promote("papers", 3, who="you", why="again", expected_from=3)
    assert (again.who, catalog.hold("papers")) == ("me", False)
    assert catalog.rollback("papers", who="you").to_version == 1
    assert catalog.hold("papers")
    catalog.promote("papers", 1, who="me", why="keep", expected_from=1)
    assert not catalog.hold("papers")
    assert moves(catalog.serving_history("papers")) == [
        (None, 1, "me", "first", False),
        (1, 3, "me", "better", False),
        (3, 1, "you", "rollback", True),
        (1, 1, "me", "keep", False),
    ]
    with pytest.raises(ConfigError, match="no version 4"):
        catalog.promote("papers", 4, who="me", why="", expected_from=1)


def test_each_rollback_goes_further_back(tmp_path: Path) -> None:
    catalog = three_versions(tmp_path)
    for before, to in ((None, 1), (1, 2), (2, 1), (1, 3)):
        catalog.promote("papers", to, who="me", why="", expected_from=before)
    assert [catalog.rollback("papers", who="me").to_version for _ in range(3)] == [1, 2, 1]
    with pytest.raises(ConfigError, match="no earlier serving version"):
        catalog.rollback("papers", who="me")


PROMOTE = """
import sys
from tasks.errors import StoreError
from tasks.store.catalog import Catalog
catalog = Catalog(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    catalog.promote("papers", int(sys.argv[2]), who=sys.argv[2], why="", expected_from=1)
    print("won", flush=True)
except StoreError as error:
    print(error, flush=True)
"""


def test_of_two_promotions_at_once_one_fails_by_name(store: str) -> None:
    catalog = three_versions(store)
    catalog.promote("papers", 1, who="me", why="", expected_from=None)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTE, store, version],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for version in ("2", "3")
    ]
    assert [racer.stdout.readline() for racer in racers if racer.stdout] == ["ready\n", "ready\n"]
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [racer.communicate()[0].strip() for racer in racers]
    won = answers.index("won")
    winner, loser = (2, 3) if won == 0 else (3, 2)
    assert answers[1 - won] == (
        f"the serving version of 'papers' is {winner} by now, not 1: "
        f"version {loser} was not promoted; look at what serves and promote again"
    )
    assert [move.to_version for move in catalog.serving_history("papers")] == [1, winner]


def test_appends_of_many_processes_are_all_kept(store: str) -> None:
    script = """
import sys
from tasks.store.catalog import Catalog
for number in range(5):
    Catalog(sys.argv[1]).put_config(sys.argv[2], "f", {"number": number})
"""
    writers = [subprocess.Popen([sys.executable, "-c", script, store, name]) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    catalog = Catalog(store)
    entries = catalog._entries()
    assert len(entries) == 10
    for name in "ab":
        own = [e.config["number"] for e in entries if e.kind == "config" and e.space == name]
        assert own == [0, 1, 2, 3, 4]


def test_a_config_is_in_force_with_the_version_of_its_run(tmp_path: Path) -> None:
    table, catalog = new_table(tmp_path), Catalog(str(tmp_path))

    def config() -> object:
        entry = catalog.config("papers")
        return entry and entry.config["k"]

    catalog.put_config("papers", "f", {"k": 1}, "one")
    assert config() is None
    catalog.add_version(table, put(table, "one", {"a": 1}))
    assert config() == 1
    catalog.put_config("papers", "f", {"k": 2}, "two")
    assert config() == 1
    catalog.put_config("papers", "f", {"k": 1})
    catalog.add_version(table, put(table, "two", {"b": 1}))
    assert config() == 1
    before = len(catalog._entries())
    catalog.put_config("papers", "f", {"k": 1}, "three")
    assert len(catalog._entries()) == before


def test_a_catalog_row_of_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    catalog = three_versions(tmp_path)
    entry = catalog.versions("papers")[0]
    newer = entry.model_copy(update={"format": 2})
    catalog._append(lambda entries: newer)
    with pytest.raises(StoreError, match=r"row 3 of the catalog: format 2 .*upgrade vectorline"):
        catalog.spaces()
