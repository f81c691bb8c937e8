"""A corpus of texts as numbers of words: read as often as one likes, never all held."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Tokens: TypeAlias = npt.NDArray[np.int32]
"""Shape (tokens,), dtype int32: numbers of words, the most frequent word is 0."""
Places: TypeAlias = npt.NDArray[np.int64]

BLOCK_TOKENS = 1 << 20


@dataclass(frozen=True)
class Sentences:
    """Texts end to end in `tokens`, of which text i stops before `ends[i]`.

    `counts[w]` says how often word w occurs. Words beyond `counts` have no vector: they are left
    out, and their neighbours become neighbours of each other.
    """

    tokens: Tokens
    ends: Places
    counts: Places

    @property
    def n_words(self) -> int:
        """How many words have a vector."""
        return len(self.counts)

    @property
    def n_tokens(self) -> int:
        """How many there are in all texts, of these words."""
        return int(self.counts.sum())

    @cached_property
    def joined(self) -> npt.NDArray[np.bool_]:
        """Whether a word stands beside another one anywhere: else nothing can be learned of it."""
        found = np.zeros(self.n_words, np.bool_)
        for tokens, ends in self.blocks():
            lengths = np.diff(ends, prepend=0)
            found[tokens[np.repeat(lengths, lengths) > 1]] = True
        return found

    def blocks(self, n_tokens: int = BLOCK_TOKENS) -> Iterator[tuple[Tokens, Places]]:
        """The texts in parts of about so many tokens: each again as tokens and ends."""
        first, begin = 0, 0
        while first < len(self.ends):
            last = int(np.searchsorted(self.ends, begin + n_tokens, "right"))
            last = max(last, first + 1)
            end = int(self.ends[last - 1])
            part = self.tokens[begin:end]
            kept = part < self.n_words
            before = np.concatenate([[0], np.cumsum(kept)])
            yield part[kept], before[self.ends[first:last] - begin]
            first, begin = last, end

    def batches(self, n_tokens: int) -> Iterator[list[list[int]]]:
        """Lists of texts, together of up to so many tokens; longer texts are cut."""
        batch: list[list[int]] = []
        size = 0
        for text in self._texts():
            for start in range(0, len(text), n_tokens):
                piece = text[start : start + n_tokens]
                if size + len(piece) > n_tokens:
                    yield batch
                    batch, size = [], 0
                batch.append(piece)
                size += len(piece)
        if batch:
            yield batch

    def _texts(self) -> Iterator[list[int]]:
        for tokens, ends in self.blocks():
            listed, start = tokens.tolist(), 0
            for end in ends.tolist():
                yield listed[start:end]
                start = end
