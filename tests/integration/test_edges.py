"""The source of graphs: every layout, and what each odd edge, node and id means."""

import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.quarantine import Reason
from tasks.content import Media
from tasks.digests import digest, digest_text
from tasks.errors import ConfigError, SourceChanged, SourceError
from tasks.graphs import csr
from tasks.graphs.csr import Graph
from tasks.graphs.pyg import quiet_import
from tasks.sources import edges, graph_cache
from tasks.sources.base import Record
from tasks.sources.edges import EdgeSource, NodeTable

EARLIER = 1_600_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    os.utime(path, (EARLIER, EARLIER))
    return str(path)


def read(source: EdgeSource) -> list[Record]:
    return [one for shard in source.shards(source.files()) for one in source.read(shard)]


def neighbours(source: EdgeSource) -> dict[str, dict[str, float | None]]:
    """Of each node, its neighbours and the weights of the edges."""
    corpus = source.corpus(source.files())
    ids, graph = corpus.ids.to_pylist(), corpus.data
    assert isinstance(graph, Graph)
    found: dict[str, dict[str, float | None]] = {}
    for node, name in enumerate(ids):
        weights = [None] * graph.degree(node)
        if graph.weights is not None:
            weights = graph.weights[graph.indptr[node] : graph.indptr[node + 1]].tolist()
        own = [ids[one] for one in graph.neighbours(node).tolist()]
        found[name] = dict(zip(own, weights, strict=True))
    return found


EDGES = [("a", "b"), ("b", "c"), ("b", "a"), ("d", "d")]
UNDIRECTED = {
    "a": {"b": None},
    "b": {"a": None, "c": None},
    "c": {"b": None},
    "d": {"d": None},
}


def lines(separator: str, header: str = "") -> str:
    return header + "".join(f"{one}{separator}{other}\n" for one, other in EDGES)


@pytest.mark.parametrize(
    ("name", "text", "arguments"),
    [
        ("e.csv", lines(",", "one,other\n"), {"source": "one", "target": "other"}),
        ("e.csv", lines(",", "\ufeffone,other\n"), {"source": "one", "target": "other"}),
        ("e.csv", lines(","), {"header": False}),
        ("e.tsv", lines("\t", "one\tother\n"), {"source": "one", "target": "other"}),
        ("e.txt", lines("\t", "# Directed graph\n# FromNodeId\tToNodeId\n"), {}),
        ("e.txt", lines(" ", "% of another collection\n\n"), {}),
        ("e.txt", lines(" ", "#" * 3_000_000 + "\n \n\n#\n"), {}),
        ("e.edgelist", lines(";"), {}),
        ("e.csv", lines("|", "one|b\n"), {"source": "one", "target": "b", "delimiter": "|"}),
        ("e.csv", 'n,"b, c",other\n1,b,a\n2,c,b\n3,d,d\n', {"source": "b, c", "target": "other"}),
    ],
)  # fmt: skip
def test_each_layout_of_text_gives_the_same_graph(
    tmp_path: Path, name: str, text: str, arguments: dict[str, Any]
) -> None:
    assert neighbours(EdgeSource(path=write(tmp_path / name, text), **arguments)) == UNDIRECTED
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert neighbours(EdgeSource(path=str(packed), **arguments)) == UNDIRECTED


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
)
def test_columns_of_parquet_are_edges(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"one": [a for a, _ in EDGES], "other": [b for _, b in EDGES]})
    table = table.cast(pa.schema([("one", kind), ("other", kind)]))
    pq.write_table(table, tmp_path / "e.parquet", row_group_size=2)
    source = EdgeSource(path=str(tmp_path), source="one", target="other")
    assert neighbours(source) == UNDIRECTED


def test_integers_are_ids_as_they_are_written(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [7, -1, 10**15], "b": [8, 7, 7]}), tmp_path / "e.parquet")
    source = EdgeSource(path=str(tmp_path / "e.parquet"), source="a", target="b")
    assert set(neighbours(source)) == {"7", "-1", "8", str(10**15)}
    text = EdgeSource(path=write(tmp_path / "e.txt", "007\t7\n"))
    assert neighbours(text) == {"007": {"7": None}, "7": {"007": None}}


def test_a_directed_edge_stands_in_the_row_of_its_source(tmp_path: Path) -> None:
    path = write(tmp_path / "e.txt", lines(" "))
    assert neighbours(EdgeSource(path=path, directed=True)) == {
        "a": {"b": None},
        "b": {"a": None, "c": None},
        "c": {},
        "d": {"d": None},
    }


