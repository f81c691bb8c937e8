"""A space as it should be, and with each fault that `verify` must find and name."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows import cli
from schemas.config import IndexConfig, Retention
from schemas.manifest import Manifest
from tasks import cut
from tasks.check import Check
from tasks.errors import StoreError
from tasks.maintain import maintain
from tasks.space import open_space
from tasks.store import canaries, fragments, indexes, layout, maintenance, manifests, swap
from tasks.store.catalog import Catalog
from tasks.store.commit import Change, commit
from tasks.store.heal import heal
from tasks.store.table import Table
from tasks.verify import ROW_CHECKS, verify
from tests.integration.test_resume import stop
from tests.pipeline import config, refresh, write_jsonl

Row = dict[str, Any]

CHUNK = {"tokens": 4, "overlap": 1}


def notes(n: int, word: str = "note") -> list[Row]:
    return [{"id": f"r{m}", "text": f"{word} {m} is about {m % 7}", "year": m} for m in range(n)]


@pytest.fixture(autouse=True)
def small_jobs_and_much_upkeep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "MAX_RECORDS", 20)
    monkeypatch.setattr(cut, "MIN_RECORDS", 20)
    monkeypatch.setattr(maintenance, "SPARE_FRAGMENTS", 0)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Versions 1 and 2 of 30 notes; the second one has ten that are other ones, and serves."""
    settings = config(tmp_path / "corpus")
    for changed in ([], notes(10, "letter")):
        write_jsonl(tmp_path / "corpus" / "a.jsonl", [*changed, *notes(30)[len(changed) :]])
        refresh(settings, tmp_path / "vectors")
    return tmp_path / "vectors"


def look(store: Path, **options: Any) -> dict[str, Check]:
    return {check.name: check for check in verify(str(store), "notes", **options)}


def bad(store: Path, **options: Any) -> dict[str, str]:
    """What the checks say that are not ok, without what to do."""
    found = look(store, **options).values()
    return {check.name: check.detail for check in found if not check.ok}


def table_of(store: Path) -> Table:
    return Table(str(store), Catalog(str(store)).versions("notes")[-1].table)


def put(store: Path, change: Callable[[list[Row]], list[Row]]) -> None:
    """Makes a version whose rows are those of the last one, changed behind the back of all runs."""
    last = open_space("notes", str(store), "latest")
    rows = last.to_arrow().to_pylist()
    base, table = last.dataset, table_of(store)
    addresses = base.to_table(columns=[], with_row_address=True)["_rowaddr"].to_numpy()
    made = change(rows)
    written = fragments.write(table.uri, pa.Table.from_pylist(made, base.schema))
    lance_version = commit(
        table,
        Change(
            run_id=f"by-hand-{base.version}",
            base_version=base.version,
            fragments=written,
            removed=addresses,
            rows_before=len(addresses),
            rows_written=len(made),
            rows_after=len(made),
            token=1,
            properties={"data_digest": last.entry.data_digest},
        ),
    )
    Catalog(str(store)).add_version(table, lance_version)


def with_row(number: int, **values: object) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [row | values if n == number else row for n, row in enumerate(rows)]


