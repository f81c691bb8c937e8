"""The figures of a drift report: what chance gives, looks over time, where rows lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.drift import Density, Found
from tasks.reports import svg

BARS = 30  # of a histogram
PANEL = 150  # points, each of three


@dataclass(frozen=True)
class Look:
    """The version, its statistic, what chance gives there, and whether it was an alarm."""

    version: int
    statistic: float
    low: float
    high: float
    alarm: bool


def null(found: Found, says: str) -> str:
    """The statistic where nothing drifted, as a histogram of its quantiles; a rule where it is."""
    from matplotlib.figure import Figure

    with svg.drawing():
        figure = Figure((480 / 72, 150 / 72))
        axes = figure.add_axes((0.03, 0.2, 0.94, 0.68))
        axes.hist(found.null[1:-1], BARS, color=svg.BASELINE)
        axes.axvline(found.statistic, color=svg.CANDIDATE, linewidth=2.4)
        axes.annotate(
            "these rows",
            (found.statistic, 1.02),
            xycoords=("data", "axes fraction"),
            color=svg.CANDIDATE,
            fontsize=11,
            ha="center",
        )
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.06)
        axes.tick_params(labelsize=11)
        return svg.inline(figure, "null", says)


def timeline(looks: Sequence[Look], current: int, says: str) -> str:
    """The statistic of each look, over the band in which nine of ten lie where nothing drifted."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with svg.drawing():
        figure = Figure((480 / 72, 170 / 72))
        axes = figure.add_axes((0.1, 0.17, 0.87, 0.77))
        versions = [one.version for one in looks]
        axes.fill_between(
            versions,
            [one.low for one in looks],
            [one.high for one in looks],
            color=svg.RULE,
            linewidth=0,
        )
        axes.plot(versions, [one.statistic for one in looks], color=svg.BASELINE, linewidth=1)
        for one in looks:
            colour = svg.BAD if one.alarm else svg.BASELINE
            if one.version == current and not one.alarm:
                colour = svg.CANDIDATE
            size = 6.5 if one.version == current else 4
            axes.plot(one.version, one.statistic, "s" if one.alarm else "o", color=colour, ms=size)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.margins(x=0.03, y=0.12)
        axes.tick_params(length=2, labelsize=11)
        return svg.inline(figure, "timeline", says)


def density(found: Density, sides: tuple[str, str], says: str) -> str:
    """Both sides in one plane, each by its share of rows, and where the second has more."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    shares = []
    for counts in (found.baseline, found.candidate):
        table = np.array(counts, np.float64)
        shares.append(table / max(table.sum(), 1))
    most = max(float(share.max()) for share in shares)
    difference = shares[1] - shares[0]
    reach = float(np.abs(difference).max()) or 1.0
    one_sided = LinearSegmentedColormap.from_list("share", ["#ffffff00", svg.CANDIDATE])
    two_sided = LinearSegmentedColormap.from_list(
        "difference", ["#9a6200", "#ffffff00", svg.CANDIDATE]
    )
    panels = (
        (sides[0], shares[0], one_sided, 0.0, most),
        (sides[1], shares[1], one_sided, 0.0, most),
        ("more (blue), fewer (brown)", difference, two_sided, -reach, reach),
    )
    with svg.drawing():
        figure = Figure((480 / 72, (PANEL + 26) / 72), dpi=144)
        for place, (name, values, colours, low, high) in enumerate(panels):
            axes = figure.add_axes((place / 3 + 0.005, 0.02, 0.323, 0.85))
            axes.imshow(
                _scaled(values.T, low, high),
                cmap=colours,
                vmin=-1 if low < 0 else 0,
                vmax=1,
                origin="lower",
                interpolation="nearest",
                aspect="auto",
            )
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(True)
            axes.set_title(name, fontsize=11, pad=4)
        return svg.inline(figure, "density", says)


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """By the square root, which lets few rows be seen beside many."""
    del low
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values) / (high or 1.0)))
