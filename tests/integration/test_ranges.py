"""Walks over the workers of a pool, and over threads."""

import time
from collections.abc import Iterator
from pathlib import Path

import networkx
import numpy as np
import pytest

from tasks.compute.ranges import MapRanges, over_pool
from tasks.graphs import walks as walks_module
from tasks.graphs.csr import Graph
from tasks.graphs.threads import over_threads
from tasks.graphs.walks import corpus


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """In files, which workers map."""
    edges = np.array(networkx.karate_club_graph().edges)
    made = Graph.from_edges(edges[:, 0], edges[:, 1], n_nodes=34, directed=False)
    made.save(tmp_path / "graph")
    return Graph.open(tmp_path / "graph")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walks_module, "_BLOCK_NODES", 100)


def walked(graph: Graph, map_ranges: MapRanges = map) -> list[list[int]]:
    blocks = corpus(
        graph, length=10, walks_per_node=20, p=0.5, q=2.0, seed=7, map_ranges=map_ranges
    )
    found: list[list[int]] = np.concatenate([*blocks]).tolist()
    return found


@pytest.mark.ray
def test_any_number_of_workers_gives_the_same_walks(graph: Graph, local_ray: str) -> None:
    here = walked(graph)
    assert len(here) == 34 * 20
    with over_pool("serial") as map_ranges:
        assert walked(graph, map_ranges) == here
    for workers in (1, 2, 4):
        with over_pool(workers=workers, address=local_ray) as map_ranges:
            assert walked(graph, map_ranges) == here


def test_no_more_ranges_are_given_out_than_are_taken(graph: Graph) -> None:
    given: list[range] = []

    def ranges() -> Iterator[range]:
        for start in range(100):
            given.append(range(start, start + 1))
            yield given[-1]

    with over_pool("serial") as map_ranges:
        results = map_ranges(len, ranges())
        assert next(results) == 1
        assert len(given) < 10
        assert list(results) == [1] * 99


def test_threads_give_results_in_order_and_hold_few() -> None:
    given: list[int] = []

    def ranges() -> Iterator[range]:
        for start in range(50):
            given.append(start)
            yield range(start, start + 2)

    def slow(places: range) -> list[int]:
        time.sleep(0.01 if places.start % 3 else 0.03)
        return [*places]

    results = over_threads(3)(slow, ranges())
    assert next(results) == [0, 1]
    assert len(given) <= 5
    assert [*results] == [[n, n + 1] for n in range(1, 50)]


def test_what_a_range_raises_is_raised() -> None:
    def fails(places: range) -> int:
        raise ValueError(f"not {places.start}")

    with over_pool("serial") as map_ranges, pytest.raises(ValueError, match="not 3"):
        list(map_ranges(fails, [range(3, 5)]))