def flip(path: Path) -> None:
    """Another byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def data_files(store: Path, version: int) -> list[Path]:
    """Those of a version, the ones first that only later versions have too."""
    dataset = open_space("notes", str(store), version).dataset
    names = [one.path for f in dataset.get_fragments() for one in f.metadata.files]
    return [Path(dataset.uri) / "data" / name for name in reversed(names)]


def test_a_space_is_whole_after_all_that_can_be_done_to_it(tmp_path: Path) -> None:
    corpus, store = tmp_path / "corpus" / "a.jsonl", tmp_path / "vectors"
    for chunk in (None, CHUNK):
        space = "notes" if chunk is None else "chunks"
        settings = config(tmp_path / "corpus", chunk=chunk, space=space)

        def run(rows: list[Row], *metadata: str, settings: Row = settings) -> int:
            settings["source"]["metadata"] = list(metadata)
            write_jsonl(corpus, rows)
            return int(refresh(settings, store)["version"])

        write_jsonl(corpus, notes(100))
        stop(settings, store, 2)
        assert run([*notes(99), {"id": "x", "text": "in between", "year": 1}], "year") == 1
        assert run([row | {"year": row["year"] * 2} for row in notes(90)], "year") == 2
        wider = [row | {"who": f"me {row['id']}", "year": row["year"] + 0.5} for row in notes(80)]
        wider[7]["year"] = 7
        assert run(wider, "year", "who") == 3
        write_jsonl(corpus, [row | {"year": 2**52} for row in wider])
        settings["source"]["metadata"] = ["year", "who"]
        stop(settings, store, 1)
        assert run([*notes(70), notes(5)[4], {"id": "bad", "text": " ", "year": 1}], "year") == 4
        table = open_space(space, str(store)).entry.table
        wanted = IndexConfig(columns=("year",), rows=20)
        maintain.fn(str(store), table, Retention(versions=3, days=0), wanted, 0.0)
        assert run(notes(75, "letter"), "year") == 5
        Catalog(str(store)).rollback(space, who="me")
        checks = verify(str(store), space, all_rows=True)
        assert [check for check in checks if not check.ok] == []
        details = {check.name: check.detail for check in checks}
        assert [detail for detail in details.values() if "not checked" in detail] == []
        assert details["versions"] == "version 2, 3, 4, 5: opens"
        assert details["indexes"] == "version 4, 5: 2 indexes, recall@10 1.000"
        assert details["data"] == "version 4: 70 records; version 5: 75 records"


def test_metadata_of_every_type_can_be_digested_again(tmp_path: Path) -> None:
    moment = pa.array([1_700_000_000_123_456, None, 3], pa.timestamp("us", "Europe/Berlin"))
    columns = {
        "id": ["a", "b", "c"],
        "text": ["one", "two", "three"],
        "day": pa.array([1, None, 20_000], pa.date32()),
        "moment": moment,
        "local": moment.cast(pa.timestamp("ms"), safe=False),
        "narrow": pa.array([0.1, None, 3.0], pa.float32()),
        "wide": [0.1, float("nan"), 1e300],
        "flag": [True, None, False],
        "tiny": pa.array([1, None, -3], pa.int8()),
        "lists": [["a", None], None, []],
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
    }
    (tmp_path / "corpus").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "corpus" / "a.parquet")
    settings = config(tmp_path)
    settings["source"] = {
        "use": "parquet",
        "path": str(tmp_path / "corpus" / "a.parquet"),
        "id": "id",
        "text": "text",
        "metadata": [name for name in columns if name not in ("id", "text")],
        "rename": {"kind": "sort"},
    }
    assert refresh(settings, tmp_path / "vectors")["rows"] == 3
    found = look(tmp_path / "vectors")["metadata"]
    assert (found.ok, found.detail) == (True, "version 1: 3 rows")


def test_floats_that_may_have_been_integers_are_said_to_be_unchecked(tmp_path: Path) -> None:
    given: list[object] = [[1, 2.5], [0.5], None]
    rows = [row | {"year": year} for row, year in zip(notes(3), given, strict=True)]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    refresh(config(tmp_path / "corpus"), tmp_path / "vectors")
    found = look(tmp_path / "vectors")["metadata"]
    said = "version 1: 2 rows; not checked: 1 whose floats may have been integers"
    assert (found.ok, found.detail) == (True, said)


def test_what_encoding_puts_into_quarantine_is_not_in_the_digest_of_the_data(
    tmp_path: Path,
) -> None:
    settings = config(tmp_path / "corpus", encoder={"use": "tests.encoders:BlindEncoder"})
    for changed in (
        {3: "a blind spot", 5: "another blind spot"},
        {3: "it sees", 4: "it is blind now"},
    ):
        rows = notes(30)
        for number, text in changed.items():
            rows[number]["text"] = text
        write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
        refresh(settings, tmp_path / "vectors")
        assert bad(tmp_path / "vectors") == {}


@pytest.mark.parametrize("lost", ["a byte", "the file", "its end"])
def test_a_damaged_file_is_named_with_the_versions_that_rest_on_it(store: Path, lost: str) -> None:
    path = data_files(store, 2)[0]
    data = bytearray(path.read_bytes())
    if lost == "the file":
        path.unlink()
        fault = "is missing"
    elif lost == "its end":
        path.write_bytes(data[:-7])
        fault = f"has {len(data) - 7:,} bytes, and {len(data):,} were written"
    else:
        flip(path)
        fault = "has other bytes than were written"
    checks = look(store)
    assert [name for name, check in checks.items() if not check.ok] == ["files"]
    assert checks["files"].detail.splitlines() == [
        f"{path.parents[1].name}/data/{path.name}, of version 2, {fault}; whole versions: 1",
        "promote a version that is whole",
        "or bring the store back from a copy",
        "or let `vectorline drop` and a run make the table anew",
    ]
    for name in ROW_CHECKS:
        assert checks[name].detail == "version 2: not checked: files of it are damaged"
    assert bad(store, version="1") == {}


def test_a_file_of_all_versions_leaves_none_whole(store: Path) -> None:
    data_files(store, 1)[0].unlink()
    assert "of version 1, 2, is missing; whole versions: none" in bad(store)["files"]


def test_marks_of_removed_rows_that_are_missing_are_named(store: Path) -> None:
    (mark,) = Path(table_of(store).uri, "_deletions").iterdir()
    mark.unlink()
    assert f"/_deletions/{mark.name}, of version 2, is missing" in bad(store)["files"]


def test_a_file_whose_digest_was_lost_is_said_to_be_unchecked(store: Path) -> None:
    for path in Path(layout.files_folder(str(store), table_of(store).name)).iterdir():
        path.unlink()
    files = look(store)["files"]
    assert files.ok
    assert "; not checked: 4 have no digest to be compared with, such as " in files.detail


def test_a_file_with_other_rows_than_its_fragment_is_named(store: Path) -> None:
    one, other = data_files(store, 2)[0], data_files(store, 1)[-1]
    one.write_bytes(other.read_bytes())
    for path in Path(layout.files_folder(str(store), table_of(store).name)).iterdir():
        path.unlink()
    assert "of version 2, has 20 rows, and its fragment 10" in bad(store)["files"]


def test_a_row_count_that_is_not_the_manifests_is_named(store: Path) -> None:
    entry = Catalog(str(store)).versions("notes")[-1]
    manifest = manifests.read(str(store), entry.table, entry.run_id, Manifest)
    assert manifest is not None
    wrong = manifest.model_copy(update={"rows_after": 31, "data_digest": "0"})
    manifests.write(str(store), entry.table, entry.run_id, wrong)
    (detail,) = bad(store).values()
    assert detail.startswith(
        "version 2: its manifest has 31 rows, the catalog has 30 rows, its table has 30 rows; "
        "version 2: the books in its manifest do not balance; "
        "version 2: its manifest has another digest of the data than the catalog\npromote"
    )


def test_rows_that_went_behind_the_back_of_the_catalog_are_missed(store: Path) -> None:
    table, catalog = table_of(store), Catalog(str(store))
    two = catalog.versions("notes")[-1]
    lance.dataset(table.uri).delete("id = 'r5'")
    catalog.move(two, table.open().version)
    found = bad(store)
    assert "its tag run-" in found["versions"]
    assert "with other rows" in found["versions"]
    assert (
        "its manifest has 30 rows, the catalog has 30 rows, its table has 29"
        in (found["manifests"])
    )
    assert "version 2: it has 29 rows, the catalog 30" in found["ids"]
    assert "they are not those that its run committed" in found["data"]
    assert found.keys() == {"versions", "manifests", "ids", "data"}


def test_a_version_that_does_not_open_and_a_tag_that_is_lost_are_named(store: Path) -> None:
    one, two = Catalog(str(store)).versions("notes")
    table = table_of(store)
    table.open().tags.delete(f"run-{two.run_id}")
    Path(swap.manifest_path(table.uri, one.lance_version)).unlink()
    checks = look(store)
    assert not checks["versions"].ok
    assert "version 1: opening Lance version" in checks["versions"].detail
    assert f"version 2: its tag run-{two.run_id} is not there\na run" in checks["versions"].detail
    assert [name for name, check in checks.items() if not check.ok] == ["versions"]
    assert checks["ids"].detail == "version 2: 30 rows"
    assert look(store, version="1")["ids"].detail == ("version 1: not checked: it cannot be opened")


def test_a_vector_that_its_encoder_would_not_give_is_named_with_its_id(store: Path) -> None:
    rows = open_space("notes", str(store)).to_arrow().to_pylist()
    put(store, with_row(4, vector=rows[5]["vector"]))
    assert bad(store).keys() == {"encoder"}
    assert bad(store)["encoder"].startswith(
        "version 3: 1 row with another vector than the encoder gives for the text "
        f"(cosine below 0.999): {rows[4]['id']!r}\n"
    )
    assert bad(store, version="2") == {}


def test_a_sample_is_encoded_again_and_with_all_every_row(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.soundness.SAMPLE_ROWS", 10)
    rng = np.random.default_rng(0)
    assert look(store, rng=rng)["encoder"].detail == "version 2: 10 rows encoded again"
    assert look(store, all_rows=True)["encoder"].detail == "version 2: 30 rows encoded again"


@pytest.mark.parametrize(
    ("values", "check", "sentence"),
    [
        ({"vector": [0.0] * 32}, "vectors", "zero, not finite or not of unit length: 'r14'"),
        ({"vector": [float("nan")] * 32}, "vectors", "zero, not finite or not of unit length"),
        ({"vector": [0.5] * 32}, "vectors", "zero, not finite or not of unit length: 'r14'"),
        ({"vector": None}, "vectors", "zero, not finite or not of unit length: 'r14'"),
        ({"text": "another"}, "texts", "1 row with a text of another digest: 'r14'"),
        ({"text": None}, "texts", "1 row with a text of another digest: 'r14'"),
        ({"chunk_hash": b"0" * 16}, "texts", "1 row with a text of another digest: 'r14'"),
        ({"year": 2}, "metadata", "1 row with metadata of another digest: 'r14'"),
        ({"year": None}, "metadata", "1 row with metadata of another digest: 'r14'"),
        ({"source_uri": "b"}, "metadata", "1 row with metadata of another digest: 'r14'"),
        ({"metadata_hash": b"0" * 16}, "data", "they are not those that its run committed"),
        ({"content_hash": b"0" * 16}, "data", "they are not those that its run committed"),
        ({"record_id": "r3"}, "ids", "1 row with another id than the record and chunk make: 'r14'"),
        (
            {"record_id": "r3", "id": "r3"},
            "ids",
            "1 row there twice, or out of step with the other chunks",
        ),
        ({"chunk": 1}, "ids", "1 row there twice, or out of step with the other chunks"),
    ],
    ids=str,
)
def test_a_row_that_is_not_what_it_says_is_named(
    store: Path, values: Row, check: str, sentence: str
) -> None:
    put(store, with_row(4, **values))
    assert open_space("notes", str(store), 2).sample(5)[4]["id"] == "r14"
    found = bad(store)
    assert f"version 3: {sentence}" in found[check] or sentence in found[check]


def test_chunks_that_are_lost_or_of_another_text_are_named(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus" / "a.jsonl", notes(9))
    store = tmp_path / "vectors"
    refresh(config(tmp_path / "corpus", chunk=CHUNK), store)
    put(store, lambda rows: [row for row in rows if row["id"] != "r4#0"])
    found = bad(store)
    assert (
        "1 row there twice, or out of step with the other chunks of the record: 'r4#1'"
        in (found["ids"])
    )
    put(store, with_row(0, content_hash=b"1" * 16))
    assert "'r0#1'" in bad(store)["ids"]


def test_another_encoder_is_told_by_the_canaries(store: Path) -> None:
    table = table_of(store).name
    vectors = canaries.read(str(store), table)
    canaries.write(str(store), table, vectors[::-1])
    checks = look(store)
    assert [name for name, check in checks.items() if not check.ok] == ["canaries"]
    assert "does not give what the table holds" in checks["canaries"].detail
    assert checks["encoder"].detail == "version 2: not checked: see `canaries`"


def test_what_cannot_be_checked_is_said(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus" / "a.jsonl", notes(9))
    refresh(config(tmp_path / "corpus", store_content=False), tmp_path / "vectors")
    checks = look(tmp_path / "vectors")
    assert [name for name, check in checks.items() if not check.ok] == []
    for name in ("texts", "encoder"):
        assert checks[name].detail.startswith("version 1: not checked: the table keeps no text")
    assert {name for name, check in checks.items() if not check.looked} == {"texts", "encoder"}


def test_rows_that_somebody_else_committed_are_named(store: Path) -> None:
    table = table_of(store)
    version = table.open().version
    assert "versions" not in bad(store)
    table.open().delete("id = 'r3'")
    assert bad(store).keys() == {"versions"}
    assert bad(store)["versions"].startswith(
        f"the head of table '{table.name}', Lance version {version + 1}, has other rows than "
        "version 2 of notes, which no run of vectorline made: `restore()` of Lance version "
        f"{version} brings that back"
    )


def test_an_index_that_no_value_can_be_asked_of_is_said_to_be_unchecked(store: Path) -> None:
    table = table_of(store)
    table.open().create_scalar_index("text", "INVERTED")
    newest = Catalog(str(store)).versions("notes")[-1]
    Catalog(str(store)).move(newest, table.open().version)
    checks = look(store, version="latest")
    assert checks["indexes"].ok
    assert "not checked: text_idx, of another kind" in checks["indexes"].detail


@pytest.fixture
def stale(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """A table with indexes that a commit left behind: it said of no field that it is preserved."""
    table = table_of(store)
    many = [*notes(10, "letter"), *notes(400)[10:]]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", many)
    settings = config(tmp_path / "corpus")
    refresh(settings, store)
    dataset = table.open()
    dataset.create_scalar_index("year", "BITMAP")
    dataset.create_index("vector", "IVF_PQ", num_partitions=2, num_sub_vectors=4, metric="cosine")
    for row in many[20:40]:
        row["text"], row["year"] = f"{row['text']} by now", 9_000
    write_jsonl(tmp_path / "corpus" / "a.jsonl", many)
    monkeypatch.setattr(swap, "_field_ids", lambda fields: iter(()))
    refresh(settings, store)
    return table


def test_a_stale_index_is_named(stale: Table, store: Path) -> None:
    found = bad(store, rng=np.random.default_rng(0))
    assert found.keys() == {"indexes"}
    assert re.match(
        r"version 4: index vector_idx: of 256 rows a search never finds \d+, such as 'r[23]\d'; "
        r"version 4: index year_idx: of 264 rows with 245 values of 'year' it misses 20 and gives "
        "0 others\n`vectorline maintain` makes",
        found["indexes"],
    )


def test_upkeep_makes_a_stale_index_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, settings = tmp_path / "vectors", config(tmp_path / "corpus")
    many = notes(60)
    write_jsonl(tmp_path / "corpus" / "a.jsonl", many)
    name = refresh(settings, store)["table"]
    wanted = IndexConfig(columns=("year",), rows=20)
    maintain.fn(str(store), name, Retention(), wanted, 0.0)
    for row in many[20:40]:
        row["text"], row["year"] = f"{row['text']} by now", 9_000
    write_jsonl(tmp_path / "corpus" / "a.jsonl", many)
    with monkeypatch.context() as patch:
        patch.setattr(swap, "_field_ids", lambda fields: iter(()))
        refresh(settings, store)
    assert bad(store).keys() == {"indexes"}
    done = maintain.fn(str(store), name, Retention(), wanted, 0.0)
    assert (done["index"]["columns"], done["index"]["recall"]) == (["year"], 1.0)
    assert bad(store, version="latest") == {}


def test_a_damaged_file_is_not_gathered_into_a_new_one(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "SPARE_FRAGMENTS", 0)
    flip(data_files(store, 2)[0])
    with pytest.raises(StoreError, match="has damaged files, which are not gathered"):
        maintain.fn(str(store), table_of(store).name, Retention(), IndexConfig(), 0.0)
    assert "has other bytes than were written" in bad(store)["files"]


def test_flipped_marks_of_removed_rows_are_named(store: Path) -> None:
    (marks,) = Path(table_of(store).uri, "_deletions").iterdir()
    flip(marks)
    assert f"_deletions/{marks.name}, of version 2, has other bytes" in bad(store)["files"]


def test_an_empty_table_with_an_index_is_whole(tmp_path: Path) -> None:
    store, settings = tmp_path / "vectors", config(tmp_path / "corpus", limits={"max_removed": 1.0})
    write_jsonl(tmp_path / "corpus" / "a.jsonl", notes(30))
    name = refresh(settings, store)["table"]
    maintain.fn(str(store), name, Retention(), IndexConfig(rows=20), 0.0)
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [])
    refresh(settings, store)
    assert bad(store) == {}


def test_an_index_whose_files_are_lost_is_named(store: Path) -> None:
    table = table_of(store)
    table.open().create_scalar_index("year", "BITMAP")
    two = Catalog(str(store)).versions("notes")[-1]
    table.open().tags.update(f"run-{two.run_id}", table.open().version)
    heal(table, Catalog(str(store)))
    assert look(store)["indexes"].detail == "version 2: 1 index"
    shutil.rmtree(Path(table.uri, "_indices"))
    assert "version 2: index year_idx: a search by it failed" in bad(store)["indexes"]


def test_an_index_that_finds_less_than_was_measured_is_named(tmp_path: Path) -> None:
    store = tmp_path / "vectors"
    texts = [" ".join(f"w{(n * n * k + n * 7919) % 997}" for k in range(12)) for n in range(600)]
    rows = [{"id": f"r{n}", "text": text, "year": n} for n, text in enumerate(texts)]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    name = refresh(config(tmp_path / "corpus"), store)["table"]
    maintain.fn(str(store), name, Retention(), IndexConfig(rows=100), 0.0)
    table, (entry,) = Table(str(store), name), Catalog(str(store)).versions("notes")
    index = indexes.vector_index(table.open(entry.lance_version))
    assert index is not None
    assert index.recall > 0.99  # Lance trains it from other rows each time
    told = f"version 1: 1 index, recall@10 {index.recall:.3f}"
    assert look(store)["indexes"].detail == told
    lazy = index.model_copy(update={"refine": 1})  # candidates are not compared by their vectors
    table.open().update_config({indexes.CONFIG_KEY: lazy.model_dump_json()})
    table.open().tags.update(f"run-{entry.run_id}", table.open().version)
    heal(table, Catalog(str(store)))
    assert re.search(
        rf"version 1: recall@10 is 0\.9\d\d, and was {index.recall:.3f} when it was measured\n`vec",
        bad(store)["indexes"],
    )


def test_the_command_answers_and_fails_when_something_is_wrong(
    store: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", "notes", "--store", str(store), "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert (answer["ok"], answer["space"]) == (True, "notes")
    assert answer["checks"][0] == {
        "name": "versions",
        "ok": True,
        "detail": "version 1, 2: opens",
        "looked": True,
    }
    data_files(store, 2)[0].unlink()
    assert cli.main(["verify", "notes", "--store", str(store)]) == 1
    shown = capfd.readouterr().out.splitlines()
    assert shown[2].startswith("BAD  files")
    assert shown[3] == f"{'':<29}promote a version that is whole"
    assert shown[6] == f"--   {'ids':<24}version 2: not checked: files of it are damaged"
    assert cli.main(["verify", "notes", "--store", str(store), "--version", "1", "--json"]) == 0
    assert cli.main(["verify", "letters", "--store", str(store)]) == 2
