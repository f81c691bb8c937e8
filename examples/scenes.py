"""Scenes of coloured shapes with captions: what the small image-text model learns from.

Three families, some thirty thousand distinct scenes in all; of one scene there are endlessly many
pictures (place, angle, tint, background and noise are drawn afresh):

    single    "a large red striped circle"              size, colour, texture, shape
    counted   "three red striped circles"               number, colour, texture, shape
    relation  "a red circle left of a blue square"      two objects and how they stand

A combination of attributes belongs to one split, by its hash: 70 % to training, 15 % to validation
(the choice of a model) and 15 % to the test. Of a relation, the pair of objects decides. So what a
model reads of a split, it has not seen in another one.

`python -m examples.scenes DIR` writes a folder of pictures of the test split in sub-folders, and
`captions.jsonl` with their paths, captions and attributes.
"""

import argparse
import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from examples.scene_pictures import COLOURS, SHAPES, TEXTURES, Picture, Pictures, Spot, paint

SIZES = {"small": (10.0, 11.0), "medium": (15.0, 16.0), "large": (21.0, 22.0)}
COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
RELATIONS = ("left of", "above")
OPPOSITE = {"left of": "right of", "above": "below"}

_BEGINNINGS = ("a picture of ", "a photo of ", "a drawing of ", "an image of ")
_COUNTED_RADII = (8.0, 9.0)
_RELATED_RADII = (10.0, 12.0)
_CELL = 21
_SIDE = 64


class Family(StrEnum):
    """What kind of scene."""

    SINGLE = "single"
    COUNTED = "counted"
    RELATION = "relation"


