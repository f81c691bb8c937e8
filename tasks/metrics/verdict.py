"""One verdict on a candidate: better, not worse, worse, or cannot tell, with its reason."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import special

from tasks.errors import MetricError
from tasks.metrics.resampling import ENOUGH, Interval, Method
from tasks.metrics.score import Labels
from tasks.metrics.significance import Alternative, holm, non_inferior, paired_permutation

LEAST_OF_NO_MEAN = 500  # items


class Verdict(StrEnum):
    """What the interval of candidate minus baseline says of 0 and of the margin.

    Each interval has exactly one, the first that holds:
    """

    BETTER = "better"
    """It lies above 0."""
    NOT_WORSE = "not worse"
    """It lies above minus the margin: whatever drop there may be is allowed."""
    WORSE = "worse"
    """It lies below 0 and not above minus the margin: there is a drop, and none that is known to be
    allowed."""
    CANNOT_TELL = "cannot tell"
    """It holds 0 and minus the margin: more items are needed."""


@dataclass(frozen=True, slots=True)
class Margin:
    """The drop of a metric that is allowed, in its own unit; 0 or more."""

    max_drop: float

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop < np.inf:
            raise MetricError(f"max_drop = {self.max_drop}: expected 0 or more")


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one metric and what it stands on.

    Attributes:
        verdict: What is so.
        reason: Why, in one sentence.
        interval: Of candidate minus baseline, at level 1 - alpha.
        margin: The drop that is allowed.
        p_better: One-sided, that it is not better.
        p_worse: One-sided, that it is not worse than the baseline (not: than the margin).
    """

    verdict: Verdict
    reason: str
    interval: Interval
    margin: Margin
    p_better: float
    p_worse: float


@dataclass(frozen=True, slots=True)
class SuiteJudgement:
    """The verdict on all metrics together.

    Attributes:
        verdict: What is so.
        reason: Why, in one sentence.
        better_on: The metrics on which it is better, with so many looked at.
        worse_on: The same for worse.
        judgements: Of each metric alone.
    """

    verdict: Verdict
    reason: str
    better_on: tuple[str, ...]
    worse_on: tuple[str, ...]
    judgements: Mapping[str, Judgement]


def judge(
    differences: npt.ArrayLike,
    margin: Margin,
    *,
    alpha: float = 0.05,
    groups: Labels | None = None,
    largest: float = 1.0,
    same_vectors: bool = False,
    seed: int = 0,
) -> Judgement:
    """The verdict on paired differences, candidate minus baseline, of the ids that both have.

    By the interval of `non_inferior`; p-values are of `paired_permutation`. A true drop of just the
    margin passes with a chance of at most alpha (docs/evaluation_coverage.md: where that was seen,
    and where not). Differences that are all 0 show that drops are rare, not that there are none:
    they pass where n is large enough for the margin (368 for 0.01 at alpha 0.05). Equal vectors are
    no matter of chance: `same_vectors` says so, and makes the interval [0, 0]. Raises MetricError
    as `non_inferior`, and where the same vectors have differences.
    """
    found = non_inferior(
        differences, margin.max_drop, alpha=alpha, groups=groups, largest=largest, seed=seed
    ).interval
    if same_vectors:
        if np.any(np.asarray(differences)):
            raise MetricError("the same vectors cannot differ in their scores, and these do")
        found = replace(found, low=0.0, high=0.0, warnings=())
        reason = f"the vectors are the same (n = {found.n})"
        return Judgement(Verdict.NOT_WORSE, reason, found, margin, 1.0, 1.0)
    p_better, p_worse = (
        paired_permutation(differences, groups=groups, alternative=alternative, seed=seed).p
        for alternative in (Alternative.GREATER, Alternative.LESS)
    )
    judged = _judgement(found, margin, p_better, p_worse)
    sure = found.units >= ENOUGH or (judged.verdict == Verdict.BETTER and p_better <= alpha / 2)
    return judged if sure else _unsure(judged, found.units, ENOUGH)


