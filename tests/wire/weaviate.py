"""What of Weaviate 1.34 the sink needs: schema and aliases by REST, rows by gRPC.

Taken from the client's source and the protobuf modules that it carries. Writes are seen at once.
Vectors are those of the name `default`.
"""

import math
import re
import threading
import uuid
from concurrent import futures
from typing import Any

import grpc
import numpy as np
from weaviate.proto.v1 import (
    aggregate_pb2,
    base_pb2,
    batch_delete_pb2,
    batch_pb2,
    search_get_pb2,
    weaviate_pb2_grpc,
)

from tests.wire.server import Answer, Asked, Refused, Wire

VERSION = "1.34.0"
CLASS = r"[A-Z][_0-9A-Za-z]{0,254}"
PROPERTY = re.compile(r"[_A-Za-z][_0-9A-Za-z]{0,230}")
MAX_MESSAGE_BYTES = 10 * 2**20
MAX_FOUND = 10_000
TYPES = {"text", "int", "number", "boolean", "text[]", "int[]", "number[]", "boolean[]"}
DISTANCES = {"cosine", "dot", "l2-squared"}
HNSW = {
    "cleanupIntervalSeconds": 300,
    "dynamicEfMin": 100,
    "dynamicEfMax": 500,
    "dynamicEfFactor": 8,
    "ef": -1,
    "efConstruction": 128,
    "filterStrategy": "sweeping",
    "flatSearchCutoff": 40_000,
    "maxConnections": 32,
    "skip": False,
    "vectorCacheMaxObjects": 10**12,
}
DEFAULTS: dict[str, Any] = {
    "invertedIndexConfig": {
        "bm25": {"b": 0.75, "k1": 1.2},
        "cleanupIntervalSeconds": 60,
        "stopwords": {"preset": "en", "additions": None, "removals": None},
    },
    "multiTenancyConfig": {"enabled": False},
    "replicationConfig": {"factor": 1, "asyncEnabled": False},
    "shardingConfig": {
        "virtualPerPhysical": 128,
        "desiredCount": 1,
        "actualCount": 1,
        "desiredVirtualCount": 128,
        "actualVirtualCount": 128,
        "key": "_id",
        "strategy": "hash",
        "function": "murmur3",
    },
}
CODES = {429: grpc.StatusCode.RESOURCE_EXHAUSTED, 503: grpc.StatusCode.UNAVAILABLE}


