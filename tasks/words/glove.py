"""GloVe: vectors whose products are the logarithms of how often words stand together.

Pennington, Socher and Manning 2014, GloVe: Global Vectors for Word Representation, equations 8 and
9, trained with AdaGrad as the authors' program does. Our own because the registry has none that is
kept up.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.words.sentences import Sentences

FIRST_SLOTS = 1 << 16
FULL = 0.6  # beyond that a table of hashes is slow
PART_PAIRS = 1 << 18
_TABLES = ("words", "contexts", "word_squares", "context_squares")

Table = npt.NDArray[np.float32]
"""Shape (words, dim + 1): vectors, and in the last column biases."""


@dataclass(frozen=True)
class Pairs:
    """Words that stand together: `counts[i]` is of `rows[i]` and `columns[i]`, rows <= columns.

    Two words add one by their distance each time that they are no further apart than the window, a
    word and itself twice that, for it stands on either side.
    """

    rows: npt.NDArray[np.int32]
    columns: npt.NDArray[np.int32]
    counts: npt.NDArray[np.float64]


def count_pairs(
    corpus: Sentences, window: int, on_block: Callable[[], None] = lambda: None
) -> Pairs:
    """All pairs, in the order of their words; takes some 60 bytes for each while it counts."""
    from tasks.words import glove_kernels

    def table(n_slots: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        return np.full(n_slots, glove_kernels.FREE, np.int64), np.zeros(n_slots)

    (keys, sums), n_keys = table(FIRST_SLOTS), 0
    for tokens, ends in corpus.blocks():
        lengths = np.diff(ends, prepend=0)
        starts, at = np.repeat(ends - lengths, lengths), 0
        while at < len(tokens):
            most = int(FULL * len(keys))
            at, n_keys = glove_kernels.count(
                tokens, starts, at, window, corpus.n_words, keys, sums, n_keys, most
            )
            if at < len(tokens):
                larger = table(2 * len(keys))
                glove_kernels.move(keys, sums, *larger)
                keys, sums = larger
        on_block()
    used = np.flatnonzero(keys != glove_kernels.FREE)
    used = used[np.argsort(keys[used])]
    rows, columns = np.divmod(keys[used], max(1, corpus.n_words))
    return Pairs(rows.astype(np.int32), columns.astype(np.int32), sums[used])


@dataclass
class Training:
    """The two tables, the sums of squares that AdaGrad divides by, and how many parts are done.

    `rates` are those of the vectors in each epoch, `bias_rate` that of the biases in all.
    """

    pairs: Pairs
    words: Table
    contexts: Table
    rates: list[float]
    bias_rate: float
    x_max: float
    exponent: float
    seed: int
    parts: int = 0
    word_squares: Table = field(init=False)
    context_squares: Table = field(init=False)

    def __post_init__(self) -> None:
        """As in the authors' program, the sums begin at 1: the first steps are of the rate."""
        self.word_squares, self.context_squares = (
            np.ones_like(table) for table in (self.words, self.contexts)
        )

    @property
    def n_parts(self) -> int:
        """How many parts all epochs have."""
        return len(self.rates) * self._parts_of_epoch

    @property
    def _parts_of_epoch(self) -> int:
        return -(-len(self.pairs.counts) // PART_PAIRS)

    def run(self, threads: int) -> Iterator[float]:
        """Learns from all parts that are left; gives the mean loss after each."""
        from tasks.words import glove_kernels

        pairs = self.pairs
        learn = partial(
            glove_kernels.learn,
            rows=pairs.rows,
            columns=pairs.columns,
            logarithms=np.log(pairs.counts).astype(np.float32),
            weights=np.minimum(1, (pairs.counts / self.x_max) ** self.exponent).astype(np.float32),
            words=self.words,
            contexts=self.contexts,
            word_squares=self.word_squares,
            context_squares=self.context_squares,
            bias_rate=self.bias_rate,
        )
        order, shuffled = np.empty(0, np.int64), -1
        with ThreadPoolExecutor(threads) as pool:
            while self.parts < self.n_parts:
                epoch, part = divmod(self.parts, self._parts_of_epoch)
                if shuffled != epoch:
                    rng = np.random.default_rng([self.seed, epoch])
                    order, shuffled = rng.permutation(len(pairs.counts)), epoch
                own = order[part * PART_PAIRS : (part + 1) * PART_PAIRS]
                done = pool.map(
                    lambda some, rate=self.rates[epoch]: learn(order=some, rate=rate),
                    np.array_split(own, threads),
                )
                losses, n_terms = zip(*done, strict=True)
                self.parts += 1
                yield sum(losses) / sum(n_terms)

    def state(self) -> dict[str, Any]:
        """All that `resume` needs; the tables change with the next part."""
        return {"parts": self.parts, **{name: getattr(self, name) for name in _TABLES}}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Goes on where that was."""
        self.parts = state["parts"]
        for name in _TABLES:
            getattr(self, name)[:] = state[name]
