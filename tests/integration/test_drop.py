"""`vectorline drop`, and the run after it."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from flows import cli
from tasks.space import open_space
from tasks.verify import verify
from tests.pipeline import books, config, refresh, write_jsonl


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A space of one version of ten notes, in the working directory."""
    rows = [{"id": f"r{n}", "text": f"text {n}", "year": n} for n in range(10)]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    settings = config(tmp_path / "corpus")
    refresh(settings, tmp_path / "vectors")
    monkeypatch.chdir(tmp_path)
    return settings


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


def test_a_space_that_was_dropped_is_made_anew_by_the_next_run(
    settings: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = open_space("notes", str(tmp_path / "vectors")).entry.table
    assert cli.main(["drop", "notes", "--yes", "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer.pop("freed_bytes") > 1000
    assert answer == {"space": "notes", "tables": [table], "versions": [1]}
    assert cli.main(["spaces", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == []
    for words in (
        ["versions", "notes"],
        ["maintain", "notes"],
        ["quarantine", "notes", "--replay"],
    ):
        assert cli.main(words) == 2
        assert "no space 'notes', which was dropped on" in capfd.readouterr().err
    made = refresh(settings, tmp_path / "vectors")
    assert (made["version"], made["promoted"]) == (2, True)
    assert books(made) == {"read": 10, "new": 10}
    assert [check for check in verify(str(tmp_path / "vectors"), "notes") if not check.ok] == []


def test_whoever_drops_is_asked(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    del settings
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert cli.main(["drop", "notes"]) == 2
    assert "Nobody is there to answer: say --yes" in capfd.readouterr().err
    monkeypatch.setattr(sys, "stdin", Terminal("\n"))
    assert cli.main(["drop", "notes"]) == 130
    said = capfd.readouterr().err
    assert "with all versions, for good? [y/N] " in said
    assert "nothing was dropped" in said
    assert open_space("notes").version == 1
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert cli.main(["drop", "notes"]) == 0
    assert "(versions: 1), " in capfd.readouterr().out
    assert cli.main(["drop", "notes", "--yes"]) == 2
    assert "which was dropped on" in capfd.readouterr().err


def test_the_table_that_serves_is_kept_where_another_has_versions(
    settings: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = {**settings, "encoder": {"use": "hashing", "dim": 16}}
    made = refresh(other, tmp_path / "vectors", backfill=True)
    first = open_space("notes", version=1).entry.table
    assert cli.main(["drop", "notes", "--table", first, "--yes"]) == 2
    assert "version 1 of space 'notes' serves" in capfd.readouterr().err
    assert cli.main(["promote", "notes", "2"]) == 0
    assert cli.main(["drop", "notes", "--table", first, "--yes"]) == 0
    assert not list((tmp_path / "vectors").glob(f"**/{first}*.lance"))
    assert refresh(other, tmp_path / "vectors")["version"] == made["version"] == 2
    capfd.readouterr()
    assert cli.main(["verify", "notes"]) == 0
