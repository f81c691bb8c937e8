import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from examples.scene_pictures import COLOURS, SHAPES, TEXTURES, Picture, Spot, paint
from examples.scene_questions import (
    CLASSES_24,
    CLASSES_120,
    FOILS,
    classified,
    colours,
    gallery,
    oracle_accuracy,
    oracle_choice,
    oracle_recall,
    words,
)
from examples.scenes import (
    COUNTS,
    SIZES,
    Counted,
    Family,
    Relation,
    Scene,
    Single,
    Split,
    Thing,
    content_words,
    describe,
    draw,
    scenes,
    split_of,
    training_batch,
    vocabulary,
    write_folder,
)

ROOT = Path(__file__).parents[2]
RED_CIRCLE, BLUE_SQUARE = Thing("red", "circle"), Thing("blue", "square")
BESIDE = Relation(RED_CIRCLE, "left of", BLUE_SQUARE)
Mask = npt.NDArray[np.bool_]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def painted(picture: Picture) -> Mask:
    """Where a picture is not ground, which covers more than half of it."""
    ground = np.median(picture.reshape(-1, 3), axis=0)
    far: Mask = np.abs(picture - ground).max(-1) > 40
    return far


def pieces(mask: Mask) -> int:
    """Number of connected parts, by a flood fill that takes its time."""
    left = {(int(y), int(x)) for y, x in zip(*mask.nonzero(), strict=True)}
    n = 0
    while left:
        n += 1
        reached = [left.pop()]
        while reached:
            y, x = reached.pop()
            near = {(y + i, x + j) for i, j in itertools.product((-1, 0, 1), repeat=2)} & left
            left -= near
            reached += near
    return n


def colour_of(picture: Picture, mask: Mask) -> str:
    """The name nearest to what most of the painted pixels are."""
    distance = {
        name: np.median(np.abs(picture[mask] - np.array(rgb)).sum(-1))
        for name, rgb in COLOURS.items()
    }
    return min(distance, key=lambda name: distance[name])


def extent(mask: Mask) -> int:
    return max(int(np.ptp(at)) + 1 for at in mask.nonzero())


def test_captions_say_all_that_a_scene_is() -> None:
    assert Single("large", "red", "striped", "circle").caption == "a large red striped circle"
    assert Counted("three", "red", "plain", "cross").caption == "three red plain crosses"
    assert BESIDE.caption == "a red circle left of a blue square"
    assert BESIDE.turned == "a blue square right of a red circle"
    assert Thing("orange", "arrow").caption == "an orange arrow"


def test_every_scene_is_in_one_split_and_combinations_are_in_no_two() -> None:
    sizes = {family: [len(scenes(family, split)) for split in Split] for family in Family}
    assert [sum(of) for of in sizes.values()] == [1_800, 3_000, 28_560]
    shares = np.array([np.array(of) / sum(of) for of in sizes.values()])
    assert np.abs(shares - [0.7, 0.15, 0.15]).max() < 0.03
    for family in Family:
        kinds = [
            {
                frozenset((one.first, one.second)) if isinstance(one, Relation) else one.caption
                for one in scenes(family, split)
            }
            for split in Split
        ]
        assert [a & b for a, b in itertools.combinations(kinds, 2)] == [set(), set(), set()]


def test_batches_hold_no_caption_of_the_other_splits_and_no_scene_twice() -> None:
    held_out = {
        " ".join(content_words(said))
        for split in (Split.VALIDATION, Split.TEST)
        for family in Family
        for scene in scenes(family, split)
        for said in (
            [scene.caption, scene.turned] if isinstance(scene, Relation) else [scene.caption]
        )
    }
    beginnings = {"picture", "photo", "drawing", "image"}
    for seed in range(4):
        pictures, captions = training_batch(256, rng(seed))
        assert pictures.shape == (256, 64, 64, 3)
        without_beginning = []
        for caption in captions:
            said = content_words(caption)
            said = said[2:] if said[0] in beginnings else said
            without_beginning.append(" ".join(said))
        assert held_out.isdisjoint(without_beginning)
        assert len(set(captions)) == 256


