"""Graphs as PyTorch Geometric has them, and back."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.errors import ConfigError
from tasks.graphs.csr import Graph

if TYPE_CHECKING:
    from torch_geometric.data import Data

WEIGHT = "edge_weight"


def from_data(data: "Data", *, weight: str | None = None, directed: bool | None = None) -> Graph:
    """The graph of a `Data`; `weight` names an attribute of edges with one number each.

    By default it is directed unless each edge stands there both ways. Raises ConfigError for a
    `Data` without edges or without the attribute, ValueError for a weight that is not positive.
    """
    if data.edge_index is None:
        raise ConfigError("the data has no edge_index")
    both_ways = bool(data.is_undirected())
    directed = not both_ways if directed is None else directed
    ends = data.edge_index.cpu().numpy()
    weights = None
    if weight is not None:
        if data.get(weight) is None:
            raise ConfigError(f"weight = {weight!r}: the data has {', '.join(data.keys())}")
        weights = data[weight].detach().cpu().numpy().reshape(-1)
    if both_ways and not directed:
        once = ends[0] <= ends[1]  # else the sum of both ways would be the weight
        ends, weights = ends[:, once], None if weights is None else weights[once]
    return Graph.from_edges(
        ends[0], ends[1], weights, n_nodes=int(data.num_nodes or 0), directed=directed
    )


def to_data(graph: Graph) -> "Data":
    """The graph as `Data`: `edge_index`, each undirected edge both ways, and `edge_weight`."""
    import torch

    data: Any = quiet_import().Data
    source = np.repeat(np.arange(graph.n_nodes), np.diff(graph.indptr))
    ends = torch.from_numpy(np.stack([source, graph.indices.astype(np.int64)]))
    known = {} if graph.weights is None else {WEIGHT: torch.from_numpy(graph.weights.copy())}
    return data(edge_index=ends, num_nodes=graph.n_nodes, **known)


def quiet_import() -> Any:  # noqa: ANN401 (PyG has no types)
    """`torch_geometric.data`, without what PyG 2.8 provokes torch 2.14 to warn of."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch_geometric import data
    except ImportError as error:
        raise ConfigError(f"{error}; pip install 'vectorline[graph]'") from error
    return data