def test_weights_of_equal_edges_add_up(tmp_path: Path) -> None:
    path = write(tmp_path / "e.csv", "a,b,w\nx,y,1\ny,x,.5\ny,z,2\nz,z,3\n")
    both = EdgeSource(path=path, source="a", target="b", weight="w")
    assert neighbours(both) == {
        "x": {"y": 1.5},
        "y": {"x": 1.5, "z": 2.0},
        "z": {"y": 2.0, "z": 3.0},
    }
    single = EdgeSource(path=path, source="a", target="b", weight="w", directed=True)
    assert neighbours(single)["y"] == {"x": 0.5, "z": 2.0}


def test_files_together_are_one_graph(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "a b\n")
    write(tmp_path / "b.txt", "b c\nd d\n")
    source = EdgeSource(path=str(tmp_path / "*.txt"))
    assert neighbours(source) == UNDIRECTED
    (file,) = source.files()
    assert (file.uri, file.size_bytes) == (str(tmp_path / "*.txt"), 12)
    assert source.owns(file.uri)
    assert not source.owns(str(tmp_path / "a.txt"))


@pytest.mark.parametrize("ending", ["graphml", "gexf"])
@pytest.mark.parametrize("directed", [False, True])
def test_graphs_of_networkx_say_what_they_are(tmp_path: Path, ending: str, directed: bool) -> None:
    made = networkx.karate_club_graph()
    made = networkx.DiGraph(made) if directed else made
    path = tmp_path / f"k.{ending}"
    getattr(networkx, f"write_{ending}")(made, path)
    source = EdgeSource(path=str(path), weight="weight", metadata=["club"])
    want = {
        str(node): {str(other): float(known["weight"]) for other, known in made[node].items()}
        for node in made
    }
    assert neighbours(source) == want
    found = {record.id: record.metadata for record in read(source)}
    assert found == {str(node): {"club": known["club"]} for node, known in made.nodes(data=True)}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # PyG 2.8 with torch 2.14
def test_data_of_pytorch_geometric_is_a_graph(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from torch_geometric.data import Data, HeteroData

    both_ways = torch.tensor([[0, 1, 1, 2, 3], [1, 0, 2, 1, 3]])
    weight = torch.tensor([0.5, 0.5, 2.0, 2.0, 1.0])
    label = torch.tensor([0, 1, 1, 0, 2])
    data = Data(edge_index=both_ways, edge_weight=weight, y=label, num_nodes=5)
    torch.save(data, tmp_path / "d.pt")
    source = EdgeSource(path=str(tmp_path / "d.pt"), weight="edge_weight", metadata=["y"])
    assert neighbours(source) == {
        "0": {"1": 0.5},
        "1": {"0": 0.5, "2": 2.0},
        "2": {"1": 2.0},
        "3": {"3": 1.0},
        "4": {},
    }
    assert [(one.metadata["y"], one.isolated) for one in read(source)] == [
        (0, False), (1, False), (1, False), (0, True), (2, True)
    ]  # fmt: skip
    hetero = HeteroData()
    hetero["paper"].num_nodes = 2
    hetero["author"].num_nodes = 2
    hetero["author", "writes", "paper"].edge_index = torch.tensor([[0, 1], [1, 1]])
    torch.save(hetero, tmp_path / "h.pt")
    kinds = EdgeSource(path=str(tmp_path / "h.pt"), metadata=["kind"])
    assert neighbours(kinds) == {
        "author/0": {"paper/1": None},
        "author/1": {"paper/1": None},
        "paper/0": {},
        "paper/1": {"author/0": None, "author/1": None},
    }
    assert [one.metadata["kind"] for one in read(kinds)] == ["author"] * 2 + ["paper"] * 2


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_file_of_pytorch_geometric_cannot_run_code(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"edge_index": Trap(tmp_path / "caught")}, tmp_path / "d.pt")
    with pytest.raises(SourceError, match=r"d\.pt cannot be read: UnpicklingError"):
        read(EdgeSource(path=str(tmp_path / "d.pt")))
    assert not (tmp_path / "caught").exists()


