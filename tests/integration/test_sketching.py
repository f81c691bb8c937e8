"""Sketches of versions: made of rows or of the version before, by workers or here."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from lance import LanceDataset, LanceScanner

from schemas.config import ComputeConfig
from tasks import sketching
from tasks.drift.compare import compare
from tasks.drift.sketches import Sketch
from tasks.sketching import sketch_of
from tasks.space import Space, open_space
from tasks.store import layout, sketches
from tests.drift import notes
from tests.integration.test_drift import look
from tests.pipeline import config, refresh, write_jsonl

N = 400


@pytest.fixture
def versions(tmp_path: Path) -> list[Space]:
    """Version 2 has other texts in 20 records, other metadata in 5, 30 fewer and 100 more."""
    settings, store = config(tmp_path / "corpus"), str(tmp_path / "vectors")
    held = notes(0, N)
    write_jsonl(tmp_path / "corpus" / "a.jsonl", held)
    refresh(settings, store)
    for row, other in zip(held[:20], notes(5_000, 20), strict=True):
        row["text"] = other["text"]
    for row in held[20:25]:
        row["year"] = 77
    write_jsonl(tmp_path / "corpus" / "a.jsonl", held[:-30] + notes(N, 100, ("bees",)))
    refresh(settings, store)
    return [open_space("notes", store, number) for number in (1, 2)]


def agree(one: Sketch, other: Sketch) -> None:
    ours: dict[str, Any] = one.arrays()
    theirs: dict[str, Any] = other.arrays()
    for name in ours:
        if ours[name].dtype.kind == "f":
            np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def kept(space: Space) -> Sketch | None:
    basis = sketches.read_basis(space.store_uri, space.entry.table)
    assert basis is not None
    return sketches.read(space.store_uri, space.entry.table, space.version, basis)


def forget(space: Space) -> None:
    Path(layout.sketch_path(space.store_uri, space.entry.table, space.version)).unlink()


@pytest.mark.ray
def test_workers_give_the_same_sketch(
    versions: list[Space], local_ray: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = sketch_of(versions[1])
    forget(versions[1])
    monkeypatch.setattr(sketching, "MANY", 1)
    agree(sketch_of(versions[1], ComputeConfig(use="ray", workers=2, address=local_ray)), here)


def test_a_version_is_the_one_before_with_what_changed(versions: list[Space]) -> None:
    first = sketch_of(versions[0])
    assert first.moments.n == N
    second = sketch_of(versions[1])
    every = Sketch(first.basis)
    rows = versions[1].to_arrow(["id", "record_id", "vector", "text"])
    matrix = np.stack(rows["vector"].to_numpy(zero_copy_only=False))
    every.add(
        matrix, rows["id"].to_pylist(), lengths=[len(text) for text in rows["text"].to_pylist()]
    )
    agree(second, every)


def test_what_is_kept_is_read_and_what_is_damaged_is_made_anew(versions: list[Space]) -> None:
    made = sketch_of(versions[0])
    place = Path(layout.sketch_path(versions[0].store_uri, versions[0].entry.table, 1))
    whole = place.read_bytes()
    agree(sketch_of(versions[0]), made)
    place.write_bytes(whole[: len(whole) // 2])
    assert kept(versions[0]) is None
    agree(sketch_of(versions[0]), made)
    assert place.read_bytes() == whole


@pytest.mark.parametrize(
    ("part", "batch", "went", "came"),
    [
        (65_536, 8_192, [55], [125]),
        (50, 20, [20, 20, 10, 5], [20, 20, 10, 20, 20, 10, 20, 5]),
    ],
)
def test_of_rows_that_stayed_no_vector_is_read(
    versions: list[Space],
    monkeypatch: pytest.MonkeyPatch,
    part: int,
    batch: int,
    went: list[int],
    came: list[int],
) -> None:
    sketch_of(versions[0])
    monkeypatch.setattr(sketching, "TAKEN", part)
    monkeypatch.setattr(sketching, "BATCH_ROWS", batch)
    scanned, taken = [], []
    scan, take = LanceDataset.scanner, LanceDataset.take

    def scanner(self: LanceDataset, columns: Any = None, **more: Any) -> LanceScanner:
        scanned.append(columns)
        return scan(self, columns, **more)

    def taking(self: LanceDataset, indices: Any, columns: Any = None) -> pa.Table:
        taken.append((self.version, len(indices)))
        return take(self, indices, columns)

    monkeypatch.setattr(LanceDataset, "scanner", scanner)
    monkeypatch.setattr(LanceDataset, "take", taking)
    assert sketch_of(versions[1]).moments.n == N + 70
    assert scanned == [[], []]  # ids of rows alone
    old, new = (version.entry.lance_version for version in versions)
    assert taken == [(old, n) for n in went] + [(new, n) for n in came]


def test_a_baseline_older_than_the_first_sketch_compares_with_it(versions: list[Space]) -> None:
    later = sketch_of(versions[1])
    earlier = sketch_of(versions[0])
    assert earlier.basis.same(later.basis)
    assert earlier.moments.n == N
    assert compare(earlier, later, np.random.default_rng(0)).test.n_candidate == 120


@pytest.mark.parametrize("left", [60, 200])  # more went than stayed; half of a sample went
def test_where_many_rows_went_all_are_sketched_anew_and_compare(
    tmp_path: Path, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, store = config(tmp_path / "corpus"), str(tmp_path / "vectors")
    for rows in (notes(0, N), notes(0, left) + notes(N, 40)):
        write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
        refresh(settings, store)
    first, second = (open_space("notes", store, number) for number in (1, 2))
    small = replace(sketch_of(first).basis, rows=100)
    sketches.keep_basis(store, first.entry.table, small)
    monkeypatch.setattr(sketching, "ENOUGH", 0.9)
    before, now = sketch_of(first), sketch_of(second)
    assert now.basis.same(before.basis)
    assert now.basis.same(small)
    assert (now.moments.n, len(now.ids)) == (left + 40, 100)
    compare(before, now, np.random.default_rng(0))


@pytest.mark.parametrize("damage", ["lost", "cut off", "of another version"])
def test_without_their_basis_all_sketches_are_made_anew(
    versions: list[Space], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = [sketch_of(version) for version in versions]
    store, table = versions[0].store_uri, versions[0].entry.table
    place = Path(layout.basis_path(store, table))
    if damage == "lost":
        place.unlink()
    elif damage == "cut off":
        place.write_bytes(place.read_bytes()[:500])
    else:  # another process made both at once
        sketches.keep_basis(store, table, replace(made[0].basis, seed=1))
        sketches.keep(store, table, 1, made[0])
        sketches.keep(store, table, 2, made[1])
    caplog.clear()
    later, earlier = sketch_of(versions[1]), sketch_of(versions[0])
    assert (earlier.moments.n, later.moments.n) == (N, N + 70)
    compare(earlier, later, np.random.default_rng(0))
    told = caplog.text
    if damage == "of another version":
        assert told.count("it has another basis than its table") == 3  # as parent of 2, too
    else:
        assert told.count("has 2 sketches and no basis of them that can be read") == 1
    caplog.clear()
    assert all(kept(version) for version in versions)
    assert not caplog.text


def test_versions_compare_by_their_sketches(versions: list[Space]) -> None:
    store = versions[0].store_uri
    record = look(store, "2", "1", by_sketches=True).record
    assert record.verdict == "drift"
    assert [(one.n_baseline, one.n_candidate, one.total) for one in record.tests] == [
        (N, 120, N + 70)  # drawn from all rows
    ]
    assert "sketches know nothing of columns" in record.notes[-2]
    said = record.notes[-1]
    assert said.startswith("of all rows: MMD^2 ")
    assert "% would have to change cluster, 0.0% the length of their vector, " in said


def test_chunks_of_a_document_change_sides_together_in_sketches(tmp_path: Path) -> None:
    settings = config(tmp_path / "corpus", chunk={"tokens": 4})
    store, held = str(tmp_path / "vectors"), notes(0, 34)
    for rows in (held, held + notes(34, 31)):
        write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
        refresh(settings, store)
    (found,) = look(store, "2", "1", by_sketches=True).record.tests
    assert found.units == (34, 31)
    assert (found.n_baseline, found.n_candidate) == (102, 93)


def test_few_new_rows_are_counted_and_all_rows_told(versions: list[Space], tmp_path: Path) -> None:
    store = versions[0].store_uri
    write_jsonl(tmp_path / "corpus" / "a.jsonl", notes(0, N) + notes(N, 12, ("bees",)))
    refresh(config(tmp_path / "corpus"), store)
    version = str(open_space("notes", store).version)
    record = look(store, version, "1", by_sketches=True).record
    assert record.verdict == "cannot tell"
    assert record.reason == (
        "the sketch of version 3 has too few rows or blocks that version 1 lacks: 12 of 30 needed; "
        "looked at without sketches, rows that came or went are read themselves"
    )
    assert record.notes[-1].startswith("of all rows: MMD^2 ")
    window = {"column": "year", "days": 1}
    same = look(store, "1", "3", by_sketches=True, window=window).record
    assert same.baseline is not None
    assert "sketches know nothing of columns and window" in same.notes[-2]
    assert same.reason.startswith("the sketch of version 1 has too few rows or blocks that version")
    assert ": 0 of 30 needed" in same.reason
    assert same.notes[-1].startswith("of all rows: MMD^2 ")


def test_sketches_are_judged_by_the_same_rules_as_rows(tmp_path: Path) -> None:
    settings, store = config(tmp_path / "corpus"), str(tmp_path / "vectors")
    held = notes(0, N)
    for rows in (held, [*held, *notes(N, 120)], [*held, *notes(N, 120, ("bees",))]):
        write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
        refresh(settings, store)
    for version, verdict in (("2", "no drift"), ("3", "drift")):
        one, other = (
            look(store, version, "1", by_sketches=by_sketches).record
            for by_sketches in (False, True)
        )
        assert one.verdict == other.verdict == verdict
        assert one.effect is not None
        assert other.effect is not None
        for sizes in (one.effect, other.effect):  # of the same rows, drawn in another order
            assert (sizes.auc > 0.7, sizes.share > 0.3) == (verdict == "drift",) * 2
        assert (one.detectable is None) == (other.detectable is None) == (verdict == "drift")
        assert ("in four cases of five" in other.reason) == (verdict == "no drift")
    shared = look(store, "3", "1", by_sketches=True, effect={"auc": 1, "share": 0.05}).record
    assert shared.verdict == "drift"
    assert "of the rows are of another kind" in shared.reason
    assert "AUC" not in shared.reason


def test_versions_without_two_different_rows_cannot_be_told_apart(tmp_path: Path) -> None:
    settings, store = config(tmp_path / "corpus"), str(tmp_path / "vectors")
    for n in (1, N):
        write_jsonl(tmp_path / "corpus" / "a.jsonl", notes(0, n))
        refresh(settings, store)
    record = look(store, "2", "1", by_sketches=True).record
    assert (record.verdict, record.reason) == (
        "cannot tell",
        "version 1 has 1 rows: a first sketch needs 2",
    )
    sketch_of(open_space("notes", store, 2))
    record = look(store, "2", "1", by_sketches=True).record
    assert (record.verdict, record.reason) == ("cannot tell", "1 and 400 rows: 2 are needed")


def test_sketches_go_with_their_versions(versions: list[Space]) -> None:
    for version in versions:
        sketch_of(version)
    store, table = versions[0].store_uri, versions[0].entry.table
    sketches.keep_only(store, table, {2})
    assert [kept(version) is None for version in versions] == [True, False]
