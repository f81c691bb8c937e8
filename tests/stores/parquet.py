"""Folders of Parquet files, read as a dataset."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq


class Peer:
    use = "parquet"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arguments(self) -> dict[str, Any]:
        return {"path": str(self.folder)}

    def visible(self) -> dict[str, dict[str, Any]]:
        now = self.folder / "current"
        if not now.exists():
            return {}
        rows = ds.dataset(now.resolve(), format="parquet").to_table()
        return {
            one.pop("id"): one | {"vector": np.array(one["vector"], np.float32)}
            for one in rows.to_pylist()
        }

    def bulk(self, rows: pa.Table) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, self.folder / "bulk.parquet", compression="none", use_dictionary=False)

        for one in self.folder.glob("bulk.*"):
            with one.open("rb") as file:
                os.fsync(file.fileno())

    def stop(self) -> None: ...

    def start(self) -> None: ...

    def close(self) -> None: ...
