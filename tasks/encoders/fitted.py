"""Encoders that are fitted to a corpus: each vector depends on all of the records."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from tasks.encoders.base import Precision, Prepared, Tokenizer, Vectors
from tasks.errors import ConfigError, EncoderError

Mask: TypeAlias = npt.NDArray[np.bool_]
Reals: TypeAlias = npt.NDArray[np.float64]

FARTHEST = 2.0
"""A residual that no two tables of one scale have."""
BLOCK_ROWS = 65_536
"""Rows that are held in float64 at once: tables may take most of the memory."""

OnFit: TypeAlias = Callable[[int, int, float], None]
"""Gets how many words are done, of how many, and their mean loss; may raise to stop."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a fit begins: at the tables of the last one, in the order that items have now.

    `known[i]` says whether item i has a row in them, `changed[i]` whether it is new or its content
    is another one than then. Rows of items that are not known are zero.
    """

    vectors: Vectors
    contexts: Vectors
    known: Mask
    changed: Mask


@dataclass(frozen=True, slots=True)
class Fit:
    """What a fit gives: the vectors, the output layer that they were fitted with, and figures.

    Both tables have shape (n, dim), row i for item i of the corpus. Items without a vector have
    rows of zeros. `counts[i]` says how often item i occurs, and `about`, plain data, how items are
    told in a content.
    """

    vectors: Vectors
    contexts: Vectors
    metrics: dict[str, float]
    counts: npt.NDArray[np.int64] | None = None
    about: Mapping[str, object] = field(default_factory=dict)


C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a fit costs: so many words to learn from, of which so many are done in a second."""

    words: int
    words_per_s: float


class FittedEncoder(ABC, Generic[C]):
    """What is an encoder but for its way to vectors, which `fit` makes of a whole corpus.

    Its fingerprint is of method, arguments and lineage; the weights are the version. Refits are
    rotated onto the version before; one whose residual is above `max_residual` is refused.
    """

    modalities: tuple[str, ...]
    normalized: bool = False
    batch_cost: int = 1
    max_residual: float

    def __init__(self, dim: int, lineage: int, max_residual: float) -> None:
        """Checks what all of them take."""
        check_counts(dim=dim)
        if not 0 < max_residual <= FARTHEST:
            raise ConfigError(
                f"encoder.max_residual is {max_residual}, but must be above 0, at most {FARTHEST}"
            )
        self.dim = dim
        self.lineage = lineage
        self.max_residual = max_residual

    @abstractmethod
    def fingerprint(self) -> dict[str, object]:
        """Method, arguments and lineage."""

    @abstractmethod
    def fit(
        self,
        corpus: C,
        folder: Path,
        *,
        start: Start | None = None,
        threads: int = 1,
        on_fit: OnFit = lambda done, total, loss: None,
    ) -> Fit:
        """Vectors of all items.

        `folder` holds the checkpoints of this very fit: one that was killed goes on from there.
        """

    @abstractmethod
    def cost(self, corpus: C, *, threads: int = 1) -> Cost:
        """What `fit` would cost, measured on a part of the corpus."""

    def precision(self, wanted: str, device: str | None = None) -> Precision:
        """Always float32."""
        del wanted, device
        return Precision.FLOAT32

    def load(
        self, precision: Precision, device: str | None = None, threads: int | None = None
    ) -> None:
        """Does nothing: there is nothing to load."""
        del precision, device, threads

    def tokenizer(self) -> Tokenizer:
        """There is none: ConfigError."""
        raise ConfigError(f"{self!r} reads no text by the piece: leave `chunk` out")

    def prepare(self, contents: Sequence[Any]) -> list[Prepared]:
        """ConfigError: what is not in the corpus has no vector."""
        if not contents:
            return []
        raise ConfigError(
            f"{self!r} is fitted to a whole corpus and knows nothing else: search by --id"
        )

    def prepare_query(self, contents: Sequence[Any]) -> list[Prepared]:
        """The same as `prepare`."""
        return self.prepare(contents)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """Of nothing, nothing."""
        del items
        return np.empty((0, self.dim), np.float32)


def check_counts(least: int = 1, /, **numbers: int | None) -> None:
    """Raises ConfigError unless each of these arguments is so much or more; None is not given."""
    for name, number in numbers.items():
        if number is not None and number < least:
            raise ConfigError(f"encoder.{name} is {number}, but must be {least} or more")


def check_positive(**numbers: float) -> None:
    """Raises ConfigError unless each of these arguments is above 0, and finite."""
    for name, number in numbers.items():
        if not 0 < number < np.inf:
            raise ConfigError(f"encoder.{name} is {number}, but must be a positive number")


def check_rates(min_alpha: float, **rates: float) -> None:
    """Raises ConfigError unless these learning rates can fall to the last one."""
    for name, rate in rates.items():
        if not 0 <= min_alpha <= rate < np.inf:
            raise ConfigError(
                f"encoder.{name} is {rate} and encoder.min_alpha {min_alpha}: "
                f"0 <= min_alpha <= {name} is needed"
            )


def anchor(fit: Fit, start: Start) -> float:
    """Rotates the fit's tables, in place, onto the last one; gives what is left between them.

    The rotation is that of the orthogonal Procrustes problem (Schoenemann 1966, A generalized
    solution of the orthogonal Procrustes problem) on the items of both. The residual is the
    Frobenius norm of the difference, as a share of that of the last vectors: 0 for equal tables,
    about 1.4 for unrelated ones of one scale. Products of vectors and contexts stay as they are.
    """
    both = start.known & fit.vectors.any(axis=1)
    if not both.any():
        return 0.0
    common = np.flatnonzero(both)
    parts = [common[first : first + BLOCK_ROWS] for first in range(0, len(common), BLOCK_ROWS)]

    def pairs() -> Iterator[tuple[Reals, Reals]]:
        for part in parts:
            yield fit.vectors[part].astype(np.float64), start.vectors[part].astype(np.float64)

    left, _, right = np.linalg.svd(sum(now.T @ then for now, then in pairs()))
    rotation = left @ right
    apart = sum(float(((now @ rotation - then) ** 2).sum()) for now, then in pairs())
    whole = sum(float((then**2).sum()) for _, then in pairs())
    for table in (fit.vectors, fit.contexts):
        for first in range(0, len(table), BLOCK_ROWS):
            rows = slice(first, first + BLOCK_ROWS)
            table[rows] = table[rows] @ rotation.astype(np.float32)
    return math.sqrt(apart / whole)


def checked(fit: Fit, n_items: int, dim: int) -> Fit:
    """The fit; EncoderError unless it has finite tables for so many items."""
    for name, table in (("vectors", fit.vectors), ("contexts", fit.contexts)):
        if table.shape != (n_items, dim) or table.dtype != np.float32:
            raise EncoderError(
                f"the fit gave {name} of shape {table.shape} and type {table.dtype}; "
                f"({n_items}, {dim}) and float32 were expected"
            )
        if not np.isfinite(table).all():
            raise EncoderError(f"the fit diverged: its {name} are not finite; try a smaller alpha")
    return fit