def test_the_layout_of_ogb_is_text_with_a_table_of_nodes(tmp_path: Path) -> None:
    (tmp_path / "edge.csv.gz").write_bytes(gzip.compress(b"0,1\n1,2\n"))
    labels = "node,label\n" + "".join(f"{n},{n % 2}\n" for n in range(4))
    (tmp_path / "labels.csv.gz").write_bytes(gzip.compress(labels.encode()))
    source = EdgeSource(
        path=str(tmp_path / "edge.csv.gz"),
        header=False,
        nodes={
            "path": str(tmp_path / "labels.csv.gz"),
            "id": "node",
            "metadata": ["label"],
            "types": {"label": "int"},
        },
    )
    assert [(one.id, one.metadata["label"], one.isolated) for one in read(source)] == [
        ("0", 0, False), ("1", 1, False), ("2", 0, False), ("3", 1, True)
    ]  # fmt: skip


def test_a_table_of_nodes_adds_metadata_and_nodes_without_an_edge(tmp_path: Path) -> None:
    path = write(tmp_path / "e.txt", "a b\nb c\n")
    rows = [{"id": "a", "year": 1}, {"id": "b", "year": None}, {"id": "alone", "year": 4}]
    rows += [{"id": "a", "year": 1}, {"id": "b", "year": 9}, {"id": None, "year": 0}]
    nodes = write(tmp_path / "n.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    source = EdgeSource(path=path, nodes={"path": nodes, "id": "id", "metadata": ["year"]})
    found = read(source)
    good = [(one.id, dict(one.metadata), one.isolated) for one in found if one.problem is None]
    assert good == [
        ("a", {"year": 1}, False),
        ("alone", {"year": 4}, True),
        ("b", {"year": None}, False),
        ("c", {"year": None}, False),
    ]
    bad = [(one.id, one.problem.reason, one.problem.uri) for one in found if one.problem]
    assert bad == [("b", Reason.ID_CONFLICT, nodes), (f"{nodes}#row=5", Reason.NULL_ID, nodes)]
    assert source.schema(source.files()) == pa.schema([("year", pa.int64())])


@pytest.mark.parametrize(
    ("edges", "rows", "said"),
    [
        ("a b\n", "id\nA\nB\n", "the first row has 'A', and nodes of edges are called like 'a'"),
        ("a b\n", "id\nA\na\n", None),
        ("a b\n", "id\n", None),
        ("", "id\nalone\n", None),
    ],
)
def test_a_table_of_nodes_names_at_least_one_that_an_edge_has(
    tmp_path: Path, edges: str, rows: str, said: str | None
) -> None:
    nodes = NodeTable(path=write(tmp_path / "n.csv", rows), id="id")
    source = EdgeSource(path=write(tmp_path / "e.txt", edges), nodes=nodes)
    if said is None:
        read(source)
        return
    with pytest.raises(ConfigError, match=rf"no row of .*n\.csv names a node .*: {said}"):
        read(source)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", []),
        ("# nothing but a comment\n", []),
        ("a a\n", [("a", True)]),
        ("a b\na a\n", [("a", False), ("b", False)]),
    ],
)
def test_small_graphs_are_graphs(tmp_path: Path, text: str, want: list[tuple[str, bool]]) -> None:
    path = write(tmp_path / "e.txt", text)
    assert [(one.id, one.isolated) for one in read(EdgeSource(path=path))] == want


def test_an_adjacency_is_equal_where_the_neighbourhood_is(tmp_path: Path) -> None:
    def contents(text: str) -> dict[str | None, bytes]:
        source = EdgeSource(path=write(tmp_path / f"{digest_text(text).hex()}.txt", text))
        found = {}
        for record in read(source):
            assert isinstance(record.content, Media)
            found[record.id] = record.content.data
        return found

    one = contents("b c\nc d\nx y\n")
    other = contents("y x\nd c\nc b\na y\n")
    assert [name for name in one if one[name] != other[name]] == ["y"]
    assert one["b"] == digest(digest_text("b") + digest_text("c"))
    assert one["c"] == digest(digest_text("c") + digest_text("b") + digest_text("d"))
    assert len(set(other.values())) == len(other)


