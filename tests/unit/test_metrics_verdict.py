from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tasks.errors import MetricError
from tasks.metrics.intervals import correlation_interval, paired_interval
from tasks.metrics.resampling import Interval, Method
from tasks.metrics.significance import paired_permutation
from tasks.metrics.verdict import (
    Judgement,
    Margin,
    SuiteJudgement,
    Verdict,
    judge,
    judge_all,
    judge_interval,
)

B, N, W, C = Verdict.BETTER, Verdict.NOT_WORSE, Verdict.WORSE, Verdict.CANNOT_TELL


def between(low: float, high: float, level: float = 0.95) -> Interval:
    return Interval((low + high) / 2, low, high, level, Method.WIDER, 500, 500, 2000, 0)


@pytest.mark.parametrize(
    ("low", "high", "verdict", "said"),
    [
        (0.01, 0.03, B, "a gain"),
        (0.0, 0.03, N, "a drop beyond 0.02 is ruled out"),
        (-0.01, 0.03, N, "a drop beyond 0.02 is ruled out"),
        (-0.01, -0.005, N, "a drop beyond 0.02 is ruled out"),
        (-0.02, -0.01, W, "a drop that may be beyond 0.02"),
        (-0.03, -0.02, W, "a drop that may be beyond 0.02"),
        (-0.04, -0.03, W, "a drop beyond 0.02"),
        (-0.02, 0.0, C, "a drop beyond 0.02 cannot be ruled out"),
        (-0.05, 0.05, C, "a drop beyond 0.02 cannot be ruled out"),
    ],
)
def test_each_interval_has_one_verdict(
    low: float, high: float, verdict: Verdict, said: str
) -> None:
    found = judge_interval(between(low, high), Margin(0.02))
    assert found.verdict == verdict
    assert found.reason.startswith(f"{said}: the difference is {(low + high) / 2:+.4f}, its 95% ")


@given(st.floats(-1, 1), st.floats(0.001, 1), st.floats(0, 1))
def test_verdicts_are_what_they_are_defined_to_be(low: float, wide: float, drop: float) -> None:
    found = judge_interval(between(low, low + wide), Margin(drop)).verdict
    defined = {
        B: low > 0,
        N: -drop < low <= 0,
        W: low <= -drop and low <= 0 and low + wide < 0,
        C: low <= -drop and low <= 0 <= low + wide,
    }
    assert [verdict for verdict, holds in defined.items() if holds] == [found]


def test_a_few_items_let_nothing_pass_that_is_no_mean() -> None:
    for low, high in ((0.1, 0.2), (-0.001, 0.2)):
        found = judge_interval(replace(between(low, high), n=499, units=499), Margin(0.02))
        assert found.verdict == C
        assert found.reason == (
            "499 items are too few to be sure that nothing is lost: 500 are needed"
        )
    worse = judge_interval(replace(between(-0.5, -0.4), n=9, units=9), Margin(0.02))
    assert worse.verdict == W


def test_a_few_pairs_are_better_only_by_an_exact_test() -> None:
    assert judge(np.full(20, 0.3), Margin(0.02)).verdict == B  # 2^-20 by chance
    level = judge(np.array([0.01, -0.005] * 15), Margin(0.02))
    assert level.interval.low > -0.02
    assert level.verdict == C
    assert level.reason == "30 items are too few to be sure that nothing is lost: 50 are needed"


def test_a_reason_says_how_many_items_would_tell() -> None:
    found = judge_interval(between(-0.05, 0.04), Margin(0.01))
    assert found.reason == (
        "a drop beyond 0.01 cannot be ruled out: the difference is -0.0050, its 95% interval "
        "-0.0500 to +0.0400 (n = 500); some 40,000 would tell if it stays"
    )  # 500 (0.045 / 0.005)^2 = 40,500
    assert "would tell" not in judge_interval(between(-0.05, 0.02), Margin(0.01)).reason


