"""Steps a CPU-second of random walks, against fastnode2vec and pecanpy in one run.

Both are installed into environments of their own under build/peers. All sides walk from every node
of the same graphs of a million edges, in blocks or with degrees by a power law, each on many nodes
and on a tenth of them: of what pecanpy looks through at a step, the degrees decide. Compiling and
building the graph, ours with its marks, are left out, and the better of some rounds counts.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent.parent
LENGTH = 80
N_EDGES = 1_000_000
ROUNDS = 3
LAWS = [(1.0, 1.0), (0.5, 2.0)]
GOALS = {("fastnode2vec", 1.0): 15, ("fastnode2vec", 0.5): 3, ("pecanpy", 0.5): 20}
# What they need beside them; pecanpy's typing does not import with numpy 2.
PEERS = {"fastnode2vec": ["fastnode2vec==0.0.7"], "pecanpy": ["pecanpy==2.0.9", "numpy<2"]}
PECANPY_LENGTHS = (2, 2, 32)  # the first compiles what the others share

Edges = tuple[Any, Any, int]


def blocks(n_nodes: int) -> Edges:
    """A stochastic block model: blocks of 1,000 nodes, four of five edges inside one."""
    rng = np.random.default_rng(0)
    size = 1_000
    source = rng.integers(0, n_nodes, N_EDGES)
    inside = source // size * size + rng.integers(0, size, N_EDGES)
    target = np.where(rng.random(N_EDGES) < 0.8, inside, rng.integers(0, n_nodes, N_EDGES))
    return source, target, n_nodes


def power_law(n_nodes: int, n_edges: int = N_EDGES) -> Edges:
    """A graph whose expected degrees fall with the root of their rank (Chung and Lu, 2002)."""
    rng = np.random.default_rng(0)
    shares = np.cumsum((np.arange(n_nodes) + 10.0) ** -0.5)
    names = rng.permutation(n_nodes)
    ends = names[np.searchsorted(shares / shares[-1], rng.random((2, n_edges)))]
    return ends[0], ends[1], n_nodes


def ours(edges: Edges, p: float, q: float) -> float:
    """Steps a CPU-second of `corpus`."""
    from tasks.graphs.csr import Graph
    from tasks.graphs.walks import corpus

    source, target, n_nodes = edges
    graph = Graph.from_edges(source, target, n_nodes=n_nodes, directed=False)

    def walk() -> Iterator[Any]:
        return corpus(graph, length=LENGTH, walks_per_node=1, p=p, q=q, seed=0)

    return _best(walk, lambda block: int((block >= 0).sum()))


def fastnode2vec(edges: Edges, p: float, q: float) -> float:
    """Steps a CPU-second of its walks, one after the other, as its trainer asks for them."""
    from fastnode2vec import Graph  # type: ignore[import-not-found]

    source, target, _ = edges
    pairs = list(zip(source.tolist(), target.tolist(), strict=True))
    graph = Graph(pairs, directed=False, weighted=False, verbose=False)
    starts = np.random.default_rng(0).permutation(len(graph.node_names))[:20_000]

    def walk() -> Iterator[Any]:
        return (graph.generate_random_walk(LENGTH, p, q, start) for start in starts)

    return _best(walk, len)


def pecanpy(edges: Edges, p: float, q: float) -> float:
    """Steps a CPU-second of its SparseOTF.

    It compiles anew at each call: what a step takes is the difference of two lengths.
    """
    from pecanpy.pecanpy import SparseOTF  # type: ignore[import-not-found]
    from scipy.sparse import coo_matrix

    source, target, n_nodes = edges
    ends = (np.concatenate([source, target]), np.concatenate([target, source]))
    matrix = coo_matrix((np.ones(ends[0].size, np.float32), ends), (n_nodes, n_nodes)).tocsr()
    matrix.sort_indices()
    matrix.data[:] = 1.0
    graph = SparseOTF(p=p, q=q, workers=1, verbose=False, random_state=0)
    graph.set_node_ids([str(node) for node in range(n_nodes)])
    graph.data = matrix.data
    graph.indptr = matrix.indptr.astype(np.uint32)
    graph.indices = matrix.indices.astype(np.uint32)
    seconds, steps = [], []
    for length in PECANPY_LENGTHS:
        started = time.process_time()
        walks = graph.simulate_walks(num_walks=1, walk_length=length)
        seconds.append(time.process_time() - started)
        steps.append(sum(map(len, walks)))
    return (steps[2] - steps[1]) / (seconds[2] - seconds[1])


SIDES: dict[str, Callable[[Edges, float, float], float]] = {
    "vectorline": ours,
    "fastnode2vec": fastnode2vec,
    "pecanpy": pecanpy,
}


def _best(walk: Callable[[], Iterable[Any]], steps: Callable[[Any], int]) -> float:
    """Of some rounds, after one that compiles and counts the steps."""
    n_steps = sum(map(steps, walk()))
    seconds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in walk():
            pass
        seconds.append(time.process_time() - started)
    return n_steps / min(seconds)


def compare() -> list[dict[str, Any]]:
    """Each side in a process of its own, on each graph by each law."""
    found = []
    pythons = {"vectorline": sys.executable, **{peer: str(install(peer)) for peer in PEERS}}
    for graph in GRAPHS:
        for p, q in LAWS:
            rates = {}
            for side, python in pythons.items():
                if side != "pecanpy" or p != 1:  # it has other classes for that
                    command = [python, "-m", "benchmarks.walks", "--side", side, "--graph", graph]
                    command += ["--p", str(p), "--q", str(q)]
                    done = subprocess.run(
                        command, check=True, capture_output=True, text=True, cwd=HERE
                    )
                    rates[side] = float(done.stdout.splitlines()[-1])
            found.append({"graph": graph, "p": p, "q": q, "steps_a_cpu_second": rates})
    return found


def describe(edges: Edges) -> str:
    """How large a graph is once its duplicates are merged."""
    from tasks.graphs.csr import Graph

    source, target, n_nodes = edges
    graph = Graph.from_edges(source, target, n_nodes=n_nodes, directed=False)
    degrees = np.diff(graph.indptr)
    return (
        f"{n_nodes:,} nodes, {graph.n_edges:,} edges, mean degree {degrees.mean():.0f}, "
        f"highest {degrees.max():,}"
    )


def install(peer: str) -> Path:
    """The interpreter of a peer's own environment, made where it is missing."""
    folder = HERE / "build" / "peers" / peer
    python = folder / "bin" / "python"
    uv = Path(sys.executable).parent / "uv"
    if not (folder / "ready").exists():
        make: list[str | Path] = [
            uv,
            "venv",
            "--quiet",
            "--clear",
            "--python",
            sys.executable,
            folder,
        ]
        fill: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", python, *PEERS[peer]]
        for command in (make, fill):
            subprocess.run(command, check=True)
        (folder / "ready").touch()
    return python


