"""What Lance does that the store leans on: an upgrade that changes it is noticed here."""

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from lance import LanceDataset, LanceOperation, Transaction
from lance.commit import CommitConflictError
from lance.fragment import FragmentMetadata, write_fragments

SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("n", pa.int64())])


def rows(*ids: str, n: int = 0) -> pa.Table:
    return pa.table({"id": ids, "n": [n] * len(ids)}, schema=SCHEMA)


@pytest.fixture
def base(tmp_path: Path) -> LanceDataset:
    """Two fragments: r0 to r3, and r4 to r7."""
    uri = str(tmp_path / "t.lance")
    first = rows("r0", "r1", "r2", "r3")
    lance.write_dataset(first, uri, enable_stable_row_ids=True)
    return lance.write_dataset(rows("r4", "r5", "r6", "r7"), uri, mode="append")


def fields(base: LanceDataset) -> list[int]:
    return [field.id() for field in base.lance_schema.fields()]


def update(
    base: LanceDataset,
    new: pa.Table | None = None,
    updated: list[FragmentMetadata] | None = None,
    *,
    preserved: list[int] | None = None,
) -> Transaction:
    operation = LanceOperation.Update(
        removed_fragment_ids=[],
        updated_fragments=updated or [],
        new_fragments=[] if new is None else write_fragments(new, base.uri, mode="append"),
        update_mode="rewrite_rows",
        fields_for_preserving_frag_bitmap=fields(base) if preserved is None else preserved,
    )
    return Transaction(base.version, operation)


def without(base: LanceDataset, *offsets: int) -> FragmentMetadata:
    """The first fragment with a deletion vector."""
    left = base.get_fragments()[0].delete_rows(offsets)
    assert left is not None
    return left


def lowest(base: LanceDataset) -> FragmentMetadata:
    return base.get_fragments()[0].metadata


def test_a_stale_append_or_update_rebases_so_that_no_retries_are_no_compare_and_swap(
    base: LanceDataset,
) -> None:
    commits = [update(base, rows("x")), update(base, rows("x"))]
    for commit in commits:
        LanceDataset.commit(base.uri, commit, max_retries=0)
    assert lance.dataset(base.uri).count_rows("id = 'x'") == 2


def test_an_append_committed_twice_doubles_its_rows(base: LanceDataset) -> None:
    fragments = write_fragments(rows("x"), base.uri, mode="append")
    append = Transaction(base.version, LanceOperation.Append(fragments))
    for _ in range(2):
        LanceDataset.commit(base.uri, append)
    assert lance.dataset(base.uri).count_rows("id = 'x'") == 2


def test_updates_that_name_the_lowest_fragment_of_one_base_conflict(base: LanceDataset) -> None:
    mine, theirs = (update(base, rows("x"), [lowest(base)]) for _ in range(2))
    removal = update(base, None, [without(base, 1)])
    after = LanceDataset.commit(base.uri, mine)
    for late in (mine, theirs, removal):
        with pytest.raises(CommitConflictError):
            LanceDataset.commit(base.uri, late)
    assert lance.dataset(base.uri).version == after.version == base.version + 1


def test_naming_a_fragment_unchanged_leaves_row_ids_addresses_and_index_as_they_are(
    base: LanceDataset,
) -> None:
    base.create_scalar_index("id", "BTREE")
    base = lance.dataset(base.uri)

    def ids(dataset: LanceDataset) -> pa.Table:
        return dataset.to_table(columns=["id"], with_row_id=True, with_row_address=True)

    before = ids(base)
    after = LanceDataset.commit(base.uri, update(base, rows("x"), [lowest(base)]))
    assert ids(after).slice(0, 8) == before
    statistics = after.stats.index_stats("id_idx")
    assert (statistics["num_indexed_rows"], statistics["num_unindexed_rows"]) == (8, 1)


@pytest.mark.parametrize("preserve", [True, False])
def test_an_index_finds_replaced_rows_only_if_all_fields_are_preserved(
    base: LanceDataset, preserve: bool
) -> None:
    base.create_scalar_index("id", "BITMAP")
    base = lance.dataset(base.uri)
    new = rows("r0", "r1", n=1)
    change = update(base, new, [without(base, 0, 1)], preserved=fields(base) if preserve else [])
    after = LanceDataset.commit(base.uri, change)
    found = after.to_table(filter="id IN ('r0', 'r1')")["n"].to_pylist()
    assert found == ([1, 1] if preserve else [])
    assert after.stats.index_stats("id_idx")["num_unindexed_rows"] == (2 if preserve else 0)


