"""What a run knows of a record before it is encoded: digests, size, and what is wrong with it.

The same examination is made when a shard is planned and when it is read again to be encoded, so a
record that is not the planned one is noticed.
"""

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.quarantine import Reason
from tasks.content import Content, Media
from tasks.digests import DIGEST_BYTES, Digests, digest, to_array
from tasks.errors import ConfigError
from tasks.sources.base import Problem, Record, Value, too_large

INT64 = range(-(2**63), 2**63)
NOTHING = bytes(DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class Examined:
    """A record's digests, its content's size in bytes, and its problem if it has one."""

    content: bytes
    metadata: bytes
    size_bytes: int
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class Found:
    """A problem at its place: the record is number `offset` of the shard."""

    offset: int
    id: str | None
    source_uri: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class ShardScan:
    """What the planner is told of one shard: arrays over its records, row i for record i.

    `runs` says which file how many consecutive records came from. `types` are the Arrow types of
    the metadata that was seen.
    """

    ids: Digests
    contents: Digests
    metadata: Digests
    sizes: npt.NDArray[np.uint32]
    problems: tuple[Found, ...]
    tombstones: npt.NDArray[np.int64]
    isolated: npt.NDArray[np.int64]
    runs: tuple[tuple[str, int], ...]
    types: Mapping[str, pa.DataType]


def examine(record: Record, salt: bytes, max_bytes: int) -> Examined:
    """Digests and checks one record.

    `salt` stands for the chunker and goes into a text's digest.
    """
    problem = record.problem
    if isinstance(record.content, Media):
        data, salt = record.content.data, f"{record.content.modality}\0".encode()
    else:
        try:
            data = record.content.encode()
        except UnicodeEncodeError:
            data = record.content.encode("utf-8", "surrogatepass")
            problem = problem or Problem(Reason.INVALID_UTF8, "the text holds a lone surrogate")
    content = digest(data, salt)
    if problem is None:
        problem = _content_problem(record.content, len(data), max_bytes) or _id_problem(record.id)
    try:
        metadata = digest_metadata(record.source_uri, record.metadata)
    except (UnicodeEncodeError, OverflowError) as error:
        problem = problem or _metadata_problem(error)
        metadata = NOTHING
    return Examined(content, metadata, len(data), problem)


def _content_problem(content: Content, size_bytes: int, max_bytes: int) -> Problem | None:
    if size_bytes > max_bytes:
        return too_large(size_bytes, max_bytes)
    if isinstance(content, Media):
        return None if content.data else Problem(Reason.EMPTY, "a file of no bytes")
    if not content or content.isspace():
        return Problem(Reason.EMPTY, "no text but white space")
    if "\0" in content:
        return Problem(Reason.NUL_CHARACTER, f"NUL at character {content.index(chr(0))}")
    return None


def _id_problem(record_id: str | None) -> Problem | None:
    if record_id is None:
        return Problem(Reason.NULL_ID, "the id is null")
    if "\0" in record_id:
        return Problem(Reason.NUL_CHARACTER, "NUL in the id")
    try:
        record_id.encode()
    except UnicodeEncodeError:
        return Problem(Reason.INVALID_UTF8, "the id holds a lone surrogate")
    return None


def _metadata_problem(error: Exception) -> Problem:
    if isinstance(error, OverflowError):
        return Problem(Reason.WRONG_TYPE, f"metadata: {error}")
    return Problem(Reason.INVALID_UTF8, "the metadata hold a lone surrogate")


def digest_metadata(source_uri: str, metadata: Mapping[str, Value]) -> bytes:
    """The digest of a record's metadata and of the file that it comes from.

    Raises OverflowError for an integer beyond 64 bits, UnicodeEncodeError for a lone surrogate.
    """
    if not metadata:
        return digest(source_uri.encode())
    for name, value in metadata.items():
        if type(value) is int and value not in INT64:
            raise OverflowError(f"{name} = {value} does not fit in 64 bits")
    pairs = json.dumps(
        metadata, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=repr
    )
    return digest(f"{source_uri}\n{pairs}".encode())


def scan(records: Iterable[Record], salt: bytes, max_bytes: int) -> ShardScan:
    """Reads a whole shard once and keeps some 50 bytes of each record."""
    ids, contents, metadata, sizes = bytearray(), bytearray(), bytearray(), []
    problems: list[Found] = []
    tombstones: list[int] = []
    isolated: list[int] = []
    runs: list[tuple[str, int]] = []
    seen: dict[str, set[object]] = {}
    for offset, record in enumerate(records):
        found = examine(record, salt, max_bytes)
        if record.tombstone and record.id is not None:
            tombstones.append(offset)
        elif record.isolated and found.problem is None:
            isolated.append(offset)
        elif found.problem is not None:
            problems.append(Found(offset, record.id, record.source_uri, found.problem))
        else:
            _see(seen, record.metadata)
        ids += NOTHING if record.id is None else digest(record.id.encode("utf-8", "surrogatepass"))
        contents += found.content
        metadata += found.metadata
        sizes.append(min(found.size_bytes, 2**32 - 1))
        if runs and runs[-1][0] == record.source_uri:
            runs[-1] = (record.source_uri, runs[-1][1] + 1)
        else:
            runs.append((record.source_uri, 1))
    return ShardScan(
        ids=to_array([bytes(ids)]),
        contents=to_array([bytes(contents)]),
        metadata=to_array([bytes(metadata)]),
        sizes=np.array(sizes, np.uint32),
        problems=tuple(problems),
        tombstones=np.array(tombstones, np.int64),
        isolated=np.array(isolated, np.int64),
        runs=tuple(runs),
        types={name: arrow_type(name, kinds) for name, kinds in seen.items()},
    )


def _see(seen: dict[str, set[object]], metadata: Mapping[str, Value]) -> None:
    for name, value in metadata.items():
        kinds = seen.setdefault(name, set())
        if isinstance(value, list):
            kinds.update((list, type(element)) for element in value or [None])
        else:
            kinds.add(type(value))


SCALARS: dict[object, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    datetime.date: pa.date32(),
    datetime.datetime: pa.timestamp("us"),
}


def arrow_type(name: str, kinds: set[object]) -> pa.DataType:
    """The Arrow type that holds all of these Python types; integers widen to floats.

    Raises ConfigError, naming the metadata column and its types, where none does.
    """
    lists = {kind[1] for kind in kinds if isinstance(kind, tuple)}
    scalars = {kind for kind in kinds if not isinstance(kind, tuple)} - {type(None)}
    if lists and not scalars:
        return pa.list_(arrow_type(name, set(lists)))
    known = {SCALARS[kind] for kind in scalars if kind in SCALARS}
    if known == {pa.int64(), pa.float64()}:
        return pa.float64()
    if not scalars:
        return pa.null()
    if lists or len(known) != 1 or len(known) != len(scalars):
        found = sorted(
            getattr(kind, "__name__", "list") for kind in scalars | ({list} if lists else set())
        )
        raise ConfigError(
            f"metadata column {name!r} holds values of several types: {', '.join(found)}; "
            "a column has one type (integers and floats may mix): mend the values, or leave the "
            "column out of `metadata`"
        )
    return known.pop()


def at_offsets(
    records: Iterable[Record], offsets: npt.NDArray[np.int64], first: int = 0
) -> Iterator[Record]:
    """The records with these ascending numbers, where the iterator stands at number `first`."""
    position = first
    iterator = iter(records)
    for offset in offsets.tolist():
        for record in iterator:
            position += 1
            if position > offset:
                yield record
                break
