"""What of Elasticsearch 9.5 the sink needs, over HTTP as the server speaks it.

Taken from the client's source and the reference (bulk, dense_vector, aliases, scroll). Searches and
counts see what was there at the last refresh, and nothing refreshes by itself; `_mget` sees all.
"""

import base64
import binascii
import copy
import fnmatch
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tests.wire.server import Answer, Asked, Refused, Wire

VERSION = "9.5.0"
TYPE = "application/vnd.elasticsearch+json;compatible-with=9"
BULK_TYPE = "application/vnd.elasticsearch+x-ndjson; compatible-with=9"
MAX_BODY_BYTES = 100 * 2**20
MAX_ID_BYTES = 512
MAX_TERM_BYTES = 32_766
MAX_WINDOW = 10_000
BITS = {"long": 64, "integer": 32, "short": 16, "byte": 8}
FIELDS = {
    "dense_vector": {"dims", "index", "similarity", "element_type", "index_options"},
    "keyword": {"ignore_above"},
    "boolean": {"ignore_malformed"},
    "date": {"ignore_malformed", "format"},
    "double": {"ignore_malformed"},
    "float": {"ignore_malformed"},
    "long": {"ignore_malformed"},
    "unsigned_long": {"ignore_malformed"},
}
SIMILARITIES = {"cosine", "dot_product", "max_inner_product", "l2_norm"}


@dataclass
class Index:
    """One, with what searches see of it apart from what was written."""

    settings: dict[str, Any]
    mappings: dict[str, Any]
    aliases: dict[str, dict[str, Any]]
    docs: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)


