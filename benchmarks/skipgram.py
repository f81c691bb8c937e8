"""Training on walks against gensim: words a CPU-second, peak memory, and how good the vectors are.

Both sides get the same walks from the same files, one thread, and the same settings; gensim without
its downsampling of frequent words, which no walk asks for. It has an environment of its own, in
build/. Speed is measured on 100,000 nodes, quality where there is a truth: groups that a graph was
made of, and the packages of the standard library's modules in the graph of their imports.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from examples.stdlib_imports import imports, modules

HERE = Path(__file__).parent.parent
PEER = HERE / "build" / "peers" / "gensim"
GENSIM = "gensim==4.4.0"
SIDES = ("ours", "gensim")
ROUNDS = 2
SEEDS = 5
SPLITS = 5  # of the nodes, for each seed
SPEED_NODES = 100_000
WALKS = 20_000
BLOCK = 10_000
LEAST_IN_PACKAGE = 20
SPEED = {"dim": 128, "window": 10, "negatives": 5, "epochs": 1}
QUALITY = {"dim": 64, "window": 5, "negatives": 5, "epochs": 1}

Indices = npt.NDArray[np.int64]
Edges = tuple[Indices, Indices]


@dataclass(frozen=True, slots=True)
class Truth:
    """A graph with a label for each node; -1 where there is none."""

    name: str
    edges: Edges
    labels: Indices


def planted(n_nodes: int, n_groups: int, inside: int, outside: int) -> tuple[Edges, Indices]:
    """A graph of groups: each node has so many neighbours in and outside of its own, on average."""
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(0, n_groups, n_nodes))
    starts = np.searchsorted(labels, np.arange(n_groups + 1))
    ends = rng.integers(0, n_nodes, (2, n_nodes * (inside + outside) // 2))
    group = labels[ends[0]]
    peers = starts[group] + ends[1] % (starts[group + 1] - starts[group])
    is_inside = np.arange(ends.shape[1]) < n_nodes * inside // 2
    return (ends[0], np.where(is_inside, peers, ends[1])), labels


def power_law(n_nodes: int, n_edges: int) -> Edges:
    """A graph whose degrees fall as rank^-0.77, which is a power law of exponent 2.3."""
    rng = np.random.default_rng(0)
    total = np.cumsum((np.arange(n_nodes) + 10.0) ** (-1 / 1.3))
    names = rng.permutation(n_nodes)
    first, second = names[np.searchsorted(total, rng.random((2, n_edges)) * total[-1])]
    return first, second


def standard_library() -> tuple[Edges, Indices]:
    """The modules of Python that are written in it and import each other; labelled by package."""
    files = modules(Path(sysconfig.get_path("stdlib")))
    number = {module: n for n, module in enumerate(files)}
    pairs = [(a, b) for a, b in sorted(imports(files)) if b in number]
    packages = [module.partition(".")[0] for module in files]
    size = Counter(packages)
    large = sorted(package for package in size if size[package] >= LEAST_IN_PACKAGE)
    labels = [large.index(package) if package in large else -1 for package in packages]
    first, second = np.array([(number[a], number[b]) for a, b in pairs]).T
    return (first, second), np.array(labels)


def make_walks(
    edges: Edges, n_nodes: int, *, n_walks: int, length: int, seed: int
) -> npt.NDArray[np.int32]:
    """Uniform walks; their starts go through all nodes in a shuffled order, again and again."""
    keys = np.unique(np.concatenate([edges[0] * n_nodes + edges[1], edges[1] * n_nodes + edges[0]]))
    row, neighbours = keys // n_nodes, keys % n_nodes
    starts = np.searchsorted(row, np.arange(n_nodes + 1))
    degree = np.diff(starts)
    rng = np.random.default_rng(seed)
    at = np.resize(rng.permutation(np.flatnonzero(degree)), n_walks)
    walks = np.empty((n_walks, length), np.int32)
    for step in range(length):
        walks[:, step] = at
        at = neighbours[starts[at] + (rng.random(n_walks) * degree[at]).astype(np.int64)]
    return walks


def ours(walks: npt.NDArray[np.int32], n_nodes: int, settings: dict[str, Any]) -> npt.NDArray[Any]:
    """Vectors of our own trainer."""
    from tasks.graphs.skipgram import SkipGram, count_nodes

    def blocks(epoch: int = 0) -> Iterator[npt.NDArray[np.int32]]:
        del epoch
        return (walks[start : start + BLOCK] for start in range(0, len(walks), BLOCK))

    trainer = SkipGram(count_nodes(blocks(), n_nodes), **settings)
    trainer.fit(blocks)
    return trainer.input


def gensim(
    walks: npt.NDArray[np.int32], n_nodes: int, settings: dict[str, Any]
) -> npt.NDArray[Any]:
    """Vectors of gensim; zeros for nodes that no walk holds."""
    from gensim.models import Word2Vec

    class Sentences:
        def __iter__(self) -> Iterator[list[str]]:
            for start in range(0, len(walks), BLOCK):
                for walk in walks[start : start + BLOCK].tolist():
                    yield list(map(str, walk))

    model = Word2Vec(
        Sentences(),
        vector_size=settings["dim"],
        window=settings["window"],
        negative=settings["negatives"],
        epochs=settings["epochs"],
        seed=settings.get("seed", 0),
        sg=1,
        sample=0,
        min_count=1,
        workers=1,
    )
    vectors = np.zeros((n_nodes, settings["dim"]), np.float32)
    vectors[[int(key) for key in model.wv.index_to_key]] = model.wv.vectors
    return vectors


def train(side: str, walks: Path, vectors: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """One side in this process: words a CPU-second, counting and all, and peak memory in MiB.

    `loaded_mib` is what a fit of a few nodes takes: libraries, and what they compile.
    """
    from importlib.metadata import version

    corpus = np.load(walks, mmap_mode="r")
    n_nodes = settings.pop("n_nodes")
    fit = {"ours": ours, "gensim": gensim}[side]
    fit(corpus[:10] % 10, 10, settings)
    loaded = _peak_mib()
    started = time.process_time()
    found = fit(corpus, n_nodes, settings)
    seconds = time.process_time() - started
    np.save(vectors, found)
    return {
        "words_s": corpus.size * settings["epochs"] / seconds,
        "mib": _peak_mib(),
        "loaded_mib": loaded,
        "version": version("gensim" if side == "gensim" else "numba"),
    }


def _peak_mib() -> float:
    # Not by getrusage, which counts what the process was before it became this program.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _apart(side: str, walks: Path, vectors: Path, settings: dict[str, Any]) -> dict[str, Any]:
    python = PEER / "bin" / "python" if side == "gensim" else Path(sys.executable)
    command: list[Any] = [python, __file__, "--side", side, walks, vectors, json.dumps(settings)]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare_speed(folder: Path, n_walks: int) -> dict[str, Any]:
    """Both sides in turn on each graph; the better of the rounds counts."""
    graphs = {
        "SBM": planted(SPEED_NODES, 100, 16, 4)[0],
        "power law": power_law(SPEED_NODES, 1_000_000),
    }
    found: dict[str, Any] = {}
    for name, edges in graphs.items():
        walks = folder / "walks.npy"
        np.save(walks, make_walks(edges, SPEED_NODES, n_walks=n_walks, length=80, seed=0))
        best: dict[str, dict[str, Any]] = {}
        for _ in range(ROUNDS):
            for side in SIDES:
                settings = {**SPEED, "n_nodes": SPEED_NODES}
                made = _apart(side, walks, folder / f"{side}.npy", settings)
                best[side] = max(best.get(side, made), made, key=lambda one: one["words_s"])
        found[name] = best
    return found


def compare_quality(folder: Path) -> dict[str, Any]:
    """Mean scores over seeds, each with walks of its own that both sides get."""
    truths = [
        Truth("planted partition", *planted(2_000, 20, 7, 6)),
        Truth("standard library", *standard_library()),
    ]
    return {truth.name: _quality(truth, folder) for truth in truths}


def _quality(truth: Truth, folder: Path) -> dict[str, Any]:
    n_nodes = len(truth.labels)
    labelled = truth.labels[truth.labels >= 0]
    scores: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    for seed in range(SEEDS):
        kept, held, wrong = hold_out(truth.edges, n_nodes, seed)
        for part, edges in (("all", truth.edges), ("kept", kept)):
            walks = make_walks(edges, n_nodes, n_walks=10 * n_nodes, length=40, seed=seed)
            np.save(folder / f"{part}.npy", walks)
        for side in SIDES:
            vectors = {}
            for part in ("all", "kept"):
                out = folder / f"{side}-{part}.npy"
                wanted = {**QUALITY, "seed": seed, "n_nodes": n_nodes}
                _apart(side, folder / f"{part}.npy", out, wanted)
                vectors[part] = np.load(out)
            scores[side].append(
                (
                    classify(vectors["all"], truth.labels, seed),
                    link_auc(vectors["kept"], held, wrong),
                )
            )
    chance = float(np.bincount(labelled).max() / len(labelled))
    return {
        "nodes": n_nodes,
        "edges": len(truth.edges[0]),
        "labelled": len(labelled),
        "chance_f1": chance,
        "chance_auc": 0.5,
        **{
            side: [statistics.mean(each) for each in zip(*scores[side], strict=True)]
            for side in SIDES
        },
    }


def hold_out(edges: Edges, n_nodes: int, seed: int) -> tuple[Edges, Edges, Edges]:
    """Nine tenths of the edges; the rest; and as many pairs of the same ends that are none."""
    rng = np.random.default_rng(seed)
    low, high = np.minimum(*edges), np.maximum(*edges)
    keys = rng.permutation(np.unique((low * n_nodes + high)[low < high]))
    n_held = len(keys) // 10
    first, second = keys // n_nodes, keys % n_nodes
    held = first[:n_held], second[:n_held]
    other = rng.permutation(held[1])
    lowest, highest = np.minimum(held[0], other), np.maximum(held[0], other)
    no_edge = (lowest != highest) & ~np.isin(lowest * n_nodes + highest, keys)
    return (
        (first[n_held:], second[n_held:]),
        held,
        (held[0][no_edge], other[no_edge]),
    )


def classify(vectors: npt.NDArray[Any], labels: Indices, seed: int) -> float:
    """Micro-F1 of a logistic regression that saw half of the nodes; the mean of some halves."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedShuffleSplit
    from sklearn.preprocessing import StandardScaler

    vectors, labels = vectors[labels >= 0], labels[labels >= 0]
    vectors = StandardScaler().fit_transform(vectors)
    found = []
    for seen, rest in StratifiedShuffleSplit(SPLITS, test_size=0.5, random_state=seed).split(
        vectors, labels
    ):
        model = LogisticRegression(max_iter=2_000).fit(vectors[seen], labels[seen])
        found.append(float(model.score(vectors[rest], labels[rest])))
    return statistics.mean(found)


