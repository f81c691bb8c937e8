"""Skip-gram with negative sampling: vectors of nodes from walks.

Mikolov et al. 2013, arXiv:1310.4546, equation 4, as word2vec and gensim train it: for each centre
of a walk and each context in a window that shrinks at random, the context's vector learns to tell
the centre from nodes drawn by count^0.75. One thing is another than there: the contexts of a centre
share its negatives (Ji et al. 2016, arXiv:1604.04661, section 3).

Our own because of what `benchmarks/skipgram.py` measured against gensim 4.4.0, one thread, on walks
over 100,000 nodes, dim 128, window 10, 5 negatives: 300,000 words a CPU-second where gensim has
50,000, beyond the libraries 0.6 of its memory (0.9 with them; 0.65 at a million nodes), and scores
within 0.003 of its (micro-F1 of node classes, AUC of links held out, on two graphs).
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.errors import ConfigError, EncoderError
from tasks.graphs.arrays import Counts, Walks

Vectors: TypeAlias = npt.NDArray[np.float32]
Epochs: TypeAlias = Callable[[int], Iterable[Walks]]
"""The blocks of walks of an epoch, from 0: a function of the epoch alone."""
State: TypeAlias = dict[str, npt.NDArray[Any] | int | float]

_POWER = 0.75
_PART_WORDS = 2**18
"""Learned from between two calls of `on_block`: seconds, with 1,024 components too."""
_SETTINGS = ("dim", "window", "negatives", "epochs", "alpha", "min_alpha", "seed")


@dataclass(frozen=True, slots=True)
class Start:
    """Vectors to go on from: row i of both tables for `nodes[i]`. All other nodes begin anew."""

    nodes: npt.NDArray[np.signedinteger[Any]]
    input: Vectors
    output: Vectors


@dataclass(frozen=True, slots=True)
class Trained:
    """How far a fit is: so many of `total` words, and the mean loss of a pair in the last block.

    A word is a node's place in a walk; each epoch sees all of them.
    """

    words: int
    total: int
    loss: float


class Learner(Protocol):
    """Holds the two tables and trains them."""

    def learn(
        self, walks: Walks, lengths: Counts, rates: Vectors, stream: int
    ) -> tuple[float, int]:
        """Trains on walks, each with its own rate; gives the sum of the losses and the pairs.

        Row i draws its random numbers from a function of `stream + i`.
        """

    def tables(self) -> tuple[Vectors, Vectors]:
        """Input and output table as they are now."""


def count_nodes(blocks: Iterable[Walks], n_nodes: int) -> Counts:
    """How often each node stands in the walks."""
    counts = np.zeros(n_nodes, np.int64)
    for walks in blocks:
        _lengths(walks, n_nodes)
        counts += np.bincount(walks.ravel() + 1, minlength=n_nodes + 1)[1:]
    return counts


class SkipGram:
    """Fits two tables to walks. `input` holds the nodes' vectors.

    With one thread, the same walks and arguments give the same tables bit for bit on one machine,
    however the walks are cut into blocks, also when a fit was killed and resumed. Several threads
    write to the tables without locks (Niu et al. 2011, arXiv:1106.5730): as good, but never twice
    the same. On a CPU torch gives the same tables if the blocks are cut alike.
    """

    def __init__(
        self,
        counts: Counts,
        *,
        dim: int = 128,
        window: int = 10,
        negatives: int = 5,
        epochs: int = 1,
        alpha: float = 0.025,
        min_alpha: float = 0.0001,
        seed: int = 0,
        threads: int = 1,
        device: str | None = None,
        start: Start | None = None,
    ) -> None:
        """`counts` says how often each node stands in the walks of an epoch.

        `alpha` is the learning rate of the first word, `min_alpha` that of the last one. `device`
        is where torch trains; without it numba does, on the CPU. `threads` are those of a CPU.
        """
        for name, value in (
            ("dim", dim),
            ("window", window),
            ("negatives", negatives),
            ("epochs", epochs),
            ("threads", threads),
        ):
            if value < 1:
                raise ConfigError(f"{name} is {value}: it must be at least 1")
        if seed < 0:
            raise ConfigError(f"seed is {seed}: it must be at least 0")
        if not 0 <= min_alpha <= alpha < np.inf:
            raise ConfigError(
                f"alpha is {alpha} and min_alpha is {min_alpha}: alpha must be the larger one, "
                "and neither below 0"
            )
        self.counts = counts
        self.dim = dim
        self.window = window
        self.negatives = negatives
        self.epochs = epochs
        self.alpha = alpha
        self.min_alpha = min_alpha
        self.seed = seed
        self.threads = threads
        self.device = device
        self._epoch = 0
        self._walks = 0
        self._words = 0
        self._learner = self._make_learner(*self._first_tables(start))

    @property
    def input(self) -> Vectors:
        """The nodes' vectors, shape (nodes, dim)."""
        return self._learner.tables()[0]

    @property
    def output(self) -> Vectors:
        """The vectors that contexts are compared with, shape (nodes, dim)."""
        return self._learner.tables()[1]

    @property
    def total_words(self) -> int:
        """Words of all epochs."""
        return int(self.counts.sum()) * self.epochs

    def fit(self, walks: Epochs, *, on_block: Callable[[Trained], None] | None = None) -> None:
        """Trains to the end; `on_block` may look at the tables or take the state now and then.

        It is called after some 260,000 words at most. One block is held at a time. ValueError if
        one is no walks of these nodes; EncoderError when the loss is no number any more.
        """
        while self._epoch < self.epochs:
            seen = 0
            for block in walks(self._epoch):
                rest = block[max(0, self._walks - seen) :]
                seen += len(block)
                step = max(1, _PART_WORDS // max(1, block.shape[1]))
                for first in range(0, len(rest) if rest.size else 0, step):
                    loss = self._learn(rest[first : first + step])
                    if on_block:
                        on_block(Trained(self._words, self.total_words, loss))
            self._epoch, self._walks = self._epoch + 1, 0

    def state(self) -> State:
        """All that `resume` needs, as arrays and numbers; the arrays change with the next block."""
        table_in, table_out = self._learner.tables()
        return {
            **{name: getattr(self, name) for name in _SETTINGS},
            "counts": self.counts,
            "input": table_in,
            "output": table_out,
            "epoch": self._epoch,
            "walks": self._walks,
            "words": self._words,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Takes over a fit's state: `fit` goes on where that was. ConfigError if it was another."""
        other = [name for name in _SETTINGS if state[name] != getattr(self, name)]
        if other:
            found = ", ".join(f"{name} was {state[name]}" for name in other)
            wanted = ", ".join(f"{getattr(self, name)}" for name in other)
            raise ConfigError(f"the fit to resume had other settings: {found}, not {wanted}")
        if not np.array_equal(state["counts"], self.counts):
            raise ConfigError("the fit to resume was on other walks: its counts of nodes differ")
        self._learner = self._make_learner(state["input"].copy(), state["output"].copy())
        self._epoch, self._walks = int(state["epoch"]), int(state["walks"])
        self._words = int(state["words"])

    def _learn(self, walks: Walks) -> float:
        """Trains on a block; gives the mean loss of its pairs."""
        lengths = _lengths(walks, len(self.counts))
        before = self._words + np.cumsum(lengths) - lengths
        stream = int(_stream(self.seed, self._epoch)) + self._walks
        loss, n_pairs = self._learner.learn(walks, lengths, self._rates(before), stream)
        self._walks += len(walks)
        self._words += int(lengths.sum())
        if not np.isfinite(loss):
            raise EncoderError(
                f"the loss after {self._words:,} words is {loss}: a lower alpha may help; "
                "nothing of this fit was kept"
            )
        return loss / max(1, n_pairs)

    def _rates(self, words: Counts) -> Vectors:
        """The learning rate after so many words."""
        done = np.minimum(1, words / max(1, self.total_words))
        return (self.alpha - (self.alpha - self.min_alpha) * done).astype(np.float32)

    def _first_tables(self, start: Start | None) -> tuple[Vectors, Vectors]:
        shape = (len(self.counts), self.dim)
        table_in = np.random.default_rng(self.seed).random(shape, np.float32)
        table_in *= 2 / self.dim
        table_in -= 1 / self.dim
        table_out = np.zeros(shape, np.float32)
        if start:
            table_in[start.nodes] = start.input
            table_out[start.nodes] = start.output
        return table_in, table_out

    def _make_learner(self, table_in: Vectors, table_out: Vectors) -> Learner:
        weights = self.counts.astype(np.float64) ** _POWER
        shared = (table_in, table_out, weights, self.window, self.negatives)
        if self.device is None:
            return Threads(*shared, self.threads)
        from tasks.graphs.skipgram_torch import Torch

        return Torch(*shared, self.device, self.threads)


class Threads:
    """Trains on the CPU, in numba, which leaves Python's lock."""

    def __init__(
        self,
        table_in: Vectors,
        table_out: Vectors,
        weights: npt.NDArray[np.float64],
        window: int,
        negatives: int,
        threads: int,
    ) -> None:
        """Negatives are drawn in proportion to `weights`."""
        from tasks.graphs.draw_kernels import alias_table

        self._tables = (table_in, table_out)
        self._alias = alias_table(weights)
        self._window = window
        self._negatives = negatives
        self._threads = threads

    def tables(self) -> tuple[Vectors, Vectors]:
        """The tables themselves."""
        return self._tables

    def learn(
        self, walks: Walks, lengths: Counts, rates: Vectors, stream: int
    ) -> tuple[float, int]:
        """Cuts the block into as many parts as there are threads."""
        from tasks.graphs import skipgram_kernels

        def one(first: int, stop: int) -> tuple[float, int]:
            return skipgram_kernels.learn(
                walks[first:stop],
                lengths[first:stop],
                rates[first:stop],
                np.uint64((stream + first) % 2**64),
                *self._tables,
                *self._alias,
                self._window,
                self._negatives,
            )

        if self._threads == 1:
            return one(0, len(walks))
        cuts = [len(walks) * part // self._threads for part in range(self._threads + 1)]
        with ThreadPoolExecutor(self._threads) as pool:
            parts = list(pool.map(one, cuts[:-1], cuts[1:]))
        return sum(loss for loss, _ in parts), sum(n_pairs for _, n_pairs in parts)


def _lengths(walks: Walks, n_nodes: int) -> Counts:
    """Nodes of each walk; ValueError if the walks are none of so many nodes."""
    if walks.size and not -1 <= walks.min() <= walks.max() < n_nodes:
        raise ValueError(
            f"walks hold nodes from {walks.min()} to {walks.max()}, "
            f"but there are {n_nodes} nodes, from 0; -1 stands after the end of a walk"
        )
    inside = walks >= 0
    if (inside[:, 1:] > inside[:, :-1]).any():
        row = int(np.flatnonzero((inside[:, 1:] > inside[:, :-1]).any(axis=1))[0])
        raise ValueError(f"walk {row} of the block goes on after -1, which is a walk's end")
    lengths: Counts = inside.sum(axis=1)
    return lengths


def _stream(seed: int, epoch: int) -> int:
    """Where the numbers of an epoch's random streams begin."""
    words = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    return int(words[0])
