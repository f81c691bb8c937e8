import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given
from hypothesis import strategies as st
from scipy import spatial

from tasks.errors import MetricError
from tasks.metrics import _likeness
from tasks.metrics.neighbours import Likeness
from tasks.metrics.similarity import pearson, similarities, spearman, word_pairs

BY_SCIPY: dict[str, Callable[[Any, Any], float]] = {
    "cosine": lambda one, other: 1 - spatial.distance.cosine(one, other),
    "dot": lambda one, other: math.fsum(x * y for x, y in zip(one, other, strict=True)),
    "euclidean": lambda one, other: -spatial.distance.euclidean(one, other),
}


def mean_ranks(values: list[float]) -> list[float]:
    return [
        sum(other < value for other in values) + (1 + values.count(value)) / 2 for value in values
    ]


def correlation(one: list[float], other: list[float]) -> float:
    mean_one, mean_other = math.fsum(one) / len(one), math.fsum(other) / len(other)
    left, right = [x - mean_one for x in one], [y - mean_other for y in other]
    above = math.fsum(x * y for x, y in zip(left, right, strict=True))
    return above / math.sqrt(math.fsum(x * x for x in left) * math.fsum(y * y for y in right))


@pytest.mark.parametrize("likeness", Likeness)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_similarities_are_those_of_scipy_pair_by_pair(likeness: Likeness, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 50, 7)).astype(dtype)
    pairs = zip(one.astype(float), other.astype(float), strict=True)
    expected = [BY_SCIPY[likeness](left, right) for left, right in pairs]
    np.testing.assert_allclose(similarities(one, other, likeness), expected, rtol=0, atol=1e-14)


def test_blocks_do_not_change_similarities(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = np.random.default_rng(0).normal(size=(2, 50, 7))
    whole = similarities(one, other)
    monkeypatch.setattr(_likeness, "ROWS", 7)
    assert similarities(one, other).tolist() == whole.tolist()


def test_copies_have_a_cosine_of_exactly_one_so_that_they_tie() -> None:
    one = np.random.default_rng(0).normal(size=(500, 33)) * np.logspace(-300, 14, 500)[:, None]
    assert set(similarities(one, one.copy()).tolist()) == {1.0}
    assert set(similarities(one, -4 * one).tolist()) == {-1.0}


def test_a_vector_of_zeros_has_a_cosine_of_zero_and_is_said() -> None:
    one, other = [[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
    assert similarities(one, other).tolist() == pytest.approx([0, 0, math.sqrt(0.5)])
    score = spearman(one, other, [1, 2, 3])
    assert score.warnings == ("2 vectors are all zeros: their cosine counts 0",)
    assert spearman(one, other, [1, 2, 3], likeness="dot").warnings == ()


@given(
    st.lists(st.tuples(*[st.integers(-2, 2)] * 5), min_size=3, max_size=12).filter(
        lambda rows: (
            len({r[0] for r in rows}) > 1 and len({r[1] * r[3] + r[2] * r[4] for r in rows}) > 1
        )
    )
)
def test_correlations_are_those_of_a_loop_whatever_ties(rows: list[tuple[int, ...]]) -> None:
    gold = [float(row[0]) for row in rows]
    alike = [float(row[1] * row[3] + row[2] * row[4]) for row in rows]
    one, other = [row[1:3] for row in rows], [row[3:5] for row in rows]
    ranks = correlation(mean_ranks(gold), mean_ranks(alike))
    rho = spearman(one, other, gold, likeness="dot")
    r = pearson(one, other, gold, likeness="dot")
    assert (rho.value, rho.n) == pytest.approx((ranks, len(rows)), abs=1e-12)
    assert (r.value, r.n) == pytest.approx((correlation(gold, alike), len(rows)), abs=1e-12)


def test_correlations_are_those_of_mteb() -> None:
    from mteb.abstasks import AbsTaskSTS
    from sklearn.metrics.pairwise import paired_cosine_distances, paired_euclidean_distances

    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 100, 6))
    gold = rng.integers(0, 6, size=100) / 5
    far = paired_euclidean_distances(one, other)
    task: Any = AbsTaskSTS.__new__(type("Task", (AbsTaskSTS,), {}))
    theirs = task._calculate_scores(
        {
            "cosine_scores": 1 - paired_cosine_distances(one, other),
            "euclidean_distances": -far,
            "manhattan_distances": -far,
            "similarity_scores": None,
        },
        gold,
    )
    for likeness in ("cosine", "euclidean"):
        found = [
            metric(one, other, gold, likeness=likeness).value for metric in (spearman, pearson)
        ]
        expected = [theirs[f"{likeness}_spearman"], theirs[f"{likeness}_pearson"]]
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e14])
def test_correlations_do_not_depend_on_scale(scale: float) -> None:
    rng = np.random.default_rng(0)
    one, gold = rng.normal(size=(20, 1)), rng.normal(size=20)
    for metric in (spearman, pearson):
        found = metric(one * scale, np.ones((20, 1)), gold * scale, likeness="dot")
        assert found.value == pytest.approx(
            metric(one, np.ones((20, 1)), gold, likeness="dot").value
        )