def test_batches_hold_scenes_that_differ_in_one_attribute() -> None:
    _, captions = training_batch(256, rng())
    bags = [Counter(content_words(caption)) for caption in captions]
    near = [sum((a - b).total() <= 1 and (b - a).total() <= 1 for b in bags) > 1 for a in bags]
    assert 0.4 < np.mean(near) < 0.8


def test_the_same_seed_gives_the_same_batch_and_another_one_another() -> None:
    pictures, captions = training_batch(32, rng(5))
    again, same = training_batch(32, rng(5))
    assert same == captions
    np.testing.assert_array_equal(again, pictures)
    assert training_batch(32, rng(6))[1] != captions


def test_fewer_words_stand_only_where_they_are_true_of_no_other_picture() -> None:
    alike = [Single("small", "red", "plain", "circle"), Single("large", "red", "dotted", "circle")]
    of_both = {("red", "circle"), ("circle",)}
    said = [describe(alike, rng(seed)) for seed in range(200)]
    assert of_both.isdisjoint(tuple(content_words(one)) for pair in said for one in pair)
    alone = [describe(alike[:1], rng(seed))[0] for seed in range(200)]
    assert {"a red circle", "red circle", "a circle", "a plain circle"} <= set(alone)


def test_every_word_of_a_caption_is_in_the_vocabulary() -> None:
    known = {word for text in vocabulary() for word in text.split()}
    for seed in range(8):
        _, captions = training_batch(256, rng(seed))
        assert {word for caption in captions for word in caption.split()} <= known


@pytest.mark.parametrize("colour", COLOURS)
def test_objects_have_the_colour_of_their_caption(colour: str) -> None:
    for i, shape in enumerate(SHAPES):
        picture = draw(Single("medium", colour, "plain", shape), rng(i))
        assert colour_of(picture, painted(picture)) == colour


@pytest.mark.parametrize("shape", SHAPES)
def test_objects_are_as_many_as_their_caption_says(shape: str) -> None:
    for (i, count), texture in itertools.product(enumerate(COUNTS), TEXTURES):
        picture = draw(Counted(count, "blue", texture, shape), rng(i))
        if (shape, texture) != ("ring", "hollow"):  # its two outlines may touch or not
            assert pieces(painted(picture)) == COUNTS[count]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_small_object_is_smaller_than_every_medium_one_and_so_on(shape: str) -> None:
    extents = [
        [extent(painted(draw(Single(size, "blue", "plain", shape), rng(i)))) for i in range(12)]
        for size in SIZES
    ]
    small, medium, large = extents
    assert max(small) < min(medium) <= max(medium) < min(large)


@pytest.mark.parametrize("shape", SHAPES)
def test_textures_leave_the_rim_and_let_the_ground_through(shape: str) -> None:
    inked = {
        texture: painted(draw(Single("large", "blue", texture, shape), rng(1))).sum()
        for texture in TEXTURES
    }
    assert inked["hollow"] < min(inked["striped"], inked["dotted"], inked["checkered"])
    assert max(inked["striped"], inked["dotted"], inked["checkered"]) < inked["plain"]


@pytest.mark.parametrize("relation", ["left of", "above"])
def test_the_first_object_stands_where_the_caption_says(relation: str) -> None:
    for i, shape in enumerate(SHAPES):
        scene = Relation(Thing("red", shape), relation, Thing("blue", "square"))
        picture = draw(scene, rng(i)).astype(int)
        mask = painted(draw(scene, rng(i)))
        reds = mask & (picture[..., 0] > picture[..., 2])
        first, second = (np.argwhere(one).mean(0) for one in (reds, mask & ~reds))
        axis = 1 if relation == "left of" else 0
        assert second[axis] - first[axis] > 20


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_cover_what_an_even_odd_fill_of_their_outlines_covers(shape: str) -> None:
    fine = np.zeros((64 * 8, 64 * 8), bool)
    for outline in SHAPES[shape]:
        layer = Image.new("1", fine.shape)
        corners = [((32.5 + 20 * x) * 8, (32.5 + 20 * y) * 8) for x, y in outline]
        ImageDraw.Draw(layer).polygon(corners, fill=1)
        fine ^= np.asarray(layer)
    expected = fine.reshape(64, 8, 64, 8).mean((1, 3)) > 0.5
    covers = [
        painted(paint([Spot("blue", "plain", shape, 20.0, 32, 32)], rng(i))) for i in range(40)
    ]
    overlaps = [(one & expected).sum() / (one | expected).sum() for one in covers]
    assert max(overlaps) > 0.9  # one of five angles is none


