"""Pinecone by its wire format; read by HTTP without its client."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from pinecone import Pinecone

from tasks.sinks.plain import uuids_of
from tests.stores.wired import Wired
from tests.wire import pinecone as wire

KEY = "made-up-key"


class Peer(Wired):
    """One index, by cosine, and of the dimension of its first row."""

    use = "pinecone"

    def __init__(self, folder: Path) -> None:
        self.wire = wire.Pinecone(KEY)
        super().__init__(self.wire)

    def arguments(self) -> dict[str, Any]:
        return {"host": self.wire.url, "api_key": KEY, "collection": "docs", "settle_s": 5.0}

    def visible(self) -> dict[str, dict[str, Any]]:
        pointer = self._fetched("docs", ["serving"])
        if not pointer:
            return {}
        namespace = pointer[0]["metadata"]["namespace"]
        ids: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = self._get("/vectors/list", {"namespace": namespace} | token)
            ids += [one["id"] for one in page["vectors"]]
            if "pagination" not in page:
                break
            token = {"paginationToken": page["pagination"]["next"]}
        rows = []
        for start in range(0, len(ids), 100):
            rows += self._fetched(namespace, ids[start : start + 100])
        seen = {}
        for one in rows:
            said = {k: v for k, v in one["metadata"].items() if k[0] != "_"}
            seen[said.pop("id")] = said | {"vector": np.array(one["values"], np.float32)}
        return seen

    def bulk(self, rows: pa.Table) -> None:
        index = Pinecone(KEY).index(host=self.wire.url)
        vectors = np.stack(rows["vector"].to_numpy()).tolist()
        metadata = rows.drop_columns(["vector", "_hash"]).to_pylist()
        made = [(one["id"], vector, one) for one, vector in zip(metadata, vectors, strict=True)]
        done = index.upsert(vectors=made, namespace="bulk", batch_size=200, show_progress=False)
        assert done.upserted_count == len(made), done.errors[:1]
        index.close()

    def intrude(self, dim: int) -> None:
        self._put("alien", dim)

    def usurp(self, id_: str, dim: int) -> None:
        self._put(uuids_of([id_])[0], dim)

    def _put(self, key: str, dim: int) -> None:
        namespace = self._fetched("docs", ["serving"])[0]["metadata"]["namespace"]
        index = Pinecone(KEY).index(host=self.wire.url)
        index.upsert(vectors=[(key, [1.0] * dim, {"x": 1})], namespace=namespace)
        index.close()

    def _fetched(self, namespace: str, ids: list[str]) -> list[dict[str, Any]]:
        found = self._get("/vectors/fetch", {"namespace": namespace, "ids": ids})
        return list(found["vectors"].values())

    def _get(self, path: str, query: dict[str, Any]) -> Any:
        headers = {"Api-Key": KEY, "X-Pinecone-Api-Version": "2026-07"}
        return httpx.get(self.wire.url + path, params=query, headers=headers).json()
