"""Texts by the vectors of their words: the quickest encoder that knows what words mean.

Numpy alone, a few microseconds a text. SIF is that of Arora, Liang and Ma, A simple but
tough-to-beat baseline for sentence embeddings, ICLR 2017.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tasks.content import NO_KNOWN_WORD, Unusable
from tasks.encoders.base import Precision, Prepared, Tokenizer, Vectors
from tasks.encoders.fit_files import FitFile
from tasks.encoders.fitted import check_positive
from tasks.encoders.running import require, to_unit
from tasks.encoders.weights import sha256
from tasks.errors import ConfigError, EncoderError, StoreError
from tasks.words.vocabulary import Vocabulary

BATCH_WORDS = 1 << 14
BLOCK_WORDS = 1 << 16

Reals = npt.NDArray[np.float64]


class StaticWordsEncoder:
    """The mean of the vectors of a text's words; words that are not known are passed over."""

    modalities: tuple[str, ...] = ("text",)

    def __init__(
        self,
        model: str,
        pooling: Literal["mean", "sif"] = "mean",
        a: float = 1e-3,
        normalize: bool = True,
    ) -> None:
        """Loads nothing.

        Args:
            model: `trained:NAME`, of a model or of a space of words; or a folder with a
                fit.safetensors.
            pooling: `mean`, or `sif`: a word of probability p weighs a / (a + p), and what all
                texts have in common is taken out.
            a: Of SIF: the smaller, the less do frequent words weigh.
            normalize: Unit norm.
        """
        require("words", "safetensors")
        check_positive(a=a)
        self.normalized = normalize
        self._file = FitFile(Path(model))
        self._model = model
        self._sif = pooling == "sif"
        self._a = a
        self._weights: _Weights | None = None

    def __repr__(self) -> str:
        """The model and the pooling."""
        pooling = "sif" if self._sif else "mean"
        return f"{type(self).__name__}({self._model!r}, pooling={pooling!r})"

    @cached_property
    def dim(self) -> int:
        """That of the words."""
        return self._checked().shape()[1]

    @property
    def batch_cost(self) -> int:
        """Words of a good batch."""
        return BATCH_WORDS

    def fingerprint(self) -> dict[str, object]:
        """Its arguments, and the digest of the words' vectors.

        Raises ConfigError for a model that is none of words, or lacks the counts that SIF needs.
        """
        words_are = self._vocabulary.about()
        self._check_counts()
        return {
            "encoder": "static-words",
            "words_are": words_are,
            "method": 1,
            "words": sha256(self._checked().path),
            "a": self._a if self._sif else None,
            "normalize": self.normalized,
        }

    def precision(self, wanted: str, device: str | None = None) -> Precision:
        """Always float32."""
        if wanted not in ("auto", Precision.FLOAT32):
            raise EncoderError(f"precision {wanted!r}: static-words computes in float32 only")
        return Precision.FLOAT32

    def load(
        self, precision: Precision, device: str | None = None, threads: int | None = None
    ) -> None:
        """Reads the words and their vectors."""
        del precision, device, threads
        file = self._checked()
        words = {word: number for number, word in enumerate(file.ids())}
        vectors: Vectors = file.table("vectors")
        if not self._sif:
            self._weights = _Weights(words, vectors, np.ones(len(words)), None)
            return
        self._check_counts()
        shares = file.table("counts") / file.table("counts").sum()
        weights = self._a / (self._a + shares)
        common = _common(vectors, np.sqrt(shares) * weights)
        self._weights = _Weights(words, vectors, weights, common)

    def tokenizer(self) -> Tokenizer:
        """Counts words, known or not."""
        return WordCounter(self._vocabulary)

    def prepare(self, contents: Sequence[str]) -> list[Prepared]:
        """The known words of each text; one without any cannot be encoded."""
        return [self._prepare(text) for text in contents]

    def prepare_query(self, contents: Sequence[str]) -> list[Prepared]:
        """The same as `prepare`."""
        return self.prepare(contents)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """Row i for item i, which depends on nothing but item i."""
        held = self._held()
        pooled = np.empty((len(items), self.dim))
        for row, item in enumerate(items):
            numbers, times = _words_of(item)
            pooled[row] = (times * held.factors[numbers]) @ held.vectors[numbers] / times.sum()
        if held.common is not None:
            pooled -= np.outer(pooled @ held.common, held.common)
        vectors: Vectors = pooled.astype(np.float32)
        return to_unit(vectors) if self.normalized else vectors

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        """What counts as a word, as it did where the vectors were fitted."""
        try:
            about = self._checked().about()
        except StoreError as error:
            raise ConfigError(
                f"encoder.model = {self._model!r} holds no vectors of words: {error}"
            ) from error
        if not about:
            raise ConfigError(
                f"encoder.model = {self._model!r} holds no vectors of words: it does not say "
                "what a word is"
            )
        return Vocabulary(**about)

    def _check_counts(self) -> None:
        if self._sif and not self._checked().has("counts"):
            raise ConfigError(
                "encoder.pooling = 'sif', and encoder.model does not say how often its words "
                "occur: train it again with `counts`, a file that says so, or take pooling: mean"
            )

    def _held(self) -> "_Weights":
        if self._weights is None:
            raise EncoderError(f"{self!r} is not loaded")
        return self._weights

    def _checked(self) -> FitFile:
        if not self._file.path.is_file():
            raise ConfigError(
                f"encoder.model = {self._model!r} is no folder with a {self._file.path.name}: give "
                "trained:NAME, of a model that `vectorline train` made or of a space of words"
            )
        return self._file

    def _prepare(self, text: str) -> Prepared:
        known, found = self._held().words, self._vocabulary.words(text)
        numbers = [known[word] for word in found if word in known]
        if not numbers:
            detail = f"none of its {len(found)} words has a vector"
            return Prepared(1, False, None, Unusable(NO_KNOWN_WORD, detail))
        payload = np.unique(np.array(numbers, np.int64), return_counts=True)
        return Prepared(len(numbers), False, payload)


@dataclass(frozen=True)
class _Weights:
    """What is loaded: the number of each word, vectors, what they weigh, and what is taken out."""

    words: dict[str, int]
    vectors: Vectors
    factors: Reals
    common: Reals | None


class WordCounter:
    """Counts the words of texts."""

    limit: int | None = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        """By what tells its words, which is its name too."""
        self.name = f"words:{vocabulary.lower}:{vocabulary.word_pattern}"
        self._vocabulary = vocabulary

    def count(self, text: str) -> int:
        """Number of words."""
        return len(self._vocabulary.words(text))


def _common(vectors: Vectors, factors: Reals) -> Reals:
    """The first right singular vector of the rows, each by its factor.

    In the paper the rows are the texts at hand. Those of a batch would let a vector depend on its
    neighbours, so they are the words of the corpus here, each as often as it occurs: texts of one
    word.
    """
    moments = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), BLOCK_WORDS):
        block = slice(start, start + BLOCK_WORDS)
        rows = vectors[block] * factors[block, None]
        moments += rows.T @ rows
    common: Reals = np.linalg.eigh(moments)[1][:, -1]
    return common


def _words_of(item: Prepared) -> tuple[Any, Any]:
    if not isinstance(item.payload, tuple):
        raise TypeError(f"not prepared by this encoder: {item!r}")
    return item.payload
