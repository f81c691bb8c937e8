"""Rows of a Lance table that are put in the place of others, for one commit to make true."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.sinks.base import ID
from tasks.sinks.changes import Changes

if TYPE_CHECKING:
    from lance import LanceDataset, LanceOperation
    from lance.fragment import FragmentMetadata

ROWS_A_BATCH = 65_536

Addresses: TypeAlias = npt.NDArray[np.uint64]
"""Shape (n,): fragment << 32 | offset."""


def written(
    base: "LanceDataset", schema: pa.Schema, changes: Changes, options: dict[str, str] | None
) -> tuple[list["FragmentMetadata"], list[pa.Array]]:
    """Fragments that no version names yet, and the ids of rows that go."""
    from lance.fragment import write_fragments

    touched = []

    def batches() -> Iterator[pa.RecordBatch]:
        for bucket in changes.touched():
            change = changes.of(bucket)
            touched.append(change.touched)
            yield from change.rows.cast(schema).to_batches()

    rows = pa.RecordBatchReader.from_batches(schema, batches())
    new = write_fragments(rows, base, mode="append", storage_options=options)
    return [one for one in new if one.physical_rows], touched


def addresses(dataset: "LanceDataset", touched: Sequence[pa.Array]) -> Addresses:
    """Where rows with these ids are."""
    found = [np.empty(0, np.uint64)]
    wanted = pa.concat_arrays([pa.array([], pa.string()), *touched])
    if len(wanted) and dataset.count_rows():
        scanner = dataset.scanner(columns=[ID], with_row_address=True, batch_size=ROWS_A_BATCH)
        for batch in scanner.to_batches():
            here = pc.is_in(batch[ID], wanted)
            found.append(batch["_rowaddr"].filter(here).to_numpy(zero_copy_only=False))
    return np.concatenate(found)


def operation(
    base: "LanceDataset", new: Sequence["FragmentMetadata"], gone: Addresses
) -> "LanceOperation.BaseOperation":
    """One that conflicts with any other from the same base: the lowest fragment is in it."""
    from lance import LanceOperation

    fragments = {one.fragment_id: one for one in base.get_fragments()}
    present = [one.metadata for one in fragments.values()]
    updated, removed = [], []
    for number in np.unique(gone >> np.uint64(32)).tolist():
        offsets = gone[gone >> np.uint64(32) == number] & np.uint64(0xFFFFFFFF)
        left = fragments[number].delete_rows(offsets.tolist())
        removed += [number] if left is None else []
        updated += [] if left is None else [left]
    if len(removed) == len(present):
        return LanceOperation.Overwrite(base.schema, list(new))
    lowest = min(present, key=lambda fragment: fragment.id)
    named = {fragment.id for fragment in updated} | set(removed)
    return LanceOperation.Update(
        removed_fragment_ids=removed,
        updated_fragments=[*updated, *([] if lowest.id in named else [lowest])],
        new_fragments=list(new),
        update_mode="rewrite_rows",
        # Left empty, every index would go silently wrong: filters would miss updated rows.
        fields_for_preserving_frag_bitmap=_field_ids(base.lance_schema.fields()),
    )


def _field_ids(fields: Sequence[object]) -> list[int]:
    found: list[int] = []
    for field in fields:
        found += [field.id(), *_field_ids(field.children())]  # type: ignore[attr-defined]
    return found