def test_row_ids_survive_compaction_and_new_rows_get_new_ones(base: LanceDataset) -> None:
    after = LanceDataset.commit(base.uri, update(base, rows("r0", n=1), [without(base, 0)]))

    def ids(dataset: LanceDataset) -> dict[str, int]:
        table = dataset.to_table(columns=["id"], with_row_id=True).to_pydict()
        return dict(zip(table["id"], table["_rowid"], strict=True))

    expected = {**{f"r{n}": n for n in range(1, 8)}, "r0": 8}
    assert ids(after) == expected
    lance.dataset(base.uri).optimize.compact_files()
    compacted = lance.dataset(base.uri)
    assert compacted.version > after.version
    assert len(compacted.get_fragments()) == 1
    assert ids(compacted) == expected


def test_take_of_a_fragment_counts_the_rows_that_are_left(base: LanceDataset) -> None:
    after = LanceDataset.commit(base.uri, update(base, None, [without(base, 0, 2)]))
    fragment = after.get_fragments()[0]
    assert fragment.take([0, 1])["id"].to_pylist() == ["r1", "r3"]
    addresses = fragment.to_table(columns=[], with_row_address=True)["_rowaddr"]
    assert addresses.to_pylist() == [1, 3]


def test_a_commit_that_names_a_missing_data_file_is_accepted(base: LanceDataset) -> None:
    data = Path(base.uri) / "data"
    before = set(data.iterdir())
    change = update(base, rows("x"), [lowest(base)])
    for written in set(data.iterdir()) - before:
        written.unlink()
    after = LanceDataset.commit(base.uri, change)
    assert after.version == base.version + 1
    with pytest.raises((OSError, ValueError), match=r"(?i)not found"):
        after.to_table()


def test_a_stale_overwrite_without_retries_fails_and_so_does_a_second_creation(
    tmp_path: Path,
) -> None:
    uri = str(tmp_path / "t.lance")
    schema = SCHEMA.with_metadata({b"key": b"value"})
    create = LanceOperation.Overwrite(schema, [])
    empty = LanceDataset.commit(uri, create, max_retries=0, enable_stable_row_ids=True)
    with pytest.raises(OSError, match="not found"):
        LanceDataset.commit(uri, create, max_retries=0, enable_stable_row_ids=True)
    mine, theirs = (
        Transaction(
            empty.version,
            LanceOperation.Overwrite(
                empty.lance_schema, write_fragments(rows(id_), uri, mode="append")
            ),
        )
        for id_ in "xy"
    )
    after = LanceDataset.commit(uri, mine, max_retries=0)
    with pytest.raises(CommitConflictError):
        LanceDataset.commit(uri, theirs, max_retries=0)
    assert after.to_table()["id"].to_pylist() == ["x"]
    assert (after.schema.metadata, after.has_stable_row_ids) == ({b"key": b"value"}, True)
    assert fields(after) == fields(empty) == [0, 1]


def test_a_broken_newest_manifest_closes_the_dataset_until_it_is_moved_aside(
    base: LanceDataset, tmp_path: Path
) -> None:
    newest = min((Path(base.uri) / "_versions").glob("*.manifest"))
    assert newest.name == f"{2**64 - 1 - base.version:020d}.manifest"
    assert newest.read_bytes()[-4:] == b"LANC"
    newest.write_bytes(b"")
    with pytest.raises((OSError, ValueError)):
        lance.dataset(base.uri)
    newest.rename(tmp_path / "aside")
    assert lance.dataset(base.uri).count_rows() == 4


def test_a_second_tag_of_one_name_is_refused(base: LanceDataset) -> None:
    base.tags.create("run-1", 1)
    with pytest.raises(ValueError, match="already exists"):
        base.tags.create("run-1", 2)
    assert base.tags.list()["run-1"]["version"] == 1


def test_a_written_fragment_knows_how_long_its_files_are(base: LanceDataset) -> None:
    (written,) = write_fragments(rows("new"), base.uri, mode="append")
    (file,) = written.files
    assert file.file_size_bytes == (Path(base.uri) / "data" / file.path).stat().st_size


VECTORS = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)


