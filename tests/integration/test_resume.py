"""Runs that end in the middle, and what the next one makes of their receipts."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.receipt import Receipt
from tasks import cut, encode, failpoints, worker
from tasks.errors import Interrupted, StoreError
from tasks.space import open_space
from tasks.store import receipts
from tests.pipeline import books, config, refresh, write_jsonl

Row = dict[str, Any]

JOB_RECORDS = 20
DISTINCT = 120  # contents of the 200 notes

KILLED = """
import json, sys
from pathlib import Path
from tasks import cut
from tests.pipeline import refresh
cut.MAX_RECORDS = int(sys.argv[3])
cut.MIN_RECORDS = cut.MAX_RECORDS
refresh(json.loads(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "MAX_RECORDS", JOB_RECORDS)
    monkeypatch.setattr(cut, "MIN_RECORDS", JOB_RECORDS)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return tmp_path / "corpus"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "vectors"


def notes(n: int, word: str = "note") -> list[Row]:
    """Three texts for five ids."""
    return [
        {"id": f"r{i}", "text": f"{word} {i - i % 5 % 2} on it", "year": 2000 + i % 7}
        for i in range(n)
    ]


def kill(settings: Row, store: Path, at: str, job_records: int = JOB_RECORDS) -> None:
    """A run that is killed at a fail point, with jobs of so many records."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, json.dumps(settings), str(store), str(job_records)],
        env={**os.environ, failpoints.VARIABLE: at},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def stop(settings: Row, store: Path, n_receipts: int) -> None:
    """A run that Ctrl-C ends after so many receipts."""
    published = 0

    def publish(store_uri: str, receipt: Receipt) -> None:
        nonlocal published
        receipts.publish(store_uri, receipt)
        published += 1
        if published == n_receipts:
            raise Interrupted("stopped after the batch in hand; finished shards are kept")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "receipts", SimpleNamespace(publish=publish))
        with pytest.raises(Interrupted):
            refresh(settings, store)


def rows_of(store: Path) -> list[Row]:
    names = ["id", "text", "year", "vector"]
    rows = open_space("notes", str(store), "latest").to_arrow(names).to_pylist()
    return sorted(rows, key=lambda row: str(row["id"]))


def undisturbed(settings: Row, store: Path) -> list[Row]:
    """The rows of a run that nobody disturbed, in a store of its own."""
    calm = store.with_name("calm")
    refresh(settings, calm)
    return rows_of(calm)


def left(store: Path, table: str) -> int:
    return len(receipts.list(str(store), table)[0])


def test_a_killed_run_goes_on_where_it_was(corpus: Path, store: Path) -> None:
    write_jsonl(corpus / "a.jsonl", notes(200))
    settings = config(corpus)
    kill(settings, store, "after-receipt:3")
    made = refresh(settings, store)
    assert books(made) == {"read": 200, "new": 200}
    assert made["encoded"] == DISTINCT - 3 * JOB_RECORDS
    assert made["notes"] == ["100 records were taken over from a run that never came to its commit"]
    assert rows_of(store) == undisturbed(settings, store)
    assert left(store, made["table"]) == 0
    again = refresh(settings, store)
    assert (again["new_version"], again["notes"]) == (False, [])


def test_a_run_that_ended_three_times_encodes_nothing_twice(corpus: Path, store: Path) -> None:
    write_jsonl(corpus / "a.jsonl", notes(200))
    settings = config(corpus)
    stop(settings, store, 2)
    kill(settings, store, "after-receipt:2", 17)
    stop(settings, store, 1)
    made = refresh(settings, store)
    assert made["encoded"] == DISTINCT - 3 * JOB_RECORDS - 2 * 17
    assert rows_of(store) == undisturbed(settings, store)
    assert left(store, made["table"]) == 0


def test_what_changed_in_between_is_encoded_and_only_that(corpus: Path, store: Path) -> None:
    rows = notes(200)
    write_jsonl(corpus / "a.jsonl", rows)
    settings = config(corpus)
    stop(settings, store, 6)
    rows[3]["text"] = "another one altogether"
    rows[45]["year"] = 1
    del rows[100]
    rows.insert(0, {"id": "first", "text": rows[50]["text"], "year": 2})
    write_jsonl(corpus / "a.jsonl", rows)
    made = refresh(settings, store)
    assert books(made) == {"read": 200, "new": 200}
    assert made["encoded"] == 1
    assert left(store, made["table"]) == 0
    assert rows_of(store) == undisturbed(settings, store)


def test_a_new_metadata_column_in_between_costs_no_encoding(corpus: Path, store: Path) -> None:
    write_jsonl(corpus / "a.jsonl", notes(200))
    stop(config(corpus), store, 6)
    rows = [{**row, "who": "me"} for row in notes(200)]
    write_jsonl(corpus / "a.jsonl", rows)
    settings = config(corpus)
    settings["source"]["metadata"] = ["year", "who"]
    made = refresh(settings, store)
    assert made["encoded"] == 0
    assert rows_of(store) == undisturbed(settings, store)
    assert set(open_space("notes", str(store)).to_arrow(["who"])["who"].to_pylist()) == {"me"}


def test_a_data_file_that_was_lost_or_cut_is_done_again(corpus: Path, store: Path) -> None:
    write_jsonl(corpus / "a.jsonl", notes(200))
    settings = config(corpus)
    stop(settings, store, 4)
    (table,) = store.glob("notes.*.lance")
    files = sorted((table / "data").glob("*.lance"))
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-1])
    made = refresh(settings, store)
    assert made["encoded"] == DISTINCT - 2 * JOB_RECORDS
    assert rows_of(store) == undisturbed(settings, store)


def test_what_was_bad_stays_bad_and_is_counted_once(corpus: Path, store: Path) -> None:
    rows = notes(200)
    rows[7]["text"] = rows[90]["text"] = "a blind spot"
    write_jsonl(corpus / "a.jsonl", rows)
    settings = config(corpus, encoder={"use": "tests.encoders:BlindEncoder"})
    stop(settings, store, 4)
    made = refresh(settings, store)
    assert books(made) == {"read": 200, "new": 198, "quarantined": 2}
    assert rows_of(store) == undisturbed(settings, store)


def test_a_replay_tries_again_what_a_killed_run_found_to_be_bad(corpus: Path, store: Path) -> None:
    rows = notes(60)
    rows[7]["text"] = "a blind spot"
    write_jsonl(corpus / "a.jsonl", rows)
    settings = config(corpus, encoder={"use": "tests.encoders:BlindEncoder"})
    stop(settings, store, 1)
    made = refresh(settings, store, replay=True)
    assert books(made) == {"read": 60, "new": 59, "quarantined": 1}
    assert made["encoded"] == 37 - JOB_RECORDS + 1
    assert rows_of(store) == undisturbed(settings, store)


def test_a_run_of_chunks_goes_on_where_it_was(corpus: Path, store: Path) -> None:
    rows = notes(60)
    for number, row in enumerate(rows):
        row["text"] = " ".join(f"{row['text']} {part} of {number % 9}" for part in range(4))
    write_jsonl(corpus / "a.jsonl", rows)
    settings = config(corpus, chunk={"tokens": 8, "overlap": 2})
    stop(settings, store, 2)
    made = refresh(settings, store)
    assert books(made) == {"read": 60, "new": 60}
    assert made["notes"] != []
    whole = undisturbed(settings, store)
    assert rows_of(store) == whole
    assert len(whole) == made["rows"] > 60


def test_a_change_of_a_version_is_resumed_too(corpus: Path, store: Path) -> None:
    write_jsonl(corpus / "a.jsonl", notes(200))
    settings = config(corpus)
    refresh(settings, store)
    write_jsonl(corpus / "a.jsonl", notes(200, "letter"))
    stop(settings, store, 2)
    made = refresh(settings, store)
    assert books(made) == {"read": 200, "changed": 200}
    assert made["encoded"] == DISTINCT - 2 * JOB_RECORDS
    assert made["rows"] == 200
    assert rows_of(store) == undisturbed(settings, store)
    assert made["version"] == 2


def test_a_receipt_of_work_that_was_done_twice_is_taken_once(corpus: Path, store: Path) -> None:
    write_jsonl(corpus / "a.jsonl", notes(200))
    settings = config(corpus)
    stop(settings, store, 3)
    (folder,) = (store / "runs").glob("*/receipts")
    first = min(folder.glob("*.json"))
    (folder / first.name.replace(".0.json", ".1.json")).write_bytes(first.read_bytes())
    made = refresh(settings, store)
    assert books(made) == {"read": 200, "new": 200}
    assert rows_of(store) == undisturbed(settings, store)


def test_more_jobs_than_are_cut_ahead_are_all_done(
    corpus: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(corpus / "a.jsonl", notes(200))
    settings = config(corpus)
    expected = undisturbed(settings, store)
    for name in ("MAX_RECORDS", "MIN_RECORDS"):
        monkeypatch.setattr(cut, name, 3)
    monkeypatch.setattr(encode, "JOBS_AHEAD", 2)
    made = refresh(settings, store)
    assert (made["rows"], made["encoded"]) == (200, DISTINCT)
    assert rows_of(store) == expected
    # And a driver that forgets some of them commits nothing.
    monkeypatch.setattr(encode, "islice", lambda jobs, n: list(jobs)[:5])
    write_jsonl(corpus / "a.jsonl", notes(200, "letter"))
    with pytest.raises(StoreError, match="of 120 records that had to be written"):
        refresh(settings, store)
    assert rows_of(store) == expected
