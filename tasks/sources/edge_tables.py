"""Edges of tables and of text, by pyarrow."""

import codecs
import io
import re
from collections.abc import Sequence
from csv import reader as read_csv
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import Buffer

from tasks.errors import ConfigError, SourceError
from tasks.mistakes import did_you_mean
from tasks.sources.edge_list import Column, Edges, Ends, Layout, Opened

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SEPARATORS = "\t,; "
COMMENTS = (b"#", b"%")
WEIGHTS = "Weights are positive numbers (float32)"
BAD_ROW = re.compile(r"Row #(\d+): (?:CSV conversion error to [^:]*: )?(.*)", re.DOTALL)
NO_NUMBER = re.compile(r"^invalid value (.*)", re.DOTALL)


def read_parquet(stream: IO[bytes], uri: str, layout: Layout) -> Edges:
    """Those of a Parquet file: only the columns of the edges are read."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(stream)
    names = file.schema_arrow.names
    chosen = _chosen(layout, names, uri, header=True)
    table = file.read(columns=list(dict.fromkeys(filter(None, chosen))))
    return _of_table(table, chosen, uri)


def read_text(opened: Opened, uri: str, layout: Layout, ending: str) -> Edges:
    """Those of delimited text, from its first line on that is no comment."""
    from pyarrow import csv

    with opened() as stream:
        lines, first, n_before = _first_line(stream)
        if not first:
            nothing = Ends(np.empty(0, np.int32), pa.array([], pa.string()))
            return Edges(nothing, nothing, None if layout.weight is None else np.empty(0))
        delimiter = layout.delimiter or DELIMITERS.get(ending) or _separator(first, uri)
        header = layout.header if layout.header is not None else ending in DELIMITERS
        fields = next(read_csv([first], delimiter=delimiter))
        names = fields if header else [str(number) for number in range(len(fields))]
        # One thread: it alone knows the number of a row that cannot be read.
        reading = csv.ReadOptions(column_names=names, skip_rows=int(header), use_threads=False)
        chosen = _chosen(layout, names, uri, header=header)
        text = pa.dictionary(pa.int32(), pa.string())
        types = dict(zip(filter(None, chosen), (text, text, pa.float64()), strict=False))
        converting = csv.ConvertOptions(column_types=types, include_columns=list(types))
        place = partial(_place, opened, n_before)
        try:
            table = csv.read_csv(lines, reading, csv.ParseOptions(delimiter=delimiter), converting)
        except pa.ArrowInvalid as error:
            if (row := BAD_ROW.search(str(error))) is None:
                raise
            why = NO_NUMBER.sub(
                rf"the weight \1 is no number. {WEIGHTS}; take such edges out", row[2]
            )
            where = "" if header else "; each line is an edge, comments stand before the first one"
            raise SourceError(f"{uri} {place(int(row[1]))}: {why[:300]}{where}") from error
    edges = _of_table(table, chosen, uri)
    found = replace(edges, place=lambda edge: place(edge + 1 + int(header)))
    if not header:
        _check_comments(found, uri)
    return found


def _first_line(stream: IO[bytes]) -> tuple[IO[bytes], str, int]:
    """The stream from its first line on that is no comment and not blank, and that line.

    The line is empty where there is none. The number is that of the lines before it.
    """
    lines = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[type-var]
    n_before, start = 0, lines.readline().removeprefix(codecs.BOM_UTF8)
    while start and (not start.strip() or start[:1] in COMMENTS):
        n_before, start = n_before + 1, lines.readline()
    first = start.decode("utf-8", "replace").rstrip("\r\n")
    return io.BufferedReader(_Joined(start, lines)), first, n_before


def _place(opened: Opened, n_before: int, row: int) -> str:
    """The line of a row, as an editor counts: pyarrow counts no blank lines."""
    with opened() as stream:
        filled = (
            number
            for number, line in enumerate(stream, 1)
            if number > n_before and line not in (b"\n", b"\r\n")
        )
        return f"line {next(islice(filled, row - 1, None))}"


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
            f"{uri} {edges.place(int(np.argmax(bad)))} begins like a comment "
            f"({' or '.join(marks)}); comments stand before the first edge: take it out, or "
            "give the file a header"
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
    ids = pc.utf8_trim_whitespace(whole.dictionary.cast(pa.string()))
    codes = whole.indices
    if codes.null_count:
        ids = pa.concat_arrays([ids, pa.array([None], pa.string())])
        codes = pc.fill_null(codes, len(ids) - 1)
    return Ends(codes.to_numpy().astype(np.int32, copy=False), ids)
