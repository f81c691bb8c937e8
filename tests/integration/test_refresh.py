"""Whole runs over real files and a real store, in this process: books, versions, quarantine."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.encoders.base import Precision
from tasks.encoders.batching import encode_all
from tasks.encoders.hashing import HashingEncoder
from tasks.errors import (
    ConfigError,
    EncoderError,
    SourceError,
    StoreError,
    VectorlineError,
)
from tasks.space import open_space
from tasks.store import quarantine
from tasks.store.catalog import Catalog
from tasks.store.swap import manifest_path
from tasks.store.table import Table
from tests.pipeline import books, config, refresh, write_jsonl

Row = dict[str, Any]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    write_jsonl(folder / "a.jsonl", notes(300))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "vectors"


def notes(n: int) -> list[Row]:
    """Every fifth text stands under two ids."""
    return [
        {"id": f"r{i}", "text": f"note {i - i % 5 % 2} on it", "year": 2000 + i % 7}
        for i in range(n)
    ]


def test_every_row_has_the_vector_of_its_own_text(corpus: Path, store: Path) -> None:
    rows = notes(300)
    made = refresh(config(corpus), store)
    assert books(made) == {"read": 300, "new": 300}
    assert made["encoded"] == len({row["text"] for row in rows})
    space = open_space("notes", str(store))
    table = space.to_arrow(["id", "record_id", "text", "year", "vector"])
    encoder = HashingEncoder(dim=32)
    encoder.load(Precision.FLOAT32)
    expected, _ = encode_all(encoder, table["text"].to_pylist())
    found = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, 32)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    by_id = {row["id"]: row for row in rows}
    for row in table.select(["id", "text", "year"]).to_pylist():
        assert row == by_id.pop(row["id"])
    assert by_id == {}


def test_a_second_run_loads_no_encoder_and_makes_no_version(corpus: Path, store: Path) -> None:
    write_jsonl(corpus / "bad.jsonl", [{"id": "e", "text": " "}, {"id": None, "text": "x"}])
    first = refresh(config(corpus), store)
    again = refresh(config(corpus), store)
    assert (first["version"], first["new_version"], first["promoted"]) == (1, True, True)
    assert (again["version"], again["new_version"], again["promoted"]) == (1, False, False)
    assert (again["encoder_loads"], again["encoded"]) == (0, 0)
    assert books(first) == {"read": 302, "new": 300, "quarantined": 2}
    assert books(again) == {"read": 302, "unchanged": 300, "quarantined": 2}


def test_changes_make_one_version_and_only_new_contents_are_encoded(
    corpus: Path, store: Path
) -> None:
    refresh(config(corpus), store)
    rows = notes(300)[20:]
    for row in rows[:100]:
        row["text"] = f"another note {row['text']}"
    for row in rows[100:130]:
        row["year"] = 1999
    rows += [{"id": f"n{i}", "text": f"a fresh one {i // 2}", "year": 1} for i in range(50)]
    write_jsonl(corpus / "a.jsonl", rows)
    made = refresh(config(corpus), store)
    assert made["version"] == 2
    assert books(made) == {
        "read": 330,
        "new": 50,
        "changed": 100,
        "metadata_changed": 30,
        "unchanged": 150,
        "removed": 20,
    }
    assert made["encoded"] == len({row["text"] for row in rows[:100] + rows[-50:]})
    assert made["chunks"] == {"written": 180, "removed": 150, "truncated": 0}
    table = open_space("notes", str(store)).to_arrow(["id", "text", "year"])
    assert sorted(table.to_pylist(), key=lambda row: row["id"]) == sorted(
        rows, key=lambda row: row["id"]
    )


def test_a_corpus_that_goes_a_b_a_makes_three_versions_and_ends_in_a(
    corpus: Path, store: Path
) -> None:
    a, b = notes(300), [{**row, "text": row["text"] + " b"} for row in notes(300)]
    runs = []
    for rows in (a, b, a):
        write_jsonl(corpus / "a.jsonl", rows)
        runs.append(refresh(config(corpus), store))
    assert [run["version"] for run in runs] == [1, 2, 3]
    assert len({run["run_id"] for run in runs}) == 3
    texts = {
        version: open_space("notes", str(store), str(version)).to_arrow(["id", "text"]).to_pylist()
        for version in (1, 2, 3)
    }
    for version, rows in zip((1, 2, 3), (a, b, a), strict=True):
        assert {row["id"]: row["text"] for row in texts[version]} == {
            row["id"]: row["text"] for row in rows
        }


def test_repeated_ids_keep_the_first_record(corpus: Path, store: Path) -> None:
    same, other = {"id": "r1", "text": notes(2)[1]["text"]}, {"id": "r1", "text": "another text"}
    write_jsonl(corpus / "b.jsonl", [same, other])
    made = refresh(config(corpus), store)
    assert books(made) == {"read": 302, "new": 300, "duplicate": 1, "quarantined": 1}
    assert [(entry.id, entry.reason) for entry in quarantine.read(str(store), made["table"])] == [
        ("r1", "id_conflict")
    ]


def test_a_new_file_before_another_takes_over_its_ids(corpus: Path, store: Path) -> None:
    refresh(config(corpus), store)
    write_jsonl(corpus / "0.jsonl", [{"id": "r1", "text": "it was here first"}])
    made = refresh(config(corpus), store)
    assert books(made) == {"read": 301, "changed": 1, "unchanged": 299, "quarantined": 1}
    assert row_text(store, "r1") == "it was here first"
    (corpus / "0.jsonl").unlink()
    back = refresh(config(corpus), store)
    assert books(back) == {"read": 300, "changed": 1, "unchanged": 299}
    assert row_text(store, "r1") == notes(2)[1]["text"]


def row_text(store: Path, row_id: str) -> object:
    row = open_space("notes", str(store)).row(row_id)
    return None if row is None else row["text"]


def test_a_good_record_that_turned_bad_loses_its_row(corpus: Path, store: Path) -> None:
    refresh(config(corpus), store)
    rows = notes(300)
    rows[3]["text"] = "\0"
    write_jsonl(corpus / "a.jsonl", rows)
    made = refresh(config(corpus), store)
    assert books(made) == {"read": 300, "unchanged": 299, "quarantined": 1}
    assert made["chunks"]["removed"] == 1
    assert row_text(store, "r3") is None


def test_a_source_that_lost_too_much_stops_the_run(corpus: Path, store: Path) -> None:
    settings = config(corpus, limits={"max_removed": 0.2})
    refresh(settings, store)
    write_jsonl(corpus / "a.jsonl", notes(100))
    with pytest.raises(SourceError, match=r"lost 200 of 300 records.*--allow-removals"):
        refresh(settings, store)
    assert open_space("notes", str(store)).rows == 300
    made = refresh(settings, store, allow_removals=True)
    assert (made["version"], made["rows"]) == (2, 100)


def test_what_was_mended_is_said_though_the_run_fails(corpus: Path, store: Path) -> None:
    refresh(config(corpus), store)
    table = Table(str(store), Catalog(str(store)).versions("notes")[0].table)
    Path(manifest_path(table.uri, table.open().version + 1)).write_bytes(b"")
    write_jsonl(corpus / "a.jsonl", notes(3))
    with pytest.raises(SourceError, match="no row was written") as failed:
        refresh(config(corpus), store)
    (note,) = failed.value.__notes__
    assert note.startswith(f"the newest manifest of {table.name}.lance, ")


def test_absence_removes_nothing_from_an_append_source(corpus: Path, store: Path) -> None:
    settings = config(corpus)
    settings["source"] = {**settings["source"], "mode": "append", "tombstone": "gone"}
    refresh(settings, store)
    write_jsonl(
        corpus / "a.jsonl", [{"id": "x", "text": "one more", "year": 1}, {"id": "r1", "gone": True}]
    )
    made = refresh(settings, store)
    assert books(made) == {"read": 1, "new": 1, "removed": 1}
    assert made["rows"] == 300


def test_too_much_quarantine_stops_the_run_and_can_be_looked_at(corpus: Path, store: Path) -> None:
    settings = config(corpus, limits={"max_quarantined": 0.1})
    refresh(settings, store)
    rows = [{"id": "n", "text": "a\0b"}, *({"id": f"e{i}", "text": ""} for i in range(60))]
    write_jsonl(corpus / "b.jsonl", rows)
    said = (
        r"61 of 361 records would go to quarantine \(60 empty, 1 nul_character\), .* "
        r"For example empty: 'e0' \(.*\); nul_character: 'n' \(.*\); no row was written"
    )
    with pytest.raises(SourceError, match=said):
        refresh(settings, store)
    table = open_space("notes", str(store)).entry.table
    assert len(quarantine.read(str(store), table)) == 61
    assert open_space("notes", str(store)).version == 1


def test_quarantine_can_be_looked_at_after_a_first_run_that_it_stopped(
    corpus: Path, store: Path
) -> None:
    write_jsonl(corpus / "a.jsonl", [{"id": f"e{i}", "text": "", "year": 1} for i in range(9)])
    with pytest.raises(SourceError, match="9 of 9"):
        refresh(config(corpus, limits={"max_quarantined": 0.5}), store)
    (table,) = quarantine.tables(str(store), "notes")
    assert [entry.reason for entry in quarantine.read(str(store), table)] == ["empty"] * 9
    assert quarantine.tables(str(store), "note") == []


def test_an_encoder_that_raises_ends_the_run_with_its_place(corpus: Path, store: Path) -> None:
    with pytest.raises(
        VectorlineError, match=r"^write failed with KeyError.*encoders\.py line \d+"
    ):
        refresh(config(corpus, encoder={"use": "tests.encoders:RaisingEncoder"}), store)


def test_long_texts_are_cut_and_a_changed_one_replaces_all_its_chunks(
    corpus: Path, store: Path
) -> None:
    sentences = " ".join(f"Sentence number {i} has six words." for i in range(40))
    write_jsonl(
        corpus / "a.jsonl", [{"id": "long", "text": sentences}, {"id": "short", "text": "One."}]
    )
    settings = config(corpus, chunk={"tokens": 30, "overlap": 6})
    settings["source"] = {**settings["source"], "metadata": []}
    refresh(settings, store)
    table = open_space("notes", str(store)).to_arrow(["id", "record_id", "chunk", "span", "text"])
    rows = sorted(table.to_pylist(), key=lambda row: (row["record_id"], row["chunk"]))
    long = [row for row in rows if row["record_id"] == "long"]
    assert len(long) > 8
    assert [row["id"] for row in rows] == [f"{row['record_id']}#{row['chunk']}" for row in rows]
    assert all(sentences[slice(*row["span"])] == row["text"] for row in long)
    assert rows[-1]["id"] == "short#0"
    write_jsonl(
        corpus / "a.jsonl",
        [{"id": "long", "text": sentences[:100]}, {"id": "short", "text": "One."}],
    )
    made = refresh(settings, store)
    assert made["chunks"]["removed"] == len(long)
    assert books(made) == {"read": 2, "changed": 1, "unchanged": 1}


def test_a_text_of_50_megabytes_is_encoded_or_refused_by_its_limit(
    corpus: Path, store: Path
) -> None:
    huge = "word " * 1_000 + " " * 49_994_997 + "end"
    write_jsonl(corpus / "b.jsonl", [{"id": "huge", "text": huge, "year": 1}])
    small = config(corpus, limits={"max_content_bytes": 1_000_000, "max_quarantined": 0.5})
    refused = refresh(small, store)
    assert books(refused) == {"read": 301, "new": 300, "quarantined": 1}
    made = refresh(config(corpus), store)
    assert books(made) == {"read": 301, "new": 1, "unchanged": 300}
    assert row_text(store, "huge") == huge


def test_metadata_columns_come_widen_and_go(corpus: Path, store: Path) -> None:
    refresh(config(corpus), store)
    settings = config(corpus)
    settings["source"] = {**settings["source"], "metadata": ["year", "venue"]}
    write_jsonl(
        corpus / "a.jsonl", [{**row, "year": row["year"] + 0.5, "venue": "x"} for row in notes(300)]
    )
    wider = refresh(settings, store)
    assert books(wider) == {"read": 300, "metadata_changed": 300}
    assert wider["encoded"] == 0
    row = open_space("notes", str(store)).row("r1")
    assert row is not None
    assert (row["year"], row["venue"]) == (2001.5, "x")
    refresh(config(corpus), store)
    row = open_space("notes", str(store)).row("r1")
    assert row is not None
    assert (row["year"], row["venue"]) == (2001.5, None)


def test_a_metadata_column_of_another_type_is_refused(corpus: Path, store: Path) -> None:
    refresh(config(corpus), store)
    write_jsonl(corpus / "b.jsonl", [{"id": "b", "text": "b", "year": "last year"}])
    with pytest.raises(ConfigError, match=r"'year'.*(int64.*string|string.*int64)"):
        refresh(config(corpus), store)
    assert open_space("notes", str(store)).version == 1


def test_a_column_of_another_type_than_the_table_has_is_refused_by_the_plan(
    corpus: Path, store: Path
) -> None:
    os.utime(corpus / "a.jsonl", (1e9, 1e9))  # not read again: the table alone knows its types
    table = refresh(config(corpus), store)["table"]
    rows: list[Row] = [
        {"id": "b", "text": "b", "year": "last year"},
        {"id": None, "text": "", "year": None},
    ]
    write_jsonl(corpus / "b.jsonl", rows)
    with pytest.raises(ConfigError, match=r"'year' is int64 in the table and string in the source"):
        refresh(config(corpus), store)
    assert quarantine.read(str(store), table) == []


def test_another_encoder_is_refused_by_run(corpus: Path, store: Path) -> None:
    refresh(config(corpus), store)
    with pytest.raises(ConfigError, match="vectorline backfill"):
        refresh(config(corpus, encoder={"use": "hashing", "dim": 64}), store)


def test_a_rollback_holds_until_someone_promotes(corpus: Path, store: Path) -> None:
    refresh(config(corpus), store)
    write_jsonl(corpus / "b.jsonl", [{"id": "b", "text": "b"}])
    refresh(config(corpus), store)
    catalog = Catalog(str(store))
    catalog.rollback("notes", who="me")
    write_jsonl(corpus / "c.jsonl", [{"id": "c", "text": "c"}])
    held = refresh(config(corpus), store)
    assert (held["version"], held["promoted"]) == (3, False)
    assert open_space("notes", str(store)).version == 1
    assert refresh(config(corpus), store, promote="yes")["promoted"]
    assert open_space("notes", str(store)).version == 3


def test_what_someone_chose_serves_on_until_there_is_a_new_version(
    corpus: Path, store: Path
) -> None:
    catalog = Catalog(str(store))
    for name in "abc":
        write_jsonl(corpus / f"{name}.jsonl", [{"id": name, "text": name, "year": 1}])
        refresh(config(corpus), store, promote="no" if name == "c" else "auto")
    assert refresh(config(corpus), store)["promoted"]  # nobody has chosen since it was made
    catalog.promote("notes", 2, who="me", why="better", expected_from=3)
    idle = refresh(config(corpus), store)
    assert (idle["promoted"], len(idle["notes"])) == (False, 1)
    assert "version 2 was chosen after version 3 was made" in idle["notes"][0]
    assert open_space("notes", str(store)).version == 2
    write_jsonl(corpus / "d.jsonl", [{"id": "d", "text": "d"}])
    assert refresh(config(corpus), store)["promoted"]
    assert open_space("notes", str(store)).version == 4


def test_a_metadata_column_that_no_record_has_is_noted(corpus: Path, store: Path) -> None:
    settings = config(corpus)
    settings["source"]["metadata"] = ["yaer", "year"]
    rows = [{"id": f"r{n}", "text": "text", "year": n} for n in range(1100)]
    write_jsonl(corpus / "a.jsonl", rows)  # more than are looked at before
    made = refresh(settings, store)
    assert made["notes"] == [
        "metadata column 'yaer' is null in all records, and is left out: is it its name?"
    ]


def test_a_limit_writes_to_a_space_of_its_own(corpus: Path, store: Path) -> None:
    made = refresh(config(corpus), store, limit=10)
    assert (made["space"], made["rows"]) == ("notes.try", 10)
    assert refresh(config(corpus), store)["rows"] == 300


def test_a_record_that_is_encoded_to_nothing_goes_to_quarantine_once(
    corpus: Path, store: Path
) -> None:
    settings = config(corpus, encoder={"use": "tests.encoders:BlindEncoder"})
    write_jsonl(corpus / "b.jsonl", [{"id": "b", "text": "blind spot"}])
    made = refresh(settings, store)
    assert books(made) == {"read": 301, "new": 300, "quarantined": 1}
    again = refresh(settings, store)
    assert books(again) == {"read": 301, "unchanged": 300, "quarantined": 1}
    assert again["encoder_loads"] == 0
    write_jsonl(corpus / "b.jsonl", [{"id": "b", "text": "blind spot"}, {"id": "c", "text": "c"}])
    third = refresh(settings, store)
    assert (third["encoded"], books(third)["quarantined"]) == (1, 1)
    replayed = refresh(settings, store, replay=True)
    assert (replayed["encoded"], books(replayed)["quarantined"]) == (1, 1)


def test_a_record_that_was_encoded_to_nothing_keeps_its_id(corpus: Path, store: Path) -> None:
    settings = config(corpus, encoder={"use": "tests.encoders:BlindEncoder"})
    texts = ["blind spot", "blind spot", "fine"]
    write_jsonl(corpus / "b.jsonl", [{"id": "b", "text": text, "year": 1} for text in texts])
    outcomes = {"duplicate": 1, "quarantined": 2}
    first = refresh(settings, store)
    assert books(first) == {"read": 303, "new": 300, **outcomes}
    again = refresh(settings, store, rehash=True)
    assert books(again) == {"read": 303, "unchanged": 300, **outcomes}
    assert (again["new_version"], again["encoded"]) == (False, 0)


def test_a_record_that_was_encoded_to_nothing_keeps_its_id_while_its_file_is_not_read(
    corpus: Path, store: Path
) -> None:
    settings = config(corpus, encoder={"use": "tests.encoders:BlindEncoder"})
    write_jsonl(corpus / "b.jsonl", [{"id": "b", "text": "blind spot", "year": 1}])
    for name in ("a", "b"):
        os.utime(corpus / f"{name}.jsonl", (1e9, 1e9))
    refresh(settings, store)
    for n in range(2):
        write_jsonl(corpus / f"c{n}.jsonl", [{"id": "b", "text": f"fine {n}", "year": 1}])
        made = refresh(settings, store)
        assert books(made) == {"read": 302 + n, "unchanged": 300, "quarantined": 2 + n}


def test_the_data_digest_of_a_version_is_that_of_its_rows(corpus: Path, store: Path) -> None:
    settings = config(corpus, encoder={"use": "tests.encoders:BlindEncoder"})
    refresh(settings, store)
    write_jsonl(corpus / "b.jsonl", [{"id": "b", "text": "blind spot", "year": 1}])
    assert refresh(settings, store)["new_version"]
    one, two = Catalog(str(store)).versions("notes")
    assert one.data_digest == two.data_digest


def test_weights_that_give_nonsense_are_found_before_a_table_is_made(
    corpus: Path, store: Path
) -> None:
    with pytest.raises(EncoderError, match=r"NanEncoder.*finite"):
        refresh(config(corpus, encoder={"use": "tests.encoders:NanEncoder"}), store)
    assert list(store.glob("*.lance")) == []


def test_a_full_disk_is_noticed_before_any_work(
    corpus: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.estimate._free_bytes", lambda uri: 1_000)
    with pytest.raises(StoreError, match=r"MiB free.*nothing was written"):
        refresh(config(corpus), store)
    assert not store.exists() or list(store.glob("*.lance")) == []


def test_an_unreadable_file_stops_the_run_or_stands_aside_as_the_config_says(
    corpus: Path, store: Path
) -> None:
    settings = config(corpus)
    settings["source"] = {**settings["source"], "path": str(corpus / "*.jsonl*")}
    with gzip.open(corpus / "z.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps({"id": f"z{i}", "text": f"z {i}"}) + "\n" for i in range(50)))
    refresh(settings, store)
    whole = (corpus / "z.jsonl.gz").read_bytes()
    (corpus / "z.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"z\.jsonl\.gz"):
        refresh(settings, store)
    settings["source"]["on_unreadable"] = "quarantine"
    made = refresh(settings, store)
    assert books(made) == {"read": 351, "unchanged": 350, "quarantined": 1}
    assert made["rows"] == 350


def test_copies_and_repeats_in_one_run_each_find_their_vectors(corpus: Path, store: Path) -> None:
    refresh(config(corpus), store)
    rows = [{**row, "year": 1} for row in notes(300)]
    fresh = [{"id": f"n{i}", "text": f"fresh {i // 2}", "year": 1} for i in range(40)]
    write_jsonl(corpus / "a.jsonl", [*fresh[:20], *rows, *fresh[20:]])
    made = refresh(config(corpus), store)
    assert books(made) == {"read": 340, "new": 40, "metadata_changed": 300}
    assert made["encoded"] == 20
    space = open_space("notes", str(store))
    table = space.to_arrow(["text", "vector"])
    encoder = HashingEncoder(dim=32)
    encoder.load(Precision.FLOAT32)
    expected, _ = encode_all(encoder, table["text"].to_pylist())
    found = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, 32)
    np.testing.assert_array_equal(found, expected)


def test_a_bad_text_under_two_ids_puts_both_into_quarantine(corpus: Path, store: Path) -> None:
    blind = [{"id": name, "text": "blind spot", "year": 1} for name in ("b1", "b2")]
    write_jsonl(corpus / "b.jsonl", blind)
    made = refresh(config(corpus, encoder={"use": "tests.encoders:BlindEncoder"}), store)
    assert books(made) == {"read": 302, "new": 300, "quarantined": 2}
    found = [(entry.id, entry.reason) for entry in quarantine.read(str(store), made["table"])]
    assert found == [("b1", "zero_norm"), ("b2", "zero_norm")]


def test_every_quarantined_record_has_an_entry_until_its_file_is_gone(
    corpus: Path, store: Path
) -> None:
    for name in ("b", "c"):
        write_jsonl(corpus / f"{name}.jsonl", [{"id": "same", "text": " ", "year": 1}])
        os.utime(corpus / f"{name}.jsonl", (1e9, 1e9))
    made = refresh(config(corpus), store)
    assert books(made) == {"read": 302, "new": 300, "quarantined": 2}
    assert len(quarantine.read(str(store), made["table"])) == 2
    (corpus / "c.jsonl").unlink()
    again = refresh(config(corpus), store)
    assert books(again) == {"read": 301, "unchanged": 300, "quarantined": 1}
    (entry,) = quarantine.read(str(store), made["table"])
    assert entry.source_uri.endswith("b.jsonl")


def test_a_row_that_append_mode_kept_gives_way_to_new_data(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "corpus"
    settings = config(folder)
    settings["source"] = {**settings["source"], "mode": "append"}
    q = {"id": "q", "text": "q", "year": 1}
    write_jsonl(folder / "a.jsonl", [{"id": "p", "text": "old", "year": 1}, q])
    refresh(settings, store)
    write_jsonl(folder / "a.jsonl", [q])
    os.utime(folder / "a.jsonl", (1e9, 1e9))
    assert books(refresh(settings, store)) == {"read": 1, "unchanged": 1}
    write_jsonl(folder / "b.jsonl", [{"id": "p", "text": "new", "year": 1}])
    made = refresh(settings, store)
    assert books(made) == {"read": 2, "changed": 1, "unchanged": 1}
    assert row_text(store, "p") == "new"


def unreadable(corpus: Path, store: Path) -> dict[str, Any]:
    """A corpus in which z.jsonl.gz was read once and cannot be read any more."""
    settings = config(corpus)
    settings["source"] |= {"path": str(corpus / "*.jsonl*"), "on_unreadable": "quarantine"}
    with gzip.open(corpus / "z.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps({"id": f"z{i}", "text": f"z {i}"}) + "\n" for i in range(50)))
    refresh(settings, store)
    whole = (corpus / "z.jsonl.gz").read_bytes()
    (corpus / "z.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    os.utime(corpus / "a.jsonl", (1e9, 1e9))
    assert books(refresh(settings, store)) == {"read": 351, "unchanged": 350, "quarantined": 1}
    return settings


def test_an_unreadable_file_that_is_removed_takes_its_rows_along(corpus: Path, store: Path) -> None:
    settings = unreadable(corpus, store)
    (corpus / "z.jsonl.gz").unlink()
    made = refresh(settings, store)
    assert books(made) == {"read": 300, "unchanged": 300, "removed": 50}
    assert quarantine.read(str(store), made["table"]) == []


def test_nobody_takes_an_id_from_an_unreadable_file(corpus: Path, store: Path) -> None:
    settings = unreadable(corpus, store)
    write_jsonl(corpus / "0.jsonl", [{"id": "z3", "text": "another", "year": 1}])
    made = refresh(settings, store)
    assert books(made) == {"read": 352, "unchanged": 350, "quarantined": 2}
    entries = quarantine.read(str(store), made["table"])
    assert {
        (entry.id, entry.reason.value) for entry in entries if "0.jsonl" in entry.source_uri
    } == {("z3", "id_conflict")}
    assert row_text(store, "z3") == "z 3"


def test_a_first_run_that_failed_binds_nobody(corpus: Path, store: Path) -> None:
    write_jsonl(corpus / "a.jsonl", [{**row, "year": "a word"} for row in notes(300)])
    with pytest.raises(VectorlineError):
        refresh(config(corpus, encoder={"use": "tests.encoders:RaisingEncoder"}), store)
    fine = [{"id": f"r{i}", "text": f"text {i}", "year": i} for i in range(5)]
    write_jsonl(corpus / "a.jsonl", fine)
    made = refresh(config(corpus, encoder={"use": "tests.encoders:RaisingEncoder"}), store)
    assert (made["version"], books(made)) == (1, {"read": 5, "new": 5})


def test_a_file_of_two_sources_is_refused(corpus: Path, store: Path) -> None:
    settings = config(corpus)
    settings["source"] = [settings["source"], settings["source"]]
    with pytest.raises(ConfigError, match=r"a\.jsonl is listed by two sources \(1 and 2\)"):
        refresh(settings, store)


def test_two_sources_are_removed_from_each_on_its_own(tmp_path: Path, store: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, n in zip(folders, (100, 10), strict=True):
        rows = [
            {"id": f"{folder.name}-{i}", "text": f"{folder.name} {i}", "year": 1} for i in range(n)
        ]
        write_jsonl(folder / "a.jsonl", rows)
    settings = config(folders[0], limits={"max_removed": 0.2})
    settings["source"] = [config(folder)["source"] for folder in folders]
    assert books(refresh(settings, store)) == {"read": 110, "new": 110}
    write_jsonl(folders[1] / "a.jsonl", [{"id": "two-0", "text": "two 0", "year": 1}])
    with pytest.raises(SourceError, match="source 2 lost 9 of 10 records"):
        refresh(settings, store)


def test_a_stopped_run_leaves_no_ledger_that_disagrees_with_the_quarantine(
    corpus: Path, store: Path
) -> None:
    settings = config(corpus, limits={"max_quarantined": 0.1})
    write_jsonl(corpus / "b.jsonl", [{"id": "b", "text": "", "year": 1}])
    for name in ("a", "b"):
        os.utime(corpus / f"{name}.jsonl", (1e9, 1e9))
    first = refresh(settings, store)
    write_jsonl(corpus / "e.jsonl", [{"id": f"e{i}", "text": "", "year": 1} for i in range(90)])
    with pytest.raises(SourceError):
        refresh(settings, store)
    (corpus / "e.jsonl").unlink()
    again = refresh(settings, store)
    assert books(again) == {"read": 301, "unchanged": 300, "quarantined": 1}
    assert [entry.id for entry in quarantine.read(str(store), first["table"])] == ["b"]


def test_integers_beyond_a_float_become_the_nearest_one(corpus: Path, store: Path) -> None:
    write_jsonl(corpus / "a.jsonl", [{"id": "a", "text": "a", "year": 2**53 + 1}])
    refresh(config(corpus), store)
    write_jsonl(corpus / "b.jsonl", [{"id": "b", "text": "b", "year": 0.5}])
    refresh(config(corpus), store)
    write_jsonl(corpus / "c.jsonl", [{"id": "c", "text": "c", "year": 2**60 + 1}])
    refresh(config(corpus), store)
    years = open_space("notes", str(store)).to_arrow(["id", "year"]).to_pylist()
    assert {row["id"]: row["year"] for row in years} == {"a": 2.0**53, "b": 0.5, "c": 2.0**60}


@pytest.mark.parametrize("kind", ["file", "below a file"])
def test_a_store_that_cannot_be_is_a_clear_error(corpus: Path, tmp_path: Path, kind: str) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    with pytest.raises((ConfigError, StoreError), match="taken"):
        refresh(config(corpus), taken if kind == "file" else taken / "store")


def test_a_table_keeps_its_precision_until_the_option_says_another(
    corpus: Path, store: Path
) -> None:
    rounding = {"use": "tests.encoders:RoundingEncoder"}
    first = refresh(config(corpus, encoder=rounding), store)
    assert (first["precision"], first["notes"]) == ("float32", [])
    write_jsonl(corpus / "b.jsonl", [{"id": "b", "text": "one two three", "year": 1}])
    kept = refresh(config(corpus, encoder=rounding, precision="float16"), store)
    assert kept["precision"] == "float32"
    assert kept["notes"] == [
        "precision = float16 in the config: the table was made in float32 and keeps to it; "
        "--precision float16 changes it for a run"
    ]
    write_jsonl(corpus / "c.jsonl", [{"id": "c", "text": "one two three four", "year": 1}])
    other = refresh(config(corpus, encoder=rounding), store, precision="float16")
    assert other["precision"] == "float16"
    assert other["notes"] == ["numerics changed: float32 -> float16"]
    table = open_space("notes", str(store)).to_arrow(["id", "vector"])
    vectors = dict(zip(table["id"].to_pylist(), table["vector"].to_pylist(), strict=True))
    expected, _ = encode_all(HashingEncoder(dim=32), ["one two three", "one two three four"])
    assert vectors["b"] == expected[0].tolist()
    assert vectors["c"] == expected[1].astype(np.float16).tolist()
