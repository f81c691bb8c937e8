"""Small tables for tests of the store: a row is decided by its id and a number."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from schemas.receipt import Receipt, WrittenFragment
from schemas.table import TableSettings
from tasks.digests import digest_text
from tasks.store import fragments, layout
from tasks.store.commit import Change, commit
from tasks.store.rows import row_schema
from tasks.store.table import Table

DIM = 4
FINGERPRINT = hashlib.sha256(b"an encoder").hexdigest()
METADATA = pa.schema([pa.field("year", pa.int32())])


def new_table(
    store: str | Path,
    space: str = "papers",
    metadata: pa.Schema = METADATA,
    fingerprint: str = FINGERPRINT,
) -> Table:
    """A table without rows."""
    table = Table(str(store), layout.table_name(space, fingerprint))
    settings = TableSettings(
        space=space,
        fingerprint=fingerprint,
        encoder={"use": "hashing", "dim": DIM},
        precision="float32",
        dim=DIM,
        normalized=True,
        store_content=True,
    )
    table.create(row_schema(DIM, metadata, store_content=True), settings)
    return table


def vector(value: int) -> list[float]:
    """A unit vector, another one for each value up to 90."""
    angle = np.deg2rad(value)
    return [float(np.float32(np.cos(angle))), float(np.float32(np.sin(angle))), 0.0, 0.0]


def rows(table: Table, values: Mapping[str, int], run_id: str = "run") -> pa.Table:
    """Rows with these ids, whose content, year and vector follow from their values."""
    written = [
        {
            "id": id_,
            "record_id": id_,
            "chunk": 0,
            "modality": "text",
            "vector": vector(value),
            "content_hash": digest_text(f"text {value}"),
            "chunk_hash": digest_text(f"text {value}"),
            "metadata_hash": digest_text(f"year {value}"),
            "source_uri": f"{id_[0]}.csv",
            "run_id": run_id,
            "year": value,
            "text": f"text {value}",
        }
        for id_, value in values.items()
    ]
    return pa.Table.from_pylist(written, table.open().schema)


def change(
    table: Table, run_id: str, values: Mapping[str, int], removed: tuple[str, ...] = ()
) -> Change:
    """Puts rows in place of those with the same ids, and removes others; writes the fragments."""
    base = table.open()
    held = base.to_table(columns=["id"], with_row_address=True).to_pydict()
    addresses = dict(zip(held["id"], held["_rowaddr"], strict=True))
    gone = [addresses[id_] for id_ in addresses if id_ in values or id_ in removed]
    return Change(
        run_id=run_id,
        base_version=base.version,
        fragments=tuple(fragments.write(table.uri, rows(table, values, run_id))),
        removed=np.array(gone, np.uint64),
        rows_before=len(addresses),
        rows_written=len(values),
        rows_after=len(addresses) + len(values) - len(gone),
        token=1,
        properties={"data_digest": f"data of {run_id}"},
    )


def put(table: Table, run_id: str, values: Mapping[str, int], removed: tuple[str, ...] = ()) -> int:
    """Commits that change; gives the Lance version."""
    return commit(table, change(table, run_id, values, removed))


def content(table: Table, lance_version: int | None = None) -> dict[str, int]:
    """The value of each id; the vector, hash and text of its row must say the same."""
    found = {}
    for row in table.open(lance_version).to_table().to_pylist():
        value = int(row["year"])
        assert row["vector"] == vector(value)
        assert row["content_hash"] == digest_text(f"text {value}")
        assert row["text"] == f"text {value}"
        assert row["id"] not in found
        found[row["id"]] = value
    return found


def receipt(table: Table, run_id: str, written: Sequence[WrittenFragment] = ()) -> Receipt:
    """One of a job that wrote these fragments; it has no records."""
    return Receipt(
        table=table.name,
        run_id=run_id,
        session="s",
        job=0,
        attempt=0,
        fragments=tuple(written),
        rows=0,
        records=0,
        encoded=0,
        encoder_loads=0,
        tokens=0,
        truncated=0,
        checksum="",
        quarantined=(),
        seconds={},
    )