@pytest.mark.parametrize("weighted", [False, True])
def test_nodes_are_the_same_in_batches_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weighted: bool
) -> None:
    monkeypatch.setattr(graph_cache, "BATCH_NODES", 3)
    monkeypatch.setattr(csr, "_BLOCK_ROWS", 2)
    monkeypatch.setattr(edges, "SHARD_NODES", 5)
    path = write(tmp_path / "e.csv", "a,b,w\nb,d,2\nd,d,3\nd,h,4\na,b,5\nc,c,6\nf,g,7\ne,h,8\n")
    known = {
        "a": {"b": 5},
        "b": {"a": 5, "d": 2},
        "c": {"c": 6},
        "d": {"b": 2, "d": 3, "h": 4},
        "e": {"h": 8},
        "f": {"g": 7},
        "g": {"f": 7},
        "h": {"d": 4, "e": 8},
    }
    want = {}
    for name, row in known.items():
        content = b"".join(map(digest_text, [name, *row]))
        if weighted:
            content += np.array([*row.values()], np.float32).tobytes()
        want[name] = (Media("node", digest(content)), name == "c")
    source = EdgeSource(path=path, source="a", target="b", weight="w" if weighted else None)
    assert {one.id: (one.content, one.isolated) for one in read(source)} == want


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,w\nx,y,1\nx,,2\n", "line 3: the edge from 'x' has no target"),
        ("a,b,w\n,y,1\n", "line 2: the edge to 'y' has no source"),
        (
            "a,b,w\nx,y,1\nx,z,-2\nx,u,0\n",
            r"line 3: the edge from 'x' to 'z' has the weight -2\.0\. .* 2 in all",
        ),
        ("a,b,w\nx,y,0\n", r"line 2: .* has the weight 0\.0"),
        ("a,b,w\nx,y,nan\n", "line 2: .* has no weight"),
        ("a,b,w\nx,y,inf\n", "line 2: .* has the weight inf"),
        ("a,b,w\nx,y,\n", "line 2: .* has no weight"),
        ("a,b,w\nx,y,many\n", "line 2: the weight 'many' is no number. Weights are positive"),
        ("a,b,w\nx,y,1e-46\n", "line 2: .* has the weight 1e-46"),
        ("a,b,w\nx,y,3e38\nx,y,3e38\n", "add up to infinity"),
        ("a,b,w\nx,y,1\nx,y\n", "line 3: Expected 3 columns, got 2: x,y$"),
        ("# one\n\na,b,w\n\nx,y,1\r\n\r\n\nx,y,0\n\n", r"line 8: .* has the weight 0\.0"),
        ("# one\n\na,b,w\n\nx,y,1\r\n\r\n\nx,y\n\n", "line 8: Expected 3 columns"),
        ("# one\n\na,b,w\n\nx,y,1\r\n\r\n\nx,y,q\n\n", "line 8: the weight 'q'"),
    ],
)
def test_an_edge_that_cannot_be_used_stops_the_reading_with_its_place(
    tmp_path: Path, text: str, said: str
) -> None:
    path = write(tmp_path / "e.csv", text)
    with pytest.raises(SourceError, match=rf"e\.csv.*{said}"):
        read(EdgeSource(path=path, source="a", target="b", weight="w"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "has the columns from, to, w: say which of them is `source`"),
        ({"source": "fron", "target": "to"}, "source = 'fron': .*'from'"),
        ({"source": "from", "target": "to", "weight": "x"}, "weight = 'x': .* no such column"),
        ({"source": "from", "target": "from"}, "source and target are both 'from'"),
        ({"source": "from", "target": "w"}, "from is string and w is int64: both ends"),
        ({"source": "from", "target": "to", "metadata": ["y"]}, "know nothing of nodes"),
    ],
)
def test_columns_that_cannot_be_meant_are_told(
    tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    table = pa.table({"from": ["a"], "to": ["b"], "w": [1]})
    pq.write_table(table, tmp_path / "e.parquet")
    with pytest.raises(ConfigError, match=said):
        read(EdgeSource(path=str(tmp_path / "e.parquet"), **arguments))


@pytest.mark.parametrize(
    ("text", "weight", "said"),
    [
        ("# early\n1 2\n# late\n2 3\n", None, r"line 3 begins like a comment \(# or %\); comments"),
        ("1 2 3\n# late\n2 3 4\n", 2, "line 2: Expected 3 columns, got 2: # late; each line is an"),
        ("1 2 3\n# so late\n", 2, "line 2: the weight 'late' is no number.*; each line is an edge"),
        ("1 2\n7\n", None, "line 2: Expected 2 columns, got 1: 7; each line is an edge, comments"),
    ],
)
def test_a_comment_between_edges_is_no_edge(
    tmp_path: Path, text: str, weight: int | None, said: str
) -> None:
    for name, data in (("e.txt", text.encode()), ("e.txt.gz", gzip.compress(text.encode()))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SourceError, match=said):
            read(EdgeSource(path=str(tmp_path / name), weight=weight))


def test_an_attribute_that_no_edge_has_is_no_weight(tmp_path: Path) -> None:
    networkx.write_graphml(networkx.karate_club_graph(), tmp_path / "k.graphml")
    with pytest.raises(ConfigError, match=r"no edge of .* has it, did you mean 'weight'"):
        read(EdgeSource(path=str(tmp_path / "k.graphml"), weight="wieght"))


def test_files_of_other_kinds_are_no_edges(tmp_path: Path) -> None:
    path = write(tmp_path / "e.json", "1 2\n")
    with pytest.raises(ConfigError, match=r"edges are read from files like \.parquet, "):
        read(EdgeSource(path=path))


@pytest.mark.parametrize("ending", ["graphml", "gexf", "pt", "txt"])
def test_nodes_need_no_metadata(tmp_path: Path, ending: str) -> None:
    path, nodes = str(tmp_path / f"e.{ending}"), None
    if ending == "pt":
        torch = pytest.importorskip("torch")
        data = quiet_import().Data(edge_index=torch.tensor([[0], [1]]), num_nodes=3)
        torch.save(data, path)
    elif ending == "txt":
        write(tmp_path / "e.txt", "0 1\n")
        table = write(tmp_path / "n.csv", "id\n0\n2\n")
        nodes = NodeTable(path=table, id="id")
    else:
        made = networkx.Graph([("0", "1")])
        made.add_node("2")
        getattr(networkx, f"write_{ending}")(made, path)
    found = read(EdgeSource(path=path, nodes=nodes))
    assert [(one.id, dict(one.metadata), one.isolated) for one in found] == [
        ("0", {}, False), ("1", {}, False), ("2", {}, True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("directed", "weights", "want"),
    [
        (True, [1, 5, 2, 2], {"0": {"1": 1.0}, "1": {"0": 5.0, "2": 2.0}, "2": {"1": 2.0}}),
        (False, [1, 5, 2, 2], {"0": {"1": 6.0}, "1": {"0": 6.0, "2": 4.0}, "2": {"1": 4.0}}),
        (False, [5, 5, 2, 2], {"0": {"1": 5.0}, "1": {"0": 5.0, "2": 2.0}, "2": {"1": 2.0}}),
    ],
)
def test_edges_that_stand_there_both_ways_with_one_weight_are_one(
    tmp_path: Path, directed: bool, weights: list[float], want: dict[str, dict[str, float]]
) -> None:
    torch = pytest.importorskip("torch")
    ends = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    data = quiet_import().Data(edge_index=ends, w=torch.tensor(weights, dtype=torch.float32))
    data.num_nodes = 3
    torch.save(data, tmp_path / "d.pt")
    source = EdgeSource(path=str(tmp_path / "d.pt"), weight="w", directed=directed)
    assert neighbours(source) == want
    data.edge_index[0, 0] = -1
    torch.save(data, tmp_path / "d.pt")
    with pytest.raises(SourceError, match="names a source that is not in 0 to 2"):
        read(EdgeSource(path=str(tmp_path / "d.pt"), directed=directed))


def test_ids_are_strings_or_integers(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.5], "b": [2.5]}), tmp_path / "e.parquet")
    with pytest.raises(ConfigError, match="column 'a' is double; ids are strings or integers"):
        read(EdgeSource(path=str(tmp_path / "e.parquet"), source="a", target="b"))
    pq.write_table(pa.table({"a": [1, None], "b": [2, 3]}), tmp_path / "e.parquet")
    with pytest.raises(SourceError, match="edge 2: the edge to '3' has no source"):
        read(EdgeSource(path=str(tmp_path / "e.parquet"), source="a", target="b"))


