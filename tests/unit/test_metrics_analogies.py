from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gensim.models import KeyedVectors

from tasks.errors import MetricError
from tasks.metrics import analogies
from tasks.metrics.analogies import Analogy, pair_direction, three_cos_add, three_cos_mul
from tasks.metrics.score import Score

Metric = Callable[..., Score]
METRICS = [three_cos_add, three_cos_mul, pair_direction]


def cosine(one: Any, other: Any) -> float:
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norms if norms else 0.0


def score_of(metric: Metric, x: Any, a: Any, b: Any, c: Any) -> float:
    """As the papers write it."""
    if metric is three_cos_add:
        return cosine(x, b - a + c)
    if metric is pair_direction:
        return cosine(x - c, b - a)
    near_a, near_b, near_c = ((1 + cosine(x, word)) / 2 for word in (a, b, c))
    return near_b * near_c / (near_a + 0.001)


def answers_by_loop(
    metric: Metric, vectors: Any, words: Sequence[str], questions: Sequence[Analogy]
) -> list[str]:
    """By the papers' formulas, in float64, word by word."""
    lengths = np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    unit = dict(zip(words, vectors / lengths, strict=True))
    answers = []
    for asked in questions:
        scores = {
            word: score_of(metric, unit[word], *(unit[own] for own in asked[:3]))
            for word in words
            if word not in asked[:3]
        }
        answers.append(max(scores, key=lambda word: scores[word]))
    return answers


