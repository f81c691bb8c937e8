"""What a drift report tells of segments, quality and places, against rows made by hand."""

import base64
import io
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from PIL import Image

from schemas.config import DriftConfig
from schemas.drift import Effect, Example, Quality
from schemas.manifest import ChunkBook, Manifest, RecordBook
from tasks import segments as module
from tasks.circumstances import density, effect, quality
from tasks.drift import segments as places
from tasks.drift.effects import Detectable, Effects
from tasks.segments import segments
from tasks.sides import Side
from tasks.sketching import SketchedSide
from tasks.space import Space, open_space
from tasks.store import fragments, manifests
from tasks.store.catalog import Catalog
from tasks.store.commit import commit
from tests.tables import change, new_table, rows

METADATA = pa.schema([pa.field("topic", pa.string())])
MIDDLES = np.eye(4) * 5
RNG = np.random.default_rng
WORDS = ("sea", "law", "food", "bees")


def stored(folder: Path, **columns: Any) -> Space:
    """A version with these columns, rows in order."""
    ids = [f"r{number:03d}" for number in range(len(columns["vector"]))]
    table = new_table(folder, metadata=METADATA)
    made = rows(table, dict.fromkeys(ids, 0))
    for name, values in columns.items():
        field = made.schema.field(name)
        place = made.schema.get_field_index(name)
        made = made.set_column(place, field, pa.array([*values], field.type))
    changed = change(table, "run", dict.fromkeys(ids, 0))
    written = replace(changed, fragments=tuple(fragments.write(table.uri, made)))
    entry = Catalog(str(folder)).add_version(table, commit(table, written))
    return open_space("papers", str(folder), entry.version)


