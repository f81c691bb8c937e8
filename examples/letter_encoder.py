"""An encoder in one file, to start one of your own from: how often each letter occurs.

A config names it by its dotted path, and gives its constructor's arguments beside it:

    encoder: {use: "examples.letter_encoder:LetterEncoder", damped: false}
"""

from collections.abc import Sequence

import numpy as np

from tasks.encoders.base import Precision, Prepared, Tokenizer, Vectors

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
OTHER = len(ALPHABET)  # a component for all else, so that no text gives a zero vector


class Characters:
    """Counts a text's characters: what chunks are measured in."""

    name = "characters"
    limit: int | None = None

    def count(self, text: str) -> int:
        """Number of characters."""
        return len(text)


class LetterEncoder:
    """Counts of the 26 letters and of everything else, scaled to unit norm.

    Args:
        damped: Whether square roots of the counts are taken, so that frequent letters weigh less.
    """

    modalities: tuple[str, ...] = ("text",)
    normalized = True
    dim = len(ALPHABET) + 1
    batch_cost = 1_000_000

    def __init__(self, *, damped: bool = True) -> None:
        """Keeps the arguments; an encoder opens and loads nothing before `load`."""
        self._damped = damped

    def fingerprint(self) -> dict[str, object]:
        """Another value of any of these means other vectors, hence another table."""
        return {"encoder": "letters", "version": 1, "damped": self._damped}

    def precision(self, wanted: str, device: str | None = None) -> Precision:
        """There is nothing to gain from less than float32."""
        return Precision.FLOAT32

    def load(
        self, precision: Precision, device: str | None = None, threads: int | None = None
    ) -> None:
        """Has no weights."""

    def tokenizer(self) -> Tokenizer:
        """Characters."""
        return Characters()

    def prepare(self, contents: Sequence[str]) -> list[Prepared]:
        """Texts as they are; a text costs its length."""
        return [Prepared(cost=len(text), truncated=False, payload=text) for text in contents]

    def prepare_query(self, contents: Sequence[str]) -> list[Prepared]:
        """The same for queries."""
        return self.prepare(contents)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """Row i for item i."""
        counts = np.zeros((len(items), self.dim), np.float32)
        for row, prepared in zip(counts, items, strict=True):
            for letter in str(prepared.payload).lower():
                row[ALPHABET.index(letter) if letter in ALPHABET else OTHER] += 1
        weights = np.sqrt(counts) if self._damped else counts
        vectors: Vectors = weights / np.linalg.norm(weights, axis=1, keepdims=True)
        return vectors
