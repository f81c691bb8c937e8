"""What one look for drift sets beside what, and what it makes of what comes out."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from schemas.config import DriftConfig
from schemas.drift import DriftRecord, Found, Verdict
from tasks import looks
from tasks.circumstances import density
from tasks.detect import Detected, detect
from tasks.detection import Asked, run_detection
from tasks.digests import digest_json
from tasks.drift import default_test
from tasks.drift.effects import detectable_effect, effects
from tasks.drift.monitor import Watch
from tasks.encoders.hashing import HashingEncoder
from tasks.looks import watch_of
from tasks.segments import segments
from tasks.space import Space, open_space
from tasks.store import drifts, tags
from tasks.store.catalog import Catalog
from tasks.store.reference import TAG, rebase, reference_of
from tasks.store.table import Table
from tests import drift_reports
from tests.reports import MADE
from tests.tables import DIM, new_table, put

LOW: dict[str, Any] = {"auc": 0.51, "shift_sd": 0.01, "share": 0.001}
RNG = np.random.default_rng
FINGERPRINT = digest_json(HashingEncoder(dim=DIM).fingerprint()).hex()  # as the settings say


def some(first: int, n: int, low: int = 0, high: int = 40, seed: int = 0) -> dict[str, int]:
    """Rows `r000` on: vectors between two angles, in degrees."""
    drawn = RNG([seed, first]).integers(low, high, n)
    return {f"r{first + row:03d}": int(value) for row, value in enumerate(drawn)}


def groups(first: int, values: Iterable[int], each: int) -> dict[str, int]:
    """Rows `r000` on: so many of each value, which is their `year`, one after the other."""
    every = [value for value in values for _ in range(each)]
    return {f"r{first + row:03d}": value for row, value in enumerate(every)}


def versions(folder: Path, *changes: tuple[Mapping[str, int], tuple[str, ...]]) -> list[Space]:
    """A version of each change: rows that are written, ids that go."""
    table = new_table(folder, fingerprint=FINGERPRINT)
    for number, (values, removed) in enumerate(changes):
        Catalog(str(folder)).add_version(table, put(table, f"run{number}", values, removed))
    return [open_space("papers", str(folder), number) for number in range(1, len(changes) + 1)]


def look(candidate: Space, baseline: Space, *, watched: bool = False, **more: Any) -> DriftRecord:
    settings = DriftConfig.model_validate(more)
    watch = looks.watch_of(candidate, baseline.version) if watched else None
    return run_detection(Asked(settings, candidate, baseline, watch, "what was typed"))


def remember(store: str | Path, version: int, baseline: int = 1, **more: Any) -> DriftRecord:
    """Keeps a look at a version of `papers` in the table that `new_table` makes."""
    record = drift_reports.drift()
    table = Catalog(str(store)).versions("papers")[0]
    seen = record.candidate.model_copy(
        update={"version": version, "table": table.table, "fingerprint": table.fingerprint}
    )
    told = {
        "id": f"{version}-since-{baseline}",
        "candidate": seen,
        "baseline": drift_reports.side(baseline),
        **more,
    }
    record = record.model_copy(update=told)
    drifts.write(str(store), record, "page")
    return record


def test_a_test_is_told_with_all_that_it_found(tmp_path: Path) -> None:
    one, two = versions(tmp_path, (some(0, 90), ()), (some(90, 60, high=45), ()))
    record = look(two, one, seed=4)
    vectors = two.vectors()[1]
    found = default_test(permutations=199)(vectors[:90], vectors[90:], RNG(4))
    size = effects(vectors[:90], vectors[90:], RNG(4))
    assert record.tests == (
        Found(
            what="rows added or changed since version 1",
            p_value=found.p_value,
            adjusted=found.p_value,
            statistic=found.statistic,
            null=tuple(np.quantile(found.null, np.linspace(0, 1, 101)).tolist()),
            n_baseline=90,
            n_candidate=60,
            at_most=found.p_value == 1 / 40,
            units=(90, 60),
            total=60,
            permutations=199,
        ),
    )
    assert record.effect is not None
    assert record.effect.model_dump() == {
        "auc": size.auc,
        "auc_low": size.auc_low,
        "auc_high": size.auc_high,
        "shift_sd": size.shift_sd,
        "share": size.share,
    }


def test_rows_of_a_group_count_as_one_in_all_that_is_told(tmp_path: Path) -> None:
    """Rows of one `year`, which is their value, belong together."""
    one, two = versions(
        tmp_path, (groups(0, range(40), 4), ()), (groups(160, range(30, 60), 4), ())
    )
    record = look(two, one, group="year")
    vectors, values = two.vectors()[1], np.repeat([*map(str, (*range(40), *range(30, 60)))], 4)
    sides, blocks = (vectors[:160], vectors[160:]), (values[:160], values[160:])
    found = default_test(permutations=199)(*sides, RNG(0), blocks=blocks)
    size = effects(*sides, RNG(0), blocks=blocks)
    (test,) = record.tests
    assert (test.p_value, test.statistic) == (found.p_value, found.statistic)
    assert (test.n_baseline, test.n_candidate, test.units) == (160, 120, (40, 30))
    assert record.effect is not None
    assert (record.effect.auc_low, record.effect.auc_high) == (size.auc_low, size.auc_high)


def test_what_blocks_would_have_shown_is_told_where_there_is_no_drift(tmp_path: Path) -> None:
    years = RNG(3).permutation(40)[:30].tolist()
    one, two = versions(tmp_path, (groups(0, range(40), 4), ()), (groups(160, years, 4), ()))
    record = look(two, one, group="year")
    vectors, values = two.vectors()[1], np.repeat([*map(str, (*range(40), *years))], 4)
    sides, blocks = (vectors[:160], vectors[160:]), (values[:160], values[160:])
    found = default_test(permutations=199)(*sides, RNG(0), blocks=blocks)
    test = default_test()
    least = detectable_effect(*sides, RNG(0), test=test, found=found, blocks=blocks)
    assert record.verdict == "no drift"
    assert least is not None
    assert record.detectable is not None
    assert record.detectable.shift_sd == pytest.approx(least.shift_sd)


def test_groups_are_compared_with_as_many_rows_as_those_of_the_other_side(tmp_path: Path) -> None:
    """Forty of 5 rows beside thirty of 2, of which all are."""
    one, two = versions(
        tmp_path, (groups(0, range(40), 5), ()), (groups(200, range(30, 60), 2), ())
    )
    (alike,) = looks.tests_of(DriftConfig(group="year"), one, two, None)
    assert np.bincount(alike.before.rows // 5).tolist() == [2] * 40
    assert alike.now.rows.tolist() == list(range(200, 260))
    assert (alike.units, alike.now.total) == ((40, 30), 60)
    (as_drawn,) = looks.tests_of(DriftConfig(), one, two, None)
    assert (len(as_drawn.before.rows), as_drawn.units) == (200, (200, 60))
    vectors = two.vectors()[1]
    values = np.repeat([*map(str, (*range(40), *range(30, 60)))], [5] * 40 + [2] * 30)
    sides, blocks = ((of[alike.before.rows], of[alike.now.rows]) for of in (vectors, values))
    (told,) = look(two, one, group="year").tests
    found = default_test(permutations=199)(*sides, RNG(0), blocks=blocks)
    assert (told.p_value, told.statistic) == (found.p_value, found.statistic)
    assert (told.n_baseline, told.n_candidate, told.units) == (80, 60, (40, 30))


def test_clusters_and_the_plane_are_of_groups_as_they_were_drawn(tmp_path: Path) -> None:
    """Else both would be others beside each candidate, whose groups have other sizes."""
    held = groups(0, range(30), 20) | groups(600, range(30, 60), 10)
    one, two = versions(tmp_path, (held, ()), (groups(900, range(20, 70), 3), ()))
    settings = DriftConfig(group="year")
    (test,) = looks.tests_of(settings, one, two, None)
    assert test.whole is not None
    assert test.whole.rows.tolist() == list(range(900))
    assert len(test.before.rows) == 180
    record = look(two, one, group="year")
    assert record.segments == segments(test.before, test.now, settings, whole=test.whole)[0]
    assert record.segments != segments(test.before, test.now, settings)[0]
    assert record.density == density(test.before, test.now, test.whole)
    assert record.density != density(test.before, test.now)
    (alone,) = looks.tests_of(DriftConfig(), one, two, None)
    assert alone.whole is None


def test_a_year_of_looks_counts_against_each_of_them(tmp_path: Path) -> None:
    """By itself the same p is an alarm."""
    one, two = versions(tmp_path, (some(0, 90), ()), (some(90, 60, high=45), ()))
    assert look(two, one, effect=LOW, alpha=0.2).verdict == "drift"
    record = look(two, one, watched=True, effect=LOW, alpha=0.2)
    vectors = two.vectors()[1]
    value = default_test()(vectors[:90], vectors[90:], RNG(0))
    assert value.p_value <= 0.2
    tests = 365 / 0.3 / 0.7
    (found,) = record.tests
    assert (found.since, found.looks, found.permutations) == (1, 1, 199)
    assert (found.p_value, found.adjusted) == (value.p_value, 1.0)
    assert record.verdict == "no drift"
    assert record.reason.startswith(
        "rows added or changed since version 1 do not differ beyond chance (p = 1 for a year of "
    )
    least = detectable_effect(
        vectors[:90], vectors[90:], RNG(0), test=default_test(), found=value, alpha=0.2, power=0.8
    )
    assert least is not None
    assert record.detectable is not None
    needed, had = (norm.isf(level) + norm.ppf(0.8) for level in (0.2 / tests, 0.2))
    shift = least.shift_sd * needed / had
    assert record.detectable.shift_sd == pytest.approx(shift)
    assert record.detectable.auc == pytest.approx(norm.cdf(shift / math.sqrt(2)))


def test_what_came_is_told_before_what_went_where_both_are_alarms(tmp_path: Path) -> None:
    gone = some(100, 80, 60, 80)
    one, two = versions(tmp_path, (some(0, 100) | gone, ()), (some(180, 40, 80, 90), tuple(gone)))
    record = look(two, one)
    assert [(test.what, test.p_value, test.adjusted) for test in record.tests] == [
        ("rows added or changed since version 1", 1 / 200, 2 / 200),
        ("rows removed or changed since version 1", 1 / 200, 2 / 200),
    ]
    assert record.verdict == "drift"
    assert record.reason.startswith("rows added or changed since version 1 differ (p at most 0.01)")
    assert [*record.quality] == ["baseline", "candidate"]


def test_a_side_with_too_few_rows_is_named_beside_the_test_of_the_other(tmp_path: Path) -> None:
    one, two = versions(tmp_path, (some(0, 90), ()), (some(90, 40), ("r000", "r001")))
    record = look(two, one)
    assert [test.what for test in record.tests] == ["rows added or changed since version 1"]
    few = "too few to say anything of rows removed or changed since version 1: 2 beside 88"
    assert few in record.notes


def test_rows_in_which_nothing_can_be_found_tell_nothing(tmp_path: Path) -> None:
    one, two = versions(
        tmp_path,
        ({f"r{row:03d}": 7 for row in range(120)}, ()),
        ({f"r{row:03d}": 7 for row in range(120, 160)}, ()),
    )
    record = look(two, one)
    assert (record.verdict, record.detectable) == ("cannot tell", None)
    assert record.reason == (
        "rows added or changed since version 1 do not differ beyond chance (p = 1); there are too "
        "few rows for any difference to be found"
    )
    assert record.tests[0].warnings == ("all rows are equal: there is nothing to compare",)


@pytest.mark.parametrize(("low", "verdict"), [(0, "no drift"), (60, "drift")])
def test_drift_blocks_and_nothing_else_does(tmp_path: Path, low: int, verdict: Verdict) -> None:
    one, two = versions(tmp_path, (some(0, 90), ()), (some(90, 60, low, low + 40 - low // 3), ()))
    for block in (False, True):
        record = look(two, one, block=block)
        assert (record.verdict, record.blocked) == (verdict, block and verdict == "drift")


def test_each_way_to_look_has_a_report_of_its_own(tmp_path: Path) -> None:
    one, two, three = versions(tmp_path, *((some(10 * n, 10), ()) for n in range(3)))
    plain = Asked(DriftConfig(), three, one, None, "typed")
    asked = [
        plain,
        replace(plain, watch=looks.watch_of(three, 1)),
        replace(plain, by_sketches=True),
        replace(plain, baseline=two),
        replace(plain, baseline=None),
        replace(plain, candidate=two),
        replace(plain, settings=DriftConfig(alpha=0.01)),
    ]
    assert len({one.id for one in asked}) == len(asked)
    assert replace(plain, command="typed otherwise").id == plain.id
    assert plain.id.startswith("3-since-1-")
    assert asked[4].id.startswith("3-since-none-")


def watched(baseline: Space, candidate: Space, **more: Any) -> Iterator[looks.Test]:
    watch = looks.watch_of(candidate, baseline.version)
    return looks.tests_of(DriftConfig.model_validate(more), baseline, candidate, watch)


def told(tests: list[looks.Test]) -> list[tuple[str, int, int | None, bool, int, float]]:
    return [
        (one.what, one.window.since, one.looks, one.removed, one.now.total, one.window.tests)
        for one in tests
    ]


def test_each_window_compares_what_came_and_what_went_in_it(tmp_path: Path) -> None:
    spaces = versions(
        tmp_path,
        (some(0, 40), ()),
        (some(40, 10), ("r000",)),
        (some(50, 10) | {"r010": 80}, ("r001", "r002")),  # nor is it there as the reference had it
        (some(60, 10), ("r003", "r040")),
        (some(70, 7) | {"r004": 70}, ("r005", "r006", "r050")),
    )
    for version in (2, 3, 4):
        remember(tmp_path, version)
    tests = [*watched(spaces[0], spaces[4])]
    once, four = 365 / 0.3, 92 / 0.075
    assert told(tests) == [
        ("rows added or changed since version 4 (not in version 1)", 4, 1, False, 8, once / 0.7),
        ("rows added or changed in 4 looks since version 1", 1, 4, False, 37, four / 0.7),
        ("rows removed or changed since version 4", 4, 1, True, 3, once / 0.3),
        ("rows removed or changed in 4 looks since version 1", 1, 4, True, 8, four / 0.3),
    ]
    assert [one.sides for one in tests] == [("baseline", "candidate")] * 2 + [
        ("stayed", "went")
    ] * 2
    assert [len(one.before.rows) for one in tests] == [40, 40, 32, 32]


def test_what_went_since_versions_that_retention_took_is_looked_at_once(tmp_path: Path) -> None:
    """They cannot say what they had: all that the reference had is meant."""
    spaces = versions(
        tmp_path,
        (some(0, 40), ()),
        (some(40, 10), ("r000",)),
        (some(50, 10), ("r001",)),
        (some(60, 10), ("r002",)),
        (some(70, 10), ("r003",)),
        (some(80, 10), ("r004",)),
        (some(90, 10), ("r005",)),
        (some(100, 10), ("r006",)),
        (some(110, 10), ("r007",)),
    )
    for version in range(2, 9):
        remember(tmp_path, version)
    catalog = Catalog(str(tmp_path))
    for gone in ("5", "8"):
        assert catalog.retire(catalog.resolve("papers", gone))
    tests = [*watched(spaces[0], spaces[8])]
    once, four = 365 / 0.3, 92 / 0.075
    assert told(tests) == [
        ("rows added or changed since version 8 (not in version 1)", 8, 1, False, 10, once / 0.7),
        (
            "rows added or changed in 4 looks since version 5 (not in version 1)",
            5,
            4,
            False,
            40,
            four / 0.7,
        ),
        ("rows removed or changed since version 1", 1, 1, True, 8, once / 0.3),
    ]


@pytest.mark.parametrize(("serving", "block"), [(1, True), (2, True), (3, True), (1, False)])
def test_what_a_block_may_have_kept_back_is_looked_at_again(
    tmp_path: Path, serving: int, *, block: bool
) -> None:
    spaces = versions(tmp_path, *((some(10 * n, 10), ()) for n in range(5)))
    for version in (2, 3):
        remember(tmp_path, version)
    Catalog(str(tmp_path)).promote("papers", serving, who="me", why="", expected_from=None)
    tests = told([*watched(spaces[0], spaces[3], block=block)])
    wanted = [("rows added or changed since version 3 (not in version 1)", 3, 1, False, 10)]
    if block and serving == 1:
        wanted.append(("rows added or changed since version 1", 1, 1, False, 30))
    if block and serving == 2:
        wanted.append(("rows added or changed since version 2 (not in version 1)", 2, 1, False, 20))
    assert [one[:-1] for one in tests] == wanted
    assert {one[-1] for one in tests} == {365 / 0.3 / 0.7}


def test_a_look_beside_the_reference_is_one_of_a_year_until_a_later_one_was_made(
    tmp_path: Path,
) -> None:
    versions(tmp_path, *((some(10 * n, 10), ()) for n in range(3)))
    store = str(tmp_path)
    Catalog(store).promote("papers", 1, who="me", why="", expected_from=None)

    def seen(version: str, baseline: str | None, *, by_sketches: bool = False) -> tuple[bool, str]:
        """Whether it is one of a year's, and how it is made again."""
        found: Detected = detect.fn(
            store, "papers", DriftConfig(), version, baseline, by_sketches=by_sketches
        )
        start, _, command = found.record.command.partition(" papers --candidate ")
        assert start == "vectorline drift"
        return found.record.watched, command.removesuffix(f" --store {store}")

    assert seen("2", "reference") == (True, "2 --baseline 1")
    assert seen("latest", "1") == (False, "3 --baseline 1")
    assert seen("latest", None, by_sketches=True) == (False, "3 --baseline 1 --sketches")
    assert seen("2", None) == (True, "2 --baseline 1")
    assert seen("latest", None) == (True, "3 --baseline 1")
    assert seen("2", None) == (False, "2 --baseline 1")
    assert watch_of(open_space("papers", store, 3), 1) == Watch(1, 2, (2, 3))


