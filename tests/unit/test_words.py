"""Words of texts: what counts as one, texts as numbers, vectors fitted to them."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gensim.models import Word2Vec
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.encoders import checkpoint
from tasks.encoders.word2vec import Word2VecEncoder
from tasks.errors import ConfigError, Interrupted
from tasks.words.vocabulary import Vocabulary
from tests.words import sentences

Texts = list[list[int]]


def ranked(rng: np.random.Generator, n_texts: int, length: int, n_words: int) -> Texts:
    """Texts of words of which the first ones are frequent, as words are."""
    drawn = rng.zipf(1.3, (n_texts, length)) % n_words
    order = [word for word, _ in Counter(drawn.ravel().tolist()).most_common()]
    ranks = {word: rank for rank, word in enumerate(order)}
    return [[ranks[word] for word in text] for text in drawn.tolist()]


TEXTS = st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=12)


@given(texts=TEXTS, n_words=st.integers(0, 10), n_tokens=st.integers(1, 30))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_texts_come_in_blocks_and_batches_without_words_that_have_no_vector(
    texts: Texts, n_words: int, n_tokens: int
) -> None:
    corpus = sentences(texts, n_words)
    kept = [[token for token in text if token < n_words] for text in texts]
    whole = [
        block[start:end].tolist()
        for block, ends in corpus.blocks(n_tokens)
        for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    ]
    assert whole == kept
    batches = list(corpus.batches(n_tokens))
    assert [token for batch in batches for text in batch for token in text] == [
        token for text in kept for token in text
    ]
    assert all(0 < sum(map(len, batch)) <= n_tokens for batch in batches)
    assert {text for batch in batches for text in map(len, batch)} <= {*range(1, n_tokens + 1)}
    beside = {token for text in kept for token in text if len(text) > 1}
    assert np.flatnonzero(corpus.joined).tolist() == sorted(beside)
    assert corpus.n_tokens == sum(map(len, kept))


def test_a_long_text_is_cut_and_no_word_of_it_left_out() -> None:
    corpus = sentences([[0, 1] * 15_000, [1, 2]])
    assert [[len(text) for text in batch] for batch in corpus.batches(10_000)] == [
        [10_000], [10_000], [10_000], [2]
    ]  # fmt: skip


def test_words_are_what_the_pattern_matches_and_case_counts_where_it_is_said() -> None:
    text = "Don't stop_here: Ünïcode 42!"
    assert Vocabulary().words(text) == ["don", "t", "stop_here", "ünïcode", "42"]
    assert Vocabulary(lower=False, word_pattern="[A-Za-z']+").words(text)[:2] == ["Don't", "stop"]
    counts = np.array([9, 5, 5, 4, 1])
    sizes = [Vocabulary(), Vocabulary(max_words=2), Vocabulary(min_count=1)]
    assert [one.size(counts) for one in sizes] == [3, 2, 5]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"min_count": 0}, "encoder.min_count is 0, but must be 1 or more"),
        ({"max_words": 0}, "encoder.max_words is 0, but must be 1 or more"),
        ({"word_pattern": "["}, r"encoder.word_pattern '\['"),
        ({"word_pattern": "(a)b"}, r"has groups: write \(\?:...\) for \(...\)"),
        ({"word_pattern": "a*"}, "matches nothing at all"),
        ({"sample": 1.0}, "encoder.sample is 1.0, but must be 0 or more, and below 1"),
        ({"window": 0}, "encoder.window is 0, but must be 1 or more"),
        ({"seed": -1}, "encoder.seed is -1, but must be 0 or more"),
        ({"threads": 0}, "encoder.threads is 0, but must be 1 or more"),
        ({"min_alpha": 1.0}, "0 <= min_alpha <= alpha is needed"),
    ],
)
def test_what_cannot_be_fitted_is_told_at_once(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Word2VecEncoder(**arguments)


class Seeded(Word2Vec):  # type: ignore[misc]
    """gensim itself, with the random numbers of ours: a stream for each batch."""

    number = 0

    def _do_train_job(self, sentences: Any, alpha: float, inits: Any) -> Any:
        seed = np.random.SeedSequence([self.seed, self.number]).generate_state(1)
        self.random = np.random.RandomState(seed)
        self.number += 1
        return super()._do_train_job(sentences, alpha, inits)


@pytest.mark.parametrize("method", ["skipgram", "cbow"])
def test_vectors_are_those_of_gensim_bit_for_bit(method: Any, tmp_path: Path) -> None:
    texts = ranked(np.random.default_rng(0), 800, 30, 200)
    corpus = sentences(texts)
    encoder = Word2VecEncoder(dim=12, method=method, window=3, epochs=3, seed=7, min_count=1)
    made = encoder.fit(corpus, tmp_path, threads=1)
    peer = Seeded(
        vector_size=12, sg=int(method == "skipgram"), window=3, seed=7, min_count=1, workers=1,
        sorted_vocab=0,
    )  # fmt: skip
    peer.build_vocab_from_freq(dict(enumerate(corpus.counts.tolist())))
    peer.train(texts, total_words=corpus.n_tokens, epochs=3)
    assert made.vectors.tobytes() == peer.wv.vectors.tobytes()
    assert made.contexts.tobytes() == peer.syn1neg.tobytes()


def test_a_fit_that_was_cut_off_goes_on_to_the_same_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = sentences(ranked(np.random.default_rng(0), 900, 30, 100))
    encoder = Word2VecEncoder(dim=8, epochs=2)
    whole = encoder.fit(corpus, tmp_path / "whole")
    monkeypatch.setattr(checkpoint, "CHECKPOINT_S", 0.0)
    told: list[int] = []

    def stop_in_the_second_epoch(done: int, total: int, loss: float) -> None:
        told.append(done)
        if len(told) == 5:
            raise Interrupted("in the middle of a fit")

    with pytest.raises(Interrupted):
        encoder.fit(corpus, tmp_path / "cut", on_fit=stop_in_the_second_epoch)
    told.clear()
    again = encoder.fit(corpus, tmp_path / "cut", on_fit=lambda *now: told.append(now[0]))
    assert again.vectors.tobytes() == whole.vectors.tobytes()
    assert again.contexts.tobytes() == whole.contexts.tobytes()
    batches = 2 * 3  # of 27,000 words
    assert len(told) == batches - 4
    assert told[-1] == 2 * 27_000


def test_several_threads_learn_from_all_batches_and_go_on_where_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "CHECKPOINT_S", 0.0)
    corpus = sentences(ranked(np.random.default_rng(0), 900, 30, 100))
    encoder = Word2VecEncoder(dim=8, epochs=3, threads=2)  # 9 batches, two at once
    told: list[int] = []

    def note(done: int, total: int, loss: float) -> None:
        told.append(done)
        if len(told) == 2:
            raise Interrupted("after four batches, of which two were kept")

    with pytest.raises(Interrupted):
        encoder.fit(corpus, tmp_path, on_fit=note)
    made = encoder.fit(corpus, tmp_path, on_fit=note)
    assert len(told) == 2 + 4
    assert told[-1] == 3 * 27_000
    assert np.isfinite(made.vectors).all()
