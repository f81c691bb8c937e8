"""GloVe: vectors of words, from how often they stand together in all texts."""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from tasks.encoders.checkpoint import Checkpoint
from tasks.encoders.fitted import Cost, Fit, OnFit, Start, check_counts, check_positive
from tasks.encoders.word_encoder import WordEncoder
from tasks.words.glove import Training, count_pairs
from tasks.words.sentences import BLOCK_TOKENS, Sentences
from tasks.words.vocabulary import WORD, Vocabulary

SAMPLE_TOKENS = BLOCK_TOKENS // 8


class GloveEncoder(WordEncoder):
    """Weighted least squares on the logarithms of counts (Pennington, Socher and Manning 2014).

    The vectors are the sums of a word's two: as a word, and as a context of others.
    """

    def __init__(
        self,
        dim: int = 100,
        window: int = 10,
        x_max: float = 100,
        exponent: float = 0.75,
        epochs: int = 25,
        rate: float = 0.05,
        lower: bool = True,
        word_pattern: str = WORD,
        min_count: int = 5,
        max_words: int | None = None,
        normalize: bool = False,
        seed: int = 0,
        refit_rate: float = 0.005,
        lineage: int = 0,
        max_residual: float = 0.7,
        threads: int | None = None,
    ) -> None:
        """Fits nothing.

        Args:
            dim: Components of a vector.
            window: Farthest neighbour of a word; one at distance d counts 1/d.
            x_max: From this count on pairs weigh the same.
            exponent: Below, they weigh as (count / x_max) to this power.
            epochs: So often each pair is learned from.
            rate: Of AdaGrad.
            lower: Case does not count.
            word_pattern: Matches one word.
            min_count: Words that occur less often have no vector.
            max_words: So many words have a vector at most: the most frequent ones.
            normalize: Unit norm.
            seed: Of the first vectors and the order of pairs.
            refit_rate: That of a refit, which starts at the vectors of the last version.
            lineage: Raise it to begin anew where a refit has gone too far from the last version.
            max_residual: The farthest that a refit may be from the last version, see `lineage`.
            threads: That fit at once, by default all cores; with 1 a fit is the same each time.
        """
        vocabulary = Vocabulary(lower, word_pattern, min_count, max_words)
        super().__init__(dim, lineage, max_residual, vocabulary, normalize=normalize)
        check_counts(window=window, epochs=epochs, threads=threads)
        check_counts(0, seed=seed)
        check_positive(x_max=x_max, exponent=exponent, rate=rate, refit_rate=refit_rate)
        self._window = window
        self._x_max = float(x_max)
        self._exponent = float(exponent)
        self._epochs = epochs
        self._rate = rate
        self._seed = seed
        self._refit_rate = refit_rate
        self._threads = threads

    def __repr__(self) -> str:
        """The dimension and the window."""
        return f"{type(self).__name__}(dim={self.dim}, window={self._window})"

    def method(self) -> dict[str, object]:
        """Those of the paper."""
        return {
            "encoder": "glove",
            "method": 1,
            "window": self._window,
            "x_max": self._x_max,
            "exponent": self._exponent,
            "epochs": self._epochs,
            "rate": self._rate,
            "seed": self._seed,
        }

    def fit(
        self,
        corpus: Sentences,
        folder: Path,
        *,
        start: Start | None = None,
        threads: int = 1,
        on_fit: OnFit = lambda done, total, loss: None,
    ) -> Fit:
        """Vectors of all words: row i for word i, zeros for one that always stands alone."""
        total, loss = corpus.n_tokens * self._epochs, 0.0
        training = self._training(corpus, start, lambda: on_fit(0, total, 0.0))
        checkpoint = Checkpoint(folder)
        if (state := checkpoint.read()) is not None:
            training.resume(state)
        for loss in training.run(self._threads or threads):
            on_fit(total * training.parts // training.n_parts, total, loss)
            checkpoint.keep(training.state)
        contexts = np.ascontiguousarray(training.contexts[:, :-1])
        vectors = training.words[:, :-1] + contexts
        metrics = {"words": float(total), "pairs": float(len(training.pairs.counts)), "loss": loss}
        return self.made(corpus, vectors, contexts, metrics)

    def cost(self, corpus: Sentences, *, threads: int = 1) -> Cost:
        """Words of all epochs, and how fast some of them were learned from."""
        tokens, ends = next(corpus.blocks(SAMPLE_TOKENS))
        sample = replace(corpus, tokens=tokens, ends=ends)
        for _ in range(2):  # the first time compiles
            started = time.monotonic()
            training = self._training(sample, None, lambda: None)
            counted = time.monotonic() - started
            one_epoch = training.n_parts // self._epochs
            for _ in islice(training.run(self._threads or threads), one_epoch):
                pass
            learned = time.monotonic() - started - counted
        seconds = counted + learned * self._epochs
        return Cost(corpus.n_tokens * self._epochs, len(tokens) * self._epochs / max(seconds, 1e-9))

    def _training(
        self, corpus: Sentences, start: Start | None, on_block: Callable[[], None]
    ) -> Training:
        rng = np.random.default_rng(self._seed)
        shape, rates = (2, corpus.n_words, self.dim + 1), [self._rate] * self._epochs
        words, contexts = (rng.random(shape, np.float32) - np.float32(0.5)) / np.float32(self.dim)
        if start is not None:
            words[start.known, :-1] = (start.vectors - start.contexts)[start.known]
            contexts[start.known, :-1] = start.contexts[start.known]
            # No version keeps biases: they are found again before a vector moves.
            rates = [0.0] + [self._refit_rate] * self._epochs
        return Training(
            count_pairs(corpus, self._window, on_block),
            words,
            contexts,
            rates,
            self._rate,
            self._x_max,
            self._exponent,
            self._seed,
        )
