"""Which rows a drift report compares, against sets made by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.config import WindowConfig
from tasks.drift import default_test
from tasks.drift.blocks import drawn_blocks
from tasks.errors import ConfigError
from tasks.sides import Side, Sides, alike_sides, windows
from tasks.space import Space, open_space
from tasks.store.table import BaseRows, Table
from tests.pipeline import config, refresh, write_jsonl


def rows(first: int, n: int, word: str = "old", **more: object) -> list[dict[str, Any]]:
    return [
        {"id": f"r{number:03d}", "text": f"{word} text {number}", "year": number % 3, **more}
        for number in range(first, first + n)
    ]


def ids(side: Side) -> set[str]:
    assert len(side.record_ids) == len(side.rows) == len(side.vectors)
    return set(side.record_ids)


@pytest.fixture
def versions(tmp_path: Path) -> list[Space]:
    """Version 1 has r000 to r039; 2 adds r040 to r049; 3 rewrites r000, drops r001, adds r050."""
    settings = config(tmp_path / "corpus")
    held = rows(0, 40)
    store, file = str(tmp_path / "vectors"), tmp_path / "corpus" / "a.jsonl"
    write_jsonl(file, held)
    refresh(settings, store)
    held += rows(40, 10)
    write_jsonl(file, held)
    refresh(settings, store)
    held[0]["text"] = "another text"
    held[2]["year"] = 77  # of which the vector knows nothing
    held = [held[0], *held[2:], *rows(50, 1)]
    write_jsonl(file, held)
    refresh(settings, store)
    return [open_space("notes", store, number) for number in (1, 2, 3)]


def sides(baseline: Space, candidate: Space, **more: Any) -> Sides:
    return Sides(baseline, candidate, **{"group": None, "seed": 0} | more)


def test_the_candidate_is_what_came_or_has_other_content(versions: list[Space]) -> None:
    found = sides(versions[0], versions[2])
    came = {"r000", *(f"r{number:03d}" for number in range(40, 51))}
    assert ids(found.added()) == came
    assert found.added().total == len(came)
    assert ids(found.were) == {f"r{number:03d}" for number in range(40)}


def test_of_a_fit_for_each_version_both_sides_are_of_one(versions: list[Space]) -> None:
    found = sides(versions[0], versions[2], refitted=True)
    assert ids(found.added()) == {f"r{number:03d}" for number in range(40, 51)}
    assert ids(found.were) == {f"r{number:03d}" for number in (0, *range(2, 40))}
    assert found.were.space is versions[2]
    assert ids(found.removed()) == {"r001"}
    assert found.removed().space is found.kept.space is versions[0]


def test_what_came_since_a_version_has_other_content_than_there(versions: list[Space]) -> None:
    found = sides(versions[0], versions[2])
    assert ids(found.added(sides(versions[1], versions[2]))) == {"r000", "r050"}
    later = found.beside(versions[1])
    assert ids(found.added(later)) == {"r000", "r050"}
    assert ids(later.were) == {f"r{number:03d}" for number in range(50)}
    assert ids(found.removed(later)) == {"r000", "r001"}


def test_a_candidate_is_read_once_however_many_versions_it_stands_beside(
    versions: list[Space], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, base = list[int](), Table.base

    def counted(table: Table, lance_version: int) -> BaseRows:
        read.append(lance_version)
        return base(table, lance_version)

    monkeypatch.setattr(Table, "base", counted)
    found = sides(versions[0], versions[2])
    for _ in range(2):
        found.added(found.beside(versions[1]))
        assert found.were is found.were
    assert sorted(read) == sorted([one.entry.lance_version for one in (*versions, versions[1])])


def test_of_large_blocks_some_rows_are_drawn() -> None:
    blocks = np.repeat(np.arange(40), 500)
    chosen = drawn_blocks(blocks, np.random.default_rng(0), 10_000)
    assert np.bincount(blocks[chosen]).tolist() == [200] * 40
    few = drawn_blocks(blocks, np.random.default_rng(0), 1_000)
    assert sorted(np.bincount(blocks[few]).tolist())[-5:] == [200] * 5


def test_blocks_of_both_sides_are_made_alike(versions: list[Space]) -> None:
    rng = np.random.default_rng(0)
    sizes = [30, 1, 20, 7], [2, 5, 2, 1, 9, 3, 40, 2]
    one, other = (
        Side(versions[2], np.arange(sum(of)) + 5, 99, np.repeat(np.arange(len(of)) * 3, of))
        for of in sizes
    )
    few, rest = alike_sides(one, other, rng)
    assert few.blocks is not None
    assert rest.blocks is not None
    # Of 1, 7, 20, 30 rows, and of 1, 2, 2, 2, 3, 5, 9, 40: the quarters beside each other.
    assert np.bincount(few.blocks)[::3].tolist() == [30, 1, 5, 2]
    assert sorted(np.bincount(rest.blocks)[::3].tolist()) == [1, 1, 2, 2, 3, 5, 9, 30]
    of = dict(enumerate(np.repeat(np.arange(4) * 3, sizes[0]).tolist(), 5))
    assert few.blocks.tolist() == [of[row] for row in few.rows.tolist()]
    assert (np.diff(few.rows) > 0).all()
    assert (few.total, rest.total) == (99, 99)
    alone = Side(versions[2], np.arange(9), 9, None)
    assert alike_sides(alone, alone, rng) == (alone, alone)
    none = replace(one, rows=np.arange(0), blocks=np.arange(0))
    assert alike_sides(one, none, rng)[0] is one


def test_groups_that_are_smaller_on_one_side_are_no_drift(versions: list[Space]) -> None:
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(60):
        sides = [
            Side(versions[0], np.arange(50 * of), 50 * of, np.repeat(np.arange(50), of))
            for of in (20, 2)
        ]
        given = [rng.normal(size=(len(side.rows), 8)) for side in sides]
        before, now = alike_sides(sides[0], sides[1], rng)
        found = default_test(permutations=99)(
            given[0][before.rows], given[1][now.rows], rng, blocks=before.blocks_beside(now)
        )
        alarms += found.p_value <= 0.05
    assert alarms <= 9  # by chance less than once in 1,000 times; as they were, 20 and more


def test_what_came_after_a_version_is_what_later_runs_wrote(versions: list[Space]) -> None:
    found = sides(versions[0], versions[2])
    assert ids(found.added(since=1)) == ids(found.added())
    assert ids(found.added(since=2)) == {"r000", "r050"}
    assert found.added(since=3).total == 0


def test_removed_rows_stand_beside_those_that_were_kept(versions: list[Space]) -> None:
    found = sides(versions[0], versions[2])
    assert ids(found.removed()) == {"r000", "r001"}
    assert ids(found.kept) == {f"r{number:03d}" for number in range(2, 40)}


def test_vectors_and_texts_are_those_of_the_rows(versions: list[Space]) -> None:
    side = sides(versions[0], versions[2]).added()
    table = versions[2].to_arrow(["record_id", "vector", "text", "year"]).to_pylist()
    told = {row["record_id"]: row for row in table}
    for place, id_ in enumerate(side.record_ids):
        assert side.vectors[place].tolist() == told[id_]["vector"]
        assert side.texts[place] == told[id_]["text"]
        assert side.column("year")[place] == told[id_]["year"]
    with pytest.raises(ConfigError, match="has no metadata column 'yeer', did you mean 'year'"):
        side.column("yeer")


def test_a_sample_is_drawn_the_same_way_each_time(versions: list[Space]) -> None:
    one = sides(versions[0], versions[1], most=15).were
    other = sides(versions[0], versions[2], most=15).were
    assert one.rows.tolist() == other.rows.tolist()
    assert (len(one.rows), one.total) == (15, 40)
    assert sides(versions[0], versions[1], most=15, seed=1).were.rows.tolist() != one.rows.tolist()


def test_rows_of_one_value_belong_together_and_are_drawn_together(versions: list[Space]) -> None:
    side = sides(versions[0], versions[1], group="year", most=20).were
    years = side.column("year")
    assert len(side.rows) <= 20
    assert side.blocks is not None
    assert side.units == len(set(years)) == len({*zip(side.blocks.tolist(), years, strict=True)})
    assert side.blocks_beside(side) == (side.blocks, side.blocks)
    alone = sides(versions[0], versions[1]).were
    assert alone.blocks is None
    assert alone.blocks_beside(alone) is None
    assert alone.units == 40


def test_rows_without_a_value_belong_to_nothing(tmp_path: Path) -> None:
    held = rows(0, 6)
    for row, year in zip(held, [1, None, 1, None, None, 2], strict=True):
        row["year"] = year
    write_jsonl(tmp_path / "corpus" / "a.jsonl", held)
    store = str(tmp_path / "vectors")
    refresh(config(tmp_path / "corpus"), store)
    space = open_space("notes", store, 1)
    side = sides(space, space, group="year").were
    assert side.blocks is not None
    of: dict[int, set[str]] = {}
    for block, record in zip(side.blocks.tolist(), side.record_ids, strict=True):
        of.setdefault(block, set()).add(record)
    assert sorted(map(sorted, of.values())) == [
        ["r000", "r002"],
        ["r001"],
        ["r003"],
        ["r004"],
        ["r005"],
    ]


def test_chunks_of_a_document_belong_together(tmp_path: Path) -> None:
    settings = config(tmp_path / "corpus", chunk={"use": "text", "tokens": 4})
    long = [{"id": f"d{n}", "text": " ".join(["word"] * (4 + n)), "year": 0} for n in range(6)]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", long)
    store = str(tmp_path / "vectors")
    refresh(settings, store)
    space = open_space("notes", store, 1)
    side = sides(space, space).were
    assert side.blocks is not None
    of: dict[int, str] = {}
    for block, record in zip(side.blocks.tolist(), side.record_ids, strict=True):
        assert of.setdefault(block, record) == record
    assert side.units == len(of) == 6
    assert len(side.rows) > 6


def test_windows_are_the_last_days_and_those_before(tmp_path: Path) -> None:
    settings = config(tmp_path / "corpus")
    settings["source"]["metadata"] = ["year", "day"]
    days = ["2026-01-01", "2026-01-08T00:00:00", None, "2026-01-09", "2026-01-10", "no day"]
    days.append("2026-01-08T00:00:01")  # the first second of two days up to the newest
    held = [{**row, "day": day} for row, day in zip(rows(0, 7), days, strict=True)]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", held)
    store = str(tmp_path / "vectors")
    refresh(settings, store)
    space = open_space("notes", store, 1)
    before, now, newest = windows(space, WindowConfig(column="day", days=2), group=None, seed=0)
    assert f"{newest:%Y-%m-%d}" == "2026-01-10"
    assert ids(before) == {"r000", "r001"}
    assert ids(now) == {"r003", "r004", "r006"}
    with pytest.raises(ConfigError, match="column 'year' of space 'notes' has no times"):
        windows(space, WindowConfig(column="year", days=2), group=None, seed=0)
    with pytest.raises(ConfigError, match="no metadata column 'days', did you mean 'day'"):
        windows(space, WindowConfig(column="days", days=2), group=None, seed=0)
    np.testing.assert_array_equal(now.rows, np.sort(now.rows))
