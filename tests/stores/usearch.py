"""Indexes of usearch, read with usearch."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from usearch.index import Index


class Peer:
    use = "usearch"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arguments(self) -> dict[str, Any]:
        return {"path": str(self.folder)}

    def visible(self) -> dict[str, dict[str, Any]]:
        now = (self.folder / "current").resolve()
        if not (now / "_manifest.json").exists():
            return {}
        settings = json.loads((now / "_manifest.json").read_text())["settings"]
        index = Index.restore(str(now / settings["index"] / "index.usearch"))
        assert index is not None
        seen = {}
        for file in sorted((now / "rows").glob("*.parquet")):
            for one in pq.ParquetFile(file).read().to_pylist():
                vector = np.asarray(index.get(one.pop("_label")), np.float32)
                seen[one.pop("id")] = one | {"vector": vector}
        assert len(seen) == len(index)
        return seen

    def bulk(self, rows: pa.Table) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        held = rows["vector"].combine_chunks()
        array = held.flatten().to_numpy().reshape(len(rows), -1)
        index = Index(ndim=array.shape[1], metric="cos", dtype="f32")
        index.add(np.arange(len(array), dtype=np.uint64), array)
        index.save(str(self.folder / "bulk.usearch"))
        pq.write_table(rows.drop_columns(["vector"]), self.folder / "bulk.parquet")

        for one in self.folder.glob("bulk.*"):
            with one.open("rb") as file:
                os.fsync(file.fileno())

    def stop(self) -> None: ...

    def start(self) -> None: ...

    def close(self) -> None: ...
