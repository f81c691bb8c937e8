"""Edges of graphs as other programs keep them: GraphML and GEXF by networkx, .pt by torch."""

import io
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.errors import ConfigError, SourceError
from tasks.graphs.pyg import not_mirrored, quiet_import
from tasks.mistakes import did_you_mean
from tasks.sources.edge_list import Column, Edges, Ends, Layout


def _numbered(numbers: npt.NDArray[np.int64], ids: pa.Array) -> Ends:
    return Ends(numbers.astype(np.int32), ids)


def read_networkx(stream: IO[bytes], uri: str, layout: Layout, ending: str) -> Edges:
    """Those of a GraphML or GEXF file, with what it knows of its nodes."""
    import networkx

    readers: Mapping[str, Callable[[IO[bytes]], Any]] = {
        ".graphml": networkx.read_graphml,
        ".gexf": networkx.read_gexf,
    }
    with _foreign(uri):
        graph = readers[ending](stream)
        names = [str(name).strip() for name in graph]
        place = {name: number for number, name in enumerate(graph)}
        whole = list(graph.edges(data=True))
        rows = [(a, b, own.get(str(layout.weight))) for a, b, own in whole]
        plain = [
            {"id": str(name).strip(), **_plain(known)} for name, known in graph.nodes(data=True)
        ]
        nodes = pa.Table.from_pylist(plain, pa.schema(_kinds(plain)))
    ids = pa.array(names, pa.string())
    ends = np.array([[place[one[0]], place[one[1]]] for one in rows], np.int64).reshape(-1, 2)
    weights = None
    if layout.weight is not None:
        _check_attribute(layout.weight, rows, {key for *_, own in whole for key in own}, uri)
        weights = np.array([np.nan if one[2] is None else one[2] for one in rows], np.float64)
    return Edges(
        _numbered(ends[:, 0], ids),
        _numbered(ends[:, 1], ids),
        weights,
        directed=graph.is_directed(),
        nodes=nodes,
    )


def _check_attribute(
    weight: Column | None, rows: Sequence[tuple[Any, ...]], known: Collection[str], uri: str
) -> None:
    if rows and all(one[2] is None for one in rows):
        near = did_you_mean(str(weight), known) or "."
        raise ConfigError(
            f"weight = {weight!r}: no edge of {uri} has it{near} "
            f"They have {', '.join(sorted(map(str, known))) or 'nothing'}"
        )


def _plain(known: Mapping[str, Any]) -> dict[str, object]:
    """Attributes of a node that a column can hold; others as JSON."""
    return {
        str(name): value
        if isinstance(value, str | bool | int | float)
        else json.dumps(value, default=str)
        for name, value in known.items()
        if name != "id"
    }


def _kinds(rows: Sequence[Mapping[str, object]]) -> list[tuple[str, pa.DataType]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [
        (name, pa.infer_type([row[name] for row in rows if name in row])) for name in names
    ] or [("id", pa.string())]


def read_torch(stream: IO[bytes], uri: str, layout: Layout) -> Edges:
    """Those of what `torch.save` wrote of a PyG graph; nothing but tensors is loaded."""
    with _foreign(uri):
        return _of_data(_load_data(stream), uri, layout)


def _load_data(stream: IO[bytes]) -> Any:  # noqa: ANN401  (Data or HeteroData)
    """The object of a .pt file; only tensors and PyG's own containers of them are let in."""
    import torch

    data = quiet_import()
    from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr

    storage, Data, HeteroData = data.storage, data.Data, data.HeteroData
    containers = (storage.GlobalStorage, storage.NodeStorage, storage.EdgeStorage)
    with torch.serialization.safe_globals(
        [Data, HeteroData, storage.BaseStorage, *containers, DataEdgeAttr, DataTensorAttr]
    ):
        return torch.load(io.BytesIO(stream.read()), map_location="cpu", weights_only=True)


def _of_data(data: Any, uri: str, layout: Layout) -> Edges:  # noqa: ANN401
    """Nodes of one kind are named 0, 1, 2; of several `kind/0`, with a column `kind`."""
    if not hasattr(data, "edge_types"):
        if data.edge_index is None:
            raise SourceError(f"{uri} has no edge_index")
        n = int(data.num_nodes)
        labels = {"y": data.y.tolist()} if getattr(data.get("y"), "shape", None) == (n,) else {}
        nodes = pa.table({"id": list(map(str, range(n))), **labels})
        parts = [(data, (0, n), (0, n))]
    else:
        ranges: dict[str, tuple[int, int]] = {}
        names: list[str] = []
        kinds: list[str] = []
        for kind in data.node_types:
            n = int(data[kind].num_nodes)
            ranges[kind] = len(names), n
            names += [f"{kind}/{number}" for number in range(n)]
            kinds += [kind] * n
        nodes = pa.table({"id": pa.array(names, pa.string()), "kind": kinds})
        parts = [(data[one], ranges[one[0]], ranges[one[2]]) for one in data.edge_types]
    sources, targets, weights = [], [], []
    for part, (first, n_first), (second, n_second) in parts:
        ends = part.edge_index.numpy()
        for name, own, n in zip(("source", "target"), ends, (n_first, n_second), strict=True):
            if own.size and not 0 <= own.min() <= own.max() < n:
                raise SourceError(f"{uri}: edge_index names a {name} that is not in 0 to {n - 1}")
        weight = _weights(part, layout, uri)
        if weight is not None and len(parts) == 1 and not layout.directed:
            once = not_mirrored(ends, weight)
            ends, weight = ends[:, once], weight[once]
        sources.append(ends[0] + first)
        targets.append(ends[1] + second)
        weights.append(weight if weight is not None else np.empty(0))
    joined = [np.concatenate([*one, np.empty(0, np.int64)]) for one in (sources, targets)]
    ids = nodes["id"].combine_chunks()
    return Edges(
        _numbered(joined[0], ids),
        _numbered(joined[1], ids),
        np.concatenate([*weights, np.empty(0)]) if layout.weight is not None else None,
        nodes=nodes,
    )


def _weights(part: Any, layout: Layout, uri: str) -> npt.NDArray[np.float64] | None:  # noqa: ANN401
    if layout.weight is None:
        return None
    name, known = str(layout.weight), [*map(str, part.keys())]
    if name not in known or part[name].numel() != part.edge_index.shape[1]:
        raise ConfigError(
            f"weight = {name!r}: {uri} has no such number for each edge"
            f"{did_you_mean(name, set(known) - {name}) or '.'} It has {', '.join(known)}"
        )
    found: npt.NDArray[np.float64] = part[name].double().numpy().reshape(-1)
    return found


@contextmanager
def _foreign(uri: str) -> Iterator[None]:
    """What these libraries raise at files that they do not understand becomes a SourceError."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"{uri}: {error}; pip install 'vectorline[graph]'") from error
    except (MemoryError, ConfigError, SourceError):
        raise
    except Exception as error:
        words = str(error).splitlines()[0][:300] if str(error) else ""
        raise SourceError(f"{uri} cannot be read: {type(error).__name__}: {words}") from error
