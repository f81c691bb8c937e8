"""Edges as files have them: tables and text by pyarrow, GraphML and GEXF by networkx, .pt by torch.

Ids become strings: integers as they are written in decimal. An edge that cannot be used is no
record of which something could be said later, so it stops the reading, with its place.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath
from typing import IO

import numpy as np
import pyarrow.compute as pc

from tasks.errors import ConfigError, SourceError
from tasks.sources.access import decompressed
from tasks.sources.edge_graphs import read_networkx, read_torch
from tasks.sources.edge_list import Edges, Ends, Layout, Opened
from tasks.sources.edge_tables import WEIGHTS, read_parquet, read_text

COMPRESSED = (".gz", ".zst")
PARQUET, TEXT, NETWORKX, TORCH = (
    (".parquet", ".pq"),
    (".csv", ".tsv", ".txt", ".edgelist", ".edges"),
    (".graphml", ".gexf"),
    (".pt",),
)
ENDINGS = (*PARQUET, *(f"{one}{z}" for one in TEXT for z in ("", *COMPRESSED)), *NETWORKX, *TORCH)


def read_edges(opened: Opened, uri: str, layout: Layout) -> Edges:
    """The edges of a file, by the ending of its name.

    Raises ConfigError for columns that are not there, SourceError for an edge without an end or
    with a weight that is no positive number. What pyarrow and others raise is passed on.
    """
    name = uri.removesuffix(".gz").removesuffix(".zst")
    ending = PurePosixPath(name).suffix.lower()
    plain = partial(_plain, opened, uri)
    if ending in TEXT:
        found = read_text(plain, uri, layout, ending)
    elif ending in (*PARQUET, *NETWORKX, *TORCH):
        with plain() as stream:
            if ending in PARQUET:
                found = read_parquet(stream, uri, layout)
            elif ending in NETWORKX:
                found = read_networkx(stream, uri, layout, ending)
            else:
                found = read_torch(stream, uri, layout)
    else:
        raise ConfigError(f"{uri}: edges are read from files like {', '.join(ENDINGS)}")
    _check(found, uri)
    return found


@contextmanager
def _plain(opened: Opened, uri: str) -> Iterator[IO[bytes]]:
    with opened() as stream, decompressed(stream, uri) as plain:
        yield plain


def _check(edges: Edges, uri: str) -> None:
    for name, ends, others, way in (
        ("source", edges.source, edges.target, "to"),
        ("target", edges.target, edges.source, "from"),
    ):
        empty = pc.fill_null(pc.equal(ends.ids, ""), fill_value=True).to_numpy(zero_copy_only=False)
        if empty.any() and (bad := empty[ends.codes]).any():
            place = int(np.argmax(bad))
            other = _named(others, place)
            raise SourceError(f"{uri} {edges.place(place)}: the edge {way} {other} has no {name}")
    if edges.weights is None:
        return
    with np.errstate(over="ignore", under="ignore"):
        kept = edges.weights.astype(np.float32)
    bad = ~((kept > 0) & (kept < np.inf))
    if bad.any():
        place = int(np.argmax(bad))
        source, target = _named(edges.source, place), _named(edges.target, place)
        value = edges.weights[place]
        has = "no weight" if np.isnan(value) else f"the weight {value}"
        raise SourceError(
            f"{uri} {edges.place(place)}: the edge from {source} to {target} has {has}. {WEIGHTS}; "
            f"take out what has none, {int(bad.sum()):,} in all"
        )


def _named(ends: Ends, edge: int) -> str:
    """The id of one end of an edge, for a message."""
    return repr((ends.ids[int(ends.codes[edge])].as_py() or "")[:60])