GRAPHS: dict[str, Callable[[], Edges]] = {
    "blocks": partial(blocks, 100_000),
    "dense blocks": partial(blocks, 10_000),
    "power law": partial(power_law, 200_000),
    "dense power law": partial(power_law, 20_000),
}


def versions() -> str:
    """Of the peers and what they are compiled by."""
    told = []
    for peer in PEERS:
        script = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
        command: list[str | Path] = [install(peer), "-c", script, peer, "numba", "numpy"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        told.append("{} {} (numba {}, numpy {})".format(peer, *done.stdout.split()))
    return ", ".join(told)


def show(found: list[dict[str, Any]]) -> None:
    """The table."""
    print(
        f"\nrandom walks of {LENGTH} nodes, a million edges, million steps a CPU-second", flush=True
    )
    print(f"  {versions()}")
    for graph, make in GRAPHS.items():
        print(f"  {graph}: {describe(make())}")
        for one in found:
            if one["graph"] == graph:
                _show(one)


def _show(one: dict[str, Any]) -> None:
    rates = one["steps_a_cpu_second"]
    mine = rates["vectorline"]
    print(f"    p={one['p']:<4g} q={one['q']:<4g} vectorline   {mine / 1e6:8.1f}")
    for peer in PEERS:
        if peer in rates:
            ratio, goal = mine / rates[peer], GOALS[peer, one["p"]]
            print(f"{peer:>28} {rates[peer] / 1e6:10.2f}   x {ratio:6.1f}   (goal: {goal})")


def main() -> None:
    """The comparison, or one side of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--graph", choices=GRAPHS)
    parser.add_argument("--p", type=float)
    parser.add_argument("--q", type=float)
    args = parser.parse_args()
    if args.side is None:
        show(compare())
    else:
        print(SIDES[args.side](GRAPHS[args.graph](), args.p, args.q))


if __name__ == "__main__":
    main()
