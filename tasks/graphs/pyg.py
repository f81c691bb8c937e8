"""Graphs as PyTorch Geometric has them, and back."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

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
    ends = data.edge_index.cpu().numpy()
    n_nodes = int(data.num_nodes or 0)
    directed = not data.is_undirected() if directed is None else directed
    weights = None
    if weight is not None:
        if data.get(weight) is None:
            raise ConfigError(f"weight = {weight!r}: the data has {', '.join(sorted(data.keys()))}")
        weights = data[weight].detach().cpu().numpy().reshape(-1)
    if weights is not None and not directed:
        once = not_mirrored(ends, weights)
        ends, weights = ends[:, once], weights[once]
    return Graph.from_edges(ends[0], ends[1], weights, n_nodes=n_nodes, directed=directed)


def not_mirrored(ends: npt.NDArray[np.int64], weights: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which edges to take of a graph that has each both ways, with one weight: else twice that.

    All, if it has not: then weights of equal edges add up.
    """
    sides = [np.lexsort((weights, *pair)) for pair in (ends[::-1], ends)]
    there, back = ends[:, sides[0]], ends[::-1, sides[1]]
    if (there == back).all() and (weights[sides[0]] == weights[sides[1]]).all():
        return np.asarray(ends[0] <= ends[1])
    return np.ones(len(weights), np.bool_)


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
