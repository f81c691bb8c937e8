"""Elasticsearch by its wire format; read by HTTP without its client."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from elasticsearch import Elasticsearch, helpers

from tasks.sinks.plain import uuids_of
from tests.stores.wired import Wired
from tests.wire import elasticsearch as wire


class Peer(Wired):
    """A server on loopback whose state outlives `stop`."""

    use = "elasticsearch"

    def __init__(self, folder: Path) -> None:
        self.wire = wire.Elasticsearch(api_key="made-up")
        super().__init__(self.wire)

    def arguments(self) -> dict[str, Any]:
        return {"url": self.wire.url, "api_key": "made-up", "collection": "docs"}

    def visible(self) -> dict[str, dict[str, Any]]:
        answer = httpx.request(
            "POST",
            f"{self.wire.url}/docs/_search",
            json={"query": {"match_all": {}}, "size": 10_000},
            headers={"Authorization": "ApiKey made-up", "Content-Type": wire.TYPE},
        )
        if answer.status_code == 404:
            return {}
        found = answer.raise_for_status().json()["hits"]["hits"]
        said = next(
            one.mappings["properties"]
            for one in self.wire.indices.values()
            if "docs" in one.aliases
        )
        rows = [hit["_source"] for hit in found]
        for row in rows:
            row["vector"] = wire._vector(row["vector"], said["vector"]).astype(np.float32)
        return {row.pop("id"): {k: v for k, v in row.items() if k[0] != "_"} for row in rows}

    def intrude(self, dim: int) -> None:
        self._put("alien", dim)

    def usurp(self, id_: str, dim: int) -> None:
        self._put(uuids_of([id_])[0], dim)

    def _put(self, key: str, dim: int) -> None:
        client = Elasticsearch(self.wire.url, api_key="made-up", request_timeout=60)
        document = {"vector": [1.0] * dim}
        client.bulk(index="docs", operations=[{"index": {"_id": key}}, document])
        client.close()

    def bulk(self, rows: pa.Table) -> None:
        client = Elasticsearch(self.wire.url, api_key="made-up", request_timeout=60)
        vectors = np.stack(rows["vector"].to_numpy())
        field = {"type": "dense_vector", "dims": vectors.shape[1], "index": True}
        client.indices.create(index="bulk", mappings={"properties": {"vector": field}})
        documents = rows.drop_columns(["vector", "_hash"]).to_pylist()
        actions = (
            {"_index": "bulk", "_id": row["id"], "vector": helpers.pack_dense_vector(vector)} | row
            for row, vector in zip(documents, vectors, strict=True)
        )
        helpers.bulk(client, actions, chunk_size=1_000)
        client.close()
