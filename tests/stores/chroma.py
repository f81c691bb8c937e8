"""Chroma as its readers see it: plain requests to its own server."""

import base64
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

from tests.stores.process import Process

SERVED = "papers"
API = "/api/v2/tenants/default_tenant/databases/default_database/collections"


class Peer(Process):
    """`chroma run` on loopback."""

    use = "chroma"

    def command(self) -> list[str]:
        chroma = str(Path(sys.executable).with_name("chroma"))
        where = ["--path", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        return [chroma, "run", *where]

    def arguments(self) -> dict[str, Any]:
        self.start()
        return {"url": self.url, "collection": SERVED}

    def visible(self) -> dict[str, dict[str, Any]]:
        self.start()
        try:
            collection = self._ask(f"{API}/{SERVED}")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                return {}
            raise
        wanted = ["metadatas", "embeddings", "documents"]
        body: dict[str, Any] = {"include": wanted, "limit": 500, "offset": 0}
        seen: dict[str, dict[str, Any]] = {}
        while (page := self._ask(f"{API}/{collection['id']}/get", body))["ids"]:
            for number, id_ in enumerate(page["ids"]):
                row = _row(page["metadatas"][number], page["embeddings"][number])
                seen[id_] = row | {"text": page["documents"][number]}
            body["offset"] += len(page["ids"])
        return seen

    def bulk(self, rows: pa.Table) -> None:
        from chromadb import HttpClient

        self.start()
        client: Any = HttpClient("127.0.0.1", self.port)
        made = client.create_collection(
            f"bulk-{uuid4().hex}",
            configuration={"hnsw": {"space": "cosine"}},
            embedding_function=None,
        )
        vectors = np.stack(rows["vector"].to_numpy())
        ids = rows["id"].to_pylist()
        metadata = rows.drop_columns(["vector", "_hash", "id"]).to_pylist()
        for start in range(0, len(ids), 1000):
            part = slice(start, start + 1000)
            made.add(ids=ids[part], embeddings=vectors[part], metadatas=metadata[part])
        client._server._session.close()
        client._admin_client._server._session.close()

    def intrude(self, dim: int) -> None:
        with self._collection() as collection:
            collection.add(ids=["alien", "odd"], embeddings=[[1.0] * dim] * 2)
            collection.update(ids=["odd"], metadatas=[{"_hash": "not one", "year": 1}])

    def usurp(self, id_: str, dim: int) -> None:
        with self._collection() as collection:
            collection.delete(ids=[id_])
            collection.add(ids=[id_], embeddings=[[1.0] * dim])

    @contextmanager
    def _collection(self) -> Iterator[Any]:
        from chromadb import HttpClient

        client: Any = HttpClient("127.0.0.1", self.port)
        yield client.get_collection(SERVED, embedding_function=None)
        client._server._session.close()
        client._admin_client._server._session.close()

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 (loopback)
            self.url + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return json.load(answer)


def _row(metadata: dict[str, Any], vector: list[float]) -> dict[str, Any]:
    """Readers of cosines find a vector of any length, and what tells it as it was beside it."""
    seen = np.asarray(vector, np.float32)
    if "_vector" in metadata:
        told = base64.b64decode(metadata.pop("_vector"))
        length, lowest = np.frombuffer(told[:8])[0], told[8:]
        about = seen.astype(np.float64) * (length / np.linalg.norm(seen.astype(np.float64)))
        seen = np.array([_nearest(*pair) for pair in zip(about, lowest, strict=True)], np.float32)
    return {**metadata, "vector": seen}


def _nearest(about: float, lowest: int) -> np.float32:
    """The float32 number nearest to it whose lowest byte is this."""
    up = down = np.float32(about)
    while True:
        for one in (up, down):
            if one.tobytes()[0] == lowest:
                return one
        up, down = np.nextafter(up, np.float32(np.inf)), np.nextafter(down, np.float32(-np.inf))
