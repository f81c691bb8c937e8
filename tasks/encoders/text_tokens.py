"""Counts tokens as a model cuts them, and cuts long texts before they reach its tokenizer.

A tokenizer spends about 700 bytes and 3 microseconds on each token of what it is given, so that a
text of 50 MB would take a minute and gigabytes, of which a model then sees the first few hundred
tokens.
"""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers

# White space that ends a word for every tokenizer: others, like U+000C, some take out before.
_BETWEEN_WORDS = " \t\n\r"
_WORD = re.compile(rf"[^{_BETWEEN_WORDS}]+")
_REMEMBERED_WORDS = 1 << 16
_LONGEST_REMEMBERED = 64
_CUTS_AT_WHITE_SPACE = ("BertPreTokenizer", "WhitespaceSplit", "Whitespace")

LONGEST_TOKEN = 4_096
"""Characters that are looked at for each token that a model sees."""
_FIRST_TRY = 16
_NEXT_TRY = 8
# Tokens beside the cut may differ from those of the whole text: the model must not see them.
_MARGIN = 64
_LONGEST_WORD = 1_024


class TextTokenizer:
    """Counts by a `tokenizers.Tokenizer`; where words are cut one by one, each is counted once.

    Where the tokenizer first cuts at white space (BERT, XLM-R and their many kin), a text's tokens
    are those of its words: counting by remembered words is exact, and makes chunking 4 times
    faster.
    """

    def __init__(self, tokenizer: "tokenizers.Tokenizer", name: str) -> None:
        """`name` is the protocol's; padding and truncation are taken off `tokenizer`."""
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.name = name
        self.limit: int | None = None
        self._tokenizer = tokenizer
        self._counts = _WordCounts(self._count_all)
        self._by_words = _cuts_at_white_space(tokenizer)

    def count(self, text: str) -> int:
        """Number of tokens of the whole text."""
        if not self._by_words:
            return self._count_all(text)
        return sum(map(self._counts.__getitem__, _WORD.findall(text)))

    def _count_all(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


class _WordCounts(dict[str, int]):
    """Counts of words, each made once; forgotten when there are too many."""

    def __init__(self, count: Callable[[str], int]) -> None:
        super().__init__()
        self._count = count

    def __missing__(self, word: str) -> int:
        value = self._count(word)
        if len(self) >= _REMEMBERED_WORDS:
            self.clear()
        if len(word) <= _LONGEST_REMEMBERED:
            self[word] = value
        return value


def _cuts_at_white_space(tokenizer: "tokenizers.Tokenizer") -> bool:
    step = json.loads(tokenizer.to_str())["pre_tokenizer"]
    while step is not None and step["type"] == "Sequence":
        step = next(iter(step["pretokenizers"]), None)
    return step is not None and step["type"] in _CUTS_AT_WHITE_SPACE


def beginning(text: str, n_tokens: int, count: Callable[[str], int]) -> str:
    """The text, or a part from its start whose first `n_tokens` tokens are those of the text.

    Parts that grow are counted until one has tokens to spare. Not more than 4,096 characters a
    token are looked at: what has fewer tokens than that is one endless word, or white space.
    """
    size = _FIRST_TRY * n_tokens
    while size < len(text):
        size = min(size, LONGEST_TOKEN * n_tokens)
        part = text[: _word_end(text, size)]
        if size == LONGEST_TOKEN * n_tokens or count(part) >= n_tokens + _MARGIN:
            return part
        size *= _NEXT_TRY
    return text


def _word_end(text: str, before: int) -> int:
    ends = (text.rfind(space, before - _LONGEST_WORD, before) for space in _BETWEEN_WORDS)
    found = max(ends)
    return found if found > 0 else before
