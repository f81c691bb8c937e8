import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from tasks.drift import counted as module
from tasks.drift.clusters import Numbers, centres_of, nearest_centre
from tasks.drift.counted import Counted, counted_of
from tasks.drift.segments import Kind, Segment, Segments, segments
from tasks.drift.topics import neighbours_of, topics_of
from tasks.errors import DriftError
from tasks.metrics.significance import holm

Rows = npt.NDArray[np.float64]
MIDDLES = np.random.default_rng(99).normal(0, 3, (12, 8))


def rows_of(rng: np.random.Generator, n: int, of: list[int]) -> Rows:
    """Rows around some of the twelve middles."""
    return np.asarray(MIDDLES[rng.choice(of, n)] + rng.normal(size=(n, 8)))


def counted(rows: Rows, units: list[int], sides: list[int], seed: int = 0) -> Counted:
    made = np.array(sides, np.bool_)
    numbers = np.arange(len(rows))
    rng = np.random.default_rng(seed)
    return Counted(rows, np.array(units), made, numbers, (len(rows), len(rows)), rng)


def test_clusters_are_those_that_rows_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    of = rng.integers(0, 4, 1500)
    rows = MIDDLES[of] * 10 + rng.normal(size=(1500, 8))
    centres = centres_of(rows, 4, rng)
    found = nearest_centre(rows, centres)
    assert len({(one, other) for one, other in zip(of.tolist(), found.tolist(), strict=True)}) == 4
    for cluster in range(4):
        np.testing.assert_allclose(centres[cluster], rows[found == cluster].mean(axis=0))


def test_equal_rows_are_one_cluster() -> None:
    assert centres_of(np.ones((50, 3)), 5, np.random.default_rng(0)).tolist() == [[1.0] * 3]


def test_neighbours_are_the_nearest_that_are_of_another_unit() -> None:
    rng = np.random.default_rng(1)
    rows, units = rng.normal(size=(90, 4)), np.repeat(np.arange(30), 3)
    found = neighbours_of(rows, units)
    for row in range(90):
        apart = np.linalg.norm(rows - rows[row], axis=1)
        apart[units == units[row]] = np.inf
        assert set(found[row].tolist()) == set(np.argsort(apart)[:20].tolist())
    few = neighbours_of(rows[:9], units[:9])
    assert [sorted(one.tolist()) for one in few[:2]] == [[-1] * 14 + [3, 4, 5, 6, 7, 8]] * 2


def test_a_topic_is_found_where_it_is_and_with_the_p_of_its_size() -> None:
    rng = np.random.default_rng(2)
    old, new = rows_of(rng, 600, [0, 1, 2, 3]), rows_of(rng, 570, [0, 1, 2, 3])
    rows = np.concatenate([old, new, rows_of(rng, 30, [4])])
    units, sides = np.arange(1200), np.arange(1200) >= 600
    graph = neighbours_of(rows, units)
    found = topics_of(graph, units, sides, rng)
    assert set(range(1170, 1200)) >= set(found[0].rows.tolist())
    assert len(found[0].rows) >= 25
    assert found[0].p_value == 0.001
    assert [len(one.rows) for one in found] == sorted([len(one.rows) for one in found])[::-1]
    assert all(topic.p_value > 0.02 for topic in topics_of(graph, units, ~sides, rng))


def test_topics_of_blocks_are_found_by_chance_no_more_often_than_their_p_says() -> None:
    """Rows of a document lie together, and so do those of documents about one thing."""
    rng = np.random.default_rng(13)
    least = []
    for _ in range(40):
        units = np.repeat(np.arange(60), 5)
        rows = rng.normal(size=(60, 3))[units] + 0.1 * rng.normal(size=(300, 3))
        sides = (rng.permutation(60) < 30)[units]
        found = topics_of(neighbours_of(rows, units), units, sides, rng)
        least.append(min((topic.p_value for topic in found), default=1.0))
    for t in (0.05, 0.1, 0.3):
        assert sum(p <= t for p in least) <= stats.binom.ppf(0.999, len(least), t)


