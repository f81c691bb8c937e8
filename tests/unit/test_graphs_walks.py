"""Walks have the law that they shall have, and nothing but their seed, start and number decides."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from scipy import stats

from tasks.graphs import csr, walks
from tasks.graphs.arrays import Walks
from tasks.graphs.csr import Graph
from tasks.graphs.walks import corpus, shuffled, walk
from tests import oracles

Rows = dict[int, dict[int, float]]

LAWS = [(1.0, 1.0), (0.5, 2.0), (2.0, 0.5), (0.25, 4.0), (4.0, 0.25)]
FAR = [(1e-3, 1e3), (1e30, 1e-30), (1e3, 1e3)]
LENGTH = 80


def karate(*, weighted: bool, directed: bool = False) -> tuple[Graph, Rows]:
    """The club; directed, every other edge goes one way only."""
    known = nx.karate_club_graph()
    edges = [(one, other, float(edge["weight"])) for one, other, edge in known.edges(data=True)]
    if directed:
        edges += [(other, one, weight / 2) for one, other, weight in edges[::2]]
    source, target = np.array([edge[:2] for edge in edges]).T
    weight = np.array([edge[2] for edge in edges]) if weighted else None
    made = Graph.from_edges(source, target, weight, n_nodes=34, directed=directed)
    return made, oracles.adjacency(edges, 34, directed=directed, weighted=weighted)


def path_graph(edges: list[tuple[int, int]], n_nodes: int, *, directed: bool = False) -> Graph:
    source, target = np.array(edges, np.int64).reshape(-1, 2).T
    return Graph.from_edges(source, target, n_nodes=n_nodes, directed=directed)


def many(made: Graph, n: int, p: float, q: float, *, extend: bool = False) -> Walks:
    """n walks from each node."""
    starts = np.tile(np.arange(made.n_nodes), n)
    number = np.repeat(np.arange(n), made.n_nodes)
    return walk(made, starts, length=LENGTH, p=p, q=q, seed=1, number=number, extend=extend)


def distance(walked: Walks, law: dict[tuple[int, int], dict[int, float]], n_nodes: int) -> float:
    """Total variation between the steps that were taken and the law, over (t, v, x)."""
    steps = np.stack([walked[:, :-2], walked[:, 1:-1], walked[:, 2:]], axis=-1).reshape(-1, 3)
    steps = steps[(steps >= 0).all(axis=1)]
    cells = np.ravel_multi_index(tuple(steps.T), (n_nodes,) * 3)
    counts = np.bincount(cells, minlength=n_nodes**3).reshape((n_nodes,) * 3)
    known = np.zeros(counts.shape)
    for (t, v), chances in law.items():
        for x, chance in chances.items():
            known[t, v, x] = counts[t, v].sum() * chance
    return float(np.abs(counts - known).sum() / 2 / counts.sum())


@pytest.mark.parametrize(("p", "q"), LAWS + FAR)
@pytest.mark.parametrize("weighted", [False, True])
def test_steps_have_the_exact_law(weighted: bool, p: float, q: float) -> None:
    made, rows = karate(weighted=weighted)
    walked = many(made, 1_000, p, q)
    assert distance(walked, oracles.second_order_law(rows, p=p, q=q), 34) < 0.01


@pytest.mark.parametrize(("p", "q"), LAWS[1:])
@pytest.mark.parametrize("weighted", [False, True])
def test_steps_along_directed_edges_have_the_exact_law(weighted: bool, p: float, q: float) -> None:
    made, rows = karate(weighted=weighted, directed=True)
    walked = many(made, 500, p, q)
    assert distance(walked, oracles.second_order_law(rows, p=p, q=q), 34) < 0.01


@pytest.mark.parametrize(("p", "q"), LAWS[1:])
@pytest.mark.parametrize("directed", [False, True])
def test_steps_of_extended_walks_have_the_exact_law(directed: bool, p: float, q: float) -> None:
    made, rows = karate(weighted=True, directed=directed)
    walked = many(made, 500 if directed else 1_000, p, q, extend=True)
    law = oracles.second_order_law(rows, p=p, q=q, extend=True)
    assert distance(walked, law, 34) < 0.01


@pytest.mark.parametrize("weighted", [False, True])
def test_long_walks_end_at_nodes_by_their_weight(weighted: bool) -> None:
    made, rows = karate(weighted=weighted)
    ends = many(made, 1_000, 1, 1)[:, -1]
    mass = np.array([sum(row.values()) for row in rows.values()])
    known = mass / mass.sum() * ends.size
    assert stats.chisquare(np.bincount(ends, minlength=34), known).pvalue > 0.001


def test_a_hub_is_left_to_each_of_its_neighbours_alike() -> None:
    # Neighbours of one another, and of the hub: both searches, and a row longer than all walkers.
    n = 1_000
    ring = [(node, node % n + 1) for node in range(1, n + 1)]
    made = path_graph(ring + [(0, node) for node in range(1, n + 1)], n + 1)
    walked = walk(
        made, np.ones(200_000, np.int64), length=3, q=0.5, seed=0, number=np.arange(200_000)
    )
    through = walked[walked[:, 1] == 0][:, 2]
    counts = np.bincount(through, minlength=n + 1)
    factors = np.full(n + 1, 2.0)
    factors[[0, 1, 2, n]] = 0.0, 1.0, 1.0, 1.0
    known = factors / factors.sum() * through.size
    assert stats.chisquare(counts[1:], known[1:]).pvalue > 0.001


def blocks(made: Graph, map_ranges: walks.MapRanges = map) -> Walks:
    return np.concatenate(
        list(corpus(made, length=20, walks_per_node=3, p=0.5, q=2, seed=7, map_ranges=map_ranges))
    )


@pytest.fixture
def pool(request: pytest.FixtureRequest) -> Iterator[Executor]:
    kind, workers = request.param
    made: Executor = (
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
        if kind == "processes"
        else ThreadPoolExecutor(workers)
    )
    with made:
        yield made


@pytest.mark.parametrize(
    "pool",
    [("threads", 1), ("threads", 2), ("threads", 4), ("processes", 2), ("processes", 4)],
    indirect=True,
    ids=str,
)
def test_any_number_of_workers_makes_the_same_walks(
    pool: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = karate(weighted=True)
    alone = blocks(made)
    monkeypatch.setattr(walks, "_BLOCK_NODES", 200)
    made.save(tmp_path / "graph")
    assert np.array_equal(blocks(Graph.open(tmp_path / "graph"), pool.map), alone)


def test_a_block_is_no_longer_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = karate(weighted=False)
    monkeypatch.setattr(walks, "_BLOCK_NODES", 250)
    made_blocks = list(corpus(made, length=25, walks_per_node=1, seed=0))
    assert [block.shape for block in made_blocks] == [(10, 25), (10, 25), (10, 25), (4, 25)]


def test_a_corpus_has_every_walk_once_in_an_order_of_its_seed() -> None:
    made, _ = karate(weighted=False)
    for number, part in enumerate(np.split(blocks(made), 3)):
        order = part[:, 0]
        assert sorted(order) == list(range(34))
        assert order.tolist() != list(range(34))
        same = walk(made, order, length=20, p=0.5, q=2, seed=7, number=number)
        assert np.array_equal(part, same)
    first, second, _ = np.split(blocks(made)[:, 0], 3)
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 64, 1_000])
def test_the_order_is_a_permutation(n: int) -> None:
    places = np.arange(n)
    order = shuffled(places, np.zeros(n, np.int64), n=n, seed=3)
    assert sorted(order.tolist()) == places.tolist()
    assert np.array_equal(shuffled(places[1:], np.zeros(n - 1, np.int64), n=n, seed=3), order[1:])


def test_every_place_of_the_order_is_as_likely_for_every_node() -> None:
    numbers = np.repeat(np.arange(2_000), 6)
    places = np.tile(np.arange(6), 2_000)
    order = shuffled(places, numbers, n=6, seed=0)
    counts = np.zeros((6, 6))
    np.add.at(counts, (places, order), 1)
    # Rows and columns of permutation matrices have known sums: 25 degrees of freedom, not 35.
    statistic = ((counts - 2_000 / 6) ** 2).sum() / (2_000 / 6) * (5 / 6)
    assert stats.chi2.sf(statistic, 25) > 0.001


@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (0.5, 2.0)])
def test_a_walk_is_a_function_of_seed_start_and_number(p: float, q: float) -> None:
    made, _ = karate(weighted=True)
    starts = np.arange(34)
    known = walk(made, starts, length=LENGTH, p=p, q=q, seed=3)
    again = walk(made, np.tile(starts[::-1], 4), length=30, p=p, q=q, seed=3)
    assert np.array_equal(again, np.tile(known[::-1, :30], (4, 1)))
    for seed, number in ((4, 0), (3, 1)):
        other = walk(made, starts, length=LENGTH, p=p, q=q, seed=seed, number=number)
        assert not (other == known).all(axis=1).any()


@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (0.5, 2.0), (1e9, 1.0)])
class TestShapes:
    def test_a_walk_ends_at_a_node_without_out_edges(self, p: float, q: float) -> None:
        made = path_graph([(0, 1), (1, 2), (3, 3)], 5, directed=True)
        walked = walk(made, [0, 1, 2, 3, 4], length=4, p=p, q=q, seed=0)
        assert walked.tolist() == [
            [0, 1, 2, -1],
            [1, 2, -1, -1],
            [2, -1, -1, -1],
            [3, 3, 3, 3],
            [4, -1, -1, -1],
        ]

    def test_where_there_is_one_way_it_is_taken(self, p: float, q: float) -> None:
        walked = walk(path_graph([(0, 1)], 2), [0, 1], length=5, p=p, q=q, seed=0)
        assert walked.tolist() == [[0, 1, 0, 1, 0], [1, 0, 1, 0, 1]]

    def test_one_node_walks_nowhere_or_on_its_loop(self, p: float, q: float) -> None:
        assert walk(path_graph([], 1), [0], length=3, p=p, q=q, seed=0).tolist() == [[0, -1, -1]]
        assert walk(path_graph([(0, 0)], 1), [0], length=3, p=p, q=q, seed=0).tolist() == [
            [0, 0, 0]
        ]

    def test_a_walk_of_one_node_is_its_start(self, p: float, q: float) -> None:
        made = path_graph([(0, 1)], 2)
        assert walk(made, [1, 0], length=1, p=p, q=q, seed=0).tolist() == [[1], [0]]

    def test_no_starts_are_no_walks(self, p: float, q: float) -> None:
        made = path_graph([(0, 1)], 2)
        assert walk(made, np.empty(0, np.int64), length=3, p=p, q=q, seed=0).shape == (0, 3)


def test_a_loop_is_a_way_like_others() -> None:
    made = path_graph([(0, 0), (0, 1)], 2)
    rows: Rows = {0: {0: 1.0, 1: 1.0}, 1: {0: 1.0}}
    walked = many(made, 20_000, 0.5, 2.0)
    assert distance(walked, oracles.second_order_law(rows, p=0.5, q=2.0), 2) < 0.005


def test_64_bit_rows_make_the_same_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow, _ = karate(weighted=True)
    monkeypatch.setattr(csr, "_holding", lambda _: np.int64)
    wide, _ = karate(weighted=True)
    walked = many(wide, 1, 0.5, 2.0)
    assert walked.dtype == wide.indptr.dtype == np.int64
    assert np.array_equal(walked, many(narrow, 1, 0.5, 2.0))


def test_an_empty_graph_has_an_empty_corpus() -> None:
    assert list(corpus(path_graph([], 0), length=3, walks_per_node=2, seed=0)) == []


Call = Callable[[Graph], Iterable[object]]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda g: walk(g, [0], length=2, p=0, seed=0), "p is 0, but must be positive and finite"),
        (lambda g: walk(g, [0], length=2, q=-1, seed=0), "q is -1, but must be positive"),
        (lambda g: corpus(g, length=2, p=np.nan, walks_per_node=1, seed=0), "p is nan, but must"),
        (lambda g: walk(g, [0], length=2, q=np.inf, seed=0), "q is inf, but must be positive"),
        (lambda g: walk(g, [0], length=0, seed=0), "length is 0, but a walk has 1 node or more"),
        (lambda g: walk(g, [0, 9, 2], length=2, seed=0), r"starts\[1\] is 9, but the graph has"),
        (lambda g: walk(g, [-1], length=2, seed=0), r"starts\[0\] is -1, but the graph has the n"),
        (lambda g: corpus(g, length=2, walks_per_node=0, seed=0), "walks_per_node is 0, but must"),
        (lambda g: walk(g, [0], length=2, q=2, extend=True, seed=0), "extend is for graphs with w"),
    ],
)
def test_what_cannot_be_walked_is_refused(call: Call, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        call(path_graph([(0, 1), (1, 2)], 3))
