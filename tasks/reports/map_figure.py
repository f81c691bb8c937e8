"""The picture of an evaluation's map: the candidate, and the baseline beside it."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from schemas.evaluation import EvaluationRecord, Judged, Map, Point
from schemas.suite import MapMethod
from tasks.reports import svg
from tasks.reports.words import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Tol's muted scheme (personal.sron.nl/~pault), told apart without red, green or blue cones, and
# black; shapes say the same.
COLOURS = (
    "#332288",
    "#cc6677",
    "#117733",
    "#88ccee",
    "#ddcc77",
    "#aa4499",
    "#44aa99",
    "#882255",
    "#999933",
    "#000000",
)
SHAPES = "os^Dv"
OTHER = "#c4cad1"
METHODS = {MapMethod.PCA: "PCA", MapMethod.TSNE: "t-SNE", MapMethod.UMAP: "UMAP"}
PANEL, GAP, HEAD, LEGEND = 5.0, 0.15, 0.75, 2.5  # inches
DPI = 110
NAME = 20  # characters of a legend


class Mark(NamedTuple):
    """How a point looks."""

    colour: str
    shape: str = "o"
    size: float = 7


def draw(record: EvaluationRecord) -> bytes | None:
    """A PNG below 300 kB, the same for the same record; None where there is no map to be seen.

    The axes of both sides are the same. Raises ConfigError where matplotlib is not installed.
    """
    drawn = record.details.map
    if drawn is None or not drawn.drawable:
        return None
    named = (
        ("candidate", record.candidate, drawn.candidate),
        ("baseline", record.baseline, drawn.baseline),
    )
    sides = [(name, of, points) for name, of, points in named if of is not None and points]
    with svg.drawing():
        from matplotlib.figure import Figure

        width = (PANEL + GAP) * len(sides) + (LEGEND if drawn.colours else GAP)
        height = HEAD + PANEL + GAP
        figure = Figure((width, height), DPI, facecolor="white")
        said = f"{METHODS[drawn.method]} of {shown(record.space)}"
        top = (GAP + PANEL) / height
        figure.text(GAP / width, 1 - GAP / height, said, size=14, va="top")
        limits = _limits([point for _, _, points in sides for point in points])
        for number, (name, of, points) in enumerate(sides):
            left = GAP + number * (PANEL + GAP)
            axes = figure.add_axes((left / width, GAP / height, PANEL / width, PANEL / height))
            _scatter(axes, points, len(drawn.colours))
            axes.set_title(_title(name, of, len(points)), loc="left", size=11)
            axes.set(**limits, xticks=(), yticks=())
            axes.spines[:].set_visible(True)
        if drawn.colours:
            _legend(figure, drawn, ((width - LEGEND) / width, top))
        file = io.BytesIO()
        # Without the name of the library, whose next version would change the bytes.
        figure.savefig(file, format="png", metadata={"Software": None})
        return file.getvalue()


def _limits(points: Sequence[Point]) -> dict[str, tuple[float, float]]:
    """A square with all points in it, so that lengths are the same both ways."""
    places = np.array([(point.x, point.y) for point in points])
    low, high = places.min(axis=0), places.max(axis=0)
    (x, y), reach = (low + high) / 2, 0.53 * ((high - low).max() or 1.0)
    return {"xlim": (x - reach, x + reach), "ylim": (y - reach, y + reach)}


def _scatter(axes: "Axes", points: Sequence[Point], n_colours: int) -> None:
    """Rarer values over commoner ones, all over those without a colour."""
    for colour in (None, *range(n_colours)):
        chosen, mark = [one for one in points if one.colour == colour], _mark(colour, n_colours)
        x, y = [one.x for one in chosen], [one.y for one in chosen]
        axes.scatter(x, y, mark.size, mark.colour, marker=mark.shape, linewidths=0)


def _mark(colour: int | None, n_colours: int) -> Mark:
    if colour is None:
        return Mark(OTHER if n_colours else svg.CANDIDATE)
    return Mark(COLOURS[colour], SHAPES[colour % len(SHAPES)], 11)


def _title(name: str, of: Judged, n: int) -> str:
    return f"{name}: version {of.version}, {shown(of.encoder, NAME)}, {n:,} records"


def _legend(figure: "Figure", drawn: Map, corner: tuple[float, float]) -> None:
    from matplotlib.lines import Line2D

    points = (*drawn.candidate, *drawn.baseline)
    colours: list[int | None] = [*range(len(drawn.colours))]
    names = [shown(name, NAME) for name in drawn.colours]
    if any(one.colour is None for one in points):
        colours, names = [*colours, None], [*names, "other or none"]
    marks = [_mark(colour, len(drawn.colours)) for colour in colours]
    dots = [Line2D([], [], ls="", color=mark.colour, marker=mark.shape) for mark in marks]
    figure.legend(
        dots,
        names,
        loc="upper left",
        bbox_to_anchor=corner,
        title=shown(drawn.column or "", NAME),
        frameon=False,
        alignment="left",
        handletextpad=0.2,
        fontsize=10.5,
        title_fontproperties={"size": 10.5, "weight": "bold"},
    )
