"""Indexes of faiss, read with faiss."""

import json
import os
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class Peer:
    use = "faiss"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arguments(self) -> dict[str, Any]:
        return {"path": str(self.folder)}

    def visible(self) -> dict[str, dict[str, Any]]:
        now = (self.folder / "current").resolve()
        if not (now / "_manifest.json").exists():
            return {}
        settings = json.loads((now / "_manifest.json").read_text())["settings"]
        index = faiss.read_index(str(now / settings["index"] / "index.faiss"))
        if isinstance(index, faiss.IndexIVF):
            index.set_direct_map_type(2)  # to find rows by their labels
        seen = {}
        for file in sorted((now / "rows").glob("*.parquet")):
            for one in pq.ParquetFile(file).read().to_pylist():
                label, own = one.pop("_label"), one.pop("_vector")
                vector = np.asarray(index.reconstruct(label))
                if own is not None:
                    # Not of unit length, or not to be had from a coarse index.
                    assert vector @ own > 0.5 * np.linalg.norm(vector) * np.linalg.norm(own)
                    vector = np.array(own, np.float32)
                seen[one.pop("id")] = one | {"vector": vector}
        assert len(seen) == index.ntotal
        return seen

    def bulk(self, rows: pa.Table) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        held = rows["vector"].combine_chunks()
        array = held.flatten().to_numpy().reshape(len(rows), -1)
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(array.shape[1]))
        index.add_with_ids(array, np.arange(len(array)))
        faiss.write_index(index, str(self.folder / "bulk.faiss"))
        pq.write_table(rows.drop_columns(["vector"]), self.folder / "bulk.parquet")

        for one in self.folder.glob("bulk.*"):
            with one.open("rb") as file:
                os.fsync(file.fileno())

    def stop(self) -> None: ...

    def start(self) -> None: ...

    def close(self) -> None: ...
