"""A graph on this machine's disk, as its workers map it: rows, ids and what is known of nodes.

Below the user's cache folder, by a digest of what was configured and of the files as they were
listed. Made once for each machine; it can be deleted at any time.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.quarantine import Reason
from tasks.digests import DIGEST_BYTES, digest, digest_text
from tasks.encoders.remembered import cache_folder
from tasks.errors import ConfigError, SourceError
from tasks.graphs.csr import Graph
from tasks.mistakes import did_you_mean
from tasks.scan import arrow_type
from tasks.sources.base import Problem, Record, Value, by_row
from tasks.sources.cached_folder import written_whole
from tasks.sources.edge_list import Edges

FORMAT = 2
BATCH_NODES = 4_096
WEIGHT_BYTES = 4
GRAPH, NODES, PROBLEMS = "graph", "nodes.arrow", "problems.json"

Nodes: TypeAlias = npt.NDArray[np.int32]
"""Shape (n,): the number of a node for each edge."""
Node: TypeAlias = tuple[str, Mapping[str, Value], bytes, bool]
"""Id, metadata, adjacency, and whether it is isolated."""


@dataclass(frozen=True)
class NodeRows:
    """The rows of a table of nodes, and the types of its metadata where they are declared."""

    uri: str
    records: Iterable[Record]
    schema: pa.Schema | None


@dataclass(frozen=True)
class Said:
    """What the user says of the graph: whether it is directed, and which attributes to take."""

    directed: bool | None
    metadata: Sequence[str]


def fresh_folder(key: str, state: str) -> Path:
    """Where the graph of a source stands, by its digest and the state of its files."""
    return cache_folder() / "graphs" / f"{FORMAT}-{key}" / state


def build(
    folder: Path, files: Iterable[Edges], rows: NodeRows | None, said: Said, uri: str
) -> None:
    """Makes the graph of all edges and nodes, whole or not at all; older ones of it go.

    Raises ConfigError and SourceError for what is no graph.
    """
    parts = list(files)
    directed = _directed(parts, said)
    problems: list[Record] = []
    known = _node_table(rows, problems) if rows else _own_nodes(parts, said.metadata)
    ids, source, target = _numbered(parts, known)
    if rows and known is not None:
        joined = np.zeros(len(ids), np.bool_)
        joined[source] = joined[target] = True
        _check_named(rows.uri, known["id"], ids.filter(pa.array(joined)))
    weights = None
    if parts and parts[0].weights is not None:
        weights = np.concatenate([one.weights for one in parts if one.weights is not None])
    del parts
    pa.default_memory_pool().release_unused()  # the rows take as much
    try:
        graph = Graph.from_edges(source, target, weights, n_nodes=len(ids), directed=directed)
    except ValueError as error:
        raise SourceError(f"{uri}: {error}") from error
    with written_whole(folder, "graph") as draft:
        graph.save(draft / GRAPH)
        _write(draft / NODES, _aligned(ids, known))
        told = [[one.id, *_told(one)] for one in problems]
        (draft / PROBLEMS).write_text(json.dumps(told), encoding="utf-8")


def _directed(parts: Sequence[Edges], said: Said) -> bool:
    """What the user says, else what the files say, else not."""
    if said.directed is not None:
        return said.directed
    told = {one.directed for one in parts if one.directed is not None}
    if len(told) > 1:
        raise ConfigError("some files are directed and some are not: say `directed`")
    return told.pop() if told else False


def _told(row: Record) -> tuple[str, str, str]:
    """Why a row of a table of nodes cannot be used, and the table's file."""
    problem = row.problem or Problem(Reason.NULL_ID, "the id is empty")
    return problem.reason, problem.detail, row.source_uri


class GraphFiles:
    """A graph that was built."""

    def __init__(self, folder: Path) -> None:
        """Opens its files when they are asked for."""
        self._folder = folder

    @cached_property
    def _graph(self) -> Graph:
        return Graph.open(self._folder / GRAPH)

    @cached_property
    def _table(self) -> pa.Table:
        with pa.memory_map(str(self._folder / NODES)) as file:
            return pa.ipc.open_file(file).read_all()

    @property
    def n_nodes(self) -> int:
        """How many there are, isolated ones too."""
        return self._graph.n_nodes

    def rows(self) -> Graph:
        """The graph itself."""
        return self._graph

    def ids(self) -> pa.Array:
        """The nodes' ids, in the order of the nodes."""
        return self._table["id"].combine_chunks()

    def schema(self) -> pa.Schema:
        """Types of the metadata."""
        return pa.schema([field for field in self._table.schema if field.name != "id"])

    def problems(self) -> list[tuple[str, Problem]]:
        """The ids of rows of the table of nodes that cannot be used, and why."""
        told = json.loads((self._folder / PROBLEMS).read_text(encoding="utf-8"))
        return [(id_, Problem(Reason(reason), detail, uri)) for id_, reason, detail, uri in told]

    def nodes(self, start: int, end: int) -> Iterator[Node]:
        """Nodes from `start` to before `end`.

        The adjacency is a digest of those of the node's id and, sorted by id, of its neighbours,
        and of the weights: it is equal where the neighbourhood is, whatever numbers nodes have.
        """
        graph, digests = self._graph, self._digests
        joined = graph.joined
        for first in range(start, end, BATCH_NODES):
            batch = self._table.slice(first, min(BATCH_NODES, end - first)).to_pylist()
            bounds = graph.indptr[first : first + len(batch) + 1]
            entries = slice(bounds[0], bounds[-1])
            own = digests[first : first + len(batch)].tobytes()
            others = digests[graph.indices[entries]].tobytes()
            weights = b"" if graph.weights is None else graph.weights[entries].tobytes()
            places = (bounds - bounds[0]).tolist()
            for place, row in enumerate(batch):
                adjacency = (
                    own[DIGEST_BYTES * place : DIGEST_BYTES * (place + 1)]
                    + others[DIGEST_BYTES * places[place] : DIGEST_BYTES * places[place + 1]]
                    + weights[WEIGHT_BYTES * places[place] : WEIGHT_BYTES * places[place + 1]]
                )
                yield row.pop("id"), row, digest(adjacency), not joined[first + place]

    @cached_property
    def _digests(self) -> npt.NDArray[np.void]:
        names = self._table["id"]
        found = np.empty(len(names), np.dtype((np.void, DIGEST_BYTES)))
        for first in range(0, len(names), BATCH_NODES):
            batch = names.slice(first, BATCH_NODES).to_pylist()
            part = b"".join(map(digest_text, batch))
            found[first : first + len(batch)] = np.frombuffer(part, found.dtype)
        return found


