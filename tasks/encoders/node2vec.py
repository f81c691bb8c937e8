"""Node2Vec and DeepWalk: vectors of a graph's nodes, from random walks."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np

from tasks.encoders.checkpoint import Checkpoint
from tasks.encoders.devices import check_device
from tasks.encoders.fitted import (
    Cost,
    Fit,
    FittedEncoder,
    Mask,
    OnFit,
    Start,
    check_counts,
    check_rates,
)
from tasks.encoders.running import require
from tasks.errors import ConfigError
from tasks.graphs.arrays import Counts, Indices, Walks
from tasks.graphs.csr import Graph
from tasks.graphs.skipgram import SkipGram, Trained, count_nodes
from tasks.graphs.skipgram import Start as Tables
from tasks.graphs.threads import over_threads
from tasks.graphs.walks import MapRanges, corpus, walk

LEAST = 1e-30
"""Of p and q: beyond it, and its inverse, the probability of a step is no number any more."""
SAMPLE_WALKS = 2_000


class _Walking(TypedDict):
    length: int
    p: float
    q: float
    extend: bool


class _Learning(TypedDict):
    dim: int
    window: int
    negatives: int
    epochs: int
    alpha: float
    min_alpha: float
    seed: int


class Node2VecEncoder(FittedEncoder[Graph]):
    """Second-order walks (Grover and Leskovec 2016, arXiv:1607.00653) under skip-gram."""

    modalities: tuple[str, ...] = ("node",)

    def __init__(
        self,
        dim: int = 128,
        walk_length: int = 80,
        walks_per_node: int = 10,
        window: int = 10,
        p: float = 1,
        q: float = 1,
        extend: bool = False,
        negatives: int = 5,
        epochs: int = 1,
        alpha: float = 0.025,
        min_alpha: float = 0.0001,
        normalize: bool = False,
        seed: int = 0,
        refit_alpha: float = 0.0025,
        incremental: bool = False,
        lineage: int = 0,
        max_residual: float = 0.6,
        threads: int | None = None,
        device: str | None = None,
    ) -> None:
        """Fits nothing.

        Args:
            dim: Components of a vector.
            walk_length: Nodes of a walk.
            walks_per_node: Walks that begin at each node, in each epoch.
            window: Farthest context of a node, in steps; it shrinks at random to 1 to this.
            p: The larger, the rarer is a step back to where the walk came from.
            q: The larger, the more a walk stays near where it came from.
            extend: Node2Vec+ (Liu, Hirn and Krishnan 2023, arXiv:2109.08031): weak edges count as
                none where p and q ask whether nodes are joined. For weighted graphs.
            negatives: Nodes that are drawn against each context.
            epochs: So often walks are drawn anew.
            alpha: Learning rate at the beginning.
            min_alpha: Learning rate at the end.
            normalize: Unit norm.
            seed: Of walks, negatives and the first vectors.
            refit_alpha: Learning rate at the beginning of a refit, which starts at the vectors of
                the last version. At a tenth of `alpha` nodes that moved to another community were
                found in it as well as by a fit from nothing, and the others stayed at a cosine of
                0.96 to 0.99, not 0.82 to 0.91 as at `alpha`.
            incremental: A refit walks only around nodes whose neighbourhood changed.
            lineage: Raise it to begin anew where a refit has gone too far from the last version.
            max_residual: The farthest that a refit may be from the last version, see `lineage`.
            threads: That fit at once, by default all cores; with 1 a fit is the same each time.
            device: Where torch fits, such as `cuda`; by default this CPU, without torch.
        """
        require("graph", "numba", "safetensors")
        super().__init__(dim, lineage, max_residual)
        for name, value in (("p", p), ("q", q)):
            if not LEAST <= value <= 1 / LEAST:
                raise ConfigError(
                    f"encoder.{name} is {value}, but must be positive, from {LEAST} to {1 / LEAST}"
                )
        check_counts(2, walk_length=walk_length)
        check_counts(
            walks_per_node=walks_per_node,
            window=window,
            negatives=negatives,
            epochs=epochs,
            threads=threads,
        )
        check_counts(0, seed=seed)
        check_rates(min_alpha, alpha=alpha, refit_alpha=refit_alpha)
        self.normalized = normalize
        self._walking = _Walking(length=walk_length, p=float(p), q=float(q), extend=extend)
        self._per_node = walks_per_node
        self._learning = _Learning(
            dim=dim,
            window=window,
            negatives=negatives,
            epochs=epochs,
            alpha=alpha,
            min_alpha=min_alpha,
            seed=seed,
        )
        self._seed = seed
        self._refit_alpha = refit_alpha
        self._incremental = incremental
        self._threads = threads
        self._device = device

    def __repr__(self) -> str:
        """The dimension and the two parameters of the walk."""
        walk = self._walking
        return f"{type(self).__name__}(dim={self.dim}, p={walk['p']}, q={walk['q']})"

    def fingerprint(self) -> dict[str, object]:
        """All arguments but those that say how a refit is made and where."""
        return {
            "encoder": "node2vec",
            "method": 1,
            **self._walking,
            "walks_per_node": self._per_node,
            **self._learning,
            "normalize": self.normalized,
            "lineage": self.lineage,
        }

    def fit(
        self,
        corpus: Graph,
        folder: Path,
        *,
        start: Start | None = None,
        threads: int = 1,
        on_fit: OnFit = lambda done, total, loss: None,
        map_ranges: MapRanges | None = None,
    ) -> Fit:
        """Vectors of all nodes that walks reach: row i for node i, zeros for an isolated one.

        `map_ranges` makes the blocks of walks; by default threads do.
        """
        self._check(corpus)
        starts = np.flatnonzero(corpus.joined)
        if start is not None and self._incremental:
            starts = starts[_near(corpus, start.changed)[starts]]
        threads = self._threads or threads
        walks = partial(self._epoch, corpus, starts, map_ranges or over_threads(threads))
        total = len(starts) * self._per_node * self._walking["length"] * self._learning["epochs"]
        counted = _told(walks(0), partial(on_fit, 0, total, 0.0))
        trainer = self._trainer(count_nodes(counted, corpus.n_nodes), threads, start)
        checkpoint, last = Checkpoint(folder), 0.0
        if (state := checkpoint.read()) is not None:
            with suppress(ConfigError):  # it is of another fit
                trainer.resume(state)

        def on_block(now: Trained) -> None:
            nonlocal last
            last = now.loss
            on_fit(now.words, now.total, now.loss)
            checkpoint.keep(trainer.state)

        trainer.fit(walks, on_block=on_block)
        vectors, contexts = trainer.input, trainer.output
        for table in (vectors, contexts):
            table[~corpus.joined] = 0
        return Fit(vectors, contexts, {"words": float(trainer.total_words), "loss": last})

    def cost(self, corpus: Graph, *, threads: int = 1) -> Cost:
        """Steps of all walks, and how fast a part of them was learned from."""
        self._check(corpus)
        per_node = self._per_node * self._learning["epochs"]
        nodes = np.flatnonzero(corpus.joined)
        total = per_node * self._walking["length"] * len(nodes)
        starts = np.random.default_rng(self._seed).permutation(nodes)[:SAMPLE_WALKS]
        seconds, words = 0.0, 0
        for _ in range(2):  # the first time compiles
            started = time.monotonic()
            sample = walk(corpus, starts, **self._walking, seed=self._seed)
            counts = count_nodes([sample], corpus.n_nodes)
            trainer = self._trainer(counts, self._threads or threads, None)
            trainer.fit(partial(_once, sample))
            seconds, words = time.monotonic() - started, int(counts.sum())
        return Cost(total, words / max(seconds, 1e-9))

    def _check(self, graph: Graph) -> None:
        """Raises ConfigError for what this graph or this machine cannot do."""
        if self._walking["extend"] and graph.weights is None:
            raise ConfigError("encoder.extend is for weighted graphs: the source has no `weight`")
        if self._device is not None:
            check_device(self._device)

    def _epoch(
        self, graph: Graph, starts: Indices, map_ranges: MapRanges, epoch: int
    ) -> Iterable[Walks]:
        """The walks of an epoch; each one has its own."""
        seed = int(np.random.SeedSequence([self._seed, epoch]).generate_state(1, np.uint64)[0])
        return corpus(
            graph,
            **self._walking,
            walks_per_node=self._per_node,
            seed=seed,
            starts=starts,
            map_ranges=map_ranges,
        )

    def _trainer(self, counts: Counts, threads: int, start: Start | None) -> SkipGram:
        learning = self._learning.copy()
        tables = None
        if start is not None:
            learning["alpha"] = self._refit_alpha
            known = np.flatnonzero(start.known)
            tables = Tables(known, start.vectors[known], start.contexts[known])
        return SkipGram(
            counts,
            **learning,
            threads=threads,
            device=self._device,
            start=tables,
        )


class DeepWalkEncoder(Node2VecEncoder):
    """First-order walks (Perozzi, Al-Rfou and Skiena 2014, arXiv:1403.6652): p = q = 1."""

    def __init__(
        self,
        dim: int = 128,
        walk_length: int = 80,
        walks_per_node: int = 10,
        window: int = 10,
        negatives: int = 5,
        epochs: int = 1,
        alpha: float = 0.025,
        min_alpha: float = 0.0001,
        normalize: bool = False,
        seed: int = 0,
        refit_alpha: float = 0.0025,
        incremental: bool = False,
        lineage: int = 0,
        max_residual: float = 0.6,
        threads: int | None = None,
        device: str | None = None,
    ) -> None:
        """As for `Node2VecEncoder`, of which it is a case: both have one fingerprint."""
        super().__init__(
            dim,
            walk_length,
            walks_per_node,
            window,
            negatives=negatives,
            epochs=epochs,
            alpha=alpha,
            min_alpha=min_alpha,
            normalize=normalize,
            seed=seed,
            refit_alpha=refit_alpha,
            incremental=incremental,
            lineage=lineage,
            max_residual=max_residual,
            threads=threads,
            device=device,
        )


def _told(blocks: Iterable[Walks], on_block: Callable[[], None]) -> Iterator[Walks]:
    """The blocks; says so before each of them."""
    for block in blocks:
        on_block()
        yield block


def _once(block: Walks, epoch: int) -> list[Walks]:
    """The block as all of the walks of the first epoch."""
    return [block] if epoch == 0 else []


def _near(graph: Graph, changed: Mask) -> Mask:
    """The nodes that changed, and their neighbours."""
    found = changed.copy()
    for node in np.flatnonzero(changed).tolist():
        found[graph.neighbours(node)] = True
    return found