class Split(StrEnum):
    """What a combination of attributes may be used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True, order=True)
class Single:
    """One object."""

    size: str
    colour: str
    texture: str
    shape: str

    @property
    def caption(self) -> str:
        """It in words."""
        return with_article(f"{self.size} {self.colour} {self.texture} {self.shape}")

    def row(self) -> dict[str, str]:
        """Its attributes as columns."""
        return {name: getattr(self, name) for name in ("size", "colour", "texture", "shape")}

    def spots(self, rng: np.random.Generator) -> list[Spot]:
        """What to paint where."""
        radius = SIZES[self.size][rng.integers(2)]
        room = int(np.ceil(radius)) + 1
        y, x = rng.integers(room, _SIDE - room, 2)
        return [Spot(self.colour, self.texture, self.shape, radius, y, x)]

    def neighbour(self, rng: np.random.Generator) -> "Single":
        """It with one attribute changed."""
        name, values = _OF_SINGLE[rng.integers(4)]
        return replace(self, **{name: _other(getattr(self, name), values, rng)})


@dataclass(frozen=True, slots=True, order=True)
class Counted:
    """Some objects that are alike."""

    count: str
    colour: str
    texture: str
    shape: str

    @property
    def caption(self) -> str:
        """It in words."""
        return f"{self.count} {self.colour} {self.texture} {plural(self.shape)}"

    def row(self) -> dict[str, str]:
        """Its attributes as columns."""
        return {name: getattr(self, name) for name in ("count", "colour", "texture", "shape")}

    def spots(self, rng: np.random.Generator) -> list[Spot]:
        """What to paint where: each object in a cell of its own of three by three."""
        radius = _COUNTED_RADII[rng.integers(2)]
        cells = rng.permutation(9)[: COUNTS[self.count]]
        places = np.stack([cells // 3, cells % 3], 1) * _CELL + _CELL // 2
        places += rng.integers(0, 2, places.shape)
        return [Spot(self.colour, self.texture, self.shape, radius, y, x) for y, x in places]

    def neighbour(self, rng: np.random.Generator) -> "Counted":
        """It with one attribute changed."""
        name, values = _OF_COUNTED[rng.integers(4)]
        return replace(self, **{name: _other(getattr(self, name), values, rng)})


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """One of two objects; its texture is plain."""

    colour: str
    shape: str

    @property
    def caption(self) -> str:
        """It in words."""
        return with_article(f"{self.colour} {self.shape}")

    def neighbour(self, rng: np.random.Generator) -> "Thing":
        """It with one attribute changed."""
        name, values = _OF_THING[rng.integers(2)]
        return replace(self, **{name: _other(getattr(self, name), values, rng)})


@dataclass(frozen=True, slots=True, order=True)
class Relation:
    """Two different objects, the first one left of or above the second."""

    first: Thing
    relation: str
    second: Thing

    @property
    def caption(self) -> str:
        """It in words."""
        return f"{self.first.caption} {self.relation} {self.second.caption}"

    @property
    def turned(self) -> str:
        """The same said from the other side."""
        return f"{self.second.caption} {OPPOSITE[self.relation]} {self.first.caption}"

    def row(self) -> dict[str, str]:
        """Its attributes as columns."""
        first, second = self.first, self.second
        return {
            "colour": first.colour,
            "shape": first.shape,
            "relation": self.relation,
            "other_colour": second.colour,
            "other_shape": second.shape,
        }

    def spots(self, rng: np.random.Generator) -> list[Spot]:
        """What to paint where."""
        across = rng.integers(18, _SIDE - 17)
        spots = []
        for thing, along in ((self.first, 17), (self.second, 47)):
            y, x = (int(at + rng.integers(-3, 4)) for at in (across, along))
            if self.relation == "above":
                y, x = x, y
            radius = _RELATED_RADII[rng.integers(2)]
            spots.append(Spot(thing.colour, "plain", thing.shape, radius, y, x))
        return spots

    def neighbour(self, rng: np.random.Generator) -> "Relation":
        """It with colours swapped, order reversed, the relation or one object changed."""
        way = rng.integers(4)
        if way == 0 and self.first.colour != self.second.colour:
            return self.with_colours_swapped()
        if way == 1:
            return self.reversed()
        if way == 2:
            return replace(self, relation=_other(self.relation, RELATIONS, rng))
        return self.with_other_thing(rng)

    def with_colours_swapped(self) -> "Relation":
        """A red circle left of a blue square becomes a blue circle left of a red square."""
        first, second = self.first, self.second
        return Relation(
            replace(first, colour=second.colour),
            self.relation,
            replace(second, colour=first.colour),
        )

    def reversed(self) -> "Relation":
        """A red circle left of a blue square becomes a blue square left of a red circle."""
        return replace(self, first=self.second, second=self.first)

    def with_other_thing(self, rng: np.random.Generator) -> "Relation":
        """It with the colour or the shape of one object changed."""
        first, second = self.first, self.second
        if rng.random() < 0.5:
            first = first.neighbour(rng)
        else:
            second = second.neighbour(rng)
        changed = Relation(first, self.relation, second)
        return changed if first != second else self.with_other_thing(rng)


Scene: TypeAlias = Single | Counted | Relation

_OF_THING = (("colour", tuple(COLOURS)), ("shape", tuple(SHAPES)))
_OF_SINGLE = (("size", tuple(SIZES)), ("texture", TEXTURES), *_OF_THING)
_OF_COUNTED = (("count", tuple(COUNTS)), ("texture", TEXTURES), *_OF_THING)


def _other(value: str, values: Sequence[str], rng: np.random.Generator) -> str:
    others = [other for other in values if other != value]
    return others[rng.integers(len(others))]


@cache
def split_of(scene: Scene) -> Split:
    """The split that its combination of attributes belongs to, always the same one."""
    combination = scene.caption
    if isinstance(scene, Relation):
        combination = " and ".join(thing.caption for thing in sorted((scene.first, scene.second)))
    digest = hashlib.sha256(combination.encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    if share < 0.7:
        return Split.TRAIN
    return Split.VALIDATION if share < 0.85 else Split.TEST


@cache
def scenes(family: Family, split: Split) -> tuple[Scene, ...]:
    """All scenes of a family in a split."""
    return tuple(scene for scene in _all(family) if split_of(scene) is split)


def _all(family: Family) -> list[Scene]:
    if family is Family.SINGLE:
        return [Single(*one) for one in itertools.product(SIZES, COLOURS, TEXTURES, SHAPES)]
    if family is Family.COUNTED:
        return [Counted(*one) for one in itertools.product(COUNTS, COLOURS, TEXTURES, SHAPES)]
    things = [Thing(*one) for one in itertools.product(COLOURS, SHAPES)]
    pairs = itertools.permutations(things, 2)
    return [Relation(a, relation, b) for a, b in pairs for relation in RELATIONS]


def draw(scene: Scene, rng: np.random.Generator) -> Picture:
    """A picture of the scene; what its caption does not say is drawn from `rng`."""
    return paint(scene.spots(rng), rng)


def describe(pictured: Sequence[Scene], rng: np.random.Generator) -> list[str]:
    """A caption for each scene, in one of many ways: as a picture, turned round, in fewer words.

    Fewer words only where they are true of no other one of these scenes.
    """
    seen = [set(content_words(scene.caption)) for scene in pictured]
    captions = []
    for scene in pictured:
        words = scene.caption
        if isinstance(scene, Relation):
            words = scene.turned if rng.random() < 0.4 else words
        elif rng.random() < 0.4:
            short = _shorter(scene, rng)
            needed = set(content_words(short))
            words = short if sum(needed <= one for one in seen) == 1 else words
        way = rng.random()
        if way < 0.2:
            words = _BEGINNINGS[rng.integers(len(_BEGINNINGS))] + words
        captions.append(" ".join(content_words(words)) if way > 0.8 else words)
    return captions


def _shorter(scene: Single | Counted, rng: np.random.Generator) -> str:
    if isinstance(scene, Counted):
        return f"{scene.count} {scene.colour} {plural(scene.shape)}"
    kept = (f"{scene.colour} ", f"{scene.texture} ", f"{scene.size} {scene.colour} ", "")
    return with_article(kept[rng.choice(4, p=(0.6, 0.15, 0.15, 0.1))] + scene.shape)


def vocabulary() -> list[str]:
    """Texts in which every word stands that `describe` uses."""
    words = [*SIZES, *COLOURS, *TEXTURES, *SHAPES, *map(plural, SHAPES), *COUNTS]
    return ["an", *_BEGINNINGS, *RELATIONS, *OPPOSITE.values(), *words]


def with_article(words: str) -> str:
    """The words after `a` or `an`."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def content_words(caption: str) -> list[str]:
    """The words of a caption without articles."""
    return [word for word in caption.split() if word not in ("a", "an")]