class Elasticsearch(Wire):
    """A cluster of one; `api_key` is asked for where it is set."""

    headers: ClassVar = {"X-Elastic-Product": "Elasticsearch", "Content-Type": TYPE}

    def __init__(self, api_key: str = "") -> None:
        self.indices: dict[str, Index] = {}
        self.scrolls: dict[str, tuple[list[dict[str, Any]], int]] = {}
        self.api_key = api_key
        self.version = VERSION
        super().__init__()
        name = r"([^/_][^/]*)"
        for method, pattern, answer in (
            ("GET", "/", self._info),
            ("PUT", f"/{name}", self._create),
            ("DELETE", f"/{name}", self._delete),
            ("HEAD", f"/{name}", self._exists),
            ("GET", f"/{name}/_mapping", self._mapping),
            ("PUT", f"/{name}/_mapping", self._put_mapping),
            ("GET", f"/_alias/{name}", self._alias),
            ("POST", "/_aliases", self._aliases),
            ("PUT", f"/{name}/_bulk", self._bulk),
            ("PUT", "/_bulk", self._bulk),
            ("POST", f"/{name}/_refresh", self._refresh),
            ("POST", f"/{name}/_count", self._count),
            ("POST", f"/{name}/_search", self._search),
            ("POST", "/_search/scroll", self._scroll),
            ("DELETE", "/_search/scroll", self._clear_scroll),
            ("POST", f"/{name}/_mget", self._mget),
        ):
            self.route(method, pattern, self._checked(answer))

    def _checked(self, answer: Any) -> Any:
        def checked(asked: Asked) -> Answer:
            if self.api_key and asked.headers.get("authorization") != f"ApiKey {self.api_key}":
                raise _refused(401, "security_exception", "missing authentication credentials")
            if len(asked.body) > MAX_BODY_BYTES:
                raise Refused(413, None)
            kind = asked.headers.get("content-type", "")
            wanted = "x-ndjson" if asked.path.endswith("/_bulk") else "elasticsearch+json"
            if asked.body and wanted not in kind:
                raise _refused(406, "media_type_header_exception", f"Content-Type {kind}")
            found: Answer = answer(asked)
            return found

        return checked

    def _info(self, asked: Asked) -> Answer:
        version = {"number": self.version, "build_flavor": "default", "lucene_version": "10.3.0"}
        return 200, {
            "name": "wire",
            "cluster_name": "wire",
            "cluster_uuid": "w",
            "version": version,
            "tagline": "You Know, for Search",
        }

    def _create(self, asked: Asked) -> Answer:
        (name,) = asked.at
        body = asked.json() if asked.body else {}
        _only(body, {"settings", "mappings", "aliases"})
        if name != name.lower() or re.search(r'[\\/*?"<>| ,#:]', name) or name[0] in "-_+":
            raise _refused(400, "invalid_index_name_exception", f"Invalid index name [{name}]")
        if name in self.indices or self._pointed(name):
            raise _refused(
                400, "resource_already_exists_exception", f"index [{name}] already exists"
            )
        mappings = body.get("mappings", {})
        _check_mappings(mappings)
        aliases = {alias: dict(said) for alias, said in body.get("aliases", {}).items()}
        if set(aliases) & set(self.indices):
            raise _refused(400, "invalid_alias_name_exception", "an index has that name")
        self.indices[name] = Index(body.get("settings", {}), mappings, aliases)
        return 200, {"acknowledged": True, "shards_acknowledged": True, "index": name}

    def _delete(self, asked: Asked) -> Answer:
        (name,) = asked.at
        if self._pointed(name):
            raise _refused(400, "illegal_argument_exception", "matches an alias, specify the index")
        if name not in self.indices and asked.query.get("ignore_unavailable") != "true":
            raise _missing(name)
        self.indices.pop(name, None)
        return 200, {"acknowledged": True}

    def _exists(self, asked: Asked) -> Answer:
        (name,) = asked.at
        return (200 if name in self.indices or self._pointed(name) else 404), None

    def _mapping(self, asked: Asked) -> Answer:
        (name,) = asked.at
        found = fnmatch.filter(self.indices, name) if "*" in name else [self._one(name)]
        return 200, {one: {"mappings": self.indices[one].mappings} for one in found}

    def _put_mapping(self, asked: Asked) -> Answer:
        index = self.indices[self._one(asked.at[0])]
        body = asked.json()
        _only(body, {"_meta"})
        index.mappings["_meta"] = body["_meta"]
        return 200, {"acknowledged": True}

    def _alias(self, asked: Asked) -> Answer:
        (alias,) = asked.at
        found = {
            name: {"aliases": {alias: index.aliases[alias]}}
            for name, index in self.indices.items()
            if alias in index.aliases
        }
        if not found:
            return 404, {"error": f"alias [{alias}] missing", "status": 404}
        return 200, found

    def _aliases(self, asked: Asked) -> Answer:
        body = asked.json()
        _only(body, {"actions"})
        changed = {name: copy.deepcopy(index.aliases) for name, index in self.indices.items()}
        for action in body["actions"]:
            ((verb, said),) = action.items()
            _only(said, {"index", "alias", "must_exist"})
            names = fnmatch.filter(self.indices, said["index"])
            if not names or said["alias"] in self.indices:
                raise _missing(said["index"])
            if verb == "remove" and not any(said["alias"] in changed[name] for name in names):
                raise _refused(404, "aliases_not_found_exception", said["alias"])
            for name in names:
                if verb == "add":
                    changed[name][said["alias"]] = {}
                elif verb == "remove":
                    changed[name].pop(said["alias"], None)
                else:
                    raise _refused(400, "x_content_parse_exception", f"unknown action {verb}")
        for name, aliases in changed.items():
            self.indices[name].aliases = aliases
        return 200, {"acknowledged": True, "errors": False}

    def _bulk(self, asked: Asked) -> Answer:
        if not asked.body.endswith(b"\n"):
            raise _refused(400, "illegal_argument_exception", "The bulk request must end by \\n")
        lines = asked.body.split(b"\n")[:-1]
        items = []
        for n, (verb, target, id_, body) in enumerate(_operations(lines, *asked.at)):
            self.done(n)
            items.append({verb: self._operate(verb, target, id_, body, asked.query)})
        if self.fault:
            self.done(len(items))
        errors = any(item["status"] >= 400 for one in items for item in one.values())
        return 200, {"took": 1, "errors": errors, "items": items}

    def _operate(
        self, verb: str, target: str, id_: str, body: bytes, query: dict[str, str]
    ) -> dict[str, Any]:
        said: dict[str, Any] = {"_index": target, "_id": id_}
        pointed = self._pointed(target)
        if query.get("require_alias") == "true" and not pointed:
            reason = f"no such index [{target}] and [require_alias] request flag is [true]"
            error = {"type": "index_not_found_exception", "reason": reason, "index": target}
            return said | {"status": 404, "error": error}
        if not pointed and target not in self.indices:
            self.indices[target] = Index({}, {"dynamic": True, "properties": {}}, {})
        index = self.indices[pointed or target]
        if verb == "delete":
            found = index.docs.pop(id_, None)
            return said | {"status": 404 if found is None else 200, "result": "deleted"}
        try:
            source = json.loads(body, parse_constant=_no_constant)
            _check_document(source, index.mappings)
        except ValueError as error:
            reason = f"[1:1] failed to parse: {error}"
            return said | {
                "status": 400,
                "error": {"type": "document_parsing_exception", "reason": reason},
            }
        created = id_ not in index.docs
        index.docs[id_] = source
        return said | {"status": 201 if created else 200, "result": "created"}

    def _refresh(self, asked: Asked) -> Answer:
        index = self.indices[self._one(asked.at[0])]
        index.seen = dict(index.docs)
        return 200, {"_shards": {"total": 1, "successful": 1, "failed": 0}}

    def _count(self, asked: Asked) -> Answer:
        index = self.indices[self._one(asked.at[0])]
        return 200, {"count": len(index.seen), "_shards": _shards()}

    def _search(self, asked: Asked) -> Answer:
        index = self.indices[self._one(asked.at[0])]
        body = asked.json() if asked.body else {}
        _only(body, {"query", "knn", "size", "_source", "sort"})
        size = body.get("size", 10)
        if "scroll" not in asked.query and size > MAX_WINDOW:
            raise _refused(400, "illegal_argument_exception", "Result window is too large")
        if "knn" in body:
            scored = self._near(index, body["knn"])[:size]
        else:
            _only(body.get("query", {}), {"match_all"})
            scored = [(id_, 1.0) for id_ in index.seen]
        hits = [
            {
                "_index": asked.at[0],
                "_id": id_,
                "_score": score,
                "_source": _filtered(_stored(index, index.seen[id_]), body.get("_source")),
            }
            for id_, score in scored
        ]
        answer: dict[str, Any] = {"took": 1, "timed_out": False, "_shards": _shards()}
        if "scroll" in asked.query:
            scroll_id = f"s{len(self.scrolls)}"
            self.scrolls[scroll_id] = (hits[size:], size)
            answer["_scroll_id"] = scroll_id
        total = {"value": len(hits), "relation": "eq"}
        return 200, answer | {"hits": {"total": total, "hits": hits[:size]}}

    def _near(self, index: Index, knn: dict[str, Any]) -> list[tuple[str, float]]:
        _only(knn, {"field", "query_vector", "k", "num_candidates"})
        said = index.mappings["properties"][knn["field"]]
        if not knn["k"] <= knn["num_candidates"] <= MAX_WINDOW:
            raise _refused(400, "illegal_argument_exception", "[num_candidates]")
        query = _vector(knn["query_vector"], said)
        if not index.seen:
            return []
        held = np.array([_vector(doc[knn["field"]], said) for doc in index.seen.values()])
        scores = _scores(query, held, said)
        best = np.argsort(-scores, kind="stable")[: knn["k"]]
        ids = list(index.seen)
        return [(ids[row], float(np.float32(scores[row]))) for row in best.tolist()]

    def _scroll(self, asked: Asked) -> Answer:
        body = asked.json()
        _only(body, {"scroll_id", "scroll"})
        if body["scroll_id"] not in self.scrolls:
            raise _refused(404, "search_context_missing_exception", "No search context found")
        hits, size = self.scrolls[body["scroll_id"]]
        self.scrolls[body["scroll_id"]] = (hits[size:], size)
        found = {"hits": hits[:size]}
        return 200, {"_scroll_id": body["scroll_id"], "_shards": _shards(), "hits": found}

    def _clear_scroll(self, asked: Asked) -> Answer:
        said = asked.json()["scroll_id"]
        for one in [said] if isinstance(said, str) else said:
            self.scrolls.pop(one, None)
        return 200, {"succeeded": True, "num_freed": 1}

    def _mget(self, asked: Asked) -> Answer:
        index = self.indices[self._one(asked.at[0])]
        body = asked.json()
        _only(body, {"ids"})
        docs: list[dict[str, Any]] = []
        for id_ in body["ids"]:
            found: dict[str, Any] = {"_index": asked.at[0], "_id": id_, "found": False}
            if id_ in index.docs:
                found |= {"found": True, "_source": _stored(index, index.docs[id_])}
            docs.append(found)
        return 200, {"docs": docs}

    def _pointed(self, alias: str) -> str:
        return next((name for name, one in self.indices.items() if alias in one.aliases), "")

    def _one(self, name: str) -> str:
        found = name if name in self.indices else self._pointed(name)
        if not found:
            raise _missing(name)
        return found


