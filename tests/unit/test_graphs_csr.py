"""Rows, tables and files of graphs, against dictionaries of dictionaries."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.graphs.csr import Graph, index_types
from tests.oracles import adjacency

Edge = tuple[int, int, float]
EDGES = [(2, 0, 1.0), (0, 2, 0.5), (1, 1, 2.0), (1, 1, 1.0), (3, 0, 4.0), (2, 3, 0.25)]
N_NODES = 5


def graph(
    edges: list[Edge], n_nodes: int = N_NODES, *, directed: bool = False, weighted: bool = True
) -> Graph:
    source = np.array([edge[0] for edge in edges], np.int64)
    target = np.array([edge[1] for edge in edges], np.int64)
    weight = np.array([edge[2] for edge in edges], np.float64) if weighted else None
    return Graph.from_edges(source, target, weight, n_nodes=n_nodes, directed=directed)


def rows(made: Graph) -> dict[int, dict[int, float]]:
    weights = np.ones(made.indices.size) if made.weights is None else made.weights
    return {
        node: dict(
            zip(
                made.neighbours(node).tolist(),
                weights[made.indptr[node] : made.indptr[node + 1]].tolist(),
                strict=True,
            )
        )
        for node in range(made.n_nodes)
    }


def arrays(made: Graph) -> dict[str, Any]:
    return {name: (array.dtype.str, array.tolist()) for name, array in made._arrays().items()}


def test_an_undirected_edge_stands_in_both_rows_and_a_loop_once_in_its_own() -> None:
    made = graph(EDGES)
    assert made.indptr.tolist() == [0, 2, 3, 5, 7, 7]
    assert made.indices.tolist() == [2, 3, 1, 0, 3, 0, 2]
    assert made.weights is not None
    assert made.weights.tolist() == [1.5, 4.0, 3.0, 1.5, 0.25, 4.0, 0.25]
    assert (made.n_nodes, made.n_edges) == (5, 4)
    assert [made.degree(node) for node in range(5)] == [2, 1, 2, 2, 0]


def test_a_directed_edge_stands_in_the_row_of_its_source() -> None:
    made = graph(EDGES, directed=True)
    assert rows(made) == {0: {2: 0.5}, 1: {1: 3.0}, 2: {0: 1.0, 3: 0.25}, 3: {0: 4.0}, 4: {}}
    assert made.n_edges == 5


def test_equal_edges_without_weights_are_one() -> None:
    made = graph(EDGES, weighted=False)
    assert made.weights is None
    assert rows(made) == {0: {2: 1, 3: 1}, 1: {1: 1}, 2: {0: 1, 3: 1}, 3: {0: 1, 2: 1}, 4: {}}


@settings(max_examples=60)
@given(
    edges=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.sampled_from([0.5, 1, 3.0]))),
    directed=st.booleans(),
    weighted=st.booleans(),
)
def test_rows_are_sorted_and_those_of_the_oracle(
    edges: list[Edge], directed: bool, weighted: bool
) -> None:
    made = graph(edges, 7, directed=directed, weighted=weighted)
    known = adjacency(edges, 7, directed=directed, weighted=weighted)
    assert rows(made) == known
    assert all((np.diff(made.neighbours(node)) > 0).all() for node in range(7))
    ends = {(s, t) if directed else (min(s, t), max(s, t)) for s, t, _ in edges}
    assert made.n_edges == len(ends)


def test_a_graph_may_have_one_node_or_none() -> None:
    assert (graph([], 1).indptr.tolist(), graph([], 1).n_edges) == ([0, 0], 0)
    assert (graph([], 0).indptr.tolist(), graph([], 0).n_nodes) == ([0], 0)
    assert graph([(0, 0, 2.0)], 1).indices.tolist() == [0]


def test_tables_draw_each_entry_by_its_share_of_the_row() -> None:
    rng = np.random.default_rng(0)
    weight = np.concatenate([rng.pareto(0.5, 5_000) + 1e-3, np.full(5_000, 0.1)])
    source, target = rng.integers(0, 50, (2, weight.size))
    made = Graph.from_edges(source, target, weight, n_nodes=50, directed=True)
    assert made.weights is not None
    assert made.tables is not None
    shares = made.tables.keep.astype(np.float64)
    start = np.repeat(made.indptr[:-1], np.diff(made.indptr))
    np.add.at(shares, start + made.tables.instead, 1.0 - made.tables.keep.astype(np.float64))
    size = np.repeat(np.diff(made.indptr), np.diff(made.indptr))
    totals = np.add.reduceat(made.weights.astype(np.float64), made.indptr[:-1])
    np.testing.assert_allclose(made.tables.totals, totals, rtol=1e-12)
    known = made.weights / np.repeat(totals, np.diff(made.indptr))
    # Each of the entries that lead to one rounds its probability to float32.
    np.testing.assert_allclose(shares / size, known, atol=2.0**-24)


@pytest.mark.parametrize("directed", [False, True])
def test_marks_show_every_edge_and_few_pairs_that_are_none(directed: bool) -> None:
    from tasks.graphs.row_kernels import mark

    source, target = np.random.default_rng(0).integers(0, 500, (2, 3_000))
    made = Graph.from_edges(source, target, n_nodes=500, directed=directed)
    shown = np.zeros((500, 500), np.bool_)
    for one, other in np.ndindex(shown.shape):
        word, bits = mark(one, other, made.marks.size)
        shown[one, other] = made.marks[word] & bits == bits
    joined = np.zeros((500, 500), np.bool_)
    joined[source, target] = joined[target, source] = True
    assert shown[joined].all()
    assert shown[~joined].mean() < 0.05


def test_places_and_nodes_take_64_bits_from_two_to_the_31_on() -> None:
    edge, loop = 2, 1
    assert index_types(2**31 - 1, 2**31 - 1) == (np.int32, np.int32)
    assert index_types(10**6, edge * 2**31) == (np.int64, np.int32)
    assert index_types(10**6, loop * 2**31) == (np.int64, np.int32)
    assert index_types(2**31, 10) == (np.int32, np.int64)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(-1.0, "-1.0"), (0.0, "0.0"), (np.nan, "nan"), (np.inf, "inf"), (1e39, "1e+39")],
)
def test_the_first_wrong_weight_is_named(value: float, shown: str) -> None:
    edges = [(0, 1, 1.0), (0, 2, value), (1, 2, 0.0)]
    told = f"weight[1] is {shown}, but weights must be positive finite float32 numbers"
    with pytest.raises(ValueError, match="weight") as raised:
        graph(edges)
    assert str(raised.value) == told


def test_weights_that_add_up_to_infinity_are_refused() -> None:
    with pytest.raises(ValueError, match="equal edges of node 1 add up to infinity"):
        graph([(1, 2, 3e38), (1, 2, 3e38)], directed=True)


@pytest.mark.parametrize(
    ("edges", "told"),
    [
        ([(0, 1, 1.0), (-1, 2, 1.0)], "source[1] is -1, but the graph has the nodes 0 to 4"),
        (
            [(0, 1, 1.0), (1, 2, 1.0), (0, 5, 1.0)],
            "target[2] is 5, but the graph has the nodes 0 to 4",
        ),
    ],
)
def test_the_first_unknown_node_is_named(edges: list[Edge], told: str) -> None:
    with pytest.raises(ValueError, match="nodes") as raised:
        graph(edges)
    assert str(raised.value) == told


def test_ends_that_are_no_integers_or_of_other_lengths_are_refused() -> None:
    ends = np.array([0, 1])
    with pytest.raises(ValueError, match=r"target is float64 of shape \(2,\), but must be int"):
        Graph.from_edges(ends, ends.astype(float), n_nodes=2, directed=False)
    with pytest.raises(ValueError, match=r"of several lengths: \[\(1,\), \(2,\)\]"):
        Graph.from_edges(ends, ends[:1], n_nodes=2, directed=False)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("directed", [True, False])
def test_a_saved_graph_is_opened_as_it_was(tmp_path: Path, weighted: bool, directed: bool) -> None:
    made = graph(EDGES, directed=directed, weighted=weighted)
    made.save(tmp_path / "graph")
    opened = Graph.open(tmp_path / "graph", check=True)
    assert arrays(opened) == arrays(made)
    assert opened.directed == directed
    assert [path.name for path in tmp_path.iterdir()] == ["graph"]


def test_an_opened_graph_is_pickled_as_its_folder(tmp_path: Path) -> None:
    made = graph(EDGES)
    assert arrays(pickle.loads(pickle.dumps(made))) == arrays(made)  # noqa: S301
    made.save(tmp_path / "graph")
    pickled = pickle.dumps(Graph.open(tmp_path / "graph"))
    assert made.indices.tobytes() not in pickled
    again = pickle.loads(pickled)  # noqa: S301
    assert (arrays(again), again.folder) == (arrays(made), tmp_path / "graph")
    assert isinstance(again.indices.base, np.memmap)


def test_arrays_are_never_written_again() -> None:
    with pytest.raises(ValueError, match="read-only"):
        graph(EDGES).indices[0] = 1


def test_a_saved_graph_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "graph").mkdir()
    with pytest.raises(FileExistsError, match="is there already: a saved graph is never replaced"):
        graph(EDGES).save(tmp_path / "graph")


def test_a_save_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space"):
        graph(EDGES).save(tmp_path / "graph")
    assert list(tmp_path.iterdir()) == []


def test_damage_is_found_when_it_is_looked_for(tmp_path: Path) -> None:
    graph(EDGES).save(tmp_path / "graph")
    path = tmp_path / "graph" / "indices.npy"
    written = bytearray(path.read_bytes())
    written[-4] ^= 1
    path.write_bytes(written)
    with pytest.raises(ValueError, match=r"indices\.npy is damaged: its digest is not "):
        Graph.open(tmp_path / "graph", check=True)
    path.unlink()
    with pytest.raises(ValueError, match=r"indices\.npy is missing: save the graph again"):
        Graph.open(tmp_path / "graph")
    with pytest.raises(ValueError, match=r"holds no saved graph: graph\.json is missing"):
        Graph.open(tmp_path)


def test_a_graph_of_another_format_is_refused(tmp_path: Path) -> None:
    graph(EDGES).save(tmp_path / "graph")
    about = tmp_path / "graph" / "graph.json"
    about.write_text(about.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(ValueError, match="a graph of format 2, this program reads 1"):
        Graph.open(tmp_path / "graph")
