"""GloVe, against loops that anyone can check."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.encoders import checkpoint
from tasks.encoders.fitted import Start
from tasks.encoders.glove import GloveEncoder
from tasks.errors import ConfigError, Interrupted
from tasks.words import glove
from tasks.words.glove import Pairs, Training, count_pairs
from tests import oracles
from tests.words import sentences

Texts = list[list[int]]
TEXTS = st.lists(st.lists(st.integers(0, 9), max_size=20), max_size=12)


@given(texts=TEXTS, window=st.integers(1, 12))
@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_pairs_are_those_of_a_slow_loop(
    texts: Texts, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glove, "FIRST_SLOTS", 8)  # so that the table grows
    found = count_pairs(sentences(texts), window)
    made = {}
    for one, other, count in zip(
        found.rows.tolist(), found.columns.tolist(), found.counts.tolist(), strict=True
    ):
        made[one, other] = made[other, one] = pytest.approx(count, rel=1e-12)
    assert made == oracles.cooccurrences(texts, window)
    assert len(found.counts) == len({frozenset(pair) for pair in made})


@pytest.mark.parametrize(
    ("rate", "bias_rate", "part_pairs"),
    [(0.05, 0.05, 1_000), (0.0, 0.1, 1_000), (0.1, 0.01, 1_000), (0.05, 0.05, 20)],
)
def test_two_epochs_are_those_of_a_slow_loop(
    rate: float, bias_rate: float, part_pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glove, "PART_PAIRS", part_pairs)
    rng = np.random.default_rng(0)
    texts = rng.integers(0, 10, (30, 15)).tolist()
    pairs = count_pairs(sentences(texts), 3)
    words, contexts = rng.normal(0, 0.3, (2, 10, 5)).astype(np.float32)
    steps = []
    for epoch in range(2):
        for n in np.random.default_rng([7, epoch]).permutation(len(pairs.counts)).tolist():
            one, other = int(pairs.rows[n]), int(pairs.columns[n])
            both = [(one, other)] if one == other else [(one, other), (other, one)]
            steps += [(*pair, float(pairs.counts[n])) for pair in both]
    law: dict[str, Any] = {"x_max": 8.0, "exponent": 0.75}
    wanted = oracles.glove(
        words.astype(float), contexts.astype(float), steps, **law, rate=rate, bias_rate=bias_rate
    )
    training = Training(
        pairs, words.copy(), contexts.copy(), [rate, rate], bias_rate, **law, seed=7
    )
    losses = list(training.run(threads=1))
    # float32 against float64, over some 200 steps
    np.testing.assert_allclose(training.words, wanted[0], atol=1e-5)
    np.testing.assert_allclose(training.contexts, wanted[1], atol=1e-5)
    assert len(losses) == 2 * -(-len(pairs.counts) // part_pairs)
    if len(losses) == 2:
        assert np.mean(losses) == pytest.approx(wanted[2], rel=1e-4)


def test_products_come_to_the_logarithms_of_counts(tmp_path: Path) -> None:
    texts = (np.random.default_rng(0).zipf(1.5, (200, 20)) % 10).tolist()
    corpus = sentences(texts)
    losses: list[float] = []
    encoder = GloveEncoder(dim=16, window=2, epochs=300, min_count=1, x_max=10)
    encoder.fit(corpus, tmp_path, on_fit=lambda *now: losses.append(now[2]))
    assert losses[1] > 0.5
    assert losses[-1] < 1e-3


def test_vectors_are_the_sums_of_both_tables_and_a_refit_begins_at_both(tmp_path: Path) -> None:
    corpus = sentences(np.random.default_rng(0).integers(0, 10, (50, 20)).tolist())
    encoder = GloveEncoder(dim=4, epochs=1, refit_rate=1e-9)
    first = encoder.fit(corpus, tmp_path / "1")
    known = np.ones(10, np.bool_)
    again = encoder.fit(
        corpus, tmp_path / "2", start=Start(first.vectors, first.contexts, known, ~known)
    )
    np.testing.assert_allclose(again.vectors, first.vectors, atol=1e-6)
    np.testing.assert_allclose(again.contexts, first.contexts, atol=1e-6)
    cold = encoder.fit(corpus, tmp_path / "3").metrics["loss"]
    assert again.metrics["loss"] < cold / 2  # biases were found before


@pytest.mark.parametrize("threads", [1, 2])
def test_a_fit_that_was_cut_off_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(glove, "PART_PAIRS", 20)
    corpus = sentences(np.random.default_rng(0).integers(0, 10, (50, 20)).tolist())
    encoder = GloveEncoder(dim=4, epochs=2, threads=threads)  # 55 pairs: 3 parts an epoch
    whole = encoder.fit(corpus, tmp_path / "whole")
    monkeypatch.setattr(checkpoint, "CHECKPOINT_S", 0.0)
    told: list[int] = []

    def note(done: int, total: int, loss: float) -> None:
        assert total == 2_000
        told.append(done)
        if len(told) == 1 + 5:  # the counting, and five parts, of which four were kept
            raise Interrupted("in the middle of the second epoch")

    with pytest.raises(Interrupted):
        encoder.fit(corpus, tmp_path / "cut", on_fit=note)
    again = encoder.fit(corpus, tmp_path / "cut", on_fit=note)
    assert told == [0, 333, 666, 1_000, 1_333, 1_666, 0, 1_666, 2_000]
    assert whole.metrics["pairs"] == 55
    if threads == 1:
        assert again.vectors.tobytes() == whole.vectors.tobytes()
        assert again.metrics == whole.metrics
    assert again.metrics["loss"] == pytest.approx(whole.metrics["loss"], rel=0.1)


def test_texts_of_one_word_each_have_no_pairs_and_no_vectors(tmp_path: Path) -> None:
    made = GloveEncoder(dim=4).fit(sentences([[0], [1], []]), tmp_path)
    assert made.metrics == {"words": 2 * 25, "pairs": 0, "loss": 0}
    assert not made.vectors.any()
    none = Pairs(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0))
    assert count_pairs(sentences([]), 3).counts.tolist() == none.counts.tolist()


@pytest.mark.parametrize("name", ["x_max", "exponent", "rate", "refit_rate"])
def test_what_is_no_positive_number_is_told(name: str) -> None:
    with pytest.raises(ConfigError, match=f"encoder.{name} is 0.0, but must be a positive number"):
        GloveEncoder(**{name: 0.0})  # type: ignore[arg-type]