@pytest.mark.parametrize("metric", [spearman, pearson])
@pytest.mark.parametrize(
    ("one", "other", "gold", "likeness", "said"),
    [
        ([[1.0], [2.0]], [[1.0], [2.0]], [1, 2], "dot", "of 2 pairs says nothing: 3 are needed"),
        ([], [], [], "dot", r"the first matrix has shape \(0,\)"),
        ([[1.0], [2.0]], [[1.0]], [1, 2], "dot", "there are 2 and 1"),
        ([[1.0]] * 3, [[1.0, 2.0]] * 3, [1, 2, 3], "dot", "vectors have 1 and 2 components"),
        ([[1.0]] * 3, [[2.0]] * 3, [1, 2, 3], "dot", "dot is 2.0 for all 3 pairs"),
        ([[1.0], [2.0], [3.0]], [[1.0]] * 3, [1, 2, 3], "cosine", "cosine is 1.0 for all 3 pairs"),
        ([[1.0], [2.0], [3.0]], [[1.0]] * 3, [4, 4, 4], "dot", "gold is 4.0 for all 3 pairs"),
        ([[1.0], [2.0], [3.0]], [[1.0]] * 3, [0, 0, 0], "dot", "gold is 0.0 for all 3 pairs"),
        (
            [[1.0], [2.0], [3.0]],
            [[1.0]] * 3,
            [1, 1, 1 + 1e-15],
            "dot",
            "gold is 1.0 for all 3 pairs",
        ),
        ([[1.0]] * 3, [[2.0]] * 3, [1, 2], "dot", "lengths differ: vectors 3, gold 2"),
        ([[1.0]] * 3, [[2.0]] * 3, [1, 2, math.nan], "dot", r"gold of shape \(3,\): expected"),
        ([[1.0]] * 3, [[2.0]] * 3, [[1, 2, 3]], "dot", r"gold of shape \(1, 3\): expected"),
        ([[math.nan]] * 3, [[2.0]] * 3, [1, 2, 3], "dot", "component in row 0 that is not finite"),
        (
            [[1.0]] * 3,
            [[2.0]] * 3,
            [1, 2, 3],
            "cosin",
            "likeness 'cosin': expected one of cosine, ",
        ),
        ([[1e200]] * 3, [[1.0]] * 3, [1, 2, 3], "dot", "row 0 that is not finite or not below"),
    ],
)
def test_what_has_no_correlation_is_said(
    metric: Any, one: Any, other: Any, gold: Any, likeness: str, said: str
) -> None:
    with pytest.raises(MetricError, match=said):
        metric(one, other, gold, likeness=likeness)


def test_word_pairs_have_the_correlations_and_the_ratio_of_gensim(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{row}" for row in range(40)]
    vectors = rng.normal(size=(40, 8)).astype(np.float32)
    held = KeyedVectors(8)
    held.add_vectors(words, vectors)
    pairs = [(f"w{one}", f"w{other}") for one, other in rng.integers(0, 50, size=(120, 2))]
    gold = rng.integers(0, 10, size=120).astype(float).tolist()
    path = tmp_path / "pairs.tsv"
    lines = [f"{one}\t{other}\t{value}" for (one, other), value in zip(pairs, gold, strict=True)]
    path.write_text("\n".join(lines))
    r, rho, oov = held.evaluate_word_pairs(str(path), case_insensitive=False)
    score = word_pairs(vectors, words, pairs, gold)
    assert score.value == pytest.approx(rho.statistic, abs=1e-12)
    assert score.parts == {
        "oov": pytest.approx(oov / 100),
        "pearson": pytest.approx(r.statistic, abs=1e-6),  # gensim's cosines are float32
    }
    assert score.n == sum(one in words and other in words for one, other in pairs) < 120


@pytest.mark.parametrize(
    ("words", "pairs", "gold", "said"),
    [
        (["a", "b"], [("A", "B")] * 3, [1, 2, 3], "of 3 pairs none is in the vocabulary"),
        (["a", "b"], [], [], "of 0 pairs none is in the vocabulary"),
        (["a", "a"], [("a", "a")] * 3, [1, 2, 3], "of 2 words 1 are repeated"),
        (["a", "b", "c"], [("a", "b")] * 3, [1, 2, 3], "vectors 2, vocabulary 3"),
        (["a", "b"], [("a", "b")] * 3, [1, 2], "pairs 3, gold 2"),
        (["a", "b"], [("a", "b")] * 3, [1, 2, 3], "cosine is 0.0 for all 3 pairs"),
        (["a", "b"], [("a", "b"), ("a", "a")], [1, 2], "of 2 pairs says nothing"),
    ],
)
def test_word_pairs_that_say_nothing_are_said(
    words: list[str], pairs: list[tuple[str, str]], gold: list[float], said: str
) -> None:
    with pytest.raises(MetricError, match=said):
        word_pairs(np.eye(2), words, pairs, gold)
