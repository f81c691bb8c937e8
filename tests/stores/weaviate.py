"""Weaviate by its wire format; read by gRPC without its client's queries."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import weaviate as client
from weaviate.classes.data import DataObject
from weaviate.proto.v1 import search_get_pb2, weaviate_pb2_grpc

from tasks.sinks.plain import uuids_of
from tests.stores.wired import Wired
from tests.wire import weaviate as wire

KEY = "made-up-key"


class Peer(Wired):
    """Both servers on loopback, whose state outlives `stop`."""

    use = "weaviate"

    def __init__(self, folder: Path) -> None:
        self.wire = wire.Weaviate(KEY)
        super().__init__(self.wire)

    def arguments(self) -> dict[str, Any]:
        where = {"url": self.wire.url, "grpc_port": self.wire.grpc_port}
        return where | {"api_key": KEY, "collection": "docs"}

    def visible(self) -> dict[str, dict[str, Any]]:
        if "Docs" not in self.wire.aliases:
            return {}
        request = search_get_pb2.SearchRequest(collection="Docs", limit=10_000, uses_127_api=True)
        request.metadata.vector = True
        with grpc.insecure_channel(f"127.0.0.1:{self.wire.grpc_port}") as channel:
            stub = weaviate_pb2_grpc.WeaviateStub(channel)  # type: ignore[no-untyped-call]
            reply = stub.Search(request, metadata=(("authorization", f"Bearer {KEY}"),))
        seen: dict[str, dict[str, Any]] = {}
        for result in reply.results:
            row = {
                name: getattr(value, kind)
                for name, value in result.properties.non_ref_props.fields.items()
                if name[0] != "_" and (kind := value.WhichOneof("kind")) is not None
            }
            ((said,),) = [result.metadata.vectors]
            row["vector"] = np.frombuffer(said.vector_bytes, "<f4")
            seen[row.pop("row_id")] = row
        return seen

    def bulk(self, rows: pa.Table) -> None:
        opened = self._client()
        from weaviate.classes.config import Configure, DataType, Property

        names = {"row_id": "text", "title": "text", "year": "int", "score": "number"}
        made = opened.collections.create(
            "Bulk",
            properties=[Property(name=k, data_type=DataType(v)) for k, v in names.items()],
            vector_config=Configure.Vectors.self_provided(
                vector_index_config=Configure.VectorIndex.hnsw()
            ),
        )
        vectors = np.stack(rows["vector"].to_numpy()).tolist()
        metadata = rows.drop_columns(["vector", "_hash"]).rename_columns({"id": "row_id"})
        objects = [
            DataObject(properties=row, vector={"default": vector})
            for row, vector in zip(metadata.to_pylist(), vectors, strict=True)
        ]
        for start in range(0, len(objects), 1_000):
            made.data.insert_many(objects[start : start + 1_000])
        opened.close()

    def intrude(self, dim: int) -> None:
        self._put(dim, None)

    def usurp(self, id_: str, dim: int) -> None:
        self._put(dim, uuids_of([id_])[0])

    def _put(self, dim: int, key: str | None) -> None:
        opened = self._client()
        one: DataObject[dict[str, Any], None] = DataObject(
            properties={}, uuid=key, vector={"default": [1.0] * dim}
        )
        opened.collections.use("Docs").data.insert_many([one])
        opened.close()

    def _client(self) -> client.WeaviateClient:
        return client.connect_to_custom(
            http_host="127.0.0.1",
            http_port=self.wire.port,
            http_secure=False,
            grpc_host="127.0.0.1",
            grpc_port=self.wire.grpc_port,
            grpc_secure=False,
            auth_credentials=KEY,
            skip_init_checks=True,
        )
