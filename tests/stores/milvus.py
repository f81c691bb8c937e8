"""Milvus as a file: milvus-lite in this process, read by the client that its users have."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from milvus_lite.server_manager import server_manager_instance
from pymilvus import DataType, MilvusClient

from tasks.sinks.plain import uuids_of
from tests.stores.process import Process


class Peer:
    """A file of milvus-lite: one process at a time has it open."""

    use = "milvus"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = str(folder / "store.db")

    def arguments(self) -> dict[str, Any]:
        return {"path": self._file, "collection": "docs"}

    def visible(self) -> dict[str, dict[str, Any]]:
        with self._client() as client:
            return _seen(client)

    def bulk(self, rows: pa.Table) -> None:
        vectors = np.stack(rows["vector"].to_numpy()).tolist()
        made = rows.drop_columns(["vector", "_hash"]).to_pylist()
        for row, vector in zip(made, vectors, strict=True):
            row["vector"] = vector
        with self._client() as client:
            schema = client.create_schema(auto_id=False, enable_dynamic_field=True)
            schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=1024)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=len(vectors[0]))
            client.create_collection("bulk", schema=schema)
            for start in range(0, len(made), 1_000):
                client.insert("bulk", made[start : start + 1_000])

    def intrude(self, dim: int) -> None:
        self._put(dim, "'alien'", "zebra", "Zoo")

    def usurp(self, id_: str, dim: int) -> None:
        self._put(dim, uuids_of([id_])[0])

    def _put(self, dim: int, *keys: str) -> None:
        with self._client() as client:
            client.load_collection("docs")
            for key in keys:
                row = {"_key": key, "id": "n1", "_hash": "not one", "vector": [1.0] * dim}
                client.upsert("docs", [row])

    def stop(self) -> None: ...

    def start(self) -> None: ...

    def close(self) -> None:
        server_manager_instance.release_server(self._file)

    @contextmanager
    def _client(self) -> Iterator[MilvusClient]:
        shared = self._file in server_manager_instance._servers
        client = MilvusClient(self._file)
        try:
            yield client
        finally:
            client.close()
            if not shared:
                server_manager_instance.release_server(self._file)


class Served(Process):
    """The same behind a process of its own."""

    use = "milvus"

    def arguments(self) -> dict[str, Any]:
        self.start()
        return {"url": self.url, "collection": "docs"}

    def command(self) -> list[str]:
        serve = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(self.folder)]
        return [*serve, "--host", "127.0.0.1", "--port", str(self.port)]

    def visible(self) -> dict[str, dict[str, Any]]:
        client = MilvusClient(self.url)
        seen = _seen(client)
        client.close()
        return seen


def _seen(client: MilvusClient) -> dict[str, dict[str, Any]]:
    if not client.has_collection("docs"):
        return {}
    client.load_collection("docs")
    rows = client.query("docs", filter='_key != ""', output_fields=["*"], limit=16_384)
    for row in rows:
        row["vector"] = np.array(row["vector"], np.float32)
    return {row.pop("id"): {k: v for k, v in row.items() if k[0] != "_"} for row in rows}