def _operations(lines: list[bytes], target: str = "") -> Iterator[tuple[str, str, str, bytes]]:
    rest = iter(lines)
    for line in rest:
        ((verb, said),) = json.loads(line).items()
        _only(said, {"_id", "_index"})
        id_ = said["_id"]
        if not id_ or len(id_.encode()) > MAX_ID_BYTES:
            raise _refused(400, "action_request_validation_exception", "id is too long or empty")
        if verb not in ("index", "delete"):
            raise _refused(400, "illegal_argument_exception", f"Malformed action [{verb}]")
        yield verb, said.get("_index", target), id_, b"" if verb == "delete" else next(rest)


def _only(body: dict[str, Any], keys: set[str]) -> None:
    if more := set(body) - keys:
        raise _refused(400, "parsing_exception", f"unknown field {sorted(more)}")


def _refused(status: int, kind: str, reason: str) -> Refused:
    cause = {"type": kind, "reason": reason}
    return Refused(status, {"error": cause | {"root_cause": [cause]}, "status": status})


def _missing(name: str) -> Refused:
    return _refused(404, "index_not_found_exception", f"no such index [{name}]")


def _shards() -> dict[str, int]:
    return {"total": 1, "successful": 1, "skipped": 0, "failed": 0}


def _check_mappings(mappings: dict[str, Any]) -> None:
    _only(mappings, {"properties", "dynamic", "_meta"})
    names = set(mappings.get("properties", {}))
    for name, said in mappings.get("properties", {}).items():
        parents = [name[:n] for n, one in enumerate(name) if one == "."]
        if not name or not all(name.split(".")) or set(parents) & names:
            raise _refused(400, "mapper_parsing_exception", f"field name [{name}]")
        if said["type"] not in FIELDS:
            raise _refused(400, "mapper_parsing_exception", f"No handler for [{said['type']}]")
        _only({key: 1 for key in said if key != "type"}, FIELDS[said["type"]])
        if said["type"] == "dense_vector":
            _check_vector_field(said)