def test_foils_are_false_in_one_way_each() -> None:
    swapped, turned = FOILS["colours swapped"], FOILS["relation reversed"]
    single = Single("large", "red", "striped", "circle")
    assert swapped(BESIDE, rng()) == "a blue circle left of a red square"
    assert turned(BESIDE, rng()) == "a blue square left of a red circle"
    assert swapped(Relation(RED_CIRCLE, "above", Thing("red", "star")), rng()) is None
    assert [swapped(single, rng()), turned(single, rng())] == [None, None]
    either: list[Scene] = [single, BESIDE]
    for scene, seed in itertools.product(either, range(20)):
        foil = FOILS["one attribute changed"](scene, rng(seed))
        assert foil is not None
        assert (words(scene.caption) - words(foil)).total() == 1


def test_galleries_are_distinct_scenes_of_their_split() -> None:
    chosen, pictures = gallery(Family.COUNTED, Split.TEST, 200, rng())
    assert {split_of(scene) for scene in chosen} == {Split.TEST}
    assert len(set(chosen)) == 200
    assert pictures.shape == (200, 64, 64, 3)


def test_oracles_reach_what_taking_any_of_the_alike_ones_reaches() -> None:
    captions = ["a red circle", "a red star", "a blue star", "a star left of a ring"]
    assert oracle_recall(captions, colours) == (0.5 + 0.5 + 1 + 1) / 4
    assert oracle_recall([*captions, "a ring left of a star"], words) == 4 / 5
    foils = ["a blue circle", "a red circle", "a blue ring", "a ring left of a star"]
    assert oracle_choice(captions, foils, colours) == (1 + 0.5 + 0.5 + 0.5) / 4
    assert oracle_choice(captions, foils, words) == (1 + 1 + 1 + 0.5) / 4


def test_oracles_classify_by_what_they_see() -> None:
    for kinds, by_colour in ((CLASSES_24, 1 / 6), (CLASSES_120, 1 / 12)):
        chosen, _, labels = classified(kinds, Split.TEST, 30, rng())
        captions = [scene.caption for scene in chosen]
        assert oracle_accuracy(captions, labels, kinds, colours) == pytest.approx(by_colour)
        assert oracle_accuracy(captions, labels, kinds, words) == 1
        named = [f"{scene.colour} {scene.shape}" for scene in chosen if isinstance(scene, Single)]
        assert [kinds.names[label] for label in labels] == named
    assert [len(CLASSES_24.names), len(CLASSES_120.names)] == [24, 120]


def test_a_folder_holds_pictures_in_both_formats_and_a_row_for_each(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.scenes", str(tmp_path / "made"), "--n", "12"]
    subprocess.run([*command, "--seed", "3"], check=True, cwd=ROOT)
    write_folder(tmp_path / "again", 12, rng(3))
    lines = (tmp_path / "made" / "captions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["path"] for row in rows] == [
        f"{('single', 'counted', 'relation')[i % 3]}/{i:05}.{('png', 'jpg')[i // 3 % 2]}"
        for i in range(12)
    ]
    for row in rows:
        path = tmp_path / "made" / row["path"]
        assert path.read_bytes() == (tmp_path / "again" / row["path"]).read_bytes()
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((64, 64), "RGB")
        del row["path"]
    of_one, of_some, of_two = rows[:3]
    texture, shape = of_one["texture"], of_one["shape"]
    assert of_one == {
        "caption": Single(of_one["size"], of_one["colour"], texture, shape).caption,
        "family": "single",
        "size": of_one["size"],
        "colour": of_one["colour"],
        "texture": texture,
        "shape": shape,
    }
    assert [*of_some] == ["caption", "family", "count", "colour", "texture", "shape"]
    assert [*of_two] == [
        "caption", "family", "colour", "shape", "relation", "other_colour", "other_shape",
    ]  # fmt: skip