class Weaviate(Wire):
    """One node; rows by class and UUID, each with `vector` and `properties`."""

    def __init__(self, api_key: str = "") -> None:
        self.api_key = api_key
        self.classes: dict[str, dict[str, Any]] = {}
        self.aliases: dict[str, str] = {}
        self.rows: dict[str, dict[str, dict[str, Any]]] = {}
        self.grpc_port = 0
        self._grpc: grpc.Server | None = None
        super().__init__()
        for method, pattern, answer in (
            ("GET", "/v1/meta", lambda _: (200, {"version": VERSION, "hostname": self.url})),
            ("GET", "/v1/schema", lambda _: (200, {"classes": [*self.classes.values()]})),
            ("POST", "/v1/schema", self._create),
            ("GET", f"/v1/schema/({CLASS})", self._class),
            ("PUT", f"/v1/schema/({CLASS})", self._update),
            ("DELETE", f"/v1/schema/({CLASS})", self._drop),
            ("GET", "/v1/aliases", self._list_aliases),
            ("POST", "/v1/aliases", self._create_alias),
            ("GET", f"/v1/aliases/({CLASS})", self._alias),
            ("PUT", f"/v1/aliases/({CLASS})", self._move_alias),
            ("DELETE", f"/v1/aliases/({CLASS})", self._drop_alias),
        ):
            self.route(method, pattern, self._checked(answer))

    def start(self) -> None:
        """Both servers."""
        super().start()
        if self._grpc is None:
            options = [
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
            ]
            self._grpc = grpc.server(futures.ThreadPoolExecutor(8), options=options)
            weaviate_pb2_grpc.add_WeaviateServicer_to_server(_Rows(self), self._grpc)  # type: ignore[no-untyped-call]
            self.grpc_port = self._grpc.add_insecure_port(f"127.0.0.1:{self.grpc_port}")
            self._grpc.start()

    def stop(self) -> None:
        """Both."""
        super().stop()
        if self._grpc is not None:
            self._grpc.stop(grace=None).wait()
            self._grpc = None

    def _checked(self, answer: Any) -> Any:
        def checked(asked: Asked) -> Answer:
            if self.api_key and asked.headers.get("authorization") != f"Bearer {self.api_key}":
                raise _refused(401, "anonymous access not enabled")
            found: Answer = answer(asked)
            return found

        return checked

    def _create(self, asked: Asked) -> Answer:
        body = asked.json()
        name = body["class"]
        if not re.fullmatch(CLASS, name):
            raise _refused(422, f"'{name}' is not a valid class name")
        if name in self.classes or name in self.aliases:
            raise _refused(422, f"class name {name} already exists")
        said = body["vectorConfig"]["default"]
        if said["vectorIndexConfig"].setdefault("distance", "cosine") not in DISTANCES or said[
            "vectorizer"
        ] != {"none": {}}:
            raise _refused(422, "vectorConfig")
        for one in body["properties"]:
            if not PROPERTY.fullmatch(one["name"]) or one["name"] in ("id", "_id", "_additional"):
                raise _refused(422, f"'{one['name']}' is not a valid property name")
            if one["name"][0].isupper() or one["dataType"][0] not in TYPES:
                raise _refused(422, f"property {one['name']}")
            one.setdefault("indexFilterable", True)
            one.setdefault("indexSearchable", one["dataType"][0].startswith("text"))
        said["vectorIndexConfig"] = HNSW | said["vectorIndexConfig"]
        self.classes[name] = DEFAULTS | body
        self.rows[name] = {}
        return 200, self.classes[name]

    def _class(self, asked: Asked) -> Answer:
        name = self.aliases.get(asked.at[0], asked.at[0])
        if name not in self.classes:
            raise Refused(404, None)
        return 200, self.classes[name]

    def _update(self, asked: Asked) -> Answer:
        (name,) = asked.at
        if name not in self.classes:
            raise Refused(404, None)
        body = asked.json()
        if {**body, "description": ""} != {**self.classes[name], "description": ""}:
            raise _refused(422, "only the description can be changed here")
        self.classes[name] = body
        return 200, body

    def _drop(self, asked: Asked) -> Answer:
        (name,) = asked.at
        if name in self.aliases.values():
            raise _refused(422, f"class {name} has an alias")
        self.classes.pop(name, None)
        self.rows.pop(name, None)
        return 200, None

    def _list_aliases(self, asked: Asked) -> Answer:
        found = [{"alias": one, "class": name} for one, name in self.aliases.items()]
        return 200, {"aliases": found}

    def _alias(self, asked: Asked) -> Answer:
        (alias,) = asked.at
        if alias not in self.aliases:
            raise _refused(404, "alias not found")
        return 200, {"alias": alias, "class": self.aliases[alias]}

    def _create_alias(self, asked: Asked) -> Answer:
        body = asked.json()
        if body["alias"] in self.aliases or body["alias"] in self.classes:
            raise _refused(422, f"create alias: {body['alias']} already exists")
        return self._pointed(body["alias"], body["class"])

    def _move_alias(self, asked: Asked) -> Answer:
        if asked.at[0] not in self.aliases:
            raise _refused(404, "alias not found")
        return self._pointed(asked.at[0], asked.json()["class"])

    def _pointed(self, alias: str, name: str) -> Answer:
        if name not in self.classes:
            raise _refused(422, f"class {name} does not exist")
        self.aliases[alias] = name
        return 200, {"alias": alias, "class": name}

    def _drop_alias(self, asked: Asked) -> Answer:
        return (404 if self.aliases.pop(asked.at[0], None) is None else 204), None


