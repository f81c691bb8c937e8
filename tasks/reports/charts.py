"""What an evaluation has to draw: its figures with what is to be said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from schemas.evaluation import EvaluationRecord, Metric, Verdict
from tasks.reports import figures, svg
from tasks.reports.figures import Bar, Point, drawable, variance
from tasks.reports.words import shown

BARS = 30
COLOURS: dict[Verdict | None, str] = {
    "better": svg.GOOD,
    "not worse": svg.CANDIDATE,
    "worse": svg.BAD,
    "cannot tell": svg.UNSURE,
    None: svg.CANDIDATE,
}
MOST = 0.9  # of the variance


@dataclass(frozen=True)
class Chart:
    """A figure: its `<svg>`, what is said beside it, and of how many things it shows how many.

    `cut` is whether some of them go on beyond it.
    """

    svg: str
    said: str = ""
    drawn: int = 0
    total: int = 0
    cut: bool = False


def forest_chart(record: EvaluationRecord) -> Chart | None:
    """Differences from the baseline, else values, those that the verdict asks for first.

    None where there is nothing that can be drawn.
    """
    differences = any(one.compared for one in record.metrics.values())
    found = [
        bar
        for name, one in record.metrics.items()
        if (bar := _difference(name, one) if differences else _value(name, one)) is not None
    ]
    bars = sorted((bar for bar in found if bar.drawable), key=lambda bar: bar.margin is None)
    if not bars:
        return None
    says = "Intervals of " + ("the differences from the baseline" if differences else "the values")
    chosen = bars[:BARS]
    limits = figures.limits_of(chosen, differences=differences)
    drawn = figures.forest(chosen, limits, f"{says}; the table has them too")
    cut = any(any(bar.beyond(limits)) for bar in chosen)
    return Chart(drawn, drawn=len(chosen), total=len(found), cut=cut)


def history_charts(
    points: Mapping[str, Sequence[Point]], current: int, versions: int
) -> tuple[list[Chart], int]:
    """A chart for each metric of several versions, and how many earlier ones none of them shows."""
    charts, most = [], 0
    for number, (name, of) in enumerate(points.items()):
        seen = [one for one in of if _finite(one)]
        if len(seen) < 2:
            continue
        last = seen[-versions:]
        most = max(most, len(seen) - len(last))
        says = f"{shown(name)} from version {last[0].version} to version {last[-1].version}"
        drawn = figures.history(last, current, f"history-{number}", says)
        charts.append(Chart(drawn, name, len(last), len(of)))
    return charts, most


def spectrum_chart(record: EvaluationRecord) -> Chart | None:
    """Of the candidate and the baseline; `said` is where most of the variance is.

    None where there is none.
    """
    lines, said = [], []
    for judged, values, colour in (
        (record.candidate, record.details.spectrum, svg.CANDIDATE),
        (record.baseline, record.details.baseline_spectrum, svg.BASELINE),
    ):
        kept = variance(values)
        if judged is None or not kept:
            continue
        lines.append((f"version {judged.version}", kept, colour))
        needed = int(np.searchsorted(np.cumsum(kept), MOST * np.sum(kept))) + 1
        said.append(f"version {judged.version} in the first {needed:,} of {len(values):,}")
    if not lines:
        return None
    drawn = figures.spectrum(lines, "Share of the variance by rank of the direction")
    return Chart(drawn, f"{MOST:.0%} of the variance, by directions: {', '.join(said)}.")


def _difference(name: str, metric: Metric) -> Bar | None:
    one = metric.compared
    if one is None:
        return None
    found = one.difference
    colour = COLOURS[one.verdict]
    return Bar(name, found.value, found.low, found.high, one.margin, colour)


def _value(name: str, metric: Metric) -> Bar | None:
    if metric.higher_is_better is None:
        return None
    found = metric.estimate
    return Bar(name, found.value, found.low, found.high)


def _finite(point: Point) -> bool:
    numbers = (point.value, point.low, point.high)
    return all(drawable(one) for one in numbers if one is not None)
