"""Bad files through whole runs: bad rows end in quarantine, a bad container in one clear error."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import ConfigError, SourceError, StoreError
from tasks.store import quarantine
from tests.pipeline import books, config, refresh, write_jsonl

BROKEN = b"caf\xe9"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "vectors"


def settings_for(folder: Path, use: str, **arguments: object) -> dict[str, Any]:
    source = {"use": use, "path": str(folder), "id": "id", "text": "text", **arguments}
    return config(folder, source={name: value for name, value in source.items() if value})


def write_csv(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    lines = [b"id,text", b"a,fine", b"b," + BROKEN, b"c,ragged,row", b"d", b"e,fine too"]
    (folder / "a.csv").write_bytes(b"\n".join(lines) + b"\n")
    return settings_for(folder, "csv")


def write_broken_jsonl(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    lines = [
        b'{"id": "a", "text": "fine"}',
        b'{"id": "b", "text": "' + BROKEN + b'"}',
        b'{"id": "c", "text": ',
        b'{"id": "d", "text": "\\ud800"}',
        b'{"id": "e", "text": "fine too"}',
    ]
    (folder / "a.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return settings_for(folder, "jsonl")


def write_parquet(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    raw = pa.array([b"fine", BROKEN, b"nul \0", b" ", b"fine too"]).view(pa.string())
    table = pa.table({"id": ["a", "b", "c", "d", "e"], "text": raw})
    pq.write_table(table, folder / "a.parquet")
    return settings_for(folder, "parquet")


def write_texts(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    texts = [b"fine", BROKEN, b"nul \0", b" \n", b"fine too"]
    for name, text in zip("abcde", texts, strict=True):
        (folder / f"{name}.txt").write_bytes(text)
    return settings_for(folder, "text", id="", text="")


@pytest.mark.parametrize(
    ("write", "reasons"),
    [
        (write_csv, ["invalid_utf8", "ragged_row", "ragged_row"]),
        (write_broken_jsonl, ["invalid_json", "invalid_utf8", "invalid_utf8"]),
        (write_parquet, ["empty", "invalid_utf8", "nul_character"]),
        (write_texts, ["empty", "invalid_utf8", "nul_character"]),
    ],
)
def test_bad_rows_of_every_format_go_to_quarantine_and_the_others_are_encoded(
    tmp_path: Path, store: Path, write: Any, reasons: list[str]
) -> None:
    settings = write(tmp_path / "corpus")
    made = refresh(settings, store)
    assert books(made) == {"read": 5, "new": 2, "quarantined": 3}
    entries = quarantine.read(str(store), made["table"])
    assert sorted(entry.reason for entry in entries) == reasons
    again = refresh(settings, store)
    assert books(again) == {"read": 5, "unchanged": 2, "quarantined": 3}
    assert again["new_version"] is False


def test_a_truncated_parquet_file_is_one_clear_error_before_any_work(
    tmp_path: Path, store: Path
) -> None:
    settings = write_parquet(tmp_path / "corpus")
    whole = (tmp_path / "corpus" / "a.parquet").read_bytes()
    (tmp_path / "corpus" / "a.parquet").write_bytes(whole[:-20])
    (tmp_path / "corpus" / "b.parquet").write_bytes(whole)
    with pytest.raises(SourceError, match=r"^\S+a\.parquet cannot be read"):
        refresh(settings, store)
    assert not list(store.glob("*.lance"))


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path, store: Path) -> None:
    settings = write_parquet(tmp_path / "corpus")
    settings["source"]["text"] = "{title}. {text}"
    with pytest.raises(ConfigError, match=r"'title'.*'id', 'text'"):
        refresh(settings, store)


def test_a_glob_that_matches_nothing_is_named(tmp_path: Path, store: Path) -> None:
    (tmp_path / "corpus").mkdir()
    with pytest.raises(ConfigError, match=r"corpus/\*\.jsonl"):
        refresh(config(tmp_path / "corpus"), store)


def test_a_file_name_that_is_not_utf8_is_named(tmp_path: Path, store: Path) -> None:
    settings = write_texts(tmp_path / "corpus")
    Path(os.fsdecode(os.fsencode(tmp_path / "corpus") + b"/caf\xe9.txt")).write_text("coffee")
    with pytest.raises(SourceError, match="is not UTF-8: rename the file"):
        refresh(settings, store)


def test_a_disk_without_room_is_noticed_before_any_work(tmp_path: Path, small_disk: Path) -> None:
    rows = [{"id": f"r{n}", "text": f"text {n}", "year": 1} for n in range(20_000)]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    with pytest.raises(StoreError, match=r"has \d MiB free and this run needs about \d+ MiB"):
        refresh(config(tmp_path / "corpus"), small_disk / "vectors")
    assert not list((small_disk / "vectors").glob("*.lance"))
