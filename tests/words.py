"""Corpora of words, and vectors for them, without a fit."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.encoders.base import Vectors
from tasks.encoders.fitted import Fit
from tasks.store import fits
from tasks.words.sentences import Sentences
from tasks.words.vocabulary import WORD, Vocabulary


def sentences(texts: Sequence[Sequence[int]], n_words: int | None = None) -> Sentences:
    """Texts of numbers that are ranks already; the first words alone have a vector."""
    tokens = np.array([token for text in texts for token in text], np.int32)
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    counts = np.bincount(tokens, minlength=10).astype(np.int64)
    return Sentences(tokens, ends, counts[:n_words])


def save_words(
    folder: Path,
    texts: Sequence[str],
    dim: int = 16,
    *,
    word_pattern: str = WORD,
    counted: bool = True,
) -> tuple[dict[str, int], Vectors]:
    """A fit of all words of these texts with random vectors: how often each occurs, vectors."""
    vocabulary = Vocabulary(word_pattern=word_pattern)
    counts = Counter(word for text in texts for word in vocabulary.words(text))
    vectors = np.random.default_rng(0).normal(size=(len(counts), dim)).astype(np.float32)
    held = np.array([*counts.values()], np.int64) if counted else None
    fit = Fit(vectors, np.zeros_like(vectors), {}, held, vocabulary.about())
    fits.write(folder, pa.array([*counts], pa.string()), fit)
    return counts, vectors
