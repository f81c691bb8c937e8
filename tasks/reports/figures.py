"""The figures of a page: intervals, histories, the spectrum."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tasks.reports import svg
from tasks.reports.words import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGEST = 1e12  # what is drawn at all
BEYOND = 8  # times the median: an interval that goes further is cut off, so that others are seen
FLAT = 1e-4  # of its value: what a metric has to change by to be seen
SPECTRUM_POINTS = 200
NOISE = 1e-9  # of the largest eigenvalue: float32 knows no less
LABEL = 22  # characters
MARKER_SIZE = 5

Limits: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Bar:
    """A value with its interval; `margin` is the drop below 0 that is allowed."""

    name: str
    value: float
    low: float | None
    high: float | None
    margin: float | None = None
    colour: str = svg.CANDIDATE

    @property
    def drawable(self) -> bool:
        """Whether all its numbers can stand on an axis."""
        return all(drawable(one) for one in self._numbers())

    def beyond(self, limits: Limits) -> tuple[bool, bool]:
        """Whether it goes on to the left, and to the right, of what is drawn."""
        low, high = limits
        ends = [one for one in (self.value, self.low, self.high) if one is not None]
        return min(ends) < low, max(ends) > high

    @property
    def extent(self) -> float:
        """How far from 0 it goes."""
        return max(abs(one) for one in self._numbers())

    def _numbers(self) -> Iterable[float]:
        return (one for one in (self.value, self.low, self.high, self.margin) if one is not None)


@dataclass(frozen=True)
class Point:
    """A metric of a version."""

    version: int
    value: float
    low: float | None
    high: float | None
    fingerprint: str


def drawable(value: float) -> bool:
    """Whether a number can stand on an axis."""
    return abs(value) < LARGEST


def forest(bars: Sequence[Bar], limits: Limits, says: str) -> str:
    """One line for each bar, the first at the top; an arrow where it goes on beyond the limits."""
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox, TransformedBbox, blended_transform_factory

    width, top, bottom = 480, 6, 26
    height = 24 * len(bars) + top + bottom
    with svg.drawing():
        figure = Figure((width / 72, height / 72))
        left = 168 / width
        axes = figure.add_axes((left, bottom / height, 0.97 - left, 1 - (top + bottom) / height))
        axes.set_xlim(limits)
        axes.set_ylim(len(bars) - 0.5, -0.5)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=5)
        axes.grid(axis="x", color=svg.RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        if limits[0] < 0:
            axes.axvline(0, color=svg.MUTED, linewidth=1)
        labels = TransformedBbox(Bbox.from_extents(0, 0, left - 0.02, 1), figure.transFigure)
        for row, bar in enumerate(bars):
            _bar(axes, row, bar, limits)
            figure.text(
                0,
                row,
                _label(bar.name),
                transform=blended_transform_factory(figure.transFigure, axes.transData),
                verticalalignment="center",
                clip_on=True,
                clip_box=labels,
            )
        return svg.inline(figure, "forest", says)


def limits_of(bars: Sequence[Bar], *, differences: bool) -> Limits:
    """From where to where the axis goes: 0 is in it, and an outlier does not make it longer."""
    extents = [bar.extent for bar in bars]
    if not differences and median(extents) <= 1:
        reach = 1.0
    else:
        reach = 1.1 * (min(max(extents), BEYOND * median(extents)) or max(extents) or 1.0)
    below = differences or any(one < 0 for bar in bars for one in (bar.value, bar.low or 0.0))
    return (-reach if below else 0.0), reach


def history(points: Sequence[Point], current: int, name: str, says: str) -> str:
    """A metric over versions, the interval of each, a rule wherever the encoder changed."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with svg.drawing():
        figure = Figure((260 / 72, 120 / 72))
        axes = figure.add_axes((0.19, 0.17, 0.77, 0.77))
        for before, after in pairwise(points):
            if before.fingerprint != after.fingerprint:
                middle = (before.version + after.version) / 2
                axes.axvline(middle, color=svg.MUTED, linewidth=0.8, dashes=(2, 2))
        for one in points:
            if one.low is not None and one.high is not None:
                axes.vlines(one.version, one.low, one.high, color=svg.BASELINE, linewidth=1.2)
        versions = [one.version for one in points]
        axes.plot(versions, [one.value for one in points], color=svg.BASELINE, linewidth=1)
        _dots(axes, points, svg.BASELINE, 2.5)
        _dots(axes, [one for one in points if one.version == current], svg.CANDIDATE, MARKER_SIZE)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.margins(x=0.06, y=0.12)
        low, high = axes.get_ylim()
        middle = (low + high) / 2
        least = FLAT * max(abs(middle), sys.float_info.min)
        if high - low < 2 * least:  # rounding is no change
            axes.set_ylim(middle - least, middle + least)
        axes.tick_params(length=2, labelsize=10)
        return svg.inline(figure, name, says)


def spectrum(lines: Sequence[tuple[str, Sequence[float], str]], says: str) -> str:
    """Each eigenvalue's share of the variance by its rank; a line is a name, values, a colour."""
    from matplotlib.figure import Figure

    with svg.drawing():
        figure = Figure((480 / 72, 260 / 72))
        axes = figure.add_axes((0.16, 0.17, 0.8, 0.79))
        for name, values, colour in lines:
            shares = np.asarray(values) / np.sum(values)
            ranks = np.arange(1, len(shares) + 1)
            last = np.geomspace(1, len(shares), min(SPECTRUM_POINTS, len(shares))).astype(np.int64)
            chosen = np.unique(last) - 1
            marker = "o" if len(chosen) < 20 else ""
            axes.plot(ranks[chosen], shares[chosen], marker=marker, ms=3, color=colour, label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.minorticks_off()
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        axes.set_xlabel("rank", fontsize=11)
        axes.set_ylabel("share of the variance", fontsize=11)
        axes.grid(color=svg.RULE, linewidth=0.6)
        axes.tick_params(labelsize=11)
        axes.legend(frameon=False, loc="lower left", fontsize=11)
        return svg.inline(figure, "spectrum", says)


def variance(values: Sequence[float]) -> list[float]:
    """The eigenvalues that can be drawn, the largest first; those next to 0 are noise."""
    known = sorted((one for one in values if 1 / LARGEST < one < LARGEST), reverse=True)
    return [one for one in known if one > NOISE * known[0]]


def _bar(axes: "Axes", row: int, bar: Bar, limits: Limits) -> None:
    low, high = limits
    if bar.margin is not None:
        axes.vlines(-bar.margin, row - 0.32, row + 0.32, color=svg.MUTED, linewidth=1.6)
    if bar.low is not None and bar.high is not None:
        axes.hlines(row, *np.clip([bar.low, bar.high], low, high), color=bar.colour, linewidth=2.4)
    for end, marker, cut in zip(limits, "<>", bar.beyond(limits), strict=True):
        if cut:
            axes.plot(end, row, marker, color=bar.colour, markersize=6, clip_on=False)
    if low <= bar.value <= high:
        axes.plot(bar.value, row, "o", color=bar.colour, markersize=6.5, clip_on=False)


def _label(name: str) -> str:
    line = " ".join(shown(name).split())
    return line if len(line) <= LABEL else line[:LABEL] + "…"


def _dots(axes: "Axes", points: Sequence[Point], colour: str, size: float) -> None:
    axes.plot(
        [one.version for one in points],
        [one.value for one in points],
        "o",
        color=colour,
        markersize=size,
    )
