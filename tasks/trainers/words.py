"""A tokenizer of whole words for a model that is trained from nothing.

The 49,408 word pieces of the published CLIP models would take up most of a small model; captions of
a narrow field need some hundred words. Saved as `tokenizer.json`, open_clip reads it.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tasks.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD = "<pad>"
END_ID = 3
_UNKNOWN, _START, _END = "<unknown>", "<start>", "<end>"
_SPECIAL = (PAD, _UNKNOWN, _START, _END)
_WORD = re.compile(r"\w+|[^\w\s]+")


def word_tokenizer(captions: Iterable[str], most: int) -> "Tokenizer":
    """Knows the `most` most frequent words of the captions, in lower case; ties by the alphabet.

    A text becomes <start>, its words, <end>; another word is <unknown>. Raises ConfigError if no
    caption has a word.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    counts = Counter(word for caption in captions for word in _WORD.findall(caption.lower()))
    if not counts:
        raise ConfigError("no caption has a word: there is nothing to learn from")
    words = sorted(counts, key=lambda word: (-counts[word], word))[:most]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate([*_SPECIAL, *words])}, _UNKNOWN)
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD.pattern), "removed", invert=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A {_END}", special_tokens=[(_START, 2), (_END, END_ID)]
    )
    tokenizer.add_special_tokens(list(_SPECIAL))
    return tokenizer