def test_a_topic_of_the_larger_side_has_more_of_it_around_than_chance_gives() -> None:
    rng = np.random.default_rng(14)
    rows = np.concatenate([rows_of(rng, 800, [0, 1, 2]), rows_of(rng, 40, [11])])
    sides = np.arange(840) >= 200  # three of the larger side for each of the other
    units = np.arange(840)
    found = topics_of(neighbours_of(rows, units), units, sides, rng)
    assert set(found[0].rows.tolist()) <= set(range(800, 840))
    assert (len(found[0].rows) >= 30, found[0].p_value) == (True, 0.001)


def test_topics_are_found_by_chance_no_more_often_than_their_p_says() -> None:
    rng = np.random.default_rng(3)
    least = []
    for _ in range(150):
        rows, units = rng.normal(size=(300, 3)), np.arange(300)
        graph = neighbours_of(rows, units)
        found = topics_of(graph, units, rng.permutation(300) < 150, rng)
        least.append(min((topic.p_value for topic in found), default=1.0))
    for t in (0.05, 0.1, 0.3):
        assert sum(p <= t for p in least) <= stats.binom.ppf(0.999, len(least), t)


def test_growth_is_fishers_exact_test() -> None:
    rng = np.random.default_rng(4)
    sides, of = rng.integers(0, 2, 400).astype(bool), rng.integers(0, 3, 400)
    of[sides & (rng.random(400) < 0.2)] = 2
    found = counted(np.zeros((400, 1)), list(range(400)), sides.tolist()).growth(of, 4)
    for segment in range(3):
        table = [[np.sum((of == segment) & sides), np.sum((of == segment) & ~sides)]]
        table += [[np.sum((of != segment) & sides), np.sum((of != segment) & ~sides)]]
        tails = [stats.fisher_exact(table, one).pvalue for one in ("less", "greater")]
        assert found[segment] == pytest.approx(min(1.0, 2 * min(tails)), rel=1e-9)
    assert found[3] == 1.0


def test_growth_of_blocks_is_rare_by_chance_where_that_of_rows_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PERMUTATIONS", 199)
    rng = np.random.default_rng(5)
    by_block, by_row = [], []
    for run in range(60):
        of = np.repeat(rng.integers(0, 2, 40), 10)  # all rows of a block are of one segment
        units, sides = np.repeat(np.arange(40), 10), np.repeat(np.arange(40) % 2, 10)
        rows = np.zeros((400, 1))
        by_block.append(counted(rows, units.tolist(), sides.tolist(), run).growth(of, 2)[0])
        by_row.append(counted(rows, list(range(400)), sides.tolist()).growth(of, 2)[0])
    assert sum(p <= 0.05 for p in by_block) <= stats.binom.ppf(0.999, 60, 0.05)
    assert sum(p <= 0.05 for p in by_row) > 20