def test_white_space_around_an_id_is_no_part_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "e.csv", "one, other\na, b\n b ,c\t\n")
    nodes = NodeTable(path=write(tmp_path / "n.csv", "id,x\n b ,1\n ,2\n"), id="id", metadata=["x"])
    source = EdgeSource(path=path, source="one", target=" other", nodes=nodes)
    assert neighbours(source) == {"a": {"b": None}, "b": {"a": None, "c": None}, "c": {"b": None}}
    found = read(source)
    good = {one.id: one.metadata["x"] for one in found if one.problem is None}
    assert good == {"a": None, "b": "1", "c": None}
    assert [one.problem.reason for one in found if one.problem] == [Reason.NULL_ID]
    made = networkx.Graph([(" a", "b ")])
    networkx.write_graphml(made, tmp_path / "k.graphml")
    assert set(neighbours(EdgeSource(path=str(tmp_path / "k.graphml")))) == {"a", "b"}
    with pytest.raises(SourceError, match="line 2: the edge from 'a' has no target"):
        read(EdgeSource(path=write(tmp_path / "e.csv", "x,y\na, \n"), source="x", target="y"))


@pytest.mark.parametrize("name", ["x" * 10_000_000, "a\nb", "a b", "ü'\"\\", "#1"])
def test_ids_may_be_any_text(tmp_path: Path, name: str) -> None:
    pq.write_table(pa.table({"a": [name], "b": ["other"]}), tmp_path / "e.parquet")
    source = EdgeSource(path=str(tmp_path / "e.parquet"), source="a", target="b")
    assert neighbours(source) == {name: {"other": None}, "other": {name: None}}