def link_auc(vectors: npt.NDArray[Any], held: Edges, wrong: Edges) -> float:
    """How often an edge that was held out has a higher cosine than a pair that is none."""
    from sklearn.metrics import roc_auc_score

    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    scores = [np.einsum("ij,ij->i", unit[first], unit[second]) for first, second in (held, wrong)]
    truth = np.repeat([1, 0], [len(one) for one in scores])
    return float(roc_auc_score(truth, np.concatenate(scores)))


def set_up_peer() -> None:
    """Installs gensim into build/, once."""
    if not (PEER / "bin" / "python").exists():
        uv = Path(sys.executable).parent / "uv"
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, PEER], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", PEER, GENSIM], check=True)


def compare(n_walks: int = WALKS) -> dict[str, Any]:
    """All figures, after the peer is there."""
    set_up_peer()
    with tempfile.TemporaryDirectory() as folder:
        return {
            "speed": compare_speed(Path(folder), n_walks),
            "quality": compare_quality(Path(folder)),
        }


def _beyond_loading(one: dict[str, Any]) -> float:
    return float(one["mib"] - one["loaded_mib"])


def show(found: dict[str, Any]) -> None:
    """The figures as tables."""
    for name, sides in found["speed"].items():
        peer = sides["gensim"]
        print(f"\nskip-gram, {name}, 100,000 nodes, dim 128, window 10, 5 negatives, one thread")
        for side, label in (("gensim", f"gensim {peer['version']}"), ("ours", "vectorline")):
            one = sides[side]
            ratio = _beyond_loading(one) / _beyond_loading(peer)
            print(
                f"  {label:<16}{one['words_s']:>10,.0f} words a CPU-second  x "
                f"{one['words_s'] / peer['words_s']:.2f}{one['mib']:>8.0f} MiB, "
                f"{_beyond_loading(one):.0f} beyond its libraries  x {ratio:.2f}"
            )
    for name, scores in found["quality"].items():
        print(
            f"\n{name}, {scores['nodes']:,} nodes, {scores['edges']:,} edges, mean of {SEEDS} seeds"
        )
        print(f"  {'':<16}{'micro-F1':>10}{'link AUC':>10}")
        for label, (f1, auc) in (
            ("chance", (scores["chance_f1"], scores["chance_auc"])),
            ("gensim", scores["gensim"]),
            ("vectorline", scores["ours"]),
        ):
            print(f"  {label:<16}{f1:>10.3f}{auc:>10.3f}", flush=True)


def main() -> None:
    """All of it, or one side in this process, which prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--walks", type=int, default=WALKS, help="walks of the speed")
    parser.add_argument("--side", nargs=4, metavar=("SIDE", "WALKS", "VECTORS", "SETTINGS"))
    args = parser.parse_args()
    if args.side:
        side, walks, vectors, settings = args.side
        print(json.dumps(train(side, Path(walks), Path(vectors), json.loads(settings))))
    else:
        show(compare(args.walks))


if __name__ == "__main__":
    main()
