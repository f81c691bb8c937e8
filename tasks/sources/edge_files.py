"""Edges as files have them: tables and text by pyarrow, GraphML and GEXF by networkx, .pt by torch.

Ids become strings: integers as they are written in decimal. An edge that cannot be used is no
record of which something could be said later, so it stops the reading, with its place.
"""

from pathlib import PurePosixPath
from typing import IO

import numpy as np
import pyarrow.compute as pc

from tasks.errors import ConfigError, SourceError
from tasks.sources.access import decompressed
from tasks.sources.edge_graphs import read_networkx, read_torch
from tasks.sources.edge_list import Edges, Layout
from tasks.sources.edge_tables import read_parquet, read_text

COMPRESSED = (".gz", ".zst")
PARQUET, TEXT, NETWORKX, TORCH = (
    (".parquet", ".pq"),
    (".csv", ".tsv", ".txt", ".edgelist", ".edges"),
    (".graphml", ".gexf"),
    (".pt",),
)
ENDINGS = (*PARQUET, *(f"{one}{z}" for one in TEXT for z in ("", *COMPRESSED)), *NETWORKX, *TORCH)


def read_edges(stream: IO[bytes], uri: str, layout: Layout) -> Edges:
    """The edges of a file, by the ending of its name.

    Raises ConfigError for columns that are not there, SourceError for an edge without an end or
    with a weight that is no positive number. What pyarrow and others raise is passed on.
    """
    name = uri.removesuffix(".gz").removesuffix(".zst")
    ending = PurePosixPath(name).suffix.lower()
    with decompressed(stream, uri) as plain:
        if ending in PARQUET:
            found = read_parquet(plain, uri, layout)
        elif ending in NETWORKX:
            found = read_networkx(plain, uri, layout, ending)
        elif ending in TORCH:
            found = read_torch(plain, uri, layout)
        elif ending in TEXT:
            found = read_text(plain, uri, layout, ending)
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