def _numbered(parts: Sequence[Edges], known: pa.Table | None) -> tuple[pa.Array, Nodes, Nodes]:
    """Each id once, and of both ends of each edge which one it is.

    Ids are in the order of their bytes: that of two ids never depends on others.
    """
    ends = [one.source for one in parts] + [one.target for one in parts]
    arrays = [one.ids for one in ends] + ([] if known is None else known["id"].chunks)
    encoded = pa.chunked_array(arrays, pa.string()).dictionary_encode()  # leaves out what is empty
    codes = [pc.fill_null(chunk.indices, -1).to_numpy() for chunk in encoded.chunks]
    names = encoded.chunk(0).dictionary if codes else pa.array([], pa.string())
    order = pc.array_sort_indices(names)
    rank = np.empty(len(order), np.int32)
    rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    nothing = np.empty(0, np.int32)
    starts = np.cumsum([len(one.ids) for one in ends], dtype=np.int64)
    numbers = np.split(rank[np.concatenate([*codes, nothing])], starts)
    places = [number[one.codes] for one, number in zip(ends, numbers, strict=False)]
    source, target = places[: len(parts)], places[len(parts) :]
    return names.take(order), np.concatenate([*source, nothing]), np.concatenate([*target, nothing])


def _own_nodes(parts: Sequence[Edges], metadata: Sequence[str]) -> pa.Table | None:
    """What the files of the edges know of nodes; the first file that names a node says it."""
    tables = [one.nodes for one in parts if one.nodes is not None]
    if not tables:
        if metadata:
            raise ConfigError(
                f"metadata = {list(metadata)}: these files know nothing of nodes but their ids; "
                "give a table with `nodes`"
            )
        return None
    whole = pa.concat_tables(tables, promote_options="permissive")
    for name in metadata:
        if name not in whole.column_names:
            raise ConfigError(
                f"metadata column {name!r} is none of {', '.join(whole.column_names[1:])}"
                f"{did_you_mean(name, whole.column_names)}"
            )
    return whole.select(["id", *metadata])


def _node_table(rows: NodeRows, problems: list[Record]) -> pa.Table:
    """The rows of a table of nodes by id, each once; bad ones go to `problems`."""
    seen: dict[str, Record] = {}
    parts: list[pa.Table] = []
    kinds: dict[str, set[object]] = {}
    for name, row in by_row(rows.records):
        row = replace(row, id=(row.id or "").strip() or None)  # as that of an edge
        first = None if row.problem or row.id is None else seen.setdefault(row.id, row)
        if first is None:
            problems.append(replace(row, id=row.id or name))
        elif first is not row and first.metadata != row.metadata:
            detail = "the table of nodes has several rows for it, which differ"
            problems.append(
                Record(row.id, "", row.source_uri, problem=Problem(Reason.ID_CONFLICT, detail))
            )
    if rows.schema is not None:
        types = list(rows.schema)
    else:
        for row in seen.values():
            for name, value in row.metadata.items():
                kinds.setdefault(name, set()).add(type(value))
        types = [pa.field(name, arrow_type(name, found)) for name, found in kinds.items()]
    schema = pa.schema([pa.field("id", pa.string()), *types])
    known = ({"id": id_, **row.metadata} for id_, row in seen.items())
    while batch := list(islice(known, BATCH_NODES)):
        parts.append(pa.Table.from_pylist(batch, schema))
    return pa.concat_tables([*parts, schema.empty_table()])


def _check_named(uri: str, named: pa.ChunkedArray, joined: pa.Array) -> None:
    """Raises ConfigError where a table of nodes names none of those that edges have."""
    if len(named) and len(joined) and not pc.any(pc.is_in(named, value_set=joined)).as_py():
        raise ConfigError(
            f"no row of {uri} names a node that an edge has: the first row has "
            f"{named[0].as_py()!r}, and nodes of edges are called like {joined[0].as_py()!r}; "
            "is nodes.id the column of their ids?"
        )


def _aligned(ids: pa.Array, known: pa.Table | None) -> pa.Table:
    """What is known of each node, null where nothing is."""
    if known is None or known.num_columns == 1:
        return pa.table({"id": ids})
    place = pc.index_in(ids, value_set=known["id"].combine_chunks())
    return known.drop_columns("id").take(place).add_column(0, "id", ids)


def _write(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
