"""Edges as files have them: tables and text by pyarrow, GraphML and GEXF by networkx, .pt by torch.

Ids become strings: integers as they are written in decimal. An edge that cannot be used is no
record of which something could be said later, so it stops the reading, with its place.
"""

import codecs
import io
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from csv import reader as read_csv
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import Buffer

from tasks.errors import ConfigError, SourceError
from tasks.graphs.pyg import not_mirrored, quiet_import
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
    """Which columns hold the ends and the weight, how a text is written, what the user says."""

    source: Column | None = None
    target: Column | None = None
    weight: Column | None = None
    header: bool | None = None
    delimiter: str | None = None
    directed: bool | None = None


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
        elif ending in TEXT:
            found = _text(plain, uri, layout, ending)
        else:
            raise ConfigError(f"{uri}: edges are read from files like {', '.join(ENDINGS)}")
    _check(found, uri)
    return found


def _check(edges: Edges, uri: str) -> None:
    for name, ends in (("source", edges.source), ("target", edges.target)):
        empty = pc.fill_null(pc.equal(ends.ids, ""), fill_value=True).to_numpy(zero_copy_only=False)
        if empty.any() and (bad := empty[ends.codes]).any():
            raise SourceError(f"{uri}: edge {int(np.argmax(bad)) + 1} has no {name}")
    if edges.weights is None:
        return
    with np.errstate(over="ignore", under="ignore"):
        kept = edges.weights.astype(np.float32)
    bad = ~((kept > 0) & (kept < np.inf))
    if bad.any():
        place = int(np.argmax(bad))
        pair = [str(end.ids[int(end.codes[place])])[:60] for end in (edges.source, edges.target)]
        value = edges.weights[place]
        has = "no weight" if np.isnan(value) else f"the weight {value}"
        raise SourceError(
            f"{uri}: edge {place + 1}, from {pair[0]!r} to {pair[1]!r}, has {has}. Weights are "
            f"positive numbers (float32); take out what has none, {int(bad.sum()):,} in all"
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

    lines, first = _first_line(stream)
    if not first:
        nothing = Ends(np.empty(0, np.int32), pa.array([], pa.string()))
        return Edges(nothing, nothing, None if layout.weight is None else np.empty(0))
    delimiter = layout.delimiter or DELIMITERS.get(ending) or _separator(first, uri)
    header = layout.header if layout.header is not None else ending in DELIMITERS
    fields = next(read_csv([first], delimiter=delimiter))
    names = fields if header else [str(number) for number in range(len(fields))]
    # One thread: it alone knows the number of a row that cannot be read.
    reading = csv.ReadOptions(column_names=names, skip_rows=int(header), use_threads=False)
    parsing = csv.ParseOptions(delimiter=delimiter)
    chosen = _chosen(layout, names, uri, header=header)
    text = pa.dictionary(pa.int32(), pa.string())
    types: dict[str, pa.DataType] = {chosen[0]: text, chosen[1]: text}
    if chosen[2] is not None:
        types[chosen[2]] = pa.float64()
    converting = csv.ConvertOptions(column_types=types, include_columns=list(types))
    found = _of_table(csv.read_csv(lines, reading, parsing, converting), chosen, uri)
    if not header:
        _check_comments(found, uri)
    return found


def _first_line(stream: IO[bytes]) -> tuple[IO[bytes], str]:
    """The stream from its first line on that is no comment and not blank, and that line.

    The line is empty where there is none.
    """
    lines = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[type-var]
    start = lines.readline().removeprefix(codecs.BOM_UTF8)
    while start and (not start.strip() or start[:1] in COMMENTS):
        start = lines.readline()
    return io.BufferedReader(_Joined(start, lines)), start.decode("utf-8", "replace").rstrip("\r\n")


class _Joined(io.RawIOBase):
    """A line that was read already, and the rest."""

    def __init__(self, start: bytes, rest: IO[bytes]) -> None:
        self._start, self._rest = start, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        data = self._start[: len(view)] or self._rest.read(len(view))
        self._start = self._start[len(data) :]
        view[: len(data)] = data
        return len(data)


def _check_comments(edges: Edges, uri: str) -> None:
    """A line of a file without a header that begins as a comment is no edge."""
    marks = [mark.decode() for mark in COMMENTS]
    odd = pc.is_in(pc.utf8_slice_codeunits(edges.source.ids, 0, 1), pa.array(marks))
    bad = odd.to_numpy(zero_copy_only=False)[edges.source.codes]
    if bad.any():
        raise SourceError(
            f"{uri}: edge {int(np.argmax(bad)) + 1} begins like a comment ({' or '.join(marks)}); "
            "comments stand before the first edge: take it out, or give the file a header"
        )


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
            near = did_you_mean(str(column), names) or "."
            raise ConfigError(
                f"{name} = {column!r}: {uri} has no such column{near} It has {', '.join(names)}"
                f"{_apart(names)}"
            )
        found[name] = None if column is None else str(column)
    if found["source"] == found["target"]:
        raise ConfigError(f"source and target are both {found['source']!r}: an edge has two ends")
    return found["source"] or "", found["target"] or "", found["weight"]


def _apart(names: Sequence[str]) -> str:
    """A hint where one name looks like several."""
    odd = len(names) == 1 and any(mark in names[0] for mark in SEPARATORS)
    return "; is its `delimiter` another one?" if odd else ""


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
        whole = list(graph.edges(data=True))
        rows = [(a, b, own.get(str(layout.weight))) for a, b, own in whole]
        plain = [{"id": str(name), **_plain(known)} for name, known in graph.nodes(data=True)]
        nodes = pa.Table.from_pylist(plain, pa.schema(_kinds(plain)))
    ids = pa.array(names, pa.string())
    ends = np.array([[place[one[0]], place[one[1]]] for one in rows], np.int64).reshape(-1, 2)
    weights = None
    if layout.weight is not None:
        _check_attribute(layout.weight, rows, {key for *_, own in whole for key in own}, uri)
        weights = np.array([np.nan if one[2] is None else one[2] for one in rows], np.float64)
    return Edges(
        _numbered(ends[:, 0], ids),
        _numbered(ends[:, 1], ids),
        weights,
        directed=graph.is_directed(),
        nodes=nodes,
    )


def _check_attribute(
    weight: Column | None, rows: Sequence[tuple[Any, ...]], known: Collection[str], uri: str
) -> None:
    if rows and all(one[2] is None for one in rows):
        near = did_you_mean(str(weight), known) or "."
        raise ConfigError(
            f"weight = {weight!r}: no edge of {uri} has it{near} "
            f"They have {', '.join(sorted(map(str, known))) or 'nothing'}"
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
        return _of_data(_load_data(stream), uri, layout)  # what torch.save wrote


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
        parts = [(data, (0, n), (0, n))]
    else:
        ranges: dict[str, tuple[int, int]] = {}
        names: list[str] = []
        kinds: list[str] = []
        for kind in data.node_types:
            n = int(data[kind].num_nodes)
            ranges[kind] = len(names), n
            names += [f"{kind}/{number}" for number in range(n)]
            kinds += [kind] * n
        nodes = pa.table({"id": pa.array(names, pa.string()), "kind": kinds})
        parts = [(data[one], ranges[one[0]], ranges[one[2]]) for one in data.edge_types]
    sources, targets, weights = [], [], []
    for part, (first, n_first), (second, n_second) in parts:
        ends = part.edge_index.numpy()
        for name, own, n in zip(("source", "target"), ends, (n_first, n_second), strict=True):
            if own.size and not 0 <= own.min() <= own.max() < n:
                raise SourceError(f"{uri}: edge_index names a {name} that is not in 0 to {n - 1}")
        weight = _weights(part, layout, uri)
        if weight is not None and len(parts) == 1 and not layout.directed:
            once = not_mirrored(ends, weight)
            ends, weight = ends[:, once], weight[once]
        sources.append(ends[0] + first)
        targets.append(ends[1] + second)
        weights.append(weight if weight is not None else np.empty(0))
    joined = [np.concatenate([*one, np.empty(0, np.int64)]) for one in (sources, targets)]
    ids = nodes["id"].combine_chunks()
    return Edges(
        _numbered(joined[0], ids),
        _numbered(joined[1], ids),
        np.concatenate([*weights, np.empty(0)]) if layout.weight is not None else None,
        nodes=nodes,
    )


def _weights(part: Any, layout: Layout, uri: str) -> npt.NDArray[np.float64] | None:  # noqa: ANN401
    if layout.weight is None:
        return None
    name, known = str(layout.weight), [*map(str, part.keys())]
    if name not in known or part[name].numel() != part.edge_index.shape[1]:
        raise ConfigError(
            f"weight = {name!r}: {uri} has no such number for each edge"
            f"{did_you_mean(name, set(known) - {name}) or '.'} It has {', '.join(known)}"
        )
    found: npt.NDArray[np.float64] = part[name].double().numpy().reshape(-1)
    return found


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
