"""One version of a space against the dict that says what it holds, by each way to read it."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tasks.encoders.batching import encode_all
from tasks.encoders.hashing import HashingEncoder
from tasks.space import Hit, Space
from tests.faults.model import Content, Records, Stored

COLUMNS = ("year", "venue")
DIM = 32
WORDS = ("ant", "bee", "cow", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay")
QUERIES = ("ant", "bee cow", "fox gnu hen ibis")
SCORE = 1e-6  # float32 against float64, on unit vectors

NEIGHBOURS = 5

Row: TypeAlias = dict[str, Any]
Keeps: TypeAlias = Callable[[Row], bool]

FILTERS: Mapping[str, tuple[set[str], Keeps]] = {
    "source_uri LIKE '%/two/%'": (set(), lambda row: "/two/" in row["source_uri"]),
    "year IS NULL": ({"year"}, lambda row: row["year"] is None),
    "NOT (year = 2000)": ({"year"}, lambda row: row["year"] not in (None, 2000)),
    "venue = 'it''s'": ({"venue"}, lambda row: row["venue"] == "it's"),
    "year >= 2001": ({"year"}, lambda row: row["year"] is not None and row["year"] >= 2001),
    "venue IN ('x', 'y') AND year < 2002": (
        {"venue", "year"},
        lambda row: row["venue"] in ("x", "y") and row["year"] is not None and row["year"] < 2002,
    ),
}
"""SQL, the metadata columns that it needs, and the same in Python."""


def vectors(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Row i for text i, by the encoder itself."""
    return np.array([_vector(text) for text in texts], np.float32).reshape(-1, DIM)


@lru_cache(maxsize=4096)
def _vector(text: str) -> tuple[float, ...]:
    encoded, _ = encode_all(HashingEncoder(dim=DIM), [text])
    return tuple(encoded[0].tolist())


def content_hash(content: Content) -> bytes:
    """128 bits over the text, after those over its chunker if it has one."""
    salt = b""
    if content.chunk is not None:
        chunker = {"overlap": 0, "tokens": content.chunk, "use": "text"}
        salt = _digest(json.dumps([chunker, "words-1"], separators=(",", ":")).encode())
    return _digest(salt + content.text.encode())


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def rows_of(id_: str, stored: Stored, corpus: Path) -> list[Row]:
    """The rows of a record, without vectors; null in columns that it has no value for."""
    chunked = stored.content.chunk is not None
    return [
        {
            "id": f"{id_}#{number}" if chunked else id_,
            "record_id": id_,
            "chunk": number,
            "span": [*span] if chunked else None,
            "modality": "text",
            "content_hash": content_hash(stored.content),
            "chunk_hash": _digest(piece.encode()) if chunked else content_hash(stored.content),
            "source_uri": str(corpus / stored.file),
            "text": piece,
            **{column: stored.metadata.get(column) for column in COLUMNS},
        }
        for number, (span, piece) in enumerate(
            zip(stored.content.spans, stored.content.pieces, strict=True)
        )
    ]


def check(space: Space, records: Records, corpus: Path) -> None:
    """All rows, and what finds them."""
    check_rows(space, records, corpus)
    rows = _rows(records, corpus)
    _check_ids(space, rows, records)
    _check_contents(space, rows)
    _check_filters(space, rows)
    _check_nearest(space, rows)


def check_rows(space: Space, records: Records, corpus: Path) -> None:
    """Row for row."""
    rows = _rows(records, corpus)
    table = space.to_arrow()
    own = {"vector", "metadata_hash", "run_id"}
    missing = dict.fromkeys(set(COLUMNS) - {*table.schema.names})
    found = [{**row, **missing} for row in table.drop_columns(sorted(own)).to_pylist()]
    assert sorted(found, key=_id) == sorted(rows, key=_id)
    assert (space.rows, space.entry.rows) == (len(rows), len(rows))
    ids, stored = space.vectors()
    text_of = {row["id"]: row["text"] for row in rows}
    np.testing.assert_array_equal(stored, vectors([text_of[id_] for id_ in ids]))
    hashes = zip(table["record_id"].to_pylist(), table["metadata_hash"].to_pylist(), strict=True)
    pairs = {
        (hash_, records[id_].file + json.dumps(records[id_].metadata)) for id_, hash_ in {*hashes}
    }
    assert len(pairs) == len({hash_ for hash_, _ in pairs}) == len({what for _, what in pairs})