def _check_vector_field(said: dict[str, Any]) -> None:
    most = 4096 * (8 if said.get("element_type") == "bit" else 1)
    if not 1 <= said["dims"] <= most:
        raise _refused(400, "mapper_parsing_exception", "dims out of range [1, 4096]")
    if said.get("element_type") == "bit" and said["dims"] % 8:
        raise _refused(400, "mapper_parsing_exception", "dims must be a multiple of 8")
    if "similarity" in said and (said["similarity"] not in SIMILARITIES or not said["index"]):
        raise _refused(400, "mapper_parsing_exception", "similarity")


def _check_document(source: dict[str, Any], mappings: dict[str, Any]) -> None:
    for name, value in source.items():
        said = mappings["properties"].get(name)
        if said is None:
            if mappings.get("dynamic") == "strict":
                raise ValueError(f"introduction of [{name}] within [_doc] is not allowed")
            continue
        if said["type"] == "dense_vector":
            _vector(value, said)
            continue
        for one in value if isinstance(value, list) else [value]:
            if one is not None and not _fits(one, said) and not said.get("ignore_malformed"):
                raise ValueError(f"failed to parse field [{name}] of type [{said['type']}]")


def _fits(value: Any, said: dict[str, Any]) -> bool:
    kind = said["type"]
    if kind == "keyword":
        text = str(value)
        if "ignore_above" in said and len(text) > said["ignore_above"]:
            return True
        return len(text.encode()) <= MAX_TERM_BYTES
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "date":
        return isinstance(value, str) and bool(re.match(r"\d{4}-\d\d-\d\d", value))
    if isinstance(value, (bool, str)):
        return False
    if kind == "long":
        return isinstance(value, int) and -(2**63) <= value < 2**63
    return kind != "unsigned_long" or (isinstance(value, int) and 0 <= value < 2**64)


