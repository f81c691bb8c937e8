"""Word2Vec: vectors of words, from the words that they stand among.

gensim's training (Rehurek and Sojka 2010), for it is exact and fast; driven here batch by batch, so
that a fit can be watched, stopped, and gone on with.
"""

import copy
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tasks.encoders.base import Vectors
from tasks.encoders.checkpoint import Checkpoint, State
from tasks.encoders.fitted import Cost, Fit, OnFit, Start, check_counts, check_rates
from tasks.encoders.word_encoder import WordEncoder
from tasks.errors import ConfigError
from tasks.words.sentences import Sentences
from tasks.words.vocabulary import WORD, Vocabulary

BATCH_TOKENS = 10_000  # gensim leaves out what is beyond
SAMPLE_BATCHES = 20


class Word2VecEncoder(WordEncoder):
    """Skip-gram and CBOW with negative sampling (Mikolov et al. 2013, arXiv:1310.4546)."""

    def __init__(
        self,
        dim: int = 100,
        method: Literal["skipgram", "cbow"] = "skipgram",
        window: int = 5,
        negatives: int = 5,
        sample: float = 1e-3,
        epochs: int = 5,
        alpha: float = 0.025,
        min_alpha: float = 0.0001,
        lower: bool = True,
        word_pattern: str = WORD,
        min_count: int = 5,
        max_words: int | None = None,
        normalize: bool = False,
        seed: int = 0,
        refit_alpha: float = 0.0025,
        lineage: int = 0,
        max_residual: float = 0.7,
        threads: int | None = None,
    ) -> None:
        """Fits nothing.

        Args:
            dim: Components of a vector.
            method: `skipgram` tells each word from others by one neighbour, `cbow` by their mean.
            window: Farthest neighbour of a word; it shrinks at random to 1 to this.
            negatives: Words that are drawn against each one.
            sample: Words more frequent than this share are passed over at random; 0: none is.
            epochs: So often the texts are read.
            alpha: Learning rate at the beginning.
            min_alpha: Learning rate at the end.
            lower: Case does not count.
            word_pattern: Matches one word.
            min_count: Words that occur less often have no vector.
            max_words: So many words have a vector at most: the most frequent ones.
            normalize: Unit norm.
            seed: Of the first vectors, and of all that is drawn.
            refit_alpha: Learning rate at the beginning of a refit, which starts at the vectors of
                the last version.
            lineage: Raise it to begin anew where a refit has gone too far from the last version.
            max_residual: The farthest that a refit may be from the last version, see `lineage`.
            threads: That fit at once, by default all cores; with 1 a fit is the same each time.
        """
        vocabulary = Vocabulary(lower, word_pattern, min_count, max_words)
        super().__init__(dim, lineage, max_residual, vocabulary, normalize=normalize)
        check_counts(window=window, negatives=negatives, epochs=epochs, threads=threads)
        check_counts(0, seed=seed)
        check_rates(min_alpha, alpha=alpha, refit_alpha=refit_alpha)
        if not 0 <= sample < 1:
            raise ConfigError(f"encoder.sample is {sample}, but must be 0 or more, and below 1")
        self._skipgram = method == "skipgram"
        self._window = window
        self._negatives = negatives
        self._sample = sample
        self._epochs = epochs
        self._alpha = alpha
        self._min_alpha = min_alpha
        self._seed = seed
        self._refit_alpha = refit_alpha
        self._threads = threads

    def __repr__(self) -> str:
        """The dimension and the method."""
        method = "skipgram" if self._skipgram else "cbow"
        return f"{type(self).__name__}(dim={self.dim}, method={method!r})"

    def method(self) -> dict[str, object]:
        """Those that gensim takes too."""
        return {
            "encoder": "word2vec",
            "method": 1,
            "skipgram": self._skipgram,
            "window": self._window,
            "negatives": self._negatives,
            "sample": self._sample,
            "epochs": self._epochs,
            "alpha": self._alpha,
            "min_alpha": self._min_alpha,
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
        training = self._training(corpus, start)
        checkpoint, total, loss = Checkpoint(folder), corpus.n_tokens * self._epochs, 0.0
        if (state := checkpoint.read()) is not None:
            training.resume(state)
        for loss in training.run(self._batches(corpus), total, self._threads or threads):
            on_fit(training.words, total, loss)
            checkpoint.keep(training.state)
        metrics = {"words": float(total), "loss": loss}
        return self.made(corpus, training.vectors, training.contexts, metrics)

    def cost(self, corpus: Sentences, *, threads: int = 1) -> Cost:
        """Words of all epochs, and how fast some of them were learned from."""
        total, training = corpus.n_tokens * self._epochs, self._training(corpus, None)
        batches = list(islice(self._batches(corpus), SAMPLE_BATCHES))
        started = time.monotonic()
        for _ in training.run(iter(batches), total, self._threads or threads):
            pass
        return Cost(total, max(1, training.words) / max(time.monotonic() - started, 1e-9))

    def _batches(self, corpus: Sentences) -> Iterator[list[list[int]]]:
        for _ in range(self._epochs):
            yield from corpus.batches(BATCH_TOKENS)

    def _training(self, corpus: Sentences, start: Start | None) -> "_Training":
        from gensim.models import Word2Vec

        model = Word2Vec(
            vector_size=self.dim,
            sg=int(self._skipgram),
            window=self._window,
            negative=self._negatives,
            sample=self._sample,
            seed=self._seed,
            min_count=1,
            sorted_vocab=0,
        )
        model.build_vocab_from_freq(dict(enumerate(corpus.counts.tolist())))
        alpha = self._alpha
        if start is not None:
            alpha = self._refit_alpha
            model.wv.vectors[start.known] = start.vectors[start.known]
            model.syn1neg[start.known] = start.contexts[start.known]
        return _Training(model, alpha, self._min_alpha, self._seed)


@dataclass
class _Training:
    """gensim's model, and how many batches and words it has learned from."""

    model: Any
    alpha: float
    min_alpha: float
    seed: int
    batches: int = 0
    words: int = 0

    @property
    def vectors(self) -> Vectors:
        """Shape (words, dim)."""
        vectors: Vectors = self.model.wv.vectors
        return vectors

    @property
    def contexts(self) -> Vectors:
        """The output layer, of the same shape."""
        contexts: Vectors = self.model.syn1neg
        return contexts

    def run(self, batches: Iterator[list[list[int]]], total: int, threads: int) -> Iterator[float]:
        """Learns from all that are left; gives the mean loss of a word, after some of them each."""
        left = islice(batches, self.batches, None)
        with ThreadPoolExecutor(threads) as pool:
            while group := list(islice(left, threads)):
                sizes = [sum(map(len, batch)) for batch in group]
                done = self.words + np.cumsum([0, *sizes])
                rates = self.alpha - (self.alpha - self.min_alpha) * done[:-1] / total
                numbers = range(self.batches, self.batches + len(group))
                losses = list(pool.map(self._learn, group, rates.tolist(), numbers))
                self.batches += len(group)
                self.words = int(done[-1])
                yield sum(losses) / max(1, sum(sizes))

    def _learn(self, batch: list[list[int]], rate: float, number: int) -> float:
        """Learns from one; gives the sum of its losses."""
        from gensim.models.word2vec import train_batch_cbow, train_batch_sg

        own = copy.copy(self.model)  # with the same tables
        seed = np.random.SeedSequence([self.seed, number]).generate_state(1)
        own.random, own.running_training_loss = np.random.RandomState(seed), 0.0
        work, mean = own._get_thread_working_mem()
        if own.sg:
            train_batch_sg(own, batch, rate, work, True)
        else:
            train_batch_cbow(own, batch, rate, work, mean, True)
        return float(own.running_training_loss)

    def state(self) -> State:
        """All that `resume` needs."""
        return {
            "vectors": self.vectors,
            "contexts": self.contexts,
            "batches": self.batches,
            "words": self.words,
        }

    def resume(self, state: State) -> None:
        """Goes on where that was."""
        self.vectors[:], self.contexts[:] = state["vectors"], state["contexts"]
        self.batches, self.words = state["batches"], state["words"]