def test_growth_that_no_arrangement_reaches_has_the_least_p(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PERMUTATIONS", 199)
    units, sides = np.repeat(np.arange(40), 3), np.repeat(np.arange(40) // 20, 3)
    found = counted(np.zeros((120, 1)), units.tolist(), sides.tolist())
    assert found.growth(sides, 2).tolist() == [1 / 200, 1 / 200]


def planted(seed: int, n_topic: int = 60) -> tuple[Segments, Rows, Rows]:
    rng = np.random.default_rng(seed)
    baseline = rows_of(rng, 2000, list(range(10)))
    rest = rows_of(rng, 2000 - n_topic, list(range(10)))
    candidate = np.concatenate([rest, rows_of(rng, n_topic, [11])])
    return segments(baseline, candidate, rng), baseline, candidate


def parts_of_drift(found: Sequence[Segment]) -> list[float]:
    sizes = []
    for one in found:
        p, q, other = one.share_baseline, one.share_candidate, 0.0
        if one.shift is not None and one.shift.p_value <= 0.05:
            other = max(0.0, 2 * one.shift.effect - 1)
        sizes.append((abs(p - q * (1 - other)) + q * other) / 2)
    return [size / sum(sizes) for size in sizes]


def test_a_new_topic_is_the_first_segment_with_its_rows() -> None:
    found, _, candidate = planted(0)
    first = found.found[0]
    assert (first.name, first.kind, first.p_value) == ("new topic 1", Kind.NEW, 0.003)
    assert set(range(1940, 2000)) >= set(first.typical_candidate.tolist())
    assert np.isin(np.arange(1940, 2000), first.candidate).mean() > 0.9
    assert first.share_candidate == len(first.candidate) / 2000
    assert first.growth > 0.025
    middle = candidate[first.candidate].mean(axis=0)
    apart = np.linalg.norm(candidate[first.candidate] - middle, axis=1)
    np.testing.assert_array_equal(first.typical_candidate, first.candidate[np.argsort(apart)[:5]])


def test_segments_are_a_partition_and_their_drift_sums_to_1() -> None:
    found, _, _ = planted(1)
    assert (found.n_baseline, found.n_candidate, found.n_aside) == (1400, 2000, 600)
    assert [one.drift for one in found.found] == pytest.approx(parts_of_drift(found.found))
    quiet = [one.shift for one in found.found if one.shift and one.shift.p_value > 0.05]
    assert any(shift.effect > 0.51 for shift in quiet)  # a size by chance, that counts for nothing
    assert sum(one.share_baseline for one in found.found) == pytest.approx(1)
    rows = np.concatenate([one.candidate for one in found.found])
    np.testing.assert_array_equal(np.sort(rows), np.arange(2000))
    assert len(np.unique(np.concatenate([one.baseline for one in found.found]))) == 1400
    order = [(one.p_value > 0.05, -one.drift) for one in found.found]
    assert order == sorted(order)


def test_p_values_and_drift_follow_from_growth_and_shift() -> None:
    rng = np.random.default_rng(9)
    baseline, candidate = rows_of(rng, 900, [0, 1, 2]), rows_of(rng, 900, [0, 1, 1, 2])
    near = np.linalg.norm(candidate - MIDDLES[2], axis=1) < 5
    candidate[near] = MIDDLES[2] + 0.8 * (candidate[near] - MIDDLES[2])
    found = segments(baseline, candidate, rng).found
    clusters = [one for one in found if one.kind is Kind.CLUSTER]
    tests = {f"growth {one.name}": one.p_growth for one in clusters}
    tests |= {f"shift {one.name}": one.shift.p_value for one in clusters if one.shift is not None}
    corrected = holm(tests)
    for one in found:
        if one.kind is Kind.CLUSTER:
            own = [corrected.get(f"{what} {one.name}", 1.0) for what in ("growth", "shift")]
            assert one.p_value == min(1.0, 3 * min(own))
    assert [one.drift for one in found] == pytest.approx(parts_of_drift(found))
    assert any(one.shift is not None and one.shift.p_value <= 0.05 for one in found)
    assert 0 < sum(one.p_value <= 0.05 for one in clusters) < len(clusters)


def test_blocks_are_set_aside_counted_and_permuted_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of clusters with about 200, 140 and 40 blocks of the candidate, of 3 rows each."""
    monkeypatch.setattr(module, "PERMUTATIONS", 199)
    rng = np.random.default_rng(12)
    of = [rng.choice(3, n, p=p) for n, p in ((700, [0.4, 0.4, 0.2]), (380, [0.52, 0.37, 0.11]))]
    sides, blocks = [], []
    for chosen in of:
        blocks.append(rng.permutation(np.repeat(np.arange(len(chosen)), 3)))
        near = MIDDLES[chosen] + 0.5 * rng.normal(size=(len(chosen), 8))
        sides.append(near[blocks[-1]] + 0.05 * rng.normal(size=(len(blocks[-1]), 8)))
    found = segments(sides[0], sides[1], rng, blocks=(blocks[0], blocks[1]))
    counted_rows = np.concatenate([one.baseline for one in found.found])
    counts = np.bincount(blocks[0][counted_rows], minlength=700)
    assert sorted(counts.tolist()) == [0] * 210 + [3] * 490
    assert (found.n_baseline, found.n_aside) == (1470, 630)
    for one in found.found:
        units = len(np.unique(blocks[0][one.baseline])), len(np.unique(blocks[1][one.candidate]))
        if min(units) < 50:
            assert one.shift is None
        else:
            assert one.shift is not None
            most = 500 // 3  # rows that are looked at, in blocks
            looked = [min(n, most) for n in units]
            assert [one.shift.units_baseline, one.shift.units_candidate] == looked
    assert {one.shift is None for one in found.found} == {True, False}
    assert any(len(one.candidate) >= 50 for one in found.found if one.shift is None)


def test_a_vanished_topic_is_the_first_segment() -> None:
    rng = np.random.default_rng(2)
    baseline = np.concatenate([rows_of(rng, 1900, [0, 1, 2]), rows_of(rng, 100, [11])])
    found = segments(baseline, rows_of(rng, 2000, [0, 1, 2]), rng).found[0]
    assert (found.kind, found.p_value) == (Kind.VANISHED, 0.003)
    assert (found.baseline >= 1900).mean() > 0.9


def test_nothing_is_significant_where_nothing_drifts() -> None:
    quiet = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        sides = [rows_of(rng, 400, list(range(6))) for _ in range(2)]
        found = segments(sides[0], sides[1], rng).found
        quiet += all(one.p_value > 0.05 for one in found)
        assert all(one.kind is Kind.CLUSTER or one.p_value <= 0.05 for one in found)
    assert quiet >= stats.binom.ppf(0.001, 12, 0.95)


def test_a_column_shows_which_value_grew_and_which_moved() -> None:
    rng = np.random.default_rng(6)
    sides = [rows_of(rng, 900, [0, 1, 2]) for _ in range(2)]
    labels = [rng.choice(["de", "en", "fr"], 900, p=p) for p in ([0.3, 0.4, 0.3], [0.5, 0.2, 0.3])]
    sides[1][labels[1] == "fr"] += 1.5
    found = segments(sides[0], sides[1], rng, columns={"language": (labels[0], labels[1])}).found
    values = {one.name: one for one in found if one.kind is Kind.VALUE}
    assert set(values) == {"language=de", "language=en", "language=fr"}
    assert sum(one.drift for one in values.values()) == pytest.approx(1)
    assert values["language=de"].growth == pytest.approx(0.2, abs=0.06)
    assert sum(one.drift for one in found if one.kind is not Kind.VALUE) == pytest.approx(1)
    tests = {f"growth {name}": one.p_growth for name, one in values.items()}
    tests |= {f"shift {name}": one.shift.p_value for name, one in values.items() if one.shift}
    corrected = holm(tests)
    assert {name: one.p_value for name, one in values.items()} == {
        name: min(corrected[f"growth {name}"], corrected[f"shift {name}"]) for name in values
    }
    moved = values["language=fr"]
    assert moved.shift is not None
    assert moved.shift.p_value == 0.0001
    assert [one.p_value <= 0.05 for one in values.values()] == [True] * 3
    np.testing.assert_array_equal(np.sort(moved.candidate), np.flatnonzero(labels[1] == "fr"))


def test_equal_rows_are_typical_once() -> None:
    rng = np.random.default_rng(7)
    baseline = rows_of(rng, 600, [0, 1])
    candidate = np.concatenate([baseline[:300], np.repeat(baseline[:1], 100, axis=0)])
    for one in segments(baseline, candidate, rng).found:
        if len(np.unique(candidate[one.candidate], axis=0)) >= 5:
            assert len(np.unique(candidate[one.typical_candidate], axis=0)) == 5


def test_a_larger_side_is_sampled_and_that_is_said() -> None:
    rng = np.random.default_rng(8)
    made, said = counted_of(rng.normal(size=(10_900, 3)), rng.normal(size=(100, 3)), None, rng)
    assert said == ["segments are of 10,000 of the baseline's 10,900 rows, drawn at random"]
    assert (len(made.rows), int(made.sides.sum()), made.n_given) == (10_100, 100, (10_900, 100))
    alike = made.alike()
    assert (len(alike.rows), int(alike.sides.sum())) == (400, 100)
    np.testing.assert_array_equal(alike.rows[300:], made.rows[10_000:])
    assert len(np.unique(alike.units)) == 400


def test_clusters_are_the_same_whatever_the_candidate_is() -> None:
    rng = np.random.default_rng(10)
    baseline = rows_of(rng, 1200, [0, 1, 2, 3])
    named = []
    for n, of in ((60, [0, 1, 2, 3]), (900, [0, 0, 3, 11])):
        found = segments(baseline, rows_of(rng, n, of), np.random.default_rng(0)).found
        clusters = {one.name: one.baseline.tolist() for one in found if one.kind is Kind.CLUSTER}
        named.append({row: name for name, rows in clusters.items() for row in rows})
    assert len(named[0]) == 840
    assert named[1].items() <= named[0].items()


def test_clusters_are_of_whole_blocks_whichever_of_their_rows_are_compared() -> None:
    """They are those of all rows of the baseline, a row of which keeps its cluster."""
    rng = np.random.default_rng(14)
    whole, labels = rows_of(rng, 1200, [0, 1, 2, 3]), np.repeat(np.arange(200), 6)

    def named(some: Numbers, n: int, of: list[int], all_of: Rows | None) -> dict[int, str]:
        found = segments(
            whole[some],
            rows_of(rng, n, of),
            np.random.default_rng(0),
            blocks=(labels[some], np.arange(n) // 3),
            whole=None if all_of is None else (all_of, labels),
        )
        assert (found.n_baseline, found.n_aside) == (140 * len(some) // 200, 60 * 6)
        clusters = {one.name: one.baseline for one in found.found if one.kind is Kind.CLUSTER}
        return {row: name for name, rows in clusters.items() for row in some[rows].tolist()}

    every = named(np.arange(1200), 600, [0, 1, 2, 3], None)
    assert (len(every), len({*every.values()})) == (840, 3)
    for n, most, of in ((300, 2, [0, 1, 2, 3]), (900, 3, [0, 0, 3, 11])):
        some = np.concatenate([6 * block + rng.permutation(6)[:most] for block in range(200)])
        found = named(np.sort(some), n, of, whole)
        assert len(found) > 140
        assert found.items() <= every.items()


def test_a_column_of_one_value_makes_no_segments() -> None:
    rng = np.random.default_rng(11)
    sides = [rows_of(rng, 200, [0, 1]) for _ in range(2)]
    found = segments(sides[0], sides[1], rng, columns={"venue": (["x"] * 200, ["x"] * 200)})
    assert all(one.kind is Kind.CLUSTER for one in found.found)
    assert found.warnings == ("venue=x in all rows: a column of one value makes no segments",)


def some(n: int, dim: int = 3) -> Rows:
    return np.random.default_rng(n).normal(size=(n, dim))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda rng: segments(some(99), some(50), rng), "at least (100, 10) are needed"),
        (lambda rng: segments(some(100), some(9), rng), "at least (100, 10) are needed"),
        (lambda rng: segments(some(100), some(50, 4), rng), "3 components, the candidate 4"),
        (lambda rng: segments(some(100) * np.inf, some(50), rng), "not finite"),
        (lambda rng: segments(some(100), some(50), rng, alpha=0), "alpha = 0"),
        (
            lambda rng: segments(some(100), some(50), rng, blocks=([1], [2])),
            "baseline has 100 rows and 1 labels of blocks",
        ),
        (
            lambda rng: segments(some(100), some(50), rng, blocks=([1] * 100, [2] * 50)),
            "baseline has 1 blocks: at least 4",
        ),
        (
            lambda rng: segments(
                some(100), some(50), rng, blocks=([*range(100)], [1, 2, 3, 3, 3] * 10)
            ),
            "candidate has 3 blocks: at least 4",
        ),
        (
            lambda rng: segments(some(100), some(50), rng, columns={"x": ([1], [1])}),
            "column x has 1 labels for 100 rows",
        ),
    ],
)
def test_what_has_no_segments_is_said(
    made: Callable[[np.random.Generator], object], said: str
) -> None:
    with pytest.raises(DriftError, match=re.escape(said)):
        made(np.random.default_rng(0))
