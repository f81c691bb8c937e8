"""Graphs to and from PyTorch Geometric."""

import numpy as np
import pytest

from tasks.errors import ConfigError
from tasks.graphs import pyg
from tasks.graphs.csr import Graph

torch = pytest.importorskip("torch")


def rows(graph: Graph) -> list[tuple[list[int], list[float]]]:
    found = []
    for node in range(graph.n_nodes):
        own = slice(graph.indptr[node], graph.indptr[node + 1])
        weights = [] if graph.weights is None else graph.weights[own].tolist()
        found.append((graph.neighbours(node).tolist(), weights))
    return found


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_graph_comes_back_as_it_was(directed: bool, weighted: bool) -> None:
    source, target = np.array([0, 1, 2, 2, 4]), np.array([1, 2, 0, 2, 0])
    weights = np.array([0.5, 2.0, 1.5, 3.0, 0.25]) if weighted else None
    graph = Graph.from_edges(source, target, weights, n_nodes=6, directed=directed)
    data = pyg.to_data(graph)
    assert data.num_nodes == 6
    assert data.is_undirected() == (not directed)
    back = pyg.from_data(data, weight=pyg.WEIGHT if weighted else None)
    assert (back.directed, back.n_edges) == (directed, 5)
    assert rows(back) == rows(graph)


def test_what_data_lacks_is_told() -> None:
    data = pyg.quiet_import().Data(num_nodes=2)
    with pytest.raises(ConfigError, match="no edge_index"):
        pyg.from_data(data)
    data.edge_index = torch.tensor([[0], [1]])
    with pytest.raises(ConfigError, match="weight = 'w': the data has edge_index, num_nodes"):
        pyg.from_data(data, weight="w")