def structured(
    n_words: int, dim: int, n_questions: int, seed: int
) -> tuple[Any, list[str], list[Analogy]]:
    """Words in pairs that differ by nearly the same vector, so that about half is answered well."""
    rng = np.random.default_rng(seed)
    bases = rng.normal(size=(n_words // 2, dim))
    moved = bases + rng.normal(size=dim) + 0.6 * rng.normal(size=bases.shape)
    vectors = np.concatenate([bases, moved]).astype(np.float32)
    half = n_words // 2
    words = [f"low{row}" for row in range(half)] + [f"high{row}" for row in range(half)]
    pairs = [rng.choice(half, 2, replace=False) for _ in range(n_questions)]
    questions = [
        Analogy(f"low{one}", f"high{one}", f"low{other}", f"high{other}", f"kind {one % 3}")
        for one, other in pairs
    ]
    return vectors, words, questions


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_answers_are_those_of_the_formulas_word_by_word(metric: Metric, dtype: Any) -> None:
    vectors, words, questions = structured(60, 10, 60, seed=1)
    answers = answers_by_loop(metric, vectors, words, questions)
    answered = [
        asked._replace(expected=word) for asked, word in zip(questions, answers, strict=True)
    ]
    assert metric(vectors.astype(dtype), words, answered).value == 1.0
    expected = [float(one.expected == of) for one, of in zip(questions, answers, strict=True)]
    score = metric(vectors.astype(dtype), words, questions)
    assert score.per_item is not None
    assert score.per_item.tolist() == expected
    assert 5 < sum(expected) < 55
    kinds = [asked.category for asked in questions]
    assert score.parts == {"oov": 0.0} | {
        f"accuracy/{kind}": np.mean(
            [one for one, of in zip(expected, kinds, strict=True) if of == kind]
        )
        for kind in set(kinds)
    }
    assert score.items == tuple(" ".join(asked[:4]) for asked in questions)
    assert (score.n, score.warnings) == (60, ())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("block_bytes", "cells"), [(1, 1), (4000, 50), (40_000, 10**6)])
def test_blocks_do_not_change_answers(
    metric: Metric, block_bytes: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, words, questions = structured(80, 12, 40, seed=2)
    whole = metric(vectors, words, questions)
    monkeypatch.setattr(analogies, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(analogies, "CELLS", cells)
    found = metric(vectors, words, questions)
    assert found.per_item is not None
    assert whole.per_item is not None
    assert found.per_item.tolist() == whole.per_item.tolist()


def test_three_cos_add_is_that_of_gensim(tmp_path: Path) -> None:
    vectors, words, questions = structured(200, 12, 150, seed=3)
    words[7], words[107] = "gone7", "gone107"
    held = KeyedVectors(12)
    held.add_vectors(words, vectors)
    path = tmp_path / "questions.txt"
    lines = []
    for kind in ("kind 0", "kind 1", "kind 2"):
        lines += [f": {kind}"] + [" ".join(q[:4]) for q in questions if q.category == kind]
    path.write_text("\n".join(lines))
    value, sections = held.evaluate_word_analogies(str(path), case_insensitive=False)
    score = three_cos_add(vectors, words, questions)
    assert score.value == pytest.approx(value, abs=1e-12)
    assert score.n == sum(len(s["correct"]) + len(s["incorrect"]) for s in sections[:-1])
    assert score.parts == pytest.approx(
        {"oov": 1 - score.n / 150}
        | {
            f"accuracy/{section['section']}": len(section["correct"])
            / (len(section["correct"]) + len(section["incorrect"]))
            for section in sections[:-1]
        }
    )
    assert 0 < score.parts["oov"] < 0.2
    assert 0.1 < value < 0.9


@pytest.mark.filterwarnings("ignore:Call to deprecated `init_sims`:DeprecationWarning")
def test_three_cos_mul_is_that_of_gensim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analogies, "EPSILON", 1e-6)  # what gensim adds
    vectors, words, questions = structured(200, 12, 100, seed=4)
    held = KeyedVectors(12)
    held.add_vectors(words, vectors)
    answered = [
        asked._replace(expected=held.most_similar_cosmul([asked.b, asked.c], [asked.a], 1)[0][0])
        for asked in questions
    ]
    assert three_cos_mul(vectors, words, answered).value == 1.0
    assert 0.1 < three_cos_mul(vectors, words, questions).value < 0.9


@pytest.mark.parametrize("metric", METRICS)
def test_the_words_of_a_question_are_no_answers(metric: Metric) -> None:
    # b - a + c is b itself here, and the best of the rest is d.
    vectors = np.array([[1, 0.1], [0, 1], [1, 0.1], [0.1, 1], [-1, -1]])
    words = ["a", "b", "c", "d", "e"]
    score = metric(vectors, words, [Analogy("a", "b", "c", "d"), Analogy("a", "b", "c", "b")])
    assert score.per_item is not None
    assert score.per_item.tolist() == [1.0, 0.0]
    assert score.warnings == (
        "1 questions expect one of their own words, which is never the answer, the first 'a b c b'",
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("cells", [1, 10**6])
@pytest.mark.parametrize("block_bytes", [1, 10**6])
def test_equal_words_go_to_the_smaller_row(
    metric: Metric, cells: int, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analogies, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(analogies, "CELLS", cells)
    vectors = np.concatenate([np.eye(4)[[3, 0, 1, 2]], np.eye(4)[[3, 1, 1, 0]]])
    words = ["x", "a", "b", "c", "y", "d", "e", "f"]
    assert metric(vectors, words, [Analogy("a", "b", "c", "d")]).value == 1.0
    assert metric(vectors, words, [Analogy("a", "b", "c", "e")]).value == 0.0


def test_a_copy_of_c_has_no_direction_from_it() -> None:
    words = [f"w{row}" for row in range(30)]
    asked = Analogy("w0", "w1", "w2", "")
    for seed in (0, 1, 2, 3, 4, 5, 7, 9, 10, 11):  # under 6 and 8 all others score below its 0
        for dtype in (np.float32, np.float64):
            vectors = np.random.default_rng(seed).normal(size=(30, 50)).astype(dtype)
            vectors[3] = vectors[2] * dtype(1.7)  # the same but for rounding
            others, rest = np.delete(vectors, 3, 0), words[:3] + words[4:]
            (answer,) = answers_by_loop(pair_direction, others, rest, [asked])
            question = [asked._replace(expected=answer)]
            assert pair_direction(vectors, words, question).value == 1.0


@pytest.mark.parametrize("metric", METRICS)
def test_vectors_of_zeros_are_missing_words(metric: Metric) -> None:
    vectors, words, questions = structured(40, 8, 30, seed=5)
    vectors[5] = 0
    kept = [asked for asked in questions if words[5] not in asked[:4]]
    expected = metric(np.delete(vectors, 5, 0), words[:5] + words[6:], kept)
    found = metric(vectors, words, questions)
    assert found.per_item is not None
    assert expected.per_item is not None
    assert found.per_item.tolist() == expected.per_item.tolist()
    assert found.parts["oov"] == pytest.approx(1 - len(kept) / 30)
    assert found.warnings == (
        f"left out for a word without a vector: {30 - len(kept)} of 30 questions",
        "1 words have vectors of zeros and count as missing, the first 'low5'",
    )


@pytest.mark.parametrize("metric", METRICS)
def test_a_vector_of_zeros_is_no_answer_where_all_others_are_worse(metric: Metric) -> None:
    vectors = np.array([[0, 1], [1, 0], [1, 0], [-1, 0.1], [0, 0]])
    score = metric(vectors, ["a", "b", "c", "d", "zero"], [Analogy("a", "b", "c", "d")])
    assert score.value == 1.0


def test_categories_without_a_question_are_said() -> None:
    questions = [Analogy("a", "b", "c", "d", "in"), Analogy("a", "b", "c", "z", "out")]
    score = three_cos_add(np.eye(4), ["a", "b", "c", "d"], questions)
    assert score.parts == {"oov": 0.5, "accuracy/in": 1.0}
    assert score.warnings == (
        "left out for a word without a vector: 1 of 2 questions",
        "1 categories have no question left, the first 'out'",
    )


def test_no_word_is_left_where_all_are_asked() -> None:
    score = three_cos_add(np.eye(3), ["a", "b", "c"], [Analogy("a", "b", "c", "a")])
    assert score.value == 0.0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("vectors", "words", "questions", "said"),
    [
        (
            np.eye(2),
            ["a", "b"],
            [Analogy("A", "B", "A", "B")],
            "of 1 questions none is in the vocab",
        ),
        (np.eye(2), ["a", "b"], [], "of 0 questions none"),
        (np.zeros((2, 2)), ["a", "b"], [Analogy("a", "b", "a", "b")], "of 1 questions none"),
        (np.eye(2), ["a", "a"], [Analogy("a", "a", "a", "a")], "of 2 words 1 are repeated"),
        (np.eye(2), ["a"], [Analogy("a", "a", "a", "a")], "vectors 2, vocabulary 1"),
        (np.full((1, 2), np.nan), ["a"], [], "component in row 0 that is not finite"),
        (np.empty((0, 2)), [], [], "vectors has 0 rows"),
    ],
)
def test_what_cannot_be_asked_is_said(
    metric: Metric, vectors: Any, words: list[str], questions: list[Analogy], said: str
) -> None:
    with pytest.raises(MetricError, match=said):
        metric(vectors, words, questions)
