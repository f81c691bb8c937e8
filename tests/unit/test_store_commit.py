"""The commit against a dict, two of them at once, and books and files that are wrong."""

import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lance import LanceDataset, Transaction

from tasks.errors import CommitConflict, StoreError
from tasks.store import files, swap
from tasks.store.commit import commit
from tasks.store.files import store_error
from tasks.store.fragments import data_path
from tests.tables import change, content, new_table, put

IDS = st.sampled_from([f"r{number}" for number in range(8)])
CHANGES = st.tuples(st.dictionaries(IDS, st.integers(0, 90), max_size=5), st.sets(IDS, max_size=3))


@given(st.lists(CHANGES, min_size=1, max_size=5))
def test_commits_do_to_a_table_what_they_do_to_a_dict_and_twice_nothing_more(
    changes: list[tuple[dict[str, int], set[str]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = new_table(Path(folder))
        expected: dict[str, int] = {}
        for number, (values, removed) in enumerate(changes):
            kept = {id_: value for id_, value in expected.items() if id_ not in removed}
            expected = kept | values
            made = change(table, f"run{number}", values, tuple(removed))
            version = commit(table, made)
            assert commit(table, made) == version
            assert table.open().version == version == made.base_version + 1
            assert content(table) == expected
            assert table.open().tags.list()[f"run-run{number}"]["version"] == version


def test_row_ids_are_never_used_again_after_a_table_was_emptied(store: str) -> None:
    table = new_table(store)
    put(table, "one", {"a": 1, "b": 2})
    put(table, "two", {}, removed=("a", "b"))
    assert table.open().count_rows() == 0
    put(table, "three", {"a": 1})
    head = table.open()
    assert head.to_table(columns=[], with_row_id=True)["_rowid"].to_pylist() == [2]
    assert head.has_stable_row_ids
    assert table.settings().space == "papers"


def test_an_index_finds_the_rows_that_a_later_commit_replaced(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    put(table, "one", {"a": 1, "b": 2})
    table.open().create_scalar_index("id", "BITMAP")
    put(table, "two", {"b": 3})
    found = table.open().to_table(["id", "year"], filter="id = 'b'").to_pylist()
    assert found == [{"id": "b", "year": 3}]


def test_a_stale_commit_conflicts_whatever_the_base_held(store: str) -> None:
    table = new_table(store)
    for name, removed in (("empty", ()), ("full", ()), ("emptied", ("a", "b"))):
        mine = change(table, f"{name}-mine", {"a": 1}, removed)
        theirs = change(table, f"{name}-theirs", {"b": 2}, removed)
        commit(table, mine)
        before = content(table)
        with pytest.raises(CommitConflict, match="plan anew"):
            commit(table, theirs)
        assert content(table) == before
        put(table, f"{name}-then", {"b": 2})


RACE = """
import sys
from pathlib import Path
from tasks.errors import CommitConflict
from tasks.store import files, swap
from tasks.store.commit import commit
from tasks.store.table import Table
from tests.tables import change
table, me = Table(sys.argv[1], sys.argv[2]), sys.argv[3]
for turn in range(8):
    made = change(table, f"{turn}-{me}", {f"{turn}": 1})
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        commit(table, made)
    except CommitConflict:
        print("lost", flush=True)
    else:
        print("won", flush=True)
    sys.stdin.readline()
"""


def test_of_two_processes_that_commit_from_one_base_exactly_one_wins(store: str) -> None:
    table = new_table(store)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, store, table.name, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for name in ("x", "y")
    ]

    def listen() -> list[str]:
        return [racer.stdout.readline().strip() for racer in racers if racer.stdout]

    def say_go() -> None:
        for racer in racers:
            assert racer.stdin
            racer.stdin.write("go\n")

    for _ in range(8):
        assert listen() == ["ready", "ready"]
        say_go()
        assert sorted(listen()) == ["lost", "won"]
        say_go()
    for racer in racers:
        racer.communicate()
    assert content(table) == {f"{turn}": 1 for turn in range(8)}


def test_books_that_do_not_balance_are_not_committed(store: str) -> None:
    table = new_table(store)
    put(table, "zero", {"a": 1, "b": 2, "z": 9})
    put(table, "one", {}, removed=("z",))
    good = change(table, "two", {"b": 3, "c": 4})
    gone_before = np.array([2], np.uint64)
    for wrong in (
        dataclasses.replace(good, rows_before=3, rows_after=4),
        dataclasses.replace(good, rows_written=3, rows_after=4),
        dataclasses.replace(good, rows_after=4),
        dataclasses.replace(good, fragments=(), rows_after=3),
        dataclasses.replace(good, removed=gone_before),
        dataclasses.replace(
            good, fragments=tuple(f.model_copy(update={"rows": 1}) for f in good.fragments)
        ),
    ):
        with pytest.raises(StoreError, match="nothing was committed"):
            commit(table, wrong)
    assert content(table) == {"a": 1, "b": 2}
    commit(table, good)
    assert content(table) == {"a": 1, "b": 3, "c": 4}


def test_a_missing_or_shortened_data_file_is_not_committed(store: str) -> None:
    table = new_table(store)
    made = change(table, "one", {"a": 1})
    (file,) = made.fragments[0].files
    path = data_path(table.uri, file.path)
    files.of(path).write(path, "short")
    with pytest.raises(StoreError, match=f"has 5 bytes, its worker wrote {file.size_bytes}"):
        commit(table, made)
    files.of(path).remove([path])
    with pytest.raises(StoreError, match="is missing"):
        commit(table, made)
    assert content(table) == {}


def test_a_tag_on_another_version_is_not_moved(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    put(table, "one", {"a": 1})
    made = change(table, "two", {"b": 2})
    table.open().tags.create("run-two", 2)
    with pytest.raises(StoreError, match=r"run-two .* is on Lance version 2, and the run made 3"):
        commit(table, made)


def test_a_full_disk_is_named_although_lance_says_it_in_text_only() -> None:
    error = store_error(OSError("LanceError(IO): No space left on device (os error 28)"), "writing")
    assert str(error).startswith("no space left on the disk while writing")
    assert str(store_error(OSError("broken"), "writing")) == "writing failed: broken"


def test_where_lance_raised_an_error_in_its_own_source_is_not_told() -> None:
    said = "Permission denied (os error 13), /home/builder/lance/rust/lance/src/refs.rs:162:28"
    error = store_error(OSError(said), "tagging")
    assert str(error) == "tagging failed: Permission denied (os error 13)"


@pytest.mark.parametrize("lands", ["at once", "during the next try", "never"])
def test_a_commit_whose_answer_is_lost_makes_one_version(
    store: str, monkeypatch: pytest.MonkeyPatch, lands: str
) -> None:
    table = new_table(store)
    put(table, "one", {"a": 1})
    made = change(table, "two", {"a": 2, "b": 3})
    real = LanceDataset.commit
    lost: list[Transaction] = []

    def lossy(uri: str, transaction: Transaction, max_retries: int) -> LanceDataset:
        if not lost:
            lost.append(transaction)
            if lands == "at once":
                real(uri, transaction, max_retries=max_retries)
            raise OSError("commit result unknown: request timed out")
        if len(lost) == 1 and lands == "during the next try":
            real(uri, lost[0], max_retries=max_retries)
        lost.append(transaction)
        return real(uri, transaction, max_retries=max_retries)

    monkeypatch.setattr(LanceDataset, "commit", staticmethod(lossy))
    assert commit(table, made) == 3
    assert table.open().version == 3
    assert content(table) == {"a": 2, "b": 3}


def test_a_commit_that_never_gets_an_answer_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = new_table(tmp_path)
    made = change(table, "one", {"a": 1})

    def fail(uri: str, transaction: Transaction, max_retries: int) -> LanceDataset:
        raise OSError("LanceError(IO): No space left on device (os error 28)")

    monkeypatch.setattr(LanceDataset, "commit", staticmethod(fail))
    monkeypatch.setattr(swap, "FIRST_PAUSE_S", 0)
    with pytest.raises(StoreError, match="no space left on the disk while committing"):
        commit(table, made)
    assert content(table) == {}