def test_the_interval_and_the_tests_are_those_of_the_differences() -> None:
    rng = np.random.default_rng(0)
    differences = np.clip(rng.normal(0.03, 0.2, 240), -1, 1)
    groups = rng.integers(0, 80, 240)
    found = judge(differences, Margin(0.01), alpha=0.1, groups=groups, seed=3)
    assert found.interval == paired_interval(differences, level=0.9, groups=groups, seed=3)
    assert (found.p_better, found.p_worse) == tuple(
        paired_permutation(differences, alternative=alternative, groups=groups, seed=3).p
        for alternative in ("greater", "less")
    )
    assert (found.verdict, found.margin) == (B, Margin(0.01))


@pytest.mark.parametrize(
    ("mean", "spread", "n", "verdict"),
    [(0.1, 0.2, 200, B), (0.0, 0.05, 1000, N), (-0.1, 0.2, 200, W), (0.0, 0.3, 60, C)],
)
def test_clear_cases_are_judged_as_they_are(
    mean: float, spread: float, n: int, verdict: Verdict
) -> None:
    for seed in range(5):
        drawn = np.random.default_rng(seed).normal(0, spread, n)
        differences = np.clip(drawn - drawn.mean() + mean, -1, 1)
        assert judge(differences, Margin(0.01), seed=seed).verdict == verdict


def test_equal_scores_pass_where_there_are_enough_of_them_for_the_margin() -> None:
    verdicts = [judge(np.zeros(n), Margin(0.01)).verdict for n in (50, 367, 368, 1000)]
    assert verdicts == [C, C, N, N]
    assert 0.99**367 > 0.025 > 0.99**368


def test_the_same_vectors_are_not_worse_whatever_n_is() -> None:
    found = judge(np.zeros(2), Margin(0.0), same_vectors=True)
    assert (found.verdict, found.reason) == (N, "the vectors are the same (n = 2)")
    assert (found.interval.low, found.interval.high, found.interval.n) == (0, 0, 2)
    with pytest.raises(MetricError, match="the same vectors cannot differ"):
        judge([0.0, 0.1], Margin(0.0), same_vectors=True)


def test_two_correlations_are_judged_by_their_interval() -> None:
    rng = np.random.default_rng(1)
    gold = rng.normal(size=600)
    good, bad = gold + 0.5 * rng.normal(size=600), gold + 2 * rng.normal(size=600)
    better = judge_interval(correlation_interval(gold, good, baseline=bad), Margin(0.01))
    worse = judge_interval(correlation_interval(gold, bad, baseline=good), Margin(0.01))
    equal = correlation_interval(gold, bad, baseline=bad)
    same = judge_interval(equal, Margin(0.01), same_vectors=True)
    assert judge_interval(equal, Margin(0.01)).verdict == C
    assert [better.verdict, worse.verdict, same.verdict] == [B, W, N]
    assert (same.p_better, same.p_worse) == (1.0, 1.0)
    assert better.p_better < 1e-6 < 0.99 < better.p_worse


def test_p_of_a_normal_interval_is_that_of_its_z() -> None:
    lopsided = replace(between(-0.01, 0.05, level=0.9), value=0.01)
    found = judge_interval(lopsided, Margin(0.1))
    below, above = (side / stats.norm.ppf(0.95) for side in (0.02, 0.04))
    assert found.p_better == pytest.approx(stats.norm.sf(0.01 / below), abs=1e-12)
    assert found.p_worse == pytest.approx(stats.norm.cdf(0.01 / above), abs=1e-12)


def judged(verdict: Verdict, p_better: float = 0.5, p_worse: float = 0.5) -> Judgement:
    found = {B: (0.01, 0.02), N: (-0.001, 0.02), W: (-0.5, -0.4), C: (-0.5, 0.5)}[verdict]
    one = judge_interval(between(*found), Margin(0.005))
    assert one.verdict == verdict
    return replace(one, p_better=p_better, p_worse=p_worse)