def side(space: Space, first: int, last: int, size: int | None = None) -> Side:
    """These rows; where a size is given, so many in a row are a block."""
    of = np.arange(first, last)
    return Side(space, of, len(of), None if size is None else of // size)


def around(of: npt.NDArray[np.int64], seed: int = 0) -> list[list[float]]:
    """A vector around the middle of each topic."""
    rng = np.random.default_rng(seed)
    vectors: list[list[float]] = (MIDDLES[of] + 0.3 * rng.normal(size=(len(of), 4))).tolist()
    return vectors


OLD, NEW = 720, 600


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Space:
    """720 rows of three topics, then 600 of four, two of a kind beside each other."""
    rng = np.random.default_rng(1)
    of = np.concatenate([rng.choice(3, OLD // 2), rng.choice(4, NEW // 2)]).repeat(2)
    return stored(
        tmp_path_factory.mktemp("store"),
        vector=around(of),
        text=[f"{WORDS[topic]} {WORDS[topic]}" for topic in of],
        topic=[WORDS[topic] if topic else None for topic in of],
    )


def test_segments_are_told_as_they_were_found_with_their_rows(space: Space) -> None:
    before, now = side(space, 0, OLD, 2), side(space, OLD, OLD + NEW, 2)
    settings = DriftConfig(columns=("topic",), seed=3)
    told, odd = segments(before, now, settings)
    texts, topics = (space.to_arrow([name])[name].to_pylist() for name in ("text", "topic"))
    labels = [topic or "none" for topic in topics]
    found = places.segments(
        before.vectors,
        now.vectors,
        np.random.default_rng(3),
        blocks=(np.arange(OLD) // 2, np.arange(NEW) // 2),
        columns={"topic": (labels[:OLD], labels[OLD:])},
    )
    assert odd == found.warnings
    names = [one.name for one in found.found]
    sure = [one.name for one in found.found if one.p_value <= 0.05]
    values = [name for name in names if name.startswith("topic=")]
    assert {*values} == {"topic=none", "topic=law", "topic=food", "topic=bees"}
    wanted = [
        *(name for name in sure if name not in values),
        *(name for name in sure if name in values),
        *(name for name in names if name not in sure and name not in values),
        *(name for name in names if name not in sure and name in values),
    ]
    assert [one.name for one in told] == wanted
    assert wanted[0] == "new topic 1"
    by_name = {one.name: one for one in found.found}
    for one in told:
        own = by_name[one.name]
        assert one.kind == own.kind.value
        assert (one.n_baseline, one.n_candidate) == (len(own.baseline), len(own.candidate))
        assert (one.baseline_share, one.candidate_share) == (
            own.share_baseline,
            own.share_candidate,
        )
        assert (one.p_value, one.growth_p, one.drift_share) == (
            own.p_value,
            own.p_growth,
            own.drift,
        )
        assert one.shift_p == (own.shift and own.shift.p_value)
        for examples, typical, first in (
            (one.before, own.typical_baseline, 0),
            (one.now, own.typical_candidate, OLD),
        ):
            rows_told = [int(row) + first for row in typical]
            assert examples == tuple(
                Example(id=f"r{row:03d}", text=texts[row]) for row in rows_told
            )
    assert {one.shift_p is None for one in told} == {True, False}
    assert [one.terms for one in told if one.name == "topic=law"] == [("law",)]


def test_segments_that_are_told_are_the_first(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, now = side(space, 0, OLD), side(space, OLD, OLD + NEW)
    every, _ = segments(before, now, DriftConfig())
    monkeypatch.setattr(module, "TOLD", 2)
    assert segments(before, now, DriftConfig())[0] == every[:2]
    assert len(every) > 2


@pytest.mark.parametrize("removed", [False, True])
def test_terms_are_of_the_side_that_has_the_topic(space: Space, *, removed: bool) -> None:
    """All rows of the topic, beside a side without it: what is elsewhere is the other side's."""
    topics = space.to_arrow(["topic"])["topic"].to_pylist()
    bees = np.array([row for row, topic in enumerate(topics) if topic == "bees"])
    only = Side(space, bees, len(bees), None)
    others = np.array([row for row in range(OLD + NEW) if row not in bees])
    rest = Side(space, others, len(others), None)
    (new, *_), _ = segments(rest, only, DriftConfig(), removed=removed)
    kind = "vanished topic" if removed else "new topic"
    assert (new.kind, new.name, new.n_baseline) == (kind, f"{kind} 1", 0)
    assert (new.n_candidate, new.terms) == (len(bees), ("bees",))
    every = Side(space, np.arange(OLD + NEW), OLD + NEW, None)
    (gone, *more), _ = segments(every, rest, DriftConfig(), removed=removed)
    if removed:  # that all of them stayed is nothing to tell
        assert {one.kind for one in (gone, *more)} == {"cluster"}
        return
    assert (gone.kind, gone.name, gone.n_candidate) == ("absent topic", "absent topic 1", 0)
    assert gone.terms == ("bees",)


def test_all_but_the_commonest_values_of_either_side_are_one_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "VALUES", 3)
    old, new = "a" * 100 + "b" * 60 + "c" * 30 + "d" * 10, "a" * 2 + "b" * 10 + "c" * 20 + "e" * 40
    space = stored(tmp_path, vector=around(np.zeros(len(old + new), np.int64)), topic=[*old, *new])
    before, now = side(space, 0, len(old)), side(space, len(old), len(old + new))
    told, _ = segments(before, now, DriftConfig(columns=("topic",)))
    counts = {one.name: one.n_candidate for one in told if one.kind == "value"}
    assert counts == {"topic=a": 2, "topic=b": 10, "topic=e": 40, "topic=(others)": 20}


def test_what_is_odd_about_segments_is_told(space: Space) -> None:
    settings = DriftConfig(columns=("topic",))
    topics = space.to_arrow(["topic"])["topic"].to_pylist()
    law = np.array([row for row, topic in enumerate(topics) if topic == "law"])
    before, now = (Side(space, law[part], 0, None) for part in (slice(110), slice(110, None)))
    _, odd = segments(before, now, settings)
    assert odd == ("topic=law in all rows: a column of one value makes no segments",)
    few = side(space, 0, 99), side(space, OLD, OLD + NEW)
    assert segments(*few, settings) == (
        (),
        (
            "segments were not looked for: (99, 600) rows of baseline and candidate: at least "
            "(100, 10) are needed",
        ),
    )


def test_a_row_of_a_picture_shows_it_small(tmp_path: Path) -> None:
    half = np.zeros((200, 300, 3), np.uint8)
    half[:, :150], half[:, 150:] = (200, 30, 30), (30, 30, 200)
    shown = tmp_path / "two colours.png"
    Image.fromarray(half).save(shown)
    (tmp_path / "broken.png").write_bytes(shown.read_bytes()[:50])
    gone = str(tmp_path / "gone.png")
    broken, remote = str(tmp_path / "broken.png"), "https://pictures.invalid/a.png"
    uris = [shown.as_uri(), str(shown), gone, broken, remote, str(shown), *[gone] * 114]
    space = stored(
        tmp_path / "store",
        vector=around(np.arange(120) % 2),
        modality=["image"] * 5 + ["text"] + ["image"] * 114,
        source_uri=uris,
    )
    told, _ = segments(side(space, 10, 120), side(space, 0, 10), DriftConfig())
    examples = {one.id: one.image for part in told for one in part.now}
    with_pictures = {id_ for id_, image in examples.items() if image is not None}
    assert (len(examples), with_pictures) == (10, {"r000", "r001"})
    for id_ in with_pictures:
        kind, _, data = (examples[id_] or "").partition(",")
        assert kind == "data:image/jpeg;base64"
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert (image.format, image.size) == ("JPEG", (128, 85))
        for x, colour in ((20, (200, 30, 30)), (108, (30, 30, 200))):
            seen = np.asarray(image.convert("RGB"))[40, x]
            np.testing.assert_allclose(seen, colour, atol=12)


def test_quality_is_that_of_the_run_and_of_the_rows(tmp_path: Path) -> None:
    space = stored(
        tmp_path,
        vector=[[3, 4, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1], [6, 8, 0, 0]],
        text=["", "four", "sixsix", "left out"],
    )
    of = side(space, 0, 3)
    assert quality(space, of) == Quality(empty=1 / 3, length=4.0, norm=2.0)
    books = RecordBook(read=100, new=60, unchanged=15, duplicate=20, quarantined=5)
    manifest = Manifest(
        run_id="run",
        space="papers",
        table=space.entry.table,
        fingerprint=space.entry.fingerprint,
        base_lance_version=1,
        data_digest="d",
        records=books,
        chunks=ChunkBook(written=50, removed=3, truncated=4),
        rows_before=0,
        rows_after=47,
        encoded=40,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        host="here",
    )
    manifests.write(space.store_uri, space.entry.table, "run", manifest)
    assert quality(space, of) == Quality(
        quarantined=0.05, duplicate=0.2, truncated=0.1, empty=1 / 3, length=4.0, norm=2.0
    )


@pytest.mark.parametrize("drawn", [None, 240])
def test_the_density_is_counted_in_the_plane_of_the_baseline(
    tmp_path: Path, drawn: int | None
) -> None:
    """Of all rows: one that lies far out is counted at the edge; the plane, of all that was."""
    vectors = np.array(around(RNG(1).choice(3, 500)))
    vectors[-1] = (30, -20, 10, 5)
    space = stored(tmp_path, vector=vectors.tolist())
    before, now, whole = side(space, 0, drawn or 300), side(space, 300, 500), side(space, 0, 300)
    found = density(before, now, whole if drawn else None)
    assert found is not None
    wide = whole.vectors.astype(np.float64)
    centre = wide.mean(axis=0)
    directions = np.linalg.svd(wide - centre)[2][:2]
    for direction in directions:
        direction *= np.sign(max(direction, key=abs))
    points = [(one.vectors - centre) @ directions.T for one in (before, now)]
    ends = np.quantile(np.concatenate(points), [0.0025, 0.9975], axis=0)
    margin = 0.05 * (ends[1] - ends[0])
    low, high = ends[0] - margin, ends[1] + margin
    np.testing.assert_allclose([found.low, found.high], [low, high])
    for counts, side_points in zip((found.baseline, found.candidate), points, strict=True):
        bins = ((side_points - low) / (high - low) * 36).astype(int).clip(0, 35).tolist()
        slow = Counter(map(tuple, bins))
        assert {
            (x, y): count for x, row in enumerate(counts) for y, count in enumerate(row) if count
        } == slow


def test_vectors_of_one_component_lie_in_no_plane(space: Space) -> None:
    one = SketchedSide(space, np.arange(3), 3, None, np.ones((3, 1), np.float32))
    assert density(one, one) is None


def test_sizes_are_told_in_their_own_units() -> None:
    assert effect(Effects(0.7, 0.6, 0.8, 0.95, 0.5, 0.2)) == Effect(
        auc=0.7, auc_low=0.6, auc_high=0.8, shift_sd=0.5, share=0.2
    )
    assert effect(Detectable(0.5, 0.7, 0.2, 0.8, 0.05)) == Effect(auc=0.7, shift_sd=0.5, share=0.2)