@pytest.mark.parametrize("ending", ["parquet", "graphml", "gexf", "pt", "csv.gz"])
def test_a_file_that_is_none_cannot_be_read(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"e.{ending}", "no such thing")
    with pytest.raises(SourceError, match=rf"e\.{ending} cannot be read"):
        read(EdgeSource(path=path, header=False))


def test_the_graph_is_made_once_and_anew_when_a_file_changes(tmp_path: Path, cache: Path) -> None:
    path = write(tmp_path / "e.txt", "a b\n")
    source = EdgeSource(path=path)
    before = source.files()
    assert before[0].stamp
    assert len(read(source)) == 2
    kept = [one for one in cache.rglob("nodes.arrow")]
    write(tmp_path / "e.txt", "a b\nb c\n")
    after = source.files()
    assert after[0].stamp != before[0].stamp
    assert len(read(source)) == 3
    (now,) = cache.rglob("nodes.arrow")
    assert [now] != kept
    again = EdgeSource(path=path)
    with pytest.raises(SourceChanged, match="changed since it was listed"):
        again.shards(before)


@pytest.mark.parametrize("damage", ["cut", "gone", "other bytes"])
@pytest.mark.parametrize("name", ["nodes.arrow", "problems.json", "indices.npy", "whole.json"])
def test_a_graph_that_was_damaged_in_the_cache_is_made_anew(
    tmp_path: Path, cache: Path, name: str, damage: str
) -> None:
    path = write(tmp_path / "e.txt", "a b\nb c\n")
    before = read(EdgeSource(path=path))
    (kept,) = cache.rglob(name)
    data = kept.read_bytes()
    if damage == "gone":
        kept.unlink()
    else:
        kept.write_bytes(data[:-1] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    assert read(EdgeSource(path=path)) == before
    assert len([*cache.rglob(name)]) == 1


def test_a_cache_that_is_no_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECTORLINE_CACHE", write(tmp_path / "file", ""))
    with pytest.raises(SourceError, match=r"no graph can be kept in .*VECTORLINE_CACHE names"):
        read(EdgeSource(path=write(tmp_path / "e.txt", "a b\n")))


def test_drafts_of_builds_that_were_killed_go(tmp_path: Path, cache: Path) -> None:
    source = EdgeSource(path=write(tmp_path / "e.txt", "a b\n"))
    read(source)
    (kept,) = cache.glob("graphs/*/*")
    old, young = (kept.with_name(f".{name}") for name in ("old", "young"))
    for draft in (old, young):
        draft.mkdir()
    os.utime(old, (EARLIER, EARLIER))
    write(tmp_path / "e.txt", "a b\nb c\n")
    read(EdgeSource(path=str(tmp_path / "e.txt")))
    assert (old.exists(), young.exists(), kept.exists()) == (False, True, False)


def test_a_cache_that_takes_nothing_is_told(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECTORLINE_CACHE", str(small_disk))
    rng = np.random.default_rng(0)
    ends: Sequence[Sequence[int]] = rng.integers(0, 10**9, (300_000, 2)).tolist()
    path = write(tmp_path / "e.txt", "".join(f"{a} {b}\n" for a, b in ends))
    with pytest.raises(SourceError, match=r"no graph can be kept in .*is the disk full\?"):
        read(EdgeSource(path=path))
    assert [one for one in small_disk.rglob("*") if one.is_file()] == []
