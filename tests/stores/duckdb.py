"""A DuckDB file, read row by row."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa


class Peer:
    """In this process, which a file's lock lets in beside the sink; nothing is to be started."""

    use = "duckdb"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def arguments(self) -> dict[str, Any]:
        return {"path": str(self.folder / "vectors.duckdb"), "collection": "texts"}

    def visible(self) -> dict[str, dict[str, Any]]:
        if not (self.folder / "vectors.duckdb").exists():
            return {}
        with duckdb.connect(str(self.folder / "vectors.duckdb")) as connection:
            try:
                found = connection.execute("FROM texts")
            except duckdb.CatalogException:
                return {}
            names = [one[0] for one in found.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        for row in rows:
            for name in {"vector", "full_vector"} & {*row}:
                row[name] = _numbers(row[name])
        return {row.pop("id"): row for row in rows}

    def bulk(self, rows: pa.Table) -> None:
        with duckdb.connect(str(self.folder / "bulk.duckdb")) as connection:
            connection.execute("CREATE OR REPLACE TABLE bulk AS FROM rows")

    def stop(self) -> None: ...

    def start(self) -> None: ...

    def close(self) -> None: ...


def _numbers(value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, str):  # of bits
        return np.packbits(np.array([*value], np.uint8))
    return np.array(value, np.float32)