@pytest.mark.parametrize(
    ("verdict", "alarm"),
    [
        ("drift", True),
        ("encoder changed", True),
        ("no drift", False),
        ("cannot tell", False),
        ("not comparable", False),
    ],
)
def test_what_scripts_are_told_is_what_counts(verdict: Verdict, *, alarm: bool) -> None:
    record = drift_reports.drift().model_copy(update={"verdict": verdict})
    found = Detected(record, "page.html")
    said = found.summary()
    assert (found.alarm, said["alarm"], said["verdict"]) == (alarm, alarm, verdict)
    assert said["p_value"] == pytest.approx(0.01217)  # for a year of looks
    assert (said["version"], said["baseline"], said["report"]) == (9, 4, "page.html")
    assert (said["n_baseline"], said["n_candidate"]) == (2000, 300)
    assert said["effect"] == {
        "auc": 0.63,
        "auc_low": 0.59,
        "auc_high": 0.67,
        "shift_sd": 0.71,
        "share": 0.14,
    }
    assert found.title == f"papers version 9 beside version 4: {verdict}"


def test_a_watch_is_of_the_years_looks_at_this_encoders_rows(tmp_path: Path) -> None:
    spaces = versions(tmp_path, *((some(10 * n, 10), ()) for n in range(9)))
    for version in (3, 5):
        remember(tmp_path, version)
    own = drift_reports.drift().candidate
    entry = spaces[0].entry
    other = own.model_copy(
        update={"version": 4, "table": entry.table, "fingerprint": "another", "rows": 1}
    )
    remember(tmp_path, 4, candidate=other)
    remember(tmp_path, 6, watched=False)
    remember(tmp_path, 7, baseline=2)
    remember(tmp_path, 8, verdict="encoder changed")
    remember(tmp_path, 9, verdict="not comparable")
    assert watch_of(spaces[8], 1) == Watch(1, 2, (3, 5))
    assert watch_of(spaces[8], 2) == Watch(2, 1, (7,))


