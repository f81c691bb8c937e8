"""Edges as files have them: tables and text by pyarrow, GraphML and GEXF by networkx, .pt by torch.

Ids become strings: integers as they are written in decimal. An edge that cannot be used is no
record of which something could be said later, so it stops the reading, with its place.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from csv import reader as read_csv
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import ConfigError, SourceError
from tasks.graphs.pyg import quiet_import
from tasks.mistakes import did_you_mean
from tasks.sources.access import decompressed

Column: TypeAlias = str | int
"""A column by name, or by number from 0 where a file has no header."""
Codes: TypeAlias = npt.NDArray[np.int32]

COMPRESSED = (".gz", ".zst")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
SEPARATORS = "\t,; "
COMMENTS = (b"#", b"%")
PARQUET, TEXT, NETWORKX, TORCH = (
    (".parquet", ".pq"),
    (".csv", ".tsv", ".txt", ".edgelist", ".edges"),
    (".graphml", ".gexf"),
    (".pt",),
)
ENDINGS = (*PARQUET, *(f"{one}{z}" for one in TEXT for z in ("", *COMPRESSED)), *NETWORKX, *TORCH)


@dataclass(frozen=True, slots=True)
class Ends:
    """One end of each edge: `ids[codes[i]]` for edge i."""

    codes: Codes
    ids: pa.Array


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges of one file, of which some may be named twice.

    `directed` is what the file says of it, None where it does not. `nodes` has a column `id` and
    what else the file knows of its nodes.
    """

    source: Ends
    target: Ends
    weights: npt.NDArray[np.float64] | None = None
    directed: bool | None = None
    nodes: pa.Table | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns hold the ends and the weight, and how a text file is written."""

    source: Column | None = None
    target: Column | None = None
    weight: Column | None = None
    header: bool | None = None
    delimiter: str | None = None


def read_edges(stream: IO[bytes], uri: str, layout: Layout) -> Edges:
    """The edges of a file, by the ending of its name.

    Raises ConfigError for columns that are not there, SourceError for an edge without an end or
    with a weight that is no positive number. What pyarrow and others raise is passed on.
    """
    name = uri.removesuffix(".gz").removesuffix(".zst")
    ending = PurePosixPath(name).suffix.lower()
    with decompressed(stream, uri) as plain:
        if ending in PARQUET:
            found = _parquet(plain, uri, layout)
        elif ending in NETWORKX:
            found = _networkx(plain, uri, layout, ending)
        elif ending in TORCH:
            found = _torch(plain, uri, layout)
        else:
            found = _text(plain, uri, layout, ending)
    _check(found, uri)
    return found


def _check(edges: Edges, uri: str) -> None:
    for name, ends in (("source", edges.source), ("target", edges.target)):
        empty = pc.fill_null(pc.equal(ends.ids, ""), fill_value=True).to_numpy(zero_copy_only=False)
        if empty.any() and (bad := empty[ends.codes]).any():
            raise SourceError(f"{uri}: edge {int(np.argmax(bad)) + 1} has no {name}")
    if edges.weights is not None:
        bad = ~((edges.weights > 0) & (edges.weights < np.finfo(np.float32).max))
        if bad.any():
            place = int(np.argmax(bad))
            raise SourceError(
                f"{uri}: edge {place + 1} has the weight {edges.weights[place]}; weights are "
                f"positive numbers, and {int(bad.sum()):,} are not: an edge that does not count is "
                "left out, and what is negative has no walk"
            )


def _parquet(stream: IO[bytes], uri: str, layout: Layout) -> Edges:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(stream)
    names = file.schema_arrow.names
    chosen = _chosen(layout, names, uri, header=True)
    table = file.read(columns=list(dict.fromkeys(filter(None, chosen))))
    return _of_table(table, chosen, uri)


def _text(stream: IO[bytes], uri: str, layout: Layout, ending: str) -> Edges:
    from pyarrow import csv

    lines = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[type-var]
    while lines.peek(1)[:1] in COMMENTS:
        lines.readline()
    first = lines.peek(4096).split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
    if not first:
        nothing = Ends(np.empty(0, np.int32), pa.array([], pa.string()))
        return Edges(nothing, nothing, None if layout.weight is None else np.empty(0))
    delimiter = layout.delimiter or DELIMITERS.get(ending) or _separator(first, uri)
    header = layout.header if layout.header is not None else ending in DELIMITERS
    fields = next(read_csv([first.removeprefix("\ufeff")], delimiter=delimiter))
    names = fields if header else [str(number) for number in range(len(fields))]
    reading = csv.ReadOptions(column_names=names, skip_rows=int(header))
    parsing = csv.ParseOptions(delimiter=delimiter)
    chosen = _chosen(layout, names, uri, header=header)
    text = pa.dictionary(pa.int32(), pa.string())
    types: dict[str, pa.DataType] = {chosen[0]: text, chosen[1]: text}
    if chosen[2] is not None:
        types[chosen[2]] = pa.float64()
    converting = csv.ConvertOptions(column_types=types, include_columns=list(types))
    table = csv.read_csv(lines, reading, parsing, converting)
    return _of_table(table, chosen, uri)


def _separator(line: str, uri: str) -> str:
    for one in SEPARATORS:
        if one in line:
            return one
    raise SourceError(f"{uri}: {line[:80]!r} is no edge: two ids are expected in a line")


def _chosen(
    layout: Layout, names: Sequence[str], uri: str, *, header: bool
) -> tuple[str, str, str | None]:
    """The names of the columns of both ends and of the weight, if it has one."""
    wanted: dict[str, Column | None] = {"source": layout.source, "target": layout.target}
    if not header:
        for place, name in enumerate(wanted):
            wanted[name] = place if wanted[name] is None else wanted[name]
    found: dict[str, str | None] = {}
    for name, column in {**wanted, "weight": layout.weight}.items():
        if column is None and name != "weight":
            raise ConfigError(
                f"{uri} has the columns {', '.join(names)}: say which of them is `{name}`"
            )
        if column is not None and str(column) not in names:
            raise ConfigError(
                f"{name} = {column!r}: {uri} has no such column"
                f"{did_you_mean(str(column), names)} It has {', '.join(names)}"
            )
        found[name] = None if column is None else str(column)
    return found["source"] or "", found["target"] or "", found["weight"]


def _of_table(table: pa.Table, chosen: tuple[str, str, str | None], uri: str) -> Edges:
    source, target, weight = chosen
    kinds = {str(name): pa.types.is_integer(_values(table[name].type)) for name in (source, target)}
    ends = [_ends(table[name], name, uri) for name in (source, target)]
    if len(set(kinds.values())) > 1:
        raise ConfigError(
            f"{uri}: {source} is {table[source].type} and {target} is {table[target].type}: "
            "both ends of an edge are named in one way"
        )
    weights = None
    if weight is not None:
        held = pc.cast(table[weight], pa.float64())
        weights = pc.fill_null(held, float("nan")).to_numpy()
    return Edges(ends[0], ends[1], weights)


def _values(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _ends(column: pa.ChunkedArray, name: str, uri: str) -> Ends:
    values = _values(column.type)
    if not (
        pa.types.is_integer(values)
        or pa.types.is_string(values)
        or pa.types.is_large_string(values)
    ):
        raise ConfigError(f"{uri}: column {name!r} is {column.type}; ids are strings or integers")
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # of no rows
        whole = pa.array([], column.type)
    ids = whole.dictionary.cast(pa.string())
    codes = whole.indices
    if codes.null_count:
        ids = pa.concat_arrays([ids, pa.array([None], pa.string())])
        codes = pc.fill_null(codes, len(ids) - 1)
    return Ends(codes.to_numpy().astype(np.int32, copy=False), ids)


def _numbered(numbers: npt.NDArray[np.int64], ids: pa.Array) -> Ends:
    return Ends(numbers.astype(np.int32), ids)


def _networkx(stream: IO[bytes], uri: str, layout: Layout, ending: str) -> Edges:
    import networkx

    readers: Mapping[str, Callable[[IO[bytes]], Any]] = {
        ".graphml": networkx.read_graphml,
        ".gexf": networkx.read_gexf,
    }
    with _foreign(uri):
        graph = readers[ending](stream)
        names = [str(name) for name in graph]
        place = {name: number for number, name in enumerate(graph)}
        rows = list(graph.edges(data=None if layout.weight is None else str(layout.weight)))
        plain = [{"id": str(name), **_plain(known)} for name, known in graph.nodes(data=True)]
        nodes = pa.Table.from_pylist(plain, pa.schema(_kinds(plain)))
    ids = pa.array(names, pa.string())
    ends = np.array([[place[one[0]], place[one[1]]] for one in rows], np.int64).reshape(-1, 2)
    weights = None
    if layout.weight is not None:
        weights = np.array([np.nan if one[2] is None else one[2] for one in rows], np.float64)
    return Edges(
        _numbered(ends[:, 0], ids),
        _numbered(ends[:, 1], ids),
        weights,
        directed=graph.is_directed(),
        nodes=nodes,
    )


def _plain(known: Mapping[str, Any]) -> dict[str, object]:
    """Attributes of a node that a column can hold; others as JSON."""
    return {
        str(name): value
        if isinstance(value, str | bool | int | float)
        else json.dumps(value, default=str)
        for name, value in known.items()
        if name != "id"
    }


def _kinds(rows: Sequence[Mapping[str, object]]) -> list[tuple[str, pa.DataType]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [
        (name, pa.infer_type([row[name] for row in rows if name in row])) for name in names
    ] or [("id", pa.string())]


def _torch(stream: IO[bytes], uri: str, layout: Layout) -> Edges:
    with _foreign(uri):
        return _of_data(_load_data(stream), uri, layout)


def _load_data(stream: IO[bytes]) -> Any:  # noqa: ANN401  (Data or HeteroData)
    """The object of a .pt file; only tensors and PyG's own containers of them are let in."""
    import torch

    data = quiet_import()
    from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr

    storage, Data, HeteroData = data.storage, data.Data, data.HeteroData
    containers = (storage.GlobalStorage, storage.NodeStorage, storage.EdgeStorage)
    with torch.serialization.safe_globals(
        [Data, HeteroData, storage.BaseStorage, *containers, DataEdgeAttr, DataTensorAttr]
    ):
        return torch.load(io.BytesIO(stream.read()), map_location="cpu", weights_only=True)


