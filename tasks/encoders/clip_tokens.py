"""Counts a text's tokens as open_clip's models cut them, without torch.

open_clip cleans a text before it tokenises it, and has a tokenizer of its own beside those of
transformers. Both are in modules that import torch, so cleaning and counting are repeated here; the
model itself is given what open_clip's own tokenizer makes.
"""

import gzip
import html
import string
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.encoders.base import Tokenizer
from tasks.encoders.hub import Model
from tasks.encoders.model_tokenizer import load_tokenizer
from tasks.encoders.text_tokens import TextTokenizer
from tasks.encoders.weights import sha256

if TYPE_CHECKING:
    import tokenizers

_MERGES = 48_894  # lines of the file that count
_SPECIAL = ("<start_of_text>", "<end_of_text>")
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class CleaningTokenizer:
    """Counts tokens of the text as open_clip cleans it."""

    def __init__(
        self, inner: Tokenizer, clean: Callable[[str], str], name: str, limit: int
    ) -> None:
        """`name` and `limit` are the protocol's."""
        self.name = name
        self.limit: int | None = limit
        self._inner = inner
        self._clean = clean

    def count(self, text: str) -> int:
        """Number of tokens of the whole text."""
        return self._inner.count(self._clean(text))


def packaged_merges() -> Path:
    """The vocabulary file of the tokenizer that open_clip brings."""
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("open_clip is not installed")
    return Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz"


def clip_tokenizer(
    model: Model | None, clean: str, context: int, extra: tuple[str, ...], prompt: str
) -> CleaningTokenizer:
    """A tokenizer whose `limit` leaves room for special tokens and the prompt.

    Args:
        model: Where a tokenizer of transformers is; None for open_clip's own.
        clean: How open_clip cleans: `whitespace`, `lower` or `canonicalize`.
        context: Tokens that the model reads, special ones included.
        extra: Special tokens that are added to open_clip's own.
        prompt: What is put around each text.
    """
    if model is None:
        counter: Tokenizer = TextTokenizer(_own_tokenizer(extra), sha256(packaged_merges())[:16])
        n_special = 2
    else:
        counter = load_tokenizer(model, context, "")
        n_special = context - (counter.limit or context)
    cleaned = CleaningTokenizer(counter, _CLEANERS[clean], f"{counter.name}-{clean}", 0)
    cleaned.limit = context - n_special - cleaned.count(prompt)
    return cleaned


def _own_tokenizer(extra: tuple[str, ...]) -> "tokenizers.Tokenizer":
    """Byte pairs with an end of word, as `open_clip.SimpleTokenizer` has them."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    lines = gzip.decompress(packaged_merges().read_bytes()).decode().split("\n")
    pairs = [(first, second) for first, second in map(str.split, lines[1 : _MERGES + 1])]
    letters = pre_tokenizers.ByteLevel.alphabet()
    words = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in pairs)]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, pairs, end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens([*_SPECIAL, *extra])
    return tokenizer


def _basic(text: str) -> str:
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def _whitespace(text: str) -> str:
    return " ".join(_basic(text).split())


def _lower(text: str) -> str:
    return _whitespace(text).lower()


def _canonicalize(text: str) -> str:
    bare = _basic(text).replace("_", " ").translate(_NO_PUNCTUATION)
    return " ".join(bare.lower().split())


_CLEANERS: dict[str, Callable[[str], str]] = {
    "whitespace": _whitespace,
    "lower": _lower,
    "canonicalize": _canonicalize,
}
