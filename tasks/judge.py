"""Candidate beside baseline: intervals, paired differences, one verdict, and what the gate says."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from schemas.config import EvaluateConfig
from schemas.evaluation import Compared, Estimate, Gate, Metric, Verdict
from tasks.errors import ConfigError, MetricError
from tasks.evaluations.base import NEITHER, NO_ITEMS, Measurement, Rows
from tasks.metrics.intervals import interval, mean_interval
from tasks.metrics.resampling import Interval, Method
from tasks.metrics.verdict import Judgement, Margin, judge, judge_all, judge_interval

DEFAULT_MARGIN = 0.01
RESAMPLES = 500  # where a metric is taken anew of each: agreement of labels takes 1 ms
PASSING = ("better", "not worse")

Measurements = Mapping[str, Measurement]


class Pair(NamedTuple):
    """A metric of both versions, measured on the records that both have."""

    candidate: Measurement
    baseline: Measurement


class Outcome(NamedTuple):
    """The verdict on all metrics that were asked, and what the gate makes of it.

    None where none of them can be better or worse.
    """

    verdict: Verdict | None
    reason: str
    gate: Gate | None


def margins(settings: EvaluateConfig, main: tuple[str, ...]) -> dict[str, float]:
    """The drop that counts as no loss: as the gate has it, else 0.01 of each main metric."""
    gated = {name: allowed.max_drop for name, allowed in settings.gate.items()}
    return gated or dict.fromkeys(main, DEFAULT_MARGIN)


def described(name: str, measured: Measurement, settings: EvaluateConfig) -> Metric:
    """A metric with its interval, not compared with any other."""
    try:
        estimate = _estimate(measured, settings)
    except MetricError as error:
        raise MetricError(f"the interval of {name}: {error}") from error
    return Metric(
        estimate=estimate,
        of=measured.of,
        higher_is_better=measured.higher_is_better,
        parts=dict(measured.score.parts),
    )


def compared(
    metrics: Mapping[str, Metric],
    pairs: Mapping[str, Pair],
    asked: Mapping[str, float],
    settings: EvaluateConfig,
    *,
    same_encoder: bool,
    same_vectors: bool,
) -> tuple[dict[str, Metric], Outcome]:
    """The metrics, each beside the baseline's, and the verdict on those that are asked.

    `asked` are the drops that count as no loss. Where vectors are the same a metric without any
    difference is no matter of chance. Raises ConfigError where the gate asks for a metric
    that cannot be judged.
    """
    judgements: dict[str, Judgement] = {}
    for name, pair in pairs.items():
        found = _judgement(
            name, pair, Margin(asked.get(name, 0.0)), settings, same_vectors=same_vectors
        )
        if found is not None:
            judgements[name] = found
    for name in settings.gate:
        if name not in judgements:
            raise ConfigError(
                f"evaluate.gate.{name}: no gate can ask for it here: {_why_not(pairs.get(name))}"
            )
    beside = {
        name: metric.model_copy(
            update={"compared": _compared(pairs[name], judgements[name], asked.get(name))}
        )
        if name in judgements
        else metric
        for name, metric in metrics.items()
    }
    asked_of = {name: judgements[name] for name in asked if name in judgements}
    if not asked_of:
        return beside, Outcome(None, "no main metric of the suite can be better or worse", None)
    outcome = _outcome(asked_of, same_encoder=same_encoder)
    return beside, outcome if settings.gate else outcome._replace(gate=None)


def _outcome(judgements: Mapping[str, Judgement], *, same_encoder: bool) -> Outcome:
    """`cannot tell` passes where the encoder is the one that serves, whose vectors were good."""
    found = judge_all(judgements)
    passing = (*PASSING, "cannot tell") if same_encoder else PASSING
    passed = found.verdict in passing
    failed = tuple(name for name, one in judgements.items() if one.verdict not in passing)
    gate = Gate(passed=passed, failed=() if passed else failed)
    return Outcome(found.verdict.value, found.reason, gate)


def _judgement(
    name: str, pair: Pair, margin: Margin, settings: EvaluateConfig, *, same_vectors: bool
) -> Judgement | None:
    """None where the metric has no direction, or nothing to be sure by."""
    candidate, baseline = pair
    if candidate.higher_is_better is None:
        return None
    ours, theirs = common(candidate, baseline)
    if len(ours) < 2:
        return None
    sign = 1.0 if candidate.higher_is_better else -1.0
    groups = None if candidate.groups is None else candidate.groups[ours]
    one, other = candidate.values(), baseline.values()
    try:
        if one is not None and other is not None:
            differences = sign * (one[ours] - other[theirs])
            largest = max(candidate.largest, baseline.largest)
            return judge(
                differences,
                margin,
                alpha=settings.alpha,
                groups=groups,
                largest=largest,
                same_vectors=same_vectors and not differences.any(),
                seed=settings.seed,
            )
        first, second = candidate.resampled, baseline.resampled
        if first is None or second is None:
            return None
        found = interval(
            lambda rows: sign * (first(ours[rows]) - second(theirs[rows])),
            len(ours),
            groups=groups,
            method=Method.WIDER,
            level=1 - settings.alpha,
            resamples=RESAMPLES,
            seed=settings.seed,
        )
    except MetricError as error:
        raise MetricError(f"{name}, beside the baseline: {error}") from error
    return judge_interval(found, margin, same_vectors=same_vectors)


def _why_not(pair: Pair | None) -> str:
    """Why a metric has no judgement."""
    if pair is None:
        return "it could not be measured on both versions"
    if pair.candidate.higher_is_better is None:
        return NEITHER
    if not pair.candidate.items or pair.candidate.resampled is None:
        return NO_ITEMS
    return "fewer than two of its items are in both versions"


def common(candidate: Measurement, baseline: Measurement) -> tuple[Rows, Rows]:
    """Places of the items that both have, in either."""
    place = {name: number for number, name in enumerate(baseline.items)}
    ours = [number for number, name in enumerate(candidate.items) if name in place]
    theirs = [place[candidate.items[number]] for number in ours]
    return np.array(ours, np.int64), np.array(theirs, np.int64)


def _compared(pair: Pair, found: Judgement, margin: float | None) -> Compared:
    return Compared(
        baseline=pair.baseline.score.value,
        candidate=pair.candidate.score.value,
        difference=_of_interval(found.interval),
        margin=margin,
        verdict=found.verdict.value,
        reason=found.reason,
    )


def _estimate(measured: Measurement, settings: EvaluateConfig) -> Estimate:
    score, level = measured.score, 1 - settings.alpha
    values, resampled = measured.values(), measured.resampled
    n = score.n if values is None else len(values)
    if resampled is None or n < 2:
        few = ("one item alone says nothing of how sure it is",) * (resampled is not None)
        return Estimate(value=score.value, n=score.n, warnings=(*score.warnings, *few))
    if values is not None:
        found = mean_interval(values, groups=measured.groups, level=level, seed=settings.seed)
    else:
        found = interval(
            resampled,
            n,
            groups=measured.groups,
            level=level,
            resamples=RESAMPLES,
            seed=settings.seed,
        )
    return _of_interval(found, score.warnings)


def _of_interval(found: Interval, warnings: tuple[str, ...] = ()) -> Estimate:
    return Estimate(
        value=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        method=found.method.value,
        warnings=(*warnings, *found.warnings),
    )