def test_a_look_counts_even_where_another_encoder_was_seen_when_it_was_made_again(
    tmp_path: Path,
) -> None:
    spaces = versions(tmp_path, *((some(10 * n, 10), ()) for n in range(4)))
    remember(tmp_path, 2)
    remember(tmp_path, 3, verdict="encoder changed")
    remember(tmp_path, 3, created_at=MADE + timedelta(hours=1), verdict="no drift")
    remember(tmp_path, 2, created_at=MADE + timedelta(hours=2), verdict="encoder changed")
    assert watch_of(spaces[3], 1) == Watch(1, 2, (2, 3))
    told = drifts.looks(str(tmp_path), "papers").to_pylist()
    assert [(one["version"], one["verdict"]) for one in told] == [
        (3, "no drift"),
        (2, "encoder changed"),
    ]


def test_a_look_is_a_row_of_what_it_found(tmp_path: Path) -> None:
    versions(tmp_path, (some(0, 10), ()))
    record = remember(tmp_path, 9, baseline=4)
    (row,) = drifts.looks(str(tmp_path), "papers").to_pylist()
    assert row == {
        "report": "9-since-4",
        "space": "papers",
        "version": 9,
        "fingerprint": record.candidate.fingerprint,
        "baseline": 4,
        "watched": True,
        "verdict": "drift",
        "p_value": 1e-5,
        "adjusted": pytest.approx(0.01217),
        "statistic": 8.4,
        "null_low": pytest.approx(-1.75),  # of what lies between -2 and 3
        "null_high": pytest.approx(2.75),
        "auc": 0.63,
        "shift_sd": 0.71,
        "share": 0.14,
        "n_baseline": 2000,
        "n_candidate": 300,
        "created_at": MADE,
    }
    assert drifts.read(str(tmp_path), record.candidate.table, record.id) == record


