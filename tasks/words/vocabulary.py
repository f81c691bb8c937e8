"""What counts as a word of a text, and which words of a corpus have a vector."""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tasks.errors import ConfigError

WORD = r"\w+"


@dataclass(frozen=True)
class Vocabulary:
    """`word_pattern` matches one word; `lower` says that case does not count.

    Words that occur less than `min_count` times have no vector. Of the others the `max_words` most
    frequent ones have one.
    """

    lower: bool = True
    word_pattern: str = WORD
    min_count: int = 5
    max_words: int | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for what cannot be."""
        for name, number in (("min_count", self.min_count), ("max_words", self.max_words)):
            if number is not None and number < 1:
                raise ConfigError(f"encoder.{name} is {number}, but must be 1 or more")
        try:
            pattern = re.compile(self.word_pattern)
        except re.error as error:
            raise ConfigError(f"encoder.word_pattern {self.word_pattern!r}: {error}") from error
        if pattern.groups:
            raise ConfigError(
                f"encoder.word_pattern {self.word_pattern!r} has groups: write (?:...) for (...)"
            )
        if pattern.fullmatch(""):
            raise ConfigError(f"encoder.word_pattern {self.word_pattern!r} matches nothing at all")

    def words(self, text: str) -> list[str]:
        """The words of a text, in its order."""
        found: list[str] = self._pattern.findall(text.lower() if self.lower else text)
        return found

    def size(self, counts: npt.NDArray[np.int64]) -> int:
        """How many words have a vector, of those that occur so often, the most frequent first."""
        frequent = int(np.count_nonzero(counts >= self.min_count))
        return frequent if self.max_words is None else min(frequent, self.max_words)

    def about(self) -> dict[str, object]:
        """What tells the words of a text, as the arguments of one that does the same."""
        return {"lower": self.lower, "word_pattern": self.word_pattern}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.word_pattern)
