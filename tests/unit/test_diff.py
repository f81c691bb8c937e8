"""The comparison of records with rows, against a dictionary that does the same one by one."""

from dataclasses import dataclass
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.digests import Digests, digest_text, to_array
from tasks.store.diff import Base, Finder, Outcome, Present, data_digest, diff, find, first_of_each


@dataclass(frozen=True)
class One:
    id: str
    content: str
    metadata: str
    bad: bool = False
    judged: bool = False
    transient: bool = False
    tombstone: bool = False


@dataclass(frozen=True)
class Held:
    id: str
    content: str
    metadata: str
    chunks: int
    appended: bool


def digests(texts: list[str]) -> Digests:
    return to_array([digest_text(text) for text in texts])


def mask(values: list[bool]) -> np.ndarray:
    return np.array(values, np.bool_)


def arrays(held: list[Held], ones: list[One]) -> tuple[Base, Present]:
    rows = [one for one in held for _ in range(one.chunks)]
    base = Base(
        digests([one.id for one in rows]),
        digests([one.content for one in rows]),
        digests([one.metadata for one in rows]),
        mask([one.appended for one in rows]),
    )
    present = Present(
        digests([one.id for one in ones]),
        digests([one.content for one in ones]),
        digests([one.metadata for one in ones]),
        mask([one.bad for one in ones]),
        mask([one.judged for one in ones]),
        mask([one.transient for one in ones]),
        mask([one.tombstone for one in ones]),
    )
    return base, present


def outcome_at(
    place: int, ones: list[One], winners: dict[str, One], table: dict[str, Held]
) -> Outcome:
    """What becomes of the record at a place; `winners` holds the one that counts for each id."""
    one = ones[place]
    winner = winners.get(one.id)
    first = winner is one and all(earlier is not one for earlier in ones[:place])
    if one.tombstone:
        return Outcome.TOMBSTONE
    if one.bad:
        return Outcome.QUARANTINED
    if winner is None or (not first and winner.content == one.content):
        return Outcome.DUPLICATE
    if not first:
        return Outcome.CONFLICT
    if one.judged:
        return Outcome.QUARANTINED
    if one.id not in table:
        return Outcome.NEW
    if table[one.id].content != one.content:
        return Outcome.CHANGED
    same = table[one.id].metadata == one.metadata
    return Outcome.UNCHANGED if same else Outcome.METADATA_CHANGED


def one_by_one(held: list[Held], ones: list[One]) -> tuple[list[Outcome], set[str], dict[str, str]]:
    """Outcomes, ids whose rows go, and what the table holds afterwards: the slow obvious way."""
    table = {one.id: one for one in held}
    buried = {one.id for one in ones if one.tombstone}
    winners: dict[str, One] = {}
    for one in ones:
        if not one.bad and not one.tombstone and one.id not in buried:
            winners.setdefault(one.id, one)
    outcomes = [outcome_at(place, ones, winners, table) for place in range(len(ones))]
    rewritten = (Outcome.CHANGED, Outcome.METADATA_CHANGED)
    goes = buried & set(table)
    goes |= {one.id for one, said in zip(ones, outcomes, strict=True) if said in rewritten}
    seen = {one.id for one in ones}
    winners = {name: one for name, one in winners.items() if not one.judged}
    passing = {one.id for one in ones if (one.bad or one.judged) and one.transient}
    for held_id, row in table.items():
        if held_id not in seen and not row.appended:
            goes.add(held_id)
        if held_id in seen and held_id not in winners and held_id not in passing:
            goes.add(held_id)
    after = {name: table[name].content + table[name].metadata for name in table if name not in goes}
    after |= {name: one.content + one.metadata for name, one in winners.items()}
    return outcomes, goes, after


names = st.sampled_from(list("abcdefg"))
texts = st.sampled_from(["x", "y", "z"])
metadata = st.sampled_from(["m", "n"])
records = st.lists(
    st.builds(One, names, texts, metadata, st.booleans(), st.booleans(), st.booleans())
    | st.builds(One, names, texts, metadata)
    | st.builds(One, names, texts, metadata, tombstone=st.just(True)),
    max_size=12,
)
tables = st.lists(
    st.builds(Held, names, texts, metadata, st.integers(1, 3), st.booleans()),
    max_size=7,
    unique_by=lambda one: one.id,
)


@given(tables, records)
def test_outcomes_and_removed_rows_are_those_of_the_obvious_loop(
    held: list[Held], ones: list[One]
) -> None:
    found = diff(*arrays(held, ones))
    outcomes, goes, after = one_by_one(held, ones)
    assert found.outcomes.tolist() == outcomes
    rows = [one.id for one in held for _ in range(one.chunks)]
    assert {name for name, gone in zip(rows, found.removed, strict=True) if gone} == goes
    assert [name in goes for name in rows] == found.removed.tolist()
    absent = {one.id for one in held} - {one.id for one in ones}
    assert {name for name, gone in zip(rows, found.absent, strict=True) if gone} == {
        name for name in absent if not next(one for one in held if one.id == name).appended
    }
    fresh = [One(name, "", value) for name, value in after.items()]
    assert (found.data_digest == diff(*arrays([], [])).data_digest) == (not fresh)


@given(tables, records, st.randoms(use_true_random=False))
def test_the_data_digest_depends_on_what_the_table_will_hold_and_on_nothing_else(
    held: list[Held], ones: list[One], random: object
) -> None:
    _, _, after = one_by_one(held, ones)
    found = diff(*arrays(held, ones)).data_digest
    same = [One(name, value[0], value[1]) for name, value in sorted(after.items())]
    assert found == diff(*arrays([], same)).data_digest
    other = [*same, One("another", "x", "m")]
    assert found != diff(*arrays([], other)).data_digest


def test_rows_of_names_all_chunks_of_a_record() -> None:
    held = [Held("a", "x", "m", 2, False), Held("b", "y", "m", 3, False)]
    found = diff(*arrays(held, [One("b", "y", "n"), One("a", "x", "m")]))
    assert found.rows_of(np.array([0])).tolist() == [2, 3, 4]


def test_find_and_first_of_each_name_the_lowest_index() -> None:
    among = digests(["p", "q", "p", "r"])
    assert find(digests(["p", "r", "s"]), among).tolist() == [0, 3, -1]
    assert first_of_each(among).tolist() == [0, 1, 0, 3]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3))),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4))),
)
def test_a_finder_finds_what_find_does_also_where_halves_of_digests_are_shared(
    among: list[tuple[int, int]], sought: list[tuple[int, int]]
) -> None:
    held, asked = (np.array(one, np.uint64).reshape(-1, 2) for one in (among, sought))
    assert Finder(held).find(asked).tolist() == find(asked, held).tolist()


@given(tables, st.randoms())
def test_the_records_of_a_table_have_the_digest_of_the_diff_that_made_it(
    held: list[Held], random: Random
) -> None:
    ones = [One(one.id, one.content, one.metadata) for one in held]
    made = diff(*arrays([], ones)).data_digest
    random.shuffle(ones)
    _, present = arrays([], ones)
    assert data_digest(present.ids, present.contents, present.metadata) == made
