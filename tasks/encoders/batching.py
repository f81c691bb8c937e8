"""Encodes prepared contents in batches cut by cost, halving a batch that runs out of memory."""

from collections.abc import Callable, Sequence

import numpy as np

from tasks.content import Content
from tasks.encoders.base import Encoder, Prepared, Vectors
from tasks.errors import ConfigError


class Batcher:
    """Cuts batches for one encoder and remembers the budget that worked.

    A batch's cost is its longest content times its count, as padding makes it; contents of like
    cost go together, the longest first, so that a budget too large shows at once.
    """

    def __init__(self, encoder: Encoder, batch_cost: int | None = None) -> None:
        """Starts at `batch_cost`, by default what the encoder thinks good here."""
        self._encoder = encoder
        self.budget = encoder.batch_cost if batch_cost is None else batch_cost

    def encode(
        self, items: Sequence[Prepared], on_batch: Callable[[int, int], None] | None = None
    ) -> Vectors:
        """Vectors, row i for items[i].

        `on_batch` gets the number of contents and their cost after each batch, and may raise to
        stop. Raises MemoryError if a single content does not fit.
        """
        vectors = np.empty((len(items), self._encoder.dim), np.float32)
        waiting = sorted(range(len(items)), key=lambda i: -items[i].cost)
        done = 0
        while done < len(waiting):
            longest = items[waiting[done]].cost
            batch = waiting[done : done + max(1, self.budget // max(1, longest))]
            try:
                vectors[batch] = self._encoder.encode([items[i] for i in batch])
            except MemoryError:
                if len(batch) == 1:
                    raise
                self.budget = longest * len(batch) // 2
                continue
            done += len(batch)
            if on_batch is not None:
                on_batch(len(batch), sum(items[i].cost for i in batch))
        return vectors


def encode_all(
    encoder: Encoder, contents: Sequence[Content], batch_cost: int | None = None
) -> tuple[Vectors, int]:
    """Vectors, row i for contents[i], and how many contents were truncated.

    Raises ConfigError for a content that cannot be encoded.
    """
    items = usable(encoder.prepare(contents))
    return Batcher(encoder, batch_cost).encode(items), sum(item.truncated for item in items)


def usable(items: Sequence[Prepared]) -> Sequence[Prepared]:
    """The same items; ConfigError if one cannot be encoded."""
    for number, item in enumerate(items):
        if item.problem is not None:
            raise ConfigError(
                f"content {number + 1} of {len(items)} cannot be encoded: {item.problem.detail}"
            )
    return items
