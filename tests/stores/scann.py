"""Searchers of ScaNN, of which the files are read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class Peer:
    use = "scann"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arguments(self) -> dict[str, Any]:
        return {"path": str(self.folder)}

    def visible(self) -> dict[str, dict[str, Any]]:
        now = (self.folder / "current").resolve()
        if not (now / "_manifest.json").exists():
            return {}
        index = now / json.loads((now / "_manifest.json").read_text())["settings"]["index"]
        labels = np.load(index / "labels.npy").tolist()
        if not labels:
            return {}
        vectors = dict(zip(labels, np.load(index / "dataset.npy"), strict=True))
        seen = {}
        for file in sorted((now / "rows").glob("*.parquet")):
            for one in pq.ParquetFile(file).read().to_pylist():
                vector, own = vectors.pop(one.pop("_label")), one.pop("_vector")
                if own is not None:
                    wanted = np.array(own) / np.linalg.norm(own)
                    np.testing.assert_allclose(vector, wanted, rtol=1e-5, atol=1e-6)
                    vector = np.array(own, np.float32)
                seen[one.pop("id")] = one | {"vector": vector}
        assert not vectors
        return seen

    def bulk(self, rows: pa.Table) -> None:
        from scann.scann_ops.py import scann_ops_pybind as scann

        self.folder.mkdir(parents=True, exist_ok=True)
        held = rows["vector"].combine_chunks()
        array = held.flatten().to_numpy().reshape(len(rows), -1)
        builder = scann.builder(array, 10, "dot_product")
        if len(array) >= 100_000:
            leaves = round(len(array) ** 0.5)
            builder = builder.tree(leaves, leaves // 10, training_sample_size=len(array))
        builder.score_ah(2, 0.2).reorder(100).build().serialize(str(self.folder))
        pq.write_table(rows.drop_columns(["vector"]), self.folder / "bulk.parquet")

    def stop(self) -> None: ...

    def start(self) -> None: ...

    def close(self) -> None: ...
