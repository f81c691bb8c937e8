"""NumPy files beside Parquet files, paired by their order as embedding-reader does it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class Peer:
    use = "numpy"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arguments(self) -> dict[str, Any]:
        return {"path": str(self.folder), "embeddings": "img_emb"}

    def visible(self) -> dict[str, dict[str, Any]]:
        now = (self.folder / "current").resolve()
        seen = {}
        arrays, tables = now.glob("img_emb/*.npy"), now.glob("metadata/*.parquet")
        for vectors, metadata in zip(sorted(arrays), sorted(tables), strict=True):
            array = np.load(vectors)
            for vector, one in zip(array, pq.read_table(metadata).to_pylist(), strict=True):
                seen[one.pop("id")] = one | {"vector": np.asarray(vector, np.float32)}
        return seen

    def bulk(self, rows: pa.Table) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        held = rows["vector"].combine_chunks()
        array = held.flatten().to_numpy().reshape(len(rows), -1)
        np.save(self.folder / "bulk.npy", array)
        pq.write_table(rows.drop_columns(["vector"]), self.folder / "bulk.parquet")

        for one in self.folder.glob("bulk.*"):
            with one.open("rb") as file:
                os.fsync(file.fileno())

    def stop(self) -> None: ...

    def start(self) -> None: ...

    def close(self) -> None: ...
