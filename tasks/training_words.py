"""Vectors of words, fitted to texts or read from a file, as a model that `static-words` takes."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.encoders.fitted import Fit, checked
from tasks.encoders.weights import sha256
from tasks.encoders.word_encoder import WordEncoder
from tasks.errors import ConfigError, SourceError
from tasks.sources.words import WordSource
from tasks.store import fits
from tasks.trainers.word_vectors import WordVectors
from tasks.training import Corpus, Made, tell
from tasks.words.formats import read, read_counts
from tasks.words.sentences import Places

ENCODER = "static-words"


def fit_words(encoder: WordEncoder, corpus: Corpus, folder: Path) -> Made:
    """Vectors of the words of all texts; SourceError if no word is frequent enough."""
    tell("count the words")
    source = WordSource(corpus.sources, corpus.said, encoder.vocabulary)
    (file,) = source.files()
    words = source.words(file)
    if not words.n_words:
        raise SourceError(
            f"no word occurs {encoder.vocabulary.min_count} times: see train.min_count"
        )
    fit = encoder.fit(
        words.sentences,
        folder / "state",
        threads=len(os.sched_getaffinity(0)),
        on_fit=lambda done, total, loss: tell(f"{done:,} of {total:,} words, loss {loss:.3f}"),
    )
    fit = checked(fit, words.n_words, encoder.dim)
    fit.metrics["skipped"] = float(len([*words.problems()]))
    return Made(_kept(folder, words.ids(), fit), fit.metrics, len(words.sentences.ends), ENCODER)


def import_words(trainer: WordVectors, folder: Path) -> Made:
    """The vectors of a file; words whose vector is zero are left out, and told."""
    tell(f"read {trainer.path}")
    words, vectors = read(Path(trainer.path), trainer.form)
    if not vectors.any():
        raise SourceError(f"{trainer.path} has no word with a vector")
    counts = None if trainer.counts is None else _counts(words, Path(trainer.counts))
    metrics = {"words": float(len(words)), "zero": float((~vectors.any(axis=1)).sum())}
    fit = Fit(vectors, np.zeros_like(vectors), metrics, counts, trainer.vocabulary.about())
    kept = _kept(folder, pa.array(words, pa.large_string()), fit)
    return Made(kept, metrics, len(words), ENCODER, sha256(Path(trainer.path)))


def _counts(words: Sequence[str], path: Path) -> Places:
    known = read_counts(path)
    for word in words:
        if word not in known:
            raise ConfigError(f"train.counts: {path} does not say how often {word!r} occurs")
    return np.array([known[word] for word in words], np.int64)


def _kept(folder: Path, ids: pa.Array, fit: Fit) -> Path:
    kept = folder / "model"
    kept.mkdir(parents=True, exist_ok=True)
    fits.write(kept, ids, fit)
    return kept