class _Rows(weaviate_pb2_grpc.WeaviateServicer):
    """Requests come one at a time."""

    def __init__(self, wire: Weaviate) -> None:
        self._wire = wire
        self._turn = threading.Lock()

    def BatchObjects(self, request: Any, context: Any) -> Any:
        with self._turn:
            self._enter("BatchObjects", context)
            return self._put_each(request, context)

    def _put_each(self, request: Any, context: Any) -> Any:
        errors = []
        for n, one in enumerate(request.objects):
            self._cut(n, context)
            try:
                self._put(one)
            except (KeyError, ValueError) as error:
                errors.append(batch_pb2.BatchObjectsReply.BatchError(index=n, error=str(error)))
        self._cut(len(request.objects), context)
        return batch_pb2.BatchObjectsReply(took=0.1, errors=errors)

    def BatchDelete(self, request: Any, context: Any) -> Any:
        with self._turn:
            self._enter("BatchDelete", context)
            return self._delete(request, context)

    def _delete(self, request: Any, context: Any) -> Any:
        rows = self._rows(request.collection, context)
        wanted = self._wanted(request.filters, context)
        found = [rows.pop(one) for one in wanted if one in rows]
        return batch_delete_pb2.BatchDeleteReply(matches=len(found), successful=len(found))

    def Aggregate(self, request: Any, context: Any) -> Any:
        with self._turn:
            self._enter("Aggregate", context)
            return self._count(request, context)

    def _count(self, request: Any, context: Any) -> Any:
        reply = aggregate_pb2.AggregateReply()
        reply.single_result.objects_count = len(self._rows(request.collection, context))
        return reply

    def Search(self, request: Any, context: Any) -> Any:
        with self._turn:
            self._enter("Search", context)
            return self._search(request, context)

    def _search(self, request: Any, context: Any) -> Any:
        rows = self._rows(request.collection, context)
        limit = request.limit or 10
        if limit > MAX_FOUND:
            context.abort(grpc.StatusCode.UNKNOWN, "query maximum results exceeded")
        distances: dict[str, float] = {}
        if request.HasField("near_vector"):
            distances = self._near(request, rows)
            keys = list(distances)[:limit]
        elif request.HasField("filters"):
            keys = [one for one in self._wanted(request.filters, context) if one in rows][:limit]
        else:
            keys = sorted(one for one in rows if one > request.after)[:limit]
        results = [self._result(request, key, rows[key], distances.get(key)) for key in keys]
        return search_get_pb2.SearchReply(took=0.1, results=results)

    def _enter(self, name: str, context: Any) -> None:
        wire = self._wire
        said = dict(context.invocation_metadata())
        if wire.api_key and said.get("authorization") != f"Bearer {wire.api_key}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "unauthorized")
        wire.asked.append(name)
        wire.fault = next((one for one in wire.faults if re.search(one.path, name)), None)
        if wire.fault and not wire.fault.after:
            self._abort(context)

    def _cut(self, n: int, context: Any) -> None:
        if self._wire.fault and self._wire.fault.after and n >= self._wire.fault.after:
            self._abort(context)

    def _abort(self, context: Any) -> None:
        fault = self._wire.fault
        assert fault is not None
        try:
            self._wire.spend()
        except ConnectionAbortedError:
            context.abort(grpc.StatusCode.INTERNAL, "RST_STREAM")
        context.abort(CODES.get(fault.status, grpc.StatusCode.UNAVAILABLE), str(fault.body))

    def _rows(self, name: str, context: Any) -> dict[str, dict[str, Any]]:
        name = self._wire.aliases.get(name, name)
        if name not in self._wire.rows:
            context.abort(grpc.StatusCode.UNKNOWN, f"could not find class {name} in schema")
        return self._wire.rows[name]

    def _wanted(self, filters: Any, context: Any) -> list[str]:
        if (filters.operator, filters.target.property) != (12, "_id"):
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "only contains_any of ids is known here")
        return list(filters.value_text_array.values)

    def _put(self, one: Any) -> None:
        wire = self._wire
        name = wire.aliases.get(one.collection, one.collection)
        if name not in wire.classes:  # as with its default, AUTOSCHEMA_ENABLED
            wire.classes[name] = {"class": name, "properties": [], "description": ""}
            wire.rows[name] = {}
        types = {said["name"]: said["dataType"][0] for said in wire.classes[name]["properties"]}
        given = _given(one.properties)
        for key, value in given.items():
            if key not in types:
                raise ValueError(f"no such prop with name '{key}' found in class '{name}'")
            if value is not None and not _is_a(types[key], value):
                raise ValueError(f"invalid {types[key]} property '{key}' on class '{name}'")
        ((vector,),) = [[said.vector_bytes for said in one.vectors if said.name == "default"]]
        held = wire.rows[name]
        if held and len(next(iter(held.values()))["vector"]) != len(vector):
            raise ValueError("new node has a vector with another length")
        if not np.isfinite(np.frombuffer(vector, "<f4")).all():
            raise ValueError("NaN in vector")
        held[str(uuid.UUID(one.uuid))] = {"vector": vector, "properties": given}

    def _near(self, request: Any, rows: dict[str, dict[str, Any]]) -> dict[str, float]:
        if not rows:
            return {}
        (said,) = request.near_vector.vectors
        query = np.frombuffer(said.vector_bytes, "<f4").astype(np.float64)
        held = np.array([np.frombuffer(one["vector"], "<f4") for one in rows.values()], np.float64)
        name = self._wire.aliases.get(request.collection, request.collection)
        config = self._wire.classes[name]["vectorConfig"]["default"]["vectorIndexConfig"]
        if config["distance"] == "l2-squared":
            found = np.sum((held - query) ** 2, axis=1)
        elif config["distance"] == "dot":
            found = -(held @ query)
        else:
            norms = np.linalg.norm(held, axis=1) * np.linalg.norm(query)
            found = 1 - held @ query / norms
        keys = list(rows)
        return {keys[n]: float(found[n]) for n in np.argsort(found, kind="stable").tolist()}

    def _result(self, request: Any, key: str, row: dict[str, Any], distance: float | None) -> Any:
        result = search_get_pb2.SearchResult()
        result.metadata.id = key
        result.metadata.id_as_bytes = uuid.UUID(key).bytes
        if request.metadata.distance and distance is not None:
            result.metadata.distance = distance
            result.metadata.distance_present = True
        if request.metadata.vector:
            said = base_pb2.Vectors(name="default", vector_bytes=row["vector"])
            said.type = base_pb2.Vectors.VECTOR_TYPE_SINGLE_FP32
            result.metadata.vectors.append(said)
        wanted = list(request.properties.non_ref_properties) or list(row["properties"])
        for name in wanted:
            _say(result.properties.non_ref_props.fields[name], row["properties"].get(name))
        return result


