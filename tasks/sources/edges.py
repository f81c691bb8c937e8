"""Graphs by their edges: a record is a node, its content the sorted adjacency."""

import shutil
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NotRequired  # pydantic wants it before Python 3.12

import pyarrow as pa
from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from tasks.content import Media
from tasks.digests import digest_json
from tasks.errors import ConfigError, SourceChanged
from tasks.sources import edge_files
from tasks.sources.access import MAX_RECORD_BYTES
from tasks.sources.base import Corpus, File, Record, Shard
from tasks.sources.cached_folder import as_one, is_whole
from tasks.sources.edge_files import read_edges
from tasks.sources.edge_list import Column, Edges, Layout
from tasks.sources.files import FileSet
from tasks.sources.graph_cache import GraphFiles, NodeRows, Said, build, fresh_folder
from tasks.sources.tables import Table

SHARD_NODES = 65_536
NODE = "node"


@with_config(ConfigDict(extra="forbid"))
class NodeTable(TypedDict):
    """A table with what is known of nodes, with the keys that its source has."""

    path: str
    id: str
    metadata: NotRequired[list[str]]
    rename: NotRequired[dict[str, str]]
    types: NotRequired[dict[str, str]]


class EdgeSource:
    """All files are one graph, and are listed as one: it is read whole when any of them changes.

    Each machine keeps the graph in its cache folder, where its workers map it. A shard is up to
    65,536 nodes. Nodes whose only neighbour is themselves, or none, are isolated.
    """

    modality = NODE
    max_content_bytes = MAX_RECORD_BYTES

    def __init__(
        self,
        *,
        path: str | list[str],
        source: Column | None = None,
        target: Column | None = None,
        weight: Column | None = None,
        directed: bool | None = None,
        header: bool | None = None,
        delimiter: str | None = None,
        nodes: NodeTable | None = None,
        metadata: Sequence[str] = (),
        storage_options: dict[str, object] | None = None,
    ) -> None:
        """`source`, `target` and `weight` are columns: names, or numbers where there is no header.

        `directed` false lets each edge be walked both ways; by default GraphML and GEXF files say
        what they are, and all others are undirected. `header` says whether the first line of a text
        file names its columns: .csv and .tsv by default, others not. `metadata` are what the files
        of the edges themselves know of nodes: attributes in GraphML and GEXF, `y` or `kind` in .pt.
        """
        if nodes is not None and metadata:
            raise ConfigError(
                f"metadata = {list(metadata)}: with a table of nodes, they stand in nodes.metadata"
            )
        self._files = FileSet(
            path,
            patterns=[f"**/*{ending}" for ending in edge_files.ENDINGS],
            storage_options=storage_options,
        )
        self._layout = Layout(source, target, weight, header, delimiter, directed)
        self._directed = directed
        self._metadata = tuple(metadata)
        self._nodes = None
        if nodes is not None:
            self._nodes = Table(
                nodes["path"],
                id=nodes["id"],
                name=nodes["id"],
                metadata=nodes.get("metadata", ()),
                rename=nodes.get("rename"),
                types=nodes.get("types"),
                storage_options=storage_options,
            )
        said = [path, repr(self._layout), directed, nodes, self._metadata]
        self._key = digest_json(said).hex()
        self._uri = path if isinstance(path, str) else " ".join(path)

    def files(self) -> list[File]:
        """One file that stands for all of them."""
        return [as_one(self._uri, self._listed())]

    def owns(self, source_uri: str) -> bool:
        """Whether it is that of this graph."""
        return source_uri == self._uri

    def shards(self, files: Sequence[File]) -> list[Shard]:
        """Ranges of nodes; what is wrong with the table of nodes comes last. Reads the graph."""
        (file,) = files
        graph = self._graph(file)
        ranges = [
            (start, min(start + SHARD_NODES, graph.n_nodes))
            for start in range(0, graph.n_nodes, SHARD_NODES)
        ]
        if graph.problems() or not ranges:
            ranges.append((graph.n_nodes, graph.n_nodes))
        return [Shard((file,), start, end, file.size_bytes) for start, end in ranges]

    def schema(self, files: Sequence[File]) -> pa.Schema | None:
        """Types of the metadata, as the table of nodes or the graph's file has them."""
        (file,) = files
        return self._graph(file).schema()

    def read(self, shard: Shard) -> Iterator[Record]:
        """One record for each node, or one for each bad row of the table of nodes."""
        (file,) = shard.files
        graph = self._graph(file)
        if shard.start == shard.end:
            for id_, problem in graph.problems():
                yield Record(id_, "", file.uri, problem=problem)
            return
        for id_, metadata, adjacency, isolated in graph.nodes(shard.start, shard.end):
            yield Record(id_, Media(NODE, adjacency), file.uri, metadata, isolated=isolated)

    def corpus(self, files: Sequence[File]) -> Corpus:
        """The graph."""
        (file,) = files
        graph = self._graph(file)
        return Corpus(graph.ids(), graph.rows())

    def _listed(self) -> list[File]:
        tables = self._nodes.files() if self._nodes else []
        own = {file.uri for file in tables}
        return [file for file in self._files.listed() if file.uri not in own] + tables

    def _graph(self, file: File) -> GraphFiles:
        return _opened(fresh_folder(self._key, file.state), self, file)

    def forget(self) -> None:
        """Lets all of it be read again, whatever the times and sizes of the files are."""
        shutil.rmtree(fresh_folder(self._key, ""), ignore_errors=True)
        _opened.cache_clear()

    def make(self, folder: Path, file: File) -> None:
        """Reads everything and writes the graph; SourceChanged if it is not as it was listed."""
        if self.files()[0].state != file.state:
            raise SourceChanged(f"{file.uri} changed since it was listed; run again")
        tables = {one.uri for one in self._nodes.files()} if self._nodes else set()
        found = [one for one in self._files.listed() if one.uri not in tables]
        said = Said(self._directed, self._metadata)
        build(folder, self._edges(found), self._node_rows(), said, file.uri)

    def _edges(self, files: Sequence[File]) -> Iterator[Edges]:
        for file in files:
            yield read_edges(partial(self._files.reading, file), file.uri, self._layout)

    def _node_rows(self) -> NodeRows | None:
        if self._nodes is None:
            return None
        files, records = self._nodes.read()
        return NodeRows(files[0].uri, records, self._nodes.schema())


@lru_cache(maxsize=2)
def _opened(folder: Path, source: EdgeSource, file: File) -> GraphFiles:
    """A graph of this machine, made where it is not there yet."""
    if not is_whole(folder):
        source.make(folder, file)
    return GraphFiles(folder)
