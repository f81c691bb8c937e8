"""Chunks of text and Markdown on the borders of sentences, paragraphs and headings.

The splitting is semantic-text-splitter's, which counts each place that it tries, about ten times
the text in all: the count decides the speed. It is given windows of the text, as its memory grows
with what it sees.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from tasks.errors import ConfigError

if TYPE_CHECKING:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

Span: TypeAlias = tuple[int, int]

_WINDOW = 1 << 16
_WINDOW_PER_TOKEN = 16
_LONGEST_CHUNK = 1 << 20


class TextChunker:
    """Cuts at the ends of words, of sentences, of lines, of paragraphs: the highest that fits.

    A chunk is not longer than a million characters, however few tokens they are.
    """

    def __init__(self, *, tokens: int, overlap: int, count: Callable[[str], int]) -> None:
        """As the protocol says; ConfigError unless 0 <= overlap < tokens."""
        if not 0 <= overlap < tokens:
            raise ConfigError(
                f"chunk.tokens is {tokens} and chunk.overlap {overlap},"
                " but overlap must be 0 or more and less than tokens"
            )
        self._window = max(_WINDOW, _WINDOW_PER_TOKEN * tokens)
        self._splitter = self._make_splitter(tokens, overlap, count)

    def chunks(self, text: str) -> list[Span]:
        """Spans without white space at their ends."""
        spans: list[Span] = []
        start, size = 0, self._window
        while start < len(text):
            end = min(start + size, len(text))
            found = self._split(text[start:end], start)
            if end < len(text) and len(found) == 1 and size < _LONGEST_CHUNK:
                size *= 2
                continue
            if end < len(text) and len(found) > 1:
                # The window cut the last chunk short: the next one starts where it started.
                end = found.pop()[0]
            for span in found:
                # A chunk begun anew in the next window may end where the one before it ends.
                if not spans or span[1] > spans[-1][1]:
                    spans.append(span)
            start, size = end, self._window
        return spans

    def _make_splitter(
        self, tokens: int, overlap: int, count: Callable[[str], int]
    ) -> "TextSplitter | MarkdownSplitter":
        from semantic_text_splitter import TextSplitter

        return TextSplitter.from_callback(count, tokens, overlap)

    def _split(self, part: str, offset: int) -> list[Span]:
        spans = []
        for at, chunk in self._splitter.chunk_indices(part):
            # The splitter keeps what Python calls white space and Unicode does not, like U+001C.
            if stripped := chunk.strip():
                start = offset + at + chunk.index(stripped[0])
                spans.append((start, start + len(stripped)))
        return spans


class MarkdownChunker(TextChunker):
    """Cuts by the structure of Markdown: headings before blocks before sentences."""

    def _make_splitter(
        self, tokens: int, overlap: int, count: Callable[[str], int]
    ) -> "TextSplitter | MarkdownSplitter":
        from semantic_text_splitter import MarkdownSplitter

        return MarkdownSplitter.from_callback(count, tokens, overlap)