def _given(said: Any) -> dict[str, Any]:
    given: dict[str, Any] = dict(said.non_ref_properties.items())
    for one in said.int_array_properties:
        given[one.prop_name] = list(one.values)
    for one in (*said.text_array_properties, *said.boolean_array_properties):
        given[one.prop_name] = list(one.values)
    for one in said.number_array_properties:
        given[one.prop_name] = np.frombuffer(one.values_bytes, "<f8").tolist()
    given |= {name: [] for name in said.empty_list_props}
    return given


def _is_a(kind: str, value: Any) -> bool:
    if kind.endswith("[]"):
        inner = kind.removesuffix("[]")
        return isinstance(value, list) and all(_is_a(inner, one) for one in value)
    if kind in ("text", "boolean"):
        return isinstance(value, str if kind == "text" else bool)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return kind == "number" or value == int(value)


def _say(field: Any, value: Any) -> None:
    if value is None:
        field.null_value = 0
    elif isinstance(value, list):
        _say_list(field.list_value, value)
    else:
        kinds = {bool: "bool_value", str: "text_value", float: "number_value"}
        setattr(field, kinds[type(value)], value)


def _say_list(field: Any, value: list[Any]) -> None:
    if not value:
        field.SetInParent()
    elif isinstance(value[0], bool):
        field.bool_values.values.extend(value)
    elif isinstance(value[0], str):
        field.text_values.values.extend(value)
    elif isinstance(value[0], int):
        field.int_values.values = np.array(value, "<i8").tobytes()
    else:
        field.number_values.values = np.array(value, "<f8").tobytes()


def _refused(status: int, message: str) -> Refused:
    return Refused(status, {"error": [{"message": message}]})