def with_vectors(first: int, last: int) -> pa.Table:
    column = pa.FixedSizeListArray.from_arrays(VECTORS[first:last].reshape(-1), 8)
    return pa.table({"n": range(first, last), "vector": column})


@pytest.fixture
def indexed(tmp_path: Path) -> LanceDataset:
    """Rows 0 to 29 with an index of their vectors."""
    uri = str(tmp_path / "v.lance")
    made = lance.write_dataset(with_vectors(0, 30), uri, enable_stable_row_ids=True)
    made.create_index("vector", "IVF_SQ", name="v", metric="cosine")
    return lance.dataset(uri)


def near(dataset: LanceDataset, n: int, k: int, **how: object) -> dict[int, float]:
    """Distances of the nearest rows to a vector, by row."""
    asked = {"column": "vector", "q": VECTORS[n], "k": k, "metric": "cosine", **how}
    found = dataset.to_table(["n", "_distance"], nearest=asked).to_pydict()
    return dict(zip(found["n"], found["_distance"], strict=True))


@pytest.mark.parametrize("preserve", [True, False])
def test_an_index_of_vectors_finds_replaced_rows_only_if_all_fields_are_preserved(
    indexed: LanceDataset, preserve: bool
) -> None:
    replaced, new = [without(indexed, 0, 1)], with_vectors(30, 32)
    change = update(indexed, new, replaced, preserved=fields(indexed) if preserve else [])
    after = LanceDataset.commit(indexed.uri, change)
    assert (30 in near(after, 30, 3, refine_factor=1)) is preserve


def test_distances_by_an_index_that_refines_are_those_of_a_scan(indexed: LanceDataset) -> None:
    after = lance.write_dataset(with_vectors(0, 40), indexed.uri, mode="append")
    asked = {"column": "vector", "q": VECTORS[3], "k": 70, "metric": "cosine"}

    def found(**how: object) -> list[tuple[int, float]]:
        rows = after.to_table(["n", "_distance"], nearest={**asked, **how})
        return sorted(zip(rows["n"].to_pylist(), rows["_distance"].to_pylist(), strict=True))

    by_index, by_scan = found(minimum_nprobes=9, refine_factor=9), found(use_index=False)
    assert len(by_index) == 70
    assert by_index == by_scan
    assert len(set(by_index)) == 40  # rows 0 to 29 are in the index, and again outside of it


def test_a_compaction_keeps_indexes_and_its_transaction_cannot_be_read(
    indexed: LanceDataset,
) -> None:
    indexed.create_scalar_index("n", "BTREE", name="n")
    before = lance.dataset(indexed.uri).describe_indices()
    lance.write_dataset(with_vectors(30, 35), indexed.uri, mode="append").delete("n IN (3, 4)")
    lance.dataset(indexed.uri).optimize.compact_files(materialize_deletions_threshold=0.0)
    after = lance.dataset(indexed.uri)
    assert all(fragment.metadata.num_deletions == 0 for fragment in after.get_fragments())
    by_number, by_vector = after.describe_indices()
    assert (by_number.num_rows_indexed, by_vector.num_rows_indexed) == (28, 28)
    assert [part.uuid for part in by_vector.segments] == [part.uuid for part in before[1].segments]
    assert after.count_rows("n < 32") == 30
    assert set(near(after, 5, 50, refine_factor=9)) == set(range(35)) - {3, 4}
    with pytest.raises(TypeError, match="RewrittenIndex"):
        after.read_transaction(after.version)


def test_the_config_of_a_version_goes_along_but_indexes_go_when_a_table_is_overwritten(
    indexed: LanceDataset,
) -> None:
    indexed.update_config({"key": "value"})
    base = lance.dataset(indexed.uri)
    change = update(base, with_vectors(30, 31), [without(base, 1)])
    assert LanceDataset.commit(base.uri, change).config() == {"key": "value"}
    lance.dataset(base.uri).optimize.compact_files(materialize_deletions_threshold=0.0)
    assert lance.dataset(base.uri).config() == {"key": "value"}
    assert lance.dataset(base.uri, version=indexed.version - 1).config() == {}
    empty = LanceOperation.Overwrite(base.lance_schema, [])
    overwritten = LanceDataset.commit(base.uri, empty)
    assert (overwritten.config(), overwritten.describe_indices()) == ({"key": "value"}, [])
