"""Qdrant as its readers see it: plain requests, with the alias for a name."""

import base64
import json
import sys
import urllib.error
import urllib.request
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

from tasks.sinks.plain import uuids_of
from tests.stores.process import Process

ALIAS = "papers"


class Peer(Process):
    """A server on loopback: Qdrant's engine behind its protocol, see qdrant_server.py."""

    use = "qdrant"

    def command(self) -> list[str]:
        module = "tests.stores.qdrant_server"
        return [sys.executable, "-m", module, str(self.folder), str(self.port)]

    def arguments(self) -> dict[str, Any]:
        self.start()
        return {"url": self.url, "collection": ALIAS}

    def visible(self) -> dict[str, dict[str, Any]]:
        self.start()
        seen: dict[str, dict[str, Any]] = {}
        body: dict[str, Any] = {"limit": 1000, "with_vector": True}
        while True:
            try:
                page = self._ask(f"/collections/{ALIAS}/points/scroll", body)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 404:
                    return {}
                raise
            for point in page["points"]:
                seen[point["payload"].pop("id")] = _row(point)
            if page["next_page_offset"] is None:
                return seen
            body["offset"] = page["next_page_offset"]

    def bulk(self, rows: pa.Table) -> None:
        from qdrant_client import QdrantClient
        from qdrant_client.models import Distance, VectorParams

        self.start()
        client = QdrantClient(url=self.url, check_compatibility=False)
        vectors = np.stack(rows["vector"].to_numpy())
        params = VectorParams(size=vectors.shape[1], distance=Distance.COSINE)
        client.create_collection(f"bulk-{uuid4().hex}", params)
        name = client.get_collections().collections[-1].name
        client.upload_collection(
            name,
            vectors=vectors,
            payload=rows.drop_columns(["vector", "_hash"]).to_pylist(),
            batch_size=1000,
            wait=True,
        )
        client.close()

    def intrude(self, dim: int) -> None:
        self._put(dim, {7: {"x": 1}, str(uuid4()): {"id": "n1", "_hash": 5}})

    def usurp(self, id_: str, dim: int) -> None:
        self._put(dim, {uuids_of([id_])[0]: {"x": 1}})

    def _put(self, dim: int, payloads: dict[int | str, dict[str, Any]]) -> None:
        from qdrant_client import QdrantClient
        from qdrant_client.models import PointStruct

        client = QdrantClient(url=self.url, check_compatibility=False)
        vector = [1.0] * dim
        points = [PointStruct(id=key, vector=vector, payload=it) for key, it in payloads.items()]
        client.upsert(ALIAS, points)
        client.close()

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(  # noqa: S310 (loopback)
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return json.load(answer)["result"]


def _row(point: dict[str, Any]) -> dict[str, Any]:
    """Readers of cosines find a vector of the length one, and the one that was put beside it."""
    vector, payload = point["vector"], point["payload"]
    if isinstance(vector, dict):
        vector = vector["vector"]
    if "_vector" in payload:
        put = np.frombuffer(base64.b64decode(payload.pop("_vector")), np.float32)
        np.testing.assert_allclose(vector, put / np.linalg.norm(put), rtol=1e-5)
        vector = put
    payload.pop("_hash")
    return {**payload, "vector": np.float32(vector)}
