"""Qdrant's REST protocol on loopback, with its real engine behind: qdrant-edge, a shard each.

Qdrant's own server cannot be had from a registry. What is its own here is the engine: what it makes
of vectors and payloads, how it searches, its log of writes. Names, aliases, metadata and answers to
mistakes are imitated, as Qdrant 1.16 documents them. Searches are exact: the engine's `optimize`
holds Python's lock (40 s for 30,000 x 384), and a server of Qdrant's own answers while it indexes.
`python -m tests.stores.qdrant_server FOLDER PORT` serves until it is killed.
"""

import json
import re
import shutil
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

import qdrant_edge as edge
from pydantic_core import from_json, to_json

Json: TypeAlias = Any
DISTANCES = {
    "Cosine": edge.Distance.Cosine,
    "Dot": edge.Distance.Dot,
    "Euclid": edge.Distance.Euclid,
}
TYPES = {
    "float32": edge.VectorStorageDatatype.Float32,
    "float16": edge.VectorStorageDatatype.Float16,
}


class Refused(Exception):
    """Status and text of an answer."""


class Server:
    """Collections by name, below a folder; what is there is served again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock = folder, threading.RLock()
        folder.mkdir(parents=True, exist_ok=True)
        self.meta: dict[str, Any] = {"collections": {}, "aliases": {}, "made": 0}
        if (folder / "meta.json").exists():
            self.meta = json.loads((folder / "meta.json").read_text())
        self.shards: dict[str, edge.EdgeShard] = {}
        self.unoptimized: set[str] = set()
        for name, one in self.meta["collections"].items():
            self.shards[name] = edge.EdgeShard.load(str(folder / one["folder"]))

    def save(self) -> None:
        beside = self.folder / "meta.json.new"
        beside.write_text(json.dumps(self.meta))
        beside.replace(self.folder / "meta.json")

    def real(self, name: str) -> str:
        real = str(self.meta["aliases"].get(name, name))
        if real not in self.shards:
            raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
        return real

    def shard(self, name: str) -> edge.EdgeShard:
        return self.shards[self.real(name)]

    def create(self, name: str, body: Json) -> Json:
        if name in self.shards or name in self.meta["aliases"]:
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
        vectors = body["vectors"]
        named = {"": vectors} if "size" in vectors else vectors
        config = edge.EdgeConfig(
            vectors={
                key: edge.EdgeVectorParams(
                    size=one["size"],
                    distance=DISTANCES[one["distance"]],
                    datatype=TYPES[one.get("datatype") or "float32"],
                )
                for key, one in named.items()
            }
        )
        self.meta["made"] += 1
        where = f"shard-{self.meta['made']}"
        (self.folder / where).mkdir()
        shard = edge.EdgeShard.create(str(self.folder / where), config)
        shard.flush()
        self.shards[name] = shard
        one = {"folder": where, "vectors": vectors, "metadata": body.get("metadata") or {}}
        self.meta["collections"][name] = one
        self.save()
        return True

    def delete(self, name: str, _: Json) -> Json:
        if name not in self.shards:
            return False
        self.meta["aliases"] = {k: v for k, v in self.meta["aliases"].items() if v != name}
        where = self.meta["collections"].pop(name)["folder"]
        self.save()
        self.shards.pop(name).close()
        shutil.rmtree(self.folder / where)
        return True

    def update(self, name: str, body: Json) -> Json:
        self.meta["collections"][self.real(name)]["metadata"].update(body.get("metadata") or {})
        self.save()
        return True

    def info(self, name: str, _: Json) -> Json:
        real = self.real(name)
        if real in self.unoptimized:
            self.unoptimized.discard(real)
            return self._info(real, "yellow")
        return self._info(real, "green")

    def _info(self, real: str, status: str) -> Json:
        one = self.meta["collections"][real]
        return {
            "status": status,
            "optimizer_status": "ok",
            "segments_count": 1,
            "payload_schema": {},
            "config": {
                "params": {"vectors": one["vectors"]},
                "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000},
                "optimizer_config": {"default_segment_number": 0, "flush_interval_sec": 5},
                "metadata": one["metadata"],
            },
        }

    def aliases(self, _: str, body: Json) -> Json:
        changed = dict(self.meta["aliases"])
        for action in body["actions"]:
            if "delete_alias" in action:
                changed.pop(action["delete_alias"]["alias_name"], None)
            else:
                one = action["create_alias"]
                if one["alias_name"] in self.shards:
                    raise Refused(409, f"Collection `{one['alias_name']}` already exists!")
                if one["collection_name"] not in self.shards:
                    raise Refused(404, f"Collection `{one['collection_name']}` doesn't exist!")
                changed[one["alias_name"]] = one["collection_name"]
        self.meta["aliases"] = changed
        self.save()
        return True

    def upsert(self, name: str, body: Json) -> Json:
        if (batch := body.get("batch")) is not None:
            vectors = batch["vectors"]
            if isinstance(vectors, dict):
                keys = list(vectors)
                vectors = [
                    dict(zip(keys, one, strict=True)) for one in zip(*vectors.values(), strict=True)
                ]
            rows = [*zip(batch["ids"], vectors, batch["payloads"], strict=True)]
        else:
            rows = [(one["id"], one["vector"], one.get("payload")) for one in body["points"]]
        points = [edge.Point(id_, vector, payload) for id_, vector, payload in rows]
        self.unoptimized.add(self.real(name))
        self.shard(name).update(edge.UpdateOperation.upsert_points(points))
        return {"operation_id": 0, "status": "completed"}

    def remove(self, name: str, body: Json) -> Json:
        self.shard(name).update(edge.UpdateOperation.delete_points(body["points"]))
        return {"operation_id": 0, "status": "completed"}

    def retrieve(self, name: str, body: Json) -> Json:
        found = self.shard(name).retrieve(
            body["ids"], body.get("with_payload", True), body.get("with_vector", False)
        )
        return [_point(one) for one in found]

    def scroll(self, name: str, body: Json) -> Json:
        request = edge.ScrollRequest(
            offset=body.get("offset"),
            limit=body.get("limit", 10),
            with_payload=body.get("with_payload", True),
            with_vector=body.get("with_vector", False),
        )
        points, after = self.shard(name).scroll(request)
        return {
            "points": [_point(one) for one in points],
            "next_page_offset": None if after is None else str(after),
        }

    def count(self, name: str, _: Json) -> Json:
        return {"count": self.shard(name).count(edge.CountRequest(exact=True))}

    def query(self, name: str, body: Json) -> Json:
        return [self._query(self.shard(name), one) for one in body["searches"]]

    def _query(self, shard: edge.EdgeShard, one: Json) -> Json:
        prefetch = one.get("prefetch") or []
        request = edge.QueryRequest(
            limit=one["limit"],
            query=_nearest(one),
            prefetches=[
                edge.Prefetch(limit=part["limit"], query=_nearest(part))
                for part in ([prefetch] if isinstance(prefetch, dict) else prefetch)
            ],
            with_payload=one.get("with_payload", False),
        )
        found = shard.query(request)
        return {"points": [_point(hit) | {"score": hit.score, "version": 0} for hit in found]}


def _nearest(one: Json) -> edge.Query:
    query = one["query"]["nearest"] if isinstance(one["query"], dict) else one["query"]
    return edge.Query.Nearest(query, using=one.get("using"))


def _point(one: Any) -> Json:
    return {"id": str(one.id), "payload": one.payload, "vector": one.vector}


NAME = "/collections/([^/]+)"
Route: TypeAlias = tuple[str, str, Callable[[Server, str, Json], Json]]
ROUTES: list[Route] = [
    ("GET", "/collections", lambda s, _, __: {"collections": [{"name": one} for one in s.shards]}),
    (
        "GET",
        "/aliases",
        lambda s, _, __: {
            "aliases": [
                {"alias_name": k, "collection_name": v} for k, v in s.meta["aliases"].items()
            ]
        },
    ),
    ("POST", "/collections/aliases", Server.aliases),
    ("GET", f"{NAME}/exists", lambda s, name, _: {"exists": name in s.shards}),
    ("PUT", NAME, Server.create),
    ("GET", NAME, Server.info),
    ("PATCH", NAME, Server.update),
    ("DELETE", NAME, Server.delete),
    ("PUT", f"{NAME}/points", Server.upsert),
    ("POST", f"{NAME}/points", Server.retrieve),
    ("POST", f"{NAME}/points/delete", Server.remove),
    ("POST", f"{NAME}/points/scroll", Server.scroll),
    ("POST", f"{NAME}/points/count", Server.count),
    ("POST", f"{NAME}/points/query/batch", Server.query),
]


class Request(BaseHTTPRequestHandler):
    """One request, in its turn."""

    protocol_version = "HTTP/1.1"
    serving: Server

    def _answer(self) -> None:
        given = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0].rstrip("/")
        if not path:
            self._say(200, {"title": "qdrant - vector search engine", "version": "1.16.0"})
            return
        try:
            body = from_json(given) if given else {}
            self._say(200, {"result": self._result(path, body), "status": "ok", "time": 0.0})
        except Refused as refused:
            status, text = refused.args
            self._say(status, {"status": {"error": text}, "time": 0.0})
        except Exception as error:  # the engine raises nothing narrower
            self._say(400, {"status": {"error": str(error)}, "time": 0.0})

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def _result(self, path: str, body: Json) -> Json:
        for method, pattern, route in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == self.command:
                with self.serving.lock:
                    return route(self.serving, found[1] if found.groups() else "", body)
        raise Refused(404, f"no {self.command} {path}")

    def _say(self, status: int, answer: Json) -> None:
        body = to_json(answer)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def main() -> None:
    Request.serving = Server(Path(sys.argv[1]))
    ThreadingHTTPServer.request_queue_size = 64
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Request) as made:
        print(made.server_port, flush=True)
        made.serve_forever()


if __name__ == "__main__":
    main()
