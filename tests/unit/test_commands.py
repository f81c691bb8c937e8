"""What commands on a space refuse before they do anything."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows import commands
from flows.cli import build_parser
from schemas.catalog import PublishedEntry
from tasks.errors import ConfigError
from tasks.store.catalog import Catalog
from tests.pipeline import write_config, write_jsonl
from tests.tables import new_table, put


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Version 1 of `papers` serves."""
    made = tmp_path / "vectors"
    table, catalog = new_table(made), Catalog(str(made))
    catalog.add_version(table, put(table, "run", {"a": 1}))
    catalog.promote("papers", 1, who="me", why="", expected_from=None)
    return str(made)


def refused(*words: str) -> str:
    """What is said of a command."""
    with pytest.raises(ConfigError) as caught:
        commands.execute(build_parser().parse_args(words))
    return str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        ("drift",),
        ("evaluate",),
        ("publish",),
        ("maintain",),
        ("quarantine", "--replay"),
        ("verify", "--sink", "qdrant"),
        ("search", "--id", "a", "--sink", "qdrant"),
    ],
    ids=lambda words: words[0],
)
def test_the_config_of_another_space_is_refused(
    store: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [{"id": "a", "text": "b", "year": 1}])
    path = str(write_config(tmp_path, tmp_path / "corpus"))
    command, *others = words
    assert refused(command, "papers", *others, "--config", path, "--store", store) == (
        f"{path}: space = 'notes', and the command is for 'papers': give the config of that space, "
        "or leave --config out for the last one that was committed"
    )


def test_who_gives_a_config_as_a_space_is_told_what_a_space_is_called(store: str) -> None:
    assert refused("drift", "tiny.yaml", "--store", store) == (
        f"store '{store}' has no space 'tiny.yaml'; it has: papers; --store or VECTORLINE_STORE "
        "names another; a space is called what `space:` says in its config"
    )


def test_a_version_serves_though_the_catalog_has_no_config_that_can_be_read(store: str) -> None:
    catalog = Catalog(store)
    (version,) = catalog.versions("papers")
    for name in ("a", "b"):
        catalog.put_published(
            PublishedEntry(
                space="papers",
                sink=name,
                version=7,
                table=version.table,
                collection="c",
                publication="p",
                rows=1,
                when=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )
    away: dict[str, object] = {"use": "not.there:Sink", "name": "a"}
    known: list[tuple[dict[str, object], list[str]]] = [
        ({}, []),
        ({"publish": [away]}, ["a"]),
        ({"publish": [{"use": 3}]}, ["a", "b"]),
    ]
    for config, names in known:
        catalog.put_config("papers", version.fingerprint, config)
        words = build_parser().parse_args(["promote", "papers", "1", "--store", store])
        moved = commands.execute(words)
        assert isinstance(moved, dict)
        assert moved["to_version"] == 1
        assert moved["sinks_behind"] == [{"sink": name, "version": 7} for name in names]
