"""The picture of a map: what it shows, how large it is, and that colours can be told apart."""

import io
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.evaluation import Details, EvaluationRecord, Judged, Map, Point
from schemas.suite import MapMethod
from tasks.reports.map_figure import COLOURS, DPI, GAP, HEAD, LEGEND, OTHER, PANEL, draw

HEIGHT = DPI * (HEAD + PANEL + GAP)


def judged(version: int) -> Judged:
    return Judged(
        version=version,
        table="t",
        fingerprint="f",
        encoder="hashing",
        precision="float32",
        rows=9,
        records=9,
        dim=4,
        size_bytes=144,
    )


def record(map_: Map | None, *, baseline: bool = True, space: str = "notes") -> EvaluationRecord:
    return EvaluationRecord(
        id="2-beside-1",
        space=space,
        suite="suite.yaml",
        suite_digest="d",
        candidate=judged(2),
        baseline=judged(1) if baseline else None,
        metrics={},
        details=Details(map=map_),
        alpha=0.05,
        seed=0,
        seconds=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def points(*places: tuple[float, float], colour: int | None = None) -> tuple[Point, ...]:
    return tuple(Point(id=f"r{row}", x=x, y=y, colour=colour) for row, (x, y) in enumerate(places))


def pixels(drawn: bytes | None) -> Any:
    assert drawn is not None
    with Image.open(io.BytesIO(drawn)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def panel(image: Any, number: int) -> Any:
    left = round(DPI * (GAP + number * (PANEL + GAP)))
    return image[round(DPI * HEAD) :, left : left + round(DPI * PANEL)]


def where(image: Any, colour: str) -> tuple[float, float]:
    """The middle of what has a colour, in shares of the width and the height."""
    rows, columns = np.nonzero((image == rgb(colour)).all(axis=2))
    assert len(rows), f"nothing is {colour}"
    return columns.mean() / image.shape[1], 1 - rows.mean() / image.shape[0]


def test_both_sides_have_the_same_axes_and_one_side_stands_alone() -> None:
    corners = points((-1, -1), (1, 1))
    both = Map(
        method=MapMethod.PCA,
        column="year",
        colours=("new", "old"),
        candidate=(*corners, *points((0.5, 0), colour=0)),
        baseline=(*points((0, -0.5), colour=1),),
    )
    image = pixels(draw(record(both)))
    assert image.shape[:2] == (int(HEIGHT), int(DPI * (2 * (PANEL + GAP) + LEGEND)))
    reach = 2 * 1.06
    for number, colour, place in ((0, COLOURS[0], (0.5, 0)), (1, COLOURS[1], (0, -0.5))):
        expected = [0.5 + one / reach for one in place]
        side = panel(image, number)[: round(DPI * PANEL)]
        assert where(side, colour) == pytest.approx(expected, abs=0.01)
    alone = Map(method=MapMethod.TSNE, candidate=corners)
    image = pixels(draw(record(alone, baseline=False)))
    assert image.shape[:2] == (int(HEIGHT), int(DPI * (PANEL + 2 * GAP)))


def test_the_legend_has_a_mark_for_each_value_and_for_the_others() -> None:
    colours = tuple(f"_value {number}" for number in range(10))
    some = Map(method=MapMethod.PCA, column="c", colours=colours, candidate=points((0, 0)))
    legend = pixels(draw(record(some)))[:, round(DPI * (PANEL + 2 * GAP)) :]
    heights = [where(legend, colour)[1] for colour in (*COLOURS, OTHER)]
    assert heights == sorted(heights, reverse=True)
    all_known = some.model_copy(update={"candidate": points((0, 0), colour=0)})
    legend = pixels(draw(record(all_known)))[:, round(DPI * (PANEL + 2 * GAP)) :]
    assert not (legend == rgb(OTHER)).all(axis=2).any()


def test_a_map_without_points_has_no_picture() -> None:
    assert draw(record(None)) is None
    assert draw(record(Map(method=MapMethod.PCA, notes=("nothing to see",)))) is None


def test_the_largest_picture_is_small_and_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    sides = [
        tuple(
            Point(id=str(row), x=x, y=y, colour=None if colour > 9 else colour)
            for row, ((x, y), colour) in enumerate(
                zip(rng.random((2000, 2)).tolist(), rng.integers(0, 12, 2000).tolist(), strict=True)
            )
        )
        for _ in range(2)
    ]
    names = tuple(f"name number {number} of ten" for number in range(10))
    full = Map(
        method=MapMethod.UMAP, column="c", colours=names, candidate=sides[0], baseline=sides[1]
    )
    drawn = draw(record(full))
    assert drawn is not None
    assert len(drawn) < 300_000
    assert drawn == draw(record(full))
    assert len(record(full).model_dump_json(indent=1)) < 500_000


@pytest.mark.parametrize(
    "name",
    ["_hidden", "$x^2$", "$", "\\frac", "<b>", "日本語", "a\nb\0c", "\u202e", "", "x" * 10_000],
)
def test_any_name_can_stand_in_a_picture(name: str) -> None:
    any_ = Map(
        method=MapMethod.PCA,
        column=name,
        colours=(name, "other"),
        candidate=points((0, 0), (0, 0), colour=0),
    )
    image = pixels(draw(record(any_, baseline=False, space="s")))
    assert image.shape[:2] == (int(HEIGHT), int(DPI * (PANEL + GAP + LEGEND)))
    where(panel(image, 0), COLOURS[0])


def test_colours_can_be_told_apart_by_eyes_that_lack_a_cone() -> None:
    # Machado, Oliveira and Fernandes 2009 (IEEE TVCG 15:6), severity 1, on linear RGB.
    eyes = [
        np.eye(3),
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    ]
    for eye in eyes:
        seen = [lab(np.asarray(eye) @ linear(colour)) for colour in (*COLOURS, OTHER)]
        nearest = min(np.linalg.norm(one - other) for one, other in combinations(seen, 2))
        assert nearest > 8  # 2.3 is what is just noticed


def linear(colour: str) -> Any:
    share = np.array(rgb(colour)) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(light: Any) -> Any:
    """CIE 1976, for D65."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    ratio = to_xyz @ np.clip(light, 0, 1) / to_xyz.sum(axis=1)
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])
