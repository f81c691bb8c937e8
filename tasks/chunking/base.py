"""What a chunker gives: spans of a long text."""

from collections.abc import Callable
from typing import Protocol


class Chunker(Protocol):
    """Cuts a long text into chunks of at most so many tokens of the encoder's own tokenizer."""

    def __init__(self, *, tokens: int, overlap: int, count: Callable[[str], int]) -> None:
        """`tokens` is the limit of a chunk, `overlap` what neighbours may share."""

    def chunks(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of each chunk in characters, in order, covering all but white space.

        A text within the limit is one chunk. No chunk exceeds the limit, unless a single character
        does.
        """