def plural(shape: str) -> str:
    """The name of several of a shape."""
    return shape + ("es" if shape.endswith("s") else "s")


def training_batch(n: int, rng: np.random.Generator) -> tuple[Pictures, list[str]]:
    """`n` pictures of the training split, no two of one scene, and their captions.

    About half of them stand in groups that differ in one attribute, so that the loss sees them
    beside each other: among scenes drawn independently, colour and shape nearly always suffice.
    """
    chosen: dict[Scene, None] = {}
    while len(chosen) < n:
        known = scenes(tuple(Family)[rng.choice(3, p=(0.4, 0.3, 0.3))], Split.TRAIN)
        scene = known[rng.integers(len(known))]
        chosen[scene] = None
        if rng.random() < 0.2:
            near = (scene.neighbour(rng) for _ in range(5))
            chosen.update(dict.fromkeys(one for one in near if split_of(one) is Split.TRAIN))
    kept = list(chosen)[:n]
    pictures = np.stack([draw(scene, rng) for scene in kept])
    return pictures, describe(kept, rng)


def write_folder(folder: Path, n: int, rng: np.random.Generator) -> None:
    """Writes `n` pictures, PNG and JPEG in turn, a sub-folder for each family, and their captions.

    `captions.jsonl` has one row for each: path under the folder, caption, family and attributes.
    """
    lines = []
    for i in range(n):
        family = tuple(Family)[i % len(Family)]
        known = scenes(family, Split.TEST)
        scene = known[rng.integers(len(known))]
        path = Path(family) / f"{i:05}.{('png', 'jpg')[i // len(Family) % 2]}"
        (folder / family).mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(scene, rng)).save(folder / path, quality=95)
        row = {"path": path.as_posix(), "caption": scene.caption, "family": family.value}
        lines.append(json.dumps(row | scene.row()) + "\n")
    (folder / "captions.jsonl").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Reads the command line and writes the folder."""
    parser = argparse.ArgumentParser(description="Write pictures of scenes and their captions.")
    parser.add_argument("folder", type=Path, help="where to write; made if it is not there")
    parser.add_argument("--n", type=int, default=300, help="number of pictures (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other pictures")
    given = parser.parse_args()
    write_folder(given.folder, given.n, np.random.default_rng(given.seed))


if __name__ == "__main__":
    main()
