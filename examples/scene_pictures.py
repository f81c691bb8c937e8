"""Pictures of coloured shapes on a pale ground, about 100 microseconds each.

A shape is a list of outlines; its distance field gives smooth edges, and a rim that every texture
leaves whole. What covers which pixel is kept for each shape, radius and angle.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Picture: TypeAlias = npt.NDArray[np.uint8]
"""Shape (64, 64, 3), RGB."""
Pictures: TypeAlias = npt.NDArray[np.uint8]
"""Shape (n, 64, 64, 3), RGB."""
_Floats: TypeAlias = npt.NDArray[np.float32]
_Outline: TypeAlias = list[tuple[float, float]]
"""Corners (x, y) of a closed line, in a circle of radius 1; y grows downwards."""

COLOURS = {
    "black": (25, 25, 30),
    "blue": (40, 70, 215),
    "brown": (125, 75, 35),
    "cyan": (30, 195, 215),
    "green": (40, 150, 50),
    "orange": (245, 135, 20),
    "pink": (250, 130, 190),
    "purple": (125, 45, 165),
    "red": (215, 30, 35),
    "yellow": (240, 215, 30),
}
TEXTURES = ("plain", "striped", "dotted", "checkered", "hollow")

_SIDE = 64
_ANGLES = (-12, -6, 0, 6, 12)
_RIM = 1.5


@dataclass(frozen=True, slots=True)
class Spot:
    """One object of a picture: what, and where its centre is, in pixels."""

    colour: str
    texture: str
    shape: str
    radius: float
    y: int
    x: int


def paint(spots: Iterable[Spot], rng: np.random.Generator) -> Picture:
    """A picture of the objects; ground, noise, tints and angles are drawn from `rng`."""
    pale, (top, left) = rng.uniform(0, 1, 4), rng.integers(0, len(_noise()) - _SIDE, 2)
    ground = (205 + 30 * pale[3] + 15 * pale[:3]).astype(np.float32)
    canvas = _noise()[top : top + _SIDE, left : left + _SIDE] + ground
    for spot in spots:
        outer, inner = _masks(spot.shape, spot.radius, _ANGLES[rng.integers(len(_ANGLES))])
        side = len(outer)
        up, along = rng.integers(0, 24, 2)
        clear = _clearing(spot.texture)[up : up + side, along : along + side]
        cover = (outer - inner * clear)[..., None]
        tint = np.asarray(COLOURS[spot.colour]) + rng.uniform(-12, 12, 3)
        y, x = spot.y - side // 2, spot.x - side // 2
        place = canvas[y : y + side, x : x + side]
        place += cover * (tint.astype(np.float32) - place)
    picture: Picture = canvas.clip(0, 255, out=canvas).astype(np.uint8)
    return picture


@cache
def _noise() -> _Floats:
    """A sheet of which grounds are cut: drawn once, since normal numbers are slow."""
    return np.random.default_rng(0).normal(0, 4, (512, 512, 3)).astype(np.float32)


@cache
def _clearing(texture: str) -> _Floats:
    """How much of the ground shows through the inside of a shape."""
    y, x = np.mgrid[:72, :72]
    patterns = {
        "plain": np.zeros(y.shape),
        "striped": y % 6 < 3,
        "dotted": (2.2 - np.hypot(y % 6 - 2.5, x % 6 - 2.5)).clip(0, 1),
        "checkered": (y // 4 + x // 4) % 2,
        "hollow": np.ones(y.shape),
    }
    clear: _Floats = patterns[texture].astype(np.float32)
    return clear


@cache
def _masks(shape: str, radius: float, angle: float) -> tuple[_Floats, _Floats]:
    """How much of each pixel the shape covers, and how much of it its inside without the rim."""
    half = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    points = np.stack([x, y], -1).astype(np.float32)
    distance = _signed_distance(points, shape, radius, angle).astype(np.float32)
    return (0.5 - distance).clip(0, 1), (0.5 - distance - _RIM).clip(0, 1)


def _signed_distance(points: _Floats, shape: str, radius: float, angle: float) -> _Floats:
    """Distance of points (x, y) from the outlines in pixels, negative inside (even-odd rule)."""
    turn = np.deg2rad(angle)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    distance = np.full(points.shape[:2], np.inf)
    inside = np.zeros(points.shape[:2], bool)
    for outline in SHAPES[shape]:
        corners = np.asarray(outline) * radius @ rotation
        for start, end in zip(corners, np.roll(corners, -1, 0), strict=True):
            along, away = end - start, points - start
            part = (away @ along / (along @ along)).clip(0, 1)
            apart = np.linalg.norm(away - part[..., None] * along, axis=-1)
            distance = np.minimum(distance, apart)
            crosses = (start[1] > points[..., 1]) != (end[1] > points[..., 1])
            # The edge's x at the point's y, without a division: it may be level.
            left = (away[..., 0] * along[1] < away[..., 1] * along[0]) == (along[1] > 0)
            inside ^= crosses & left
    return np.where(inside, -distance, distance)


def _arc(radius: float, start: float, end: float, n: int = 24, x: float = 0) -> _Outline:
    turns = np.deg2rad(np.linspace(start, end, n))
    return [(x + radius * float(np.cos(turn)), radius * float(np.sin(turn))) for turn in turns]


def _star() -> _Outline:
    tips = zip(_arc(1, -90, 198, 5), _arc(0.5, -54, 234, 5), strict=True)
    return [corner for pair in tips for corner in pair]


def _heart() -> _Outline:
    t = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    x = 16 * np.sin(t) ** 3 / 17
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 17
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _mirrored(right: _Outline) -> _Outline:
    """The outline whose right half, from top to bottom, is given."""
    return right + [(-x, y) for x, y in reversed(right)]


_ROUND = _arc(0.95, 0, 345)
_ARROW = [(0.0, -1.0), (0.8, -0.1), (0.36, -0.1), (0.36, 0.95)]
_CROSS = [(0.36, -0.95), (0.36, -0.36), (0.95, -0.36), (0.95, 0.36), (0.36, 0.36), (0.36, 0.95)]

SHAPES: dict[str, list[_Outline]] = {
    "arrow": [_mirrored(_ARROW[1:]) + _ARROW[:1]],
    "bar": [_mirrored([(0.9, -0.45), (0.9, 0.45)])],
    "circle": [_ROUND],
    "crescent": [_arc(0.98, 55, 305) + _arc(0.8, 270, 90, x=0.56)[1:-1]],
    "cross": [_mirrored(_CROSS)],
    "diamond": [[(0, -1), (0.8, 0), (0, 1), (-0.8, 0)]],
    "heart": [_heart()],
    "hourglass": [_mirrored([(0.8, -0.8), (0.3, 0), (0.8, 0.8)])],
    "ring": [_ROUND, _arc(0.42, 0, 345)],
    "square": [_mirrored([(0.75, -0.75), (0.75, 0.75)])],
    "star": [_star()],
    "triangle": [[(0, -0.95), (0.9, 0.7), (-0.9, 0.7)]],
}