@pytest.mark.parametrize(
    ("suite", "verdict", "better_on", "worse_on"),
    [
        ({"a": judged(N)}, N, (), ()),
        ({"a": judged(N), "b": judged(C)}, C, (), ()),
        ({"a": judged(B, 0.012), "b": judged(N)}, B, ("a",), ()),
        ({"a": judged(B, 0.013), "b": judged(N)}, N, (), ()),  # 2 x 0.013 > 0.025
        ({"a": judged(B, 0.013), "b": judged(B, 0.012)}, B, ("a", "b"), ()),
        ({"a": judged(B, 1e-4), "b": judged(C)}, C, ("a",), ()),
        ({"a": judged(B, 1e-4), "b": judged(W, 1, 1e-4)}, W, ("a",), ("b",)),
        ({"a": judged(N), "b": judged(W, 1, 0.013)}, C, (), ()),
        ({"a": judged(N, 1e-4), "b": judged(N, 0.5, 1e-4)}, N, (), ()),
    ],
)
def test_a_suite_has_one_verdict(
    suite: dict[str, Judgement],
    verdict: Verdict,
    better_on: tuple[str, ...],
    worse_on: tuple[str, ...],
) -> None:
    found = judge_all(suite)
    assert (found.verdict, found.better_on, found.worse_on) == (verdict, better_on, worse_on)
    assert found.judgements == suite


def test_a_suite_says_why() -> None:
    passed = judge_all({"ndcg@10": judged(B, 1e-4), "recall@10": judged(N)})
    assert passed.reason == "no drop beyond its margin on any of 2 metrics, and a gain on ndcg@10"
    short = {"ndcg@10": judged(W, 1, 1e-4), "recall@10": judged(C), "mrr": judged(N)}
    assert judge_all(short).reason == f"ndcg@10: {short['ndcg@10'].reason}"
    unsure = {"recall@10": judged(C), "mrr": judged(N)}
    assert judge_all(unsure).reason == f"recall@10: {unsure['recall@10'].reason}"


def test_a_suite_of_noise_seldom_gains_and_one_at_its_margins_seldom_passes() -> None:
    rng = np.random.default_rng(2)

    def suite(mean: float) -> SuiteJudgement:
        drawn = np.clip(rng.normal(mean, 0.2, (4, 60)), -1, 1)
        return judge_all(
            {str(i): judge(row, Margin(0.04), alpha=0.2, seed=i) for i, row in enumerate(drawn)}
        )

    noise = [suite(0.0) for _ in range(30)]
    assert sum(bool(one.better_on) for one in noise) <= stats.binom.ppf(0.999, 30, 0.1)
    assert sum(bool(one.worse_on) for one in noise) <= stats.binom.ppf(0.999, 30, 0.1)
    at_margin = [suite(-0.04).verdict for _ in range(20)]
    assert sum(one in (B, N) for one in at_margin) <= stats.binom.ppf(0.999, 20, 0.1)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Margin(-0.1), "max_drop = -0.1: expected 0 or more"),
        (lambda: Margin(float("nan")), "max_drop = nan"),
        (lambda: judge([], Margin(0.1)), "0 independent items"),
        (lambda: judge([0.1], Margin(0.1)), "1 independent items"),
        (lambda: judge([0.1, np.nan], Margin(0.1)), "a finite number for each item"),
        (lambda: judge([0.1, -3], Margin(0.1)), "a difference of 3.0 is beyond the largest"),
        (lambda: judge_all({}), "metrics at one level are needed; there are none"),
        (
            lambda: judge_all(
                {
                    "a": judge_interval(between(0, 1), Margin(0)),
                    "b": judge_interval(between(0, 1, level=0.9), Margin(0)),
                }
            ),
            r"there are \[0.9, 0.95\]",
        ),
    ],
)
def test_what_cannot_be_judged_is_said(made: Callable[[], object], said: str) -> None:
    with pytest.raises(MetricError, match=said):
        made()