def test_of_looks_at_a_version_the_last_that_was_made_counts(tmp_path: Path) -> None:
    versions(tmp_path, (some(0, 10), ()))
    later = remember(tmp_path, 2, created_at=MADE + timedelta(hours=2), verdict="no drift")
    remember(tmp_path, 2, created_at=MADE)
    remember(tmp_path, 2, created_at=MADE, watched=False)
    remember(tmp_path, 3, created_at=MADE + timedelta(hours=1))
    found = drifts.looks(str(tmp_path), "papers").to_pylist()
    assert [(one["version"], one["watched"], one["verdict"]) for one in found] == [
        (2, False, "drift"),
        (3, True, "drift"),
        (2, True, "no drift"),
    ]
    assert found[2]["created_at"] == later.created_at
    assert drifts.looks(str(tmp_path), "paper").num_rows == 0
    new = later.model_copy(update={"id": "new"})
    again = drifts.looks(str(tmp_path), "papers", new).to_pylist()
    assert (again[:-1], again[-1]["report"]) == (found, "new")


def test_the_reference_is_the_first_of_its_table_that_served(tmp_path: Path) -> None:
    first = versions(tmp_path, *((some(10 * n, 10), ()) for n in range(3)))
    other = new_table(tmp_path, fingerprint="a" * 64)
    catalog, store = Catalog(str(tmp_path)), str(tmp_path)
    catalog.add_version(other, put(other, "run9", some(0, 5)))
    assert reference_of(store, first[2].entry) is None
    before = None
    for version in (4, 2, 3):
        catalog.promote("papers", version, who="me", why="", expected_from=before)
        before = version
    assert TAG not in Table(store, first[0].entry.table).tags()
    for space, wanted in ((first[0], 2), (first[2], 2), (open_space("papers", store, 4), 4)):
        found = reference_of(store, space.entry)
        assert found is not None
        assert found.version == wanted
    own = Table(store, first[0].entry.table)
    assert own.tags()[TAG] == first[1].entry.lance_version
    rebase(store, first[2].entry)
    again = reference_of(store, first[0].entry)
    assert again is not None
    assert again.version == 3
    tags.put(own, TAG, first[0].entry.lance_version)
    moved = reference_of(store, first[2].entry)
    assert moved is not None
    assert moved.version == 1