def _rows(records: Records, corpus: Path) -> list[Row]:
    return [row for id_, stored in records.items() for row in rows_of(id_, stored, corpus)]


def _id(row: Row) -> str:
    return str(row["id"])


def _check_ids(space: Space, rows: list[Row], records: Records) -> None:
    for row in rows[:3]:
        found = space.row(row["id"])
        assert found is not None
        assert {name: found.get(name) for name in row} == row
    for id_ in [*records][-3:]:
        found_rows = space.rows_of(id_).select(["id", "text"]).to_pylist()
        mine = [row for row in rows if row["record_id"] == id_]
        assert found_rows == [{"id": row["id"], "text": row["text"]} for row in mine]
    assert space.row("nobody") is None


def _check_contents(space: Space, rows: list[Row]) -> None:
    for hash_ in {bytes(16), *(row["content_hash"] for row in rows[:3])}:
        same = pc.field("content_hash") == pa.scalar(hash_, pa.binary(16))
        found = space.dataset.to_table(["id"], filter=same)["id"].to_pylist()
        assert sorted(found) == sorted(row["id"] for row in rows if row["content_hash"] == hash_)


def _check_filters(space: Space, rows: list[Row]) -> None:
    for where, keeps in _filters_of(space):
        wanted = sorted(row["id"] for row in rows if keeps(row))
        for indexed in (False, True):
            found = space.dataset.to_table(["id"], filter=where, use_scalar_index=indexed)
            assert sorted(found["id"].to_pylist()) == wanted, where
        assert space.dataset.count_rows(where) == len(wanted), where


def _filters_of(space: Space) -> list[tuple[str, Keeps]]:
    """Those that the columns of this version allow."""
    schema = space.dataset.schema
    texts = {name for name in schema.names if pa.types.is_string(schema.field(name).type)}
    there = {*schema.names} - (texts & {"year"})
    return [(where, keeps) for where, (needed, keeps) in FILTERS.items() if needed <= there]


def _check_nearest(space: Space, rows: list[Row]) -> None:
    asked: list[tuple[str | None, Keeps]] = [(None, lambda row: True), *_filters_of(space)[-2:]]
    for query, (where, keeps) in zip(QUERIES, asked, strict=False):
        kept = [row for row in rows if keeps(row)]
        stored = vectors([row["text"] for row in kept]).astype(np.float64)
        scores = (stored @ _vector(query)).tolist()
        vector = vectors([query])[0]
        for key, exact in product(("id", "record_id"), (False, True)):
            chunks = key == "id"
            hits = space.nearest(vector, NEIGHBOURS, where=where, chunks=chunks, exact=exact)
            _check_hits(hits, kept, scores, key)


def _check_hits(hits: Sequence[Hit], rows: list[Row], scores: list[float], key: str) -> None:
    """Each row or record once, by its best score; none that is left out is nearer."""
    best: dict[str, float] = {}
    for row, score in zip(rows, scores, strict=True):
        best[row[key]] = max(score, best.get(row[key], -2.0))
    by_id = {row["id"]: row for row in rows}
    found = [by_id[hit.id][key] for hit in hits]
    assert len(set(found)) == len(found) == min(NEIGHBOURS, len(best))
    assert [hit.score for hit in hits] == pytest.approx([best[one] for one in found], abs=SCORE)
    assert [*hits] == sorted(hits, key=lambda hit: (-hit.score, hit.id))
    left = [row for row in rows if row[key] not in found]
    for hit in hits:
        assert hit.columns["text"] == by_id[hit.id]["text"]
        assert not [row for row in left if best[row[key]] > hit.score + SCORE]
        equal = [row["id"] for row in left if row["text"] == by_id[hit.id]["text"]]
        assert not [id_ for id_ in equal if id_ < hit.id], "of equal scores the first ids go first"
