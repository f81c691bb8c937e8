"""What of Pinecone's data plane (REST 2026-07, indexes of vectors) the sink needs.

Taken from the client's source and the reference (operation limits, data freshness, namespaces).
A write is seen by reads `lag_s` later; reads say in a header how far they see.
"""

import json
import math
import re
import time
from typing import Any

import numpy as np

from tests.wire.server import Answer, Asked, Refused, Wire

MAX_BODY_BYTES = 2 * 2**20
MAX_ROWS = 1_000
MAX_METADATA_BYTES = 40 * 1024
MAX_ID = 512
MAX_PAGE = 100
MAX_METADATA_PAGE = 10_000
MAX_TOP_K = 10_000
MAX_URL = 8_000
NOT_FOUND = 5
INVALID = 3


class Pinecone(Wire):
    """One index of a metric and a dimension: that of its first row, where none is given."""

    def __init__(self, api_key: str, dimension: int | None = None, metric: str = "cosine") -> None:
        self.api_key, self.dimension, self.metric = api_key, dimension, metric
        self.lag_s = 0.02
        self.log: list[tuple[float, str, str, Any]] = []
        self.seen: dict[str, dict[str, dict[str, Any]]] = {}
        self.n_seen = 0
        super().__init__()
        for method, pattern, answer in (
            ("POST", "/vectors/upsert", self._upsert),
            ("GET", "/vectors/fetch", self._fetch),
            ("POST", "/vectors/fetch_by_metadata", self._fetch_by_metadata),
            ("POST", "/vectors/delete", self._delete),
            ("GET", "/vectors/list", self._list),
            ("POST", "/query", self._query),
            ("POST", "/describe_index_stats", self._stats),
            ("POST", "/namespaces", self._create_namespace),
            ("GET", "/namespaces/([^/]+)", self._describe_namespace),
            ("DELETE", "/namespaces/([^/]+)", self._delete_namespace),
        ):
            self.route(method, pattern, self._checked(answer))

    def _checked(self, answer: Any) -> Any:
        def checked(asked: Asked) -> Answer:
            if asked.headers.get("api-key") != self.api_key:
                raise Refused(401, b"Unauthorized")
            if asked.headers.get("x-pinecone-api-version") != "2026-07":
                raise _refused(400, INVALID, "API version")
            if len(asked.body) > MAX_BODY_BYTES:
                raise _refused(413, 11, "Request size exceeds the limit of 2097152 bytes")
            self._catch_up()
            found: Answer = answer(asked)
            return found

        return checked

    def answer(self, asked: Asked) -> tuple[int, Any, dict[str, str]]:
        status, body, headers = super().answer(asked)
        if status == 200 and asked.path in ("/query", "/vectors/fetch"):
            headers = headers | {"x-pinecone-max-indexed-lsn": str(self.n_seen)}
        if status == 200 and asked.path == "/vectors/upsert":
            headers = headers | {"x-pinecone-request-lsn": str(len(self.log))}
        return status, body, headers

    def settled(self) -> dict[str, dict[str, dict[str, Any]]]:
        """All that was written, by namespace and id."""
        self._catch_up(math.inf)
        return self.seen

    def _write(self, verb: str, namespace: str, what: Any) -> None:
        self.log.append((time.monotonic() + self.lag_s, verb, namespace, what))

    def _catch_up(self, until: float | None = None) -> None:
        now = time.monotonic() if until is None else until
        while self.n_seen < len(self.log) and self.log[self.n_seen][0] <= now:
            _, verb, namespace, what = self.log[self.n_seen]
            self.n_seen += 1
            if verb == "drop":
                self.seen.pop(namespace, None)
                continue
            held = self.seen.setdefault(namespace, {})
            if verb == "upsert":
                held[what["id"]] = what
            elif verb == "delete":
                held.pop(what, None)

    def _upsert(self, asked: Asked) -> Answer:
        body = asked.json()
        _only(body, {"vectors", "namespace"})
        if not 1 <= len(body["vectors"]) <= MAX_ROWS:
            raise _refused(400, INVALID, "Cannot upsert more than 1000 records at a time")
        self.dimension = self.dimension or len(body["vectors"][0]["values"])
        for one in body["vectors"]:
            self._check(one)
        for n, one in enumerate(body["vectors"]):
            self.done(n)
            one["values"] = np.array(one["values"], np.float32).tolist()
            self._write("upsert", body.get("namespace", "__default__"), one)
        if self.fault:
            self.done(len(body["vectors"]))
        return 200, {"upsertedCount": len(body["vectors"])}

    def _check(self, one: dict[str, Any]) -> None:
        _only(one, {"id", "values", "metadata"})
        id_, values = one["id"], one["values"]
        if not 1 <= len(id_) <= MAX_ID or not id_.isascii():
            raise _refused(400, INVALID, f"Vector ID must be ASCII of 1 to 512, but got '{id_}'")
        if len(values) != self.dimension or not all(isinstance(v, float | int) for v in values):
            message = f"Vector dimension {len(values)} does not match {self.dimension}"
            raise _refused(400, INVALID, message)
        if not any(values):
            raise _refused(400, INVALID, "Dense vectors must contain at least one non-zero value")
        metadata = one.get("metadata", {})
        size = len(json.dumps(metadata, ensure_ascii=False).encode())
        if size > MAX_METADATA_BYTES:
            message = f"Metadata size is {size} bytes, which exceeds the limit of 40960 bytes"
            raise _refused(400, INVALID, f"{message} per vector")
        for name, value in metadata.items():
            texts = isinstance(value, list) and all(isinstance(v, str) for v in value)
            if (
                not name
                or name[0] == "$"
                or not (texts or isinstance(value, bool | int | float | str))
            ):
                raise _refused(400, INVALID, f"Metadata value must be a string, number: {name}")
            if isinstance(value, int) and not isinstance(value, bool):
                metadata[name] = float(value)

    def _fetch(self, asked: Asked) -> Answer:
        ids = asked.many("ids")
        if not ids or len(ids) > MAX_ROWS or asked.length > MAX_URL:
            raise Refused(414, b"URI too long")
        held = self.seen.get(asked.query.get("namespace", "__default__"), {})
        vectors = {one: held[one] for one in ids if one in held}
        return 200, {"vectors": vectors, "namespace": asked.query.get("namespace", "")}

    def _fetch_by_metadata(self, asked: Asked) -> Answer:
        body = asked.json()
        _only(body, {"filter", "namespace", "limit", "paginationToken"})
        limit = body.get("limit", 100)
        if not 1 <= limit <= MAX_METADATA_PAGE:
            raise _refused(400, INVALID, "limit")
        ((name, condition),) = body["filter"].items()
        if condition != {"$exists": True}:
            raise _refused(400, INVALID, "only $exists is known here")
        held = self.seen.get(body["namespace"], {})
        ids = sorted(id_ for id_, one in held.items() if name in one.get("metadata", {}))
        ids = [one for one in ids if one > body.get("paginationToken", "")]
        answer: dict[str, Any] = {"vectors": {one: held[one] for one in ids[:limit]}}
        if len(ids) > limit:
            answer["pagination"] = {"next": ids[limit - 1]}
        return 200, answer | {"namespace": body["namespace"], "usage": {"readUnits": 1}}

    def _delete(self, asked: Asked) -> Answer:
        body = asked.json()
        _only(body, {"namespace", "ids"})
        if not 1 <= len(body["ids"]) <= MAX_ROWS:
            raise _refused(400, INVALID, "Cannot delete more than 1000 records at a time")
        if body["namespace"] not in self._namespaces():
            raise _refused(404, NOT_FOUND, "Namespace not found")
        for one in body["ids"]:
            self._write("delete", body["namespace"], one)
        return 200, {}

    def _list(self, asked: Asked) -> Answer:
        limit = int(asked.query.get("limit", MAX_PAGE))
        if not 1 <= limit <= MAX_PAGE:
            raise _refused(400, INVALID, "limit")
        held = self.seen.get(asked.query["namespace"], {})
        prefix, token = asked.query.get("prefix", ""), asked.query.get("paginationToken", "")
        ids = sorted(one for one in held if one.startswith(prefix) and one > token)
        answer: dict[str, Any] = {"vectors": [{"id": one} for one in ids[:limit]]}
        if len(ids) > limit:
            answer["pagination"] = {"next": ids[limit - 1]}
        return 200, answer | {"namespace": asked.query["namespace"]}

    def _query(self, asked: Asked) -> Answer:
        body = asked.json()
        _only(body, {"topK", "includeValues", "includeMetadata", "namespace", "vector"})
        if not 1 <= body["topK"] <= MAX_TOP_K or len(body["vector"]) != self.dimension:
            raise _refused(400, INVALID, "topK or the vector's dimension")
        held = self.seen.get(body.get("namespace", "__default__"), {})
        rows = list(held.values())
        if not rows:
            return 200, {"matches": [], "namespace": body["namespace"]}
        all_ = np.array([one["values"] for one in rows])
        query = np.array(body["vector"], np.float64)
        if self.metric == "euclidean":
            scores = np.sum((all_ - query) ** 2, axis=1)
        else:
            scores = all_ @ query
            if self.metric == "cosine":
                scores /= np.linalg.norm(all_, axis=1) * np.linalg.norm(query)
        order = np.argsort(scores if self.metric == "euclidean" else -scores)[: body["topK"]]
        matches = [
            {"id": rows[n]["id"], "score": float(np.float32(scores[n])), "values": []}
            | ({"metadata": rows[n]["metadata"]} if body["includeMetadata"] else {})
            for n in order.tolist()
        ]
        return 200, {"matches": matches, "namespace": body["namespace"]}

    def _stats(self, asked: Asked) -> Answer:
        counts = {name: {"vectorCount": len(held)} for name, held in self.seen.items()}
        return 200, {
            "namespaces": counts,
            "dimension": self.dimension,
            "metric": self.metric,
            "indexFullness": 0.0,
            "totalVectorCount": sum(map(len, self.seen.values())),
        }

    def _create_namespace(self, asked: Asked) -> Answer:
        body = asked.json()
        _only(body, {"name"})
        if not re.fullmatch(r"[\x21-\x7e]{1,512}", body["name"]):
            raise _refused(400, INVALID, "name")
        if body["name"] in self._namespaces():
            raise _refused(409, 6, "Namespace already exists")
        self._write("create", body["name"], None)
        return 200, {"name": body["name"], "record_count": "0"}

    def _describe_namespace(self, asked: Asked) -> Answer:
        (name,) = asked.at
        if name not in self.seen:
            raise _refused(404, NOT_FOUND, "Namespace not found")
        return 200, {"name": name, "record_count": str(len(self.seen[name]))}

    def _delete_namespace(self, asked: Asked) -> Answer:
        (name,) = asked.at
        if name not in self._namespaces():
            raise _refused(404, NOT_FOUND, "Namespace not found")
        self._write("drop", name, None)
        return 200, {}

    def _namespaces(self) -> set[str]:
        """With what is not seen yet."""
        found = set(self.seen)
        for _, verb, namespace, _ in self.log[self.n_seen :]:
            (found.discard if verb == "drop" else found.add)(namespace)
        return found


def _only(body: dict[str, Any], keys: set[str]) -> None:
    if more := set(body) - keys:
        raise _refused(400, INVALID, f"unknown field {sorted(more)}")


def _refused(status: int, code: int, message: str) -> Refused:
    return Refused(status, {"code": code, "message": message, "details": []})
