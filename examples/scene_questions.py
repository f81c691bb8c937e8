"""What a model of the scenes is asked, and how far one gets who sees less than all of it.

Two oracles stand beside every figure. They read the true caption of a picture instead of the
picture: one of them only its colours, the other one its words without their order. What they reach
on a gallery says what the gallery asks for.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from examples.scene_pictures import COLOURS, SHAPES, Pictures
from examples.scenes import (
    Family,
    Relation,
    Scene,
    Single,
    Split,
    content_words,
    draw,
    scenes,
    with_article,
)

View: TypeAlias = Callable[[str], "Counter[str]"]
"""What an oracle reads of a caption."""


def colours(caption: str) -> "Counter[str]":
    """Its colours."""
    return Counter(word for word in caption.split() if word in COLOURS)


def words(caption: str) -> "Counter[str]":
    """Its words, without their order."""
    return Counter(content_words(caption))


def gallery(
    family: Family, split: Split, n: int, rng: np.random.Generator
) -> tuple[list[Scene], Pictures]:
    """`n` distinct scenes of a split and a fresh picture of each."""
    known = scenes(family, split)
    chosen = [known[i] for i in rng.choice(len(known), n, replace=False)]
    return chosen, np.stack([draw(scene, rng) for scene in chosen])


def oracle_recall(captions: Sequence[str], view: View) -> float:
    """Recall@1 that an oracle expects: among pictures that are alike to it, it takes any."""
    return len({frozenset(view(caption).items()) for caption in captions}) / len(captions)


# Classes


@dataclass(frozen=True, slots=True)
class Classes:
    """Colours and shapes by name, and the texts that stand for each."""

    names: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]

    def label(self, scene: Single) -> int | None:
        """The class of a scene, None if it is of none."""
        name = f"{scene.colour} {scene.shape}"
        return self.names.index(name) if name in self.names else None


def classes(colour_names: Sequence[str], shape_names: Sequence[str]) -> Classes:
    """One class for each colour and shape."""
    names = [f"{colour} {shape}" for colour in colour_names for shape in shape_names]
    said = [with_article(name) for name in names]
    prompts = [(one, f"a picture of {one}", f"a photo of {one}") for one in said]
    return Classes(tuple(names), tuple(prompts))


CLASSES_24 = classes(tuple(COLOURS)[::2][:4], tuple(SHAPES)[::2])
CLASSES_120 = classes(tuple(COLOURS), tuple(SHAPES))


def classified(
    kinds: Classes, split: Split, n: int, rng: np.random.Generator
) -> tuple[list[Scene], Pictures, list[int]]:
    """`n` single objects of a split that are of one of the classes, pictures and labels of them."""
    known = [
        (scene, label)
        for scene in scenes(Family.SINGLE, split)
        if isinstance(scene, Single) and (label := kinds.label(scene)) is not None
    ]
    chosen = [known[i] for i in rng.integers(len(known), size=n)]
    pictures = np.stack([draw(scene, rng) for scene, _ in chosen])
    return [scene for scene, _ in chosen], pictures, [label for _, label in chosen]


def oracle_accuracy(
    captions: Sequence[str], labels: Sequence[int], kinds: Classes, view: View
) -> float:
    """Accuracy that an oracle expects: among classes that a picture may be of, it takes any."""
    seen = [view(name) for name in kinds.names]
    hits = 0.0
    for caption, label in zip(captions, labels, strict=True):
        possible = [i for i, one in enumerate(seen) if one <= view(caption)]
        hits += (label in possible) / len(possible)
    return hits / len(captions)


# Foils: a false caption beside the true one


def one_changed(scene: Scene, rng: np.random.Generator) -> str:
    """One attribute is another one."""
    if isinstance(scene, Relation):
        return scene.with_other_thing(rng).caption
    return scene.neighbour(rng).caption


def colours_swapped(scene: Scene, rng: np.random.Generator) -> str | None:
    """The two objects have each other's colours; None if that says nothing false."""
    if not isinstance(scene, Relation) or scene.first.colour == scene.second.colour:
        return None
    return scene.with_colours_swapped().caption


def order_reversed(scene: Scene, rng: np.random.Generator) -> str | None:
    """The two objects have each other's place."""
    return scene.reversed().caption if isinstance(scene, Relation) else None


FOILS = {
    "one attribute changed": one_changed,
    "colours swapped": colours_swapped,
    "relation reversed": order_reversed,
}


def oracle_choice(captions: Sequence[str], foils: Sequence[str], view: View) -> float:
    """Share of pairs in which an oracle takes the caption; if both are alike to it, a half."""
    pairs = zip(captions, foils, strict=True)
    return float(np.mean([1.0 if view(one) != view(other) else 0.5 for one, other in pairs]))
