"""The vectors of the canaries, kept beside each table: what its encoder must give again."""

import pyarrow as pa

from tasks.errors import StoreError
from tasks.store import snapshots
from tasks.store.rows import Matrix, to_column, to_matrix

NAME = "canaries"


def write(store_uri: str, table: str, vectors: Matrix) -> None:
    """Keeps them, durably; once, when a table is made."""
    rows = pa.table({"vector": to_column(vectors)})
    snapshots.write(store_uri, table, NAME, rows, {"format": "1"})


def read(store_uri: str, table: str) -> Matrix:
    """As they were written; StoreError if they are missing."""
    stored = snapshots.read(store_uri, table, NAME)
    if stored is None:
        raise StoreError(
            f"the canaries of table {table!r} are missing: without them no encoder can be shown to "
            "be the table's own, so it can neither be written to nor searched by text"
        )
    return to_matrix(stored[0]["vector"])