def _vector(value: Any, said: dict[str, Any]) -> npt.NDArray[Any]:
    bits = said.get("element_type") == "bit"
    whole = bits or said.get("element_type") == "byte"
    if isinstance(value, str):
        try:
            made = np.frombuffer(base64.b64decode(value, validate=True), "i1" if whole else ">f4")
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"no vector: {error}") from None
    else:
        made = np.array(value, np.float64)
        if whole and (np.any(made != np.round(made)) or np.any(np.abs(made + 0.5) > 127.5)):
            raise ValueError("element_type [byte] vectors only support integers between -128, 127")
        made = made.astype(np.int8 if whole else np.float32)
    if made.shape != (said["dims"] // (8 if bits else 1),):
        raise ValueError(f"the dimension is {made.shape}, not {said['dims']}")
    if not np.all(np.isfinite(made.astype(np.float64))):
        raise ValueError("NaN and infinities are not allowed in vectors")
    if said.get("similarity") == "cosine" and not np.any(made):
        raise ValueError("The [cosine] similarity does not support vectors with zero magnitude")
    return made


def _scores(
    query: npt.NDArray[Any], held: npt.NDArray[Any], said: dict[str, Any]
) -> npt.NDArray[np.float64]:
    if said.get("element_type") == "bit":
        apart = np.unpackbits((query ^ held).view(np.uint8), axis=1).sum(axis=1)
        equal: npt.NDArray[np.float64] = (said["dims"] - apart) / said["dims"]
        return equal
    one, all_ = query.astype(np.float64), held.astype(np.float64)
    if said["similarity"] == "l2_norm":
        near: npt.NDArray[np.float64] = 1 / (1 + np.sum((all_ - one) ** 2, axis=1))
        return near
    products: npt.NDArray[np.float64] = all_ @ one
    if said["similarity"] == "cosine":
        products /= np.linalg.norm(all_, axis=1) * np.linalg.norm(one)
        return (1 + products) / 2
    return np.where(products < 0, 1 / (1 - products), products + 1)


def _stored(index: Index, source: dict[str, Any]) -> dict[str, Any]:
    """Vectors are left out of what is kept, unless the index was made to keep them."""
    flat = index.settings.get("index.mapping.exclude_source_vectors", True)
    if flat is False:
        return source
    properties = index.mappings["properties"]
    return {
        name: value
        for name, value in source.items()
        if properties.get(name, {}).get("type") != "dense_vector"
    }


def _filtered(source: dict[str, Any], wanted: Any) -> dict[str, Any]:
    if wanted is None or wanted is True:
        return source
    if wanted is False:
        return {}
    names = wanted["includes"] if isinstance(wanted, dict) else wanted
    return {name: value for name, value in source.items() if name in names}


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