def judge_interval(found: Interval, margin: Margin, *, same_vectors: bool = False) -> Judgement:
    """The verdict on the interval of a difference that is no mean: of two correlations.

    p-values are those that the interval implies (Altman and Bland 2011, BMJ 343:d2304). Fewer than
    500 items say nothing good: an average precision near 1 rests on few of them, and a drop of the
    margin would pass in 8 % of samples of 200 (docs/evaluation_coverage.md). An interval without
    any width says nothing good of any number of items, unless the vectors are the same.
    """
    if same_vectors and found.value == 0:
        found = replace(found, low=0.0, high=0.0, warnings=())
        reason = f"the vectors are the same (n = {found.n})"
        return Judgement(Verdict.NOT_WORSE, reason, found, margin, 1.0, 1.0)
    z = float(special.ndtri((1 + found.level) / 2))
    below, above = found.value - found.low, found.high - found.value
    p_better = float(special.ndtr(-z * found.value / below)) if below > 0 else 1.0
    p_worse = float(special.ndtr(z * found.value / above)) if above > 0 else 1.0
    judged = _judgement(found, margin, p_better, p_worse)
    if found.low == found.high:
        return _unsure(judged, found.units, None)
    return (
        judged
        if found.units >= LEAST_OF_NO_MEAN
        else _unsure(judged, found.units, LEAST_OF_NO_MEAN)
    )


def judge_all(judgements: Mapping[str, Judgement]) -> SuiteJudgement:
    """The verdict on a suite of metrics, all at one alpha.

    Not worse: each metric is better or not worse. That needs no correction: the chance that all
    pass while one has dropped by its margin is at most that one's (the intersection-union test:
    Berger 1982, Technometrics 24(4)). Better: not worse, and better on some metric. Worse: worse on
    some metric. Each of these picks from many, so their p-values are corrected by `holm` and held
    against alpha / 2. Cannot tell: all else. Raises MetricError for no metrics and for intervals of
    different levels.
    """
    levels = {one.interval.level for one in judgements.values()}
    if len(levels) != 1:
        raise MetricError(f"metrics at one level are needed; there are {sorted(levels) or 'none'}")
    tail = (1 - levels.pop()) / 2
    better_on, worse_on = (
        tuple(
            name
            for name, p in holm(p_values).items()
            if p <= tail and judgements[name].verdict == verdict
        )
        for verdict, p_values in (
            (Verdict.BETTER, {name: one.p_better for name, one in judgements.items()}),
            (Verdict.WORSE, {name: one.p_worse for name, one in judgements.items()}),
        )
    )
    short = [
        name
        for name, one in judgements.items()
        if one.verdict not in (Verdict.BETTER, Verdict.NOT_WORSE)
    ]
    if not short:
        each = "" if len(judgements) == 1 else f" on any of {len(judgements)} metrics"
        said = f"no drop beyond its margin{each}"
        gains = f", and a gain on {', '.join(better_on)}" if better_on else ""
        verdict, reason = (Verdict.BETTER if better_on else Verdict.NOT_WORSE), said + gains
    else:
        verdict = Verdict.WORSE if worse_on else Verdict.CANNOT_TELL
        named = worse_on or tuple(short)
        reason = "; ".join(f"{name}: {judgements[name].reason}" for name in named)
    return SuiteJudgement(verdict, reason, better_on, worse_on, dict(judgements))


def _unsure(judged: Judgement, n: int, least: int | None) -> Judgement:
    """The same, but for what would let a candidate pass: that is not known of so few."""
    if judged.verdict not in (Verdict.BETTER, Verdict.NOT_WORSE):
        return judged
    why = (
        "all resamples give one difference, which says nothing of how far it may lie off"
        if least is None
        else f"{n} items are too few to be sure that nothing is lost: {least} are needed"
    )
    return replace(judged, verdict=Verdict.CANNOT_TELL, reason=why)


def _judgement(found: Interval, margin: Margin, p_better: float, p_worse: float) -> Judgement:
    drop = margin.max_drop
    seen = (
        f"the difference is {found.value:+.4f}, its {found.level:.0%} interval {found.low:+.4f} to "
        f"{found.high:+.4f} (n = {found.n})"
    )
    if found.low > 0:
        verdict, said = Verdict.BETTER, "a gain"
    elif found.low > -drop:
        verdict, said = Verdict.NOT_WORSE, f"a drop beyond {drop:g} is ruled out"
    elif found.high < -drop:
        verdict, said = Verdict.WORSE, f"a drop beyond {drop:g}"
    elif found.high < 0:
        verdict, said = Verdict.WORSE, f"a drop that may be beyond {drop:g}"
    else:
        verdict, said = Verdict.CANNOT_TELL, f"a drop beyond {drop:g} cannot be ruled out"
    return Judgement(
        verdict, f"{said}: {seen}{_enough(found, drop)}", found, margin, p_better, p_worse
    )


def _enough(found: Interval, drop: float) -> str:
    """How many items would rule out the drop, where the difference stays and that is known."""
    room, below = found.value + drop, found.value - found.low
    if found.low > -drop or room <= 0 or found.method == Method.BOUND:
        return ""
    items = float(f"{found.n * (below / room) ** 2:.1g}")
    return f"; some {items:,.0f} would tell if it stays" if found.high >= 0 else ""