def _of_data(data: Any, uri: str, layout: Layout) -> Edges:  # noqa: ANN401
    """Nodes of one kind are named 0, 1, 2; of several `kind/0`, with a column `kind`."""
    if not hasattr(data, "edge_types"):
        if data.edge_index is None:
            raise SourceError(f"{uri} has no edge_index")
        n = int(data.num_nodes)
        labels = {"y": data.y.tolist()} if getattr(data.get("y"), "shape", None) == (n,) else {}
        nodes = pa.table({"id": list(map(str, range(n))), **labels})
        parts = [(data, 0, 0)]
    else:
        starts: dict[str, int] = {}
        names: list[str] = []
        kinds: list[str] = []
        for kind in data.node_types:
            starts[kind] = len(names)
            n = int(data[kind].num_nodes)
            names += [f"{kind}/{number}" for number in range(n)]
            kinds += [kind] * n
        nodes = pa.table({"id": pa.array(names, pa.string()), "kind": kinds})
        parts = [(data[one], starts[one[0]], starts[one[2]]) for one in data.edge_types]
    sources, targets, weights = [], [], []
    for part, first, second in parts:
        ends = part.edge_index.numpy()
        sources.append(ends[0] + first)
        targets.append(ends[1] + second)
        if layout.weight is not None:
            weight = part[str(layout.weight)].double().numpy().reshape(-1)
            if len(parts) == 1 and data.is_undirected():  # has both ways of each edge
                once = sources[-1] <= targets[-1]
                sources[-1], targets[-1], weight = (
                    one[once] for one in (sources[-1], targets[-1], weight)
                )
            weights.append(weight)
    joined = [np.concatenate([*one, np.empty(0, np.int64)]) for one in (sources, targets)]
    ids = nodes["id"].combine_chunks()
    return Edges(
        _numbered(joined[0], ids),
        _numbered(joined[1], ids),
        np.concatenate([*weights, np.empty(0)]) if layout.weight is not None else None,
        nodes=nodes,
    )


@contextmanager
def _foreign(uri: str) -> Iterator[None]:
    """What these libraries raise at files that they do not understand becomes a SourceError."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"{uri}: {error}; pip install 'vectorline[graph]'") from error
    except (MemoryError, ConfigError, SourceError):
        raise
    except Exception as error:
        words = str(error).splitlines()[0][:300] if str(error) else ""
        raise SourceError(f"{uri} cannot be read: {type(error).__name__}: {words}") from error
