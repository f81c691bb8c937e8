"""A space and its model side by side: edits pile up, runs and upkeep take turns, all is compared.

`python -m tests.faults.machine` tries more of it than the tests do.
"""

import argparse
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from schemas.config import IndexConfig, Retention
from tasks import cut, failpoints
from tasks.changes import changes
from tasks.drop import drop, droppable
from tasks.encoders import canaries
from tasks.errors import ConfigError, SourceError
from tasks.maintain import maintain, tidy
from tasks.space import Space, open_space
from tasks.store import indexes, maintenance, quarantine
from tasks.store.catalog import Catalog
from tasks.store.table import Table
from tasks.verify import verify
from tests import s3
from tests.encoders import AilingEncoder
from tests.faults import oracle
from tests.faults.corpus import Corpus
from tests.faults.model import (
    BLIND,
    MAX_BYTES,
    Bad,
    Done,
    Files,
    Killed,
    Line,
    Model,
    Options,
    Outcome,
    Records,
    Refused,
    Settings,
    problem,
)
from tests.pipeline import books, config, refresh

SPACE, TRIED = "notes", "notes.try"
PACKED = "two/a.jsonl.gz"
NAMES = st.sampled_from(["one/a.jsonl", "one/b.jsonl", PACKED, "two/b.jsonl"])
MODES = st.sampled_from(["snapshot", "append"])
RUN_POINTS = (
    "plan",
    "before-receipt",
    "after-receipt",
    "before-commit",
    "after-commit",
    "after-tag",
    "promote",
)
RESUMED = st.sampled_from(["after-receipt", "before-commit"])
DROP_POINTS = ("drop", "drop-data")
OLD_AGE = 6  # versions
UPKEEP_POINTS = ("cleanup", "index", "compaction", "recall", "move")
JOB_RECORDS = 3

IDS = st.sampled_from(["a", "b", "c", "d", "e", "f", "o'hara", "Ünï", "10%"])
TEXTS = st.one_of(
    st.sampled_from(["ant", "bee cow", "ant bee cow dog eel fox", "hen ibis jay hen ibis jay"]),
    st.lists(st.sampled_from(oracle.WORDS), min_size=1, max_size=9).map(" ".join),
)
BLIND_TEXTS = st.sampled_from([BLIND, f"ant {BLIND} bee cow dog eel"])
YEARS = st.sampled_from([None, 2000, 2001, 2002, 2002.5])
VENUES = st.sampled_from([None, "x", "y", "it's"])
GOOD = st.builds(Line, IDS, TEXTS, YEARS, VENUES)
BAD = st.one_of(
    st.builds(Line, IDS, st.sampled_from([" ", "nul \0", True, "long " * MAX_BYTES])),
    st.builds(Line, st.none(), TEXTS),
    st.builds(Line, IDS, TEXTS, torn=st.just(True)),
)
NUMBERS = st.integers(0, 99)  # of one of some things, modulo how many there are
VERSIONS = st.integers(0, 5)
OPTIONS = st.builds(
    Options,
    promote=st.sampled_from(["auto", "auto", "auto", "yes", "no"]),
    allow_removals=st.booleans(),
    replay=st.sampled_from([False, False, True]),
)


INDEXES = st.builds(  # they must find every row: there are few
    IndexConfig,
    columns=st.sampled_from([(), ("year",), ("venue", "year")]),
    recall=st.just(1.0),
    rows=st.sampled_from([1, 1_000_000]),
)


class Kill(BaseException):
    """Ends what runs at its fail point: nothing catches it."""


class Machine(RuleBasedStateMachine):
    """What may happen to a space."""

    counts: ClassVar[Counter[str]] = Counter()
    """How often each thing was done to the store, and what came of it, over all machines."""
    stores: ClassVar[str] = ""
    """Where they have their stores; empty for a folder of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="vectorline-model-"))
        self.store = f"{self.stores or self.folder}/{self.folder.name}"
        self.corpus = Corpus(self.folder / "corpus")
        self.settings = Settings({})
        self.models: list[Model] = []
        self.model, self.tried = Model(self.models), Model(self.models)
        self.history: list[Files] = []
        self.tags: dict[str, int] = {}
        self.readers: list[tuple[Space, Records]] = []
        self.compared, self.dropping = True, False
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(cut, "MAX_RECORDS", JOB_RECORDS)
        self.patch.setattr(cut, "MIN_RECORDS", JOB_RECORDS)
        self.patch.setattr(maintenance, "SPARE_FRAGMENTS", 0)
        self.patch.setattr(indexes, "SPARE_ROWS", 0)

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.folder)

    @initialize(
        one=MODES,
        two=MODES,
        on_unreadable=st.sampled_from(["fail", "quarantine"]),
        grace_s=st.sampled_from([1e-6, 3600.0]),
        ill=st.booleans(),
        index=INDEXES,
        lines=st.lists(st.tuples(NAMES, GOOD), min_size=4, max_size=12),
        later=st.lists(st.tuples(NAMES, GOOD), max_size=4),
    )
    def begin(
        self,
        one: str,
        two: str,
        on_unreadable: str,
        grace_s: float,
        ill: bool,
        index: IndexConfig,
        lines: list[tuple[str, Line]],
        later: list[tuple[str, Line]],
    ) -> None:
        """Many have a past already: runs, and upkeep."""
        self.index = index
        self.settings = Settings({"one": one, "two": two}, on_unreadable)
        self.patch.setattr(maintenance, "GRACE", timedelta(seconds=grace_s))
        self.patch.setattr(AilingEncoder, "ill", ill)
        for name in ("one/a.jsonl", PACKED):
            self.corpus.write(name, ())
        for name, line in lines:
            self.corpus.write(name, (*self.corpus.lines(name), line))
        self.run_daily(later)
        if self._has_versions():
            self._maintain(len(later))

    # -- the corpus ---------------------------------------------------------------------------

    def _insert(self, name: str, line: Line, number: int = 99) -> None:
        lines = self.corpus.lines(name)
        self.corpus.write(name, (*lines[:number], line, *lines[number:]))

    def _replace(self, number: int, *new: Line) -> Line:
        """Puts others in place of a line, which is given back."""
        places = self.corpus.places
        name, n = places[number % len(places)]
        lines = self.corpus.lines(name)
        self.corpus.write(name, (*lines[:n], *new, *lines[n + 1 :]))
        return lines[n]

    def _line(self, number: int) -> Line:
        places = self.corpus.places
        name, n = places[number % len(places)]
        return self.corpus.lines(name)[n]

    def _has_lines(self) -> bool:
        return bool(self.corpus.places)

    @rule(name=NAMES, line=GOOD, number=st.integers(0, 5))
    def insert(self, name: str, line: Line, number: int) -> None:
        self._insert(name, line, number)

    @precondition(_has_lines)
    @rule(number=NUMBERS, text=TEXTS)
    def change(self, number: int, text: str) -> None:
        self._replace(number, replace(self._line(number), text=text, torn=False))

    @precondition(_has_lines)
    @rule(number=NUMBERS, year=YEARS, venue=VENUES)
    def change_metadata(self, number: int, year: float | None, venue: str | None) -> None:
        self._replace(number, replace(self._line(number), year=year, venue=venue))

    @precondition(_has_lines)
    @rule(number=NUMBERS)
    def remove(self, number: int) -> None:
        self._replace(number)

    @precondition(_has_lines)
    @rule(number=NUMBERS, name=NAMES)
    def duplicate(self, number: int, name: str) -> None:
        self._insert(name, self._line(number))

    @precondition(_has_lines)
    @rule(number=NUMBERS, name=NAMES, text=st.one_of(TEXTS, BLIND_TEXTS))
    def conflict(self, number: int, name: str, text: str) -> None:
        self._insert(name, replace(self._line(number), text=text))

    @rule(name=NAMES, line=BAD)
    def bad_record(self, name: str, line: Line) -> None:
        self._insert(name, line)

    @rule(name=NAMES, id_=IDS, text=BLIND_TEXTS, number=st.integers(0, 5))
    def blind_record(self, name: str, id_: str, text: str, number: int) -> None:
        self._insert(name, Line(id_, text), number)

    @precondition(_has_lines)
    @rule(number=NUMBERS, text=st.sampled_from([" ", BLIND, True]))
    def spoil(self, number: int, text: object) -> None:
        self._replace(number, Line(self._line(number).id, text))

    @rule(name=NAMES, id_=IDS)
    def tombstone(self, name: str, id_: str) -> None:
        self._insert(name, Line(id_, "", gone=True))

    @precondition(_has_lines)
    @rule(number=NUMBERS, name=NAMES)
    def move(self, number: int, name: str) -> None:
        line = self._replace(number)
        self._insert(name, line)

    @precondition(_has_lines)
    @rule(number=NUMBERS)
    def mistype(self, number: int) -> None:
        line = self._line(number)
        if BLIND not in str(line.text):
            self._replace(number, replace(line, year="unknown"))

    @rule(name=NAMES)
    def turn_around(self, name: str) -> None:
        if name in self.corpus.files:
            self.corpus.write(name, self.corpus.lines(name)[::-1])

    @rule(name=NAMES)
    def empty(self, name: str) -> None:
        self.corpus.write(name, ())

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if name in self.corpus.files:
            self.corpus.delete(name)

    @rule()
    def cut_off(self) -> None:
        self.corpus.write(PACKED, None)

    @rule()
    def mend(self) -> None:
        """Leaves nothing for which a run would be refused."""
        for name in sorted({"one/a.jsonl", PACKED, *self.corpus.files}):
            lines = [line for line in self.corpus.lines(name) if not problem(line)]
            self.corpus.write(name, tuple(replace(line, year=_number_of(line)) for line in lines))

    @precondition(lambda self: self.history)
    @rule(number=NUMBERS)
    def go_back(self, number: int) -> None:
        self.corpus.go_back(self.history[-1 - number % len(self.history)])

    @rule()
    def touch(self) -> None:
        self.corpus.touch()

    # -- the config and the encoder -----------------------------------------------------------

    @rule(metadata=st.sampled_from([("year",), ("year", "venue"), ("venue",)]))
    def other_columns(self, metadata: tuple[str, ...]) -> None:
        self.settings = replace(self.settings, metadata=metadata)

    @rule(chunk=st.sampled_from([None, 3, 4]))
    def other_chunks(self, chunk: int | None) -> None:
        self.settings = replace(self.settings, chunk=chunk)

    @rule(index=INDEXES)
    def other_indexes(self, index: IndexConfig) -> None:
        self.index = index

    # What a killed run had found to be bad depends on where it was killed.
    @precondition(lambda self: not any(model.started for model in self.models))
    @rule()
    def cure(self) -> None:
        AilingEncoder.ill = False

    # -- the store ----------------------------------------------------------------------------

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.store)

    def _open(self, version: int | str, space: str = SPACE) -> Space:
        return open_space(space, self.store, version)

    def _has_versions(self) -> bool:
        return bool(self.model.readable)

    def _note(self, what: str) -> None:
        """Counts what is done to the store, which is compared with the model afterwards."""
        self.counts[what] += 1
        self.compared = False

    def _number(self, number: int) -> int:
        """Of a version, the newest first."""
        return self.model.readable[-1 - number % len(self.model.readable)]

    @rule(options=OPTIONS, rehash=st.booleans())
    def run(self, options: Options, rehash: bool) -> None:
        self._run(self.model, options, rehash=rehash)

    @rule()
    def run_twice(self) -> None:
        for _ in range(2):
            self._run(self.model, Options(allow_removals=True))

    @rule(lines=st.lists(st.tuples(NAMES, GOOD), min_size=2, max_size=4))
    def run_daily(self, lines: list[tuple[str, Line]]) -> None:
        for name, line in lines:
            self._insert(name, line, 0)
            self._run(self.model, Options(allow_removals=True))

    @rule(options=OPTIONS, limit=st.integers(1, 8))
    def run_with_a_limit(self, options: Options, limit: int) -> None:
        self._run(self.tried, replace(options, limit=limit))

    @rule(options=OPTIONS, point=st.sampled_from(RUN_POINTS))
    def kill_run(self, options: Options, point: str) -> None:
        if not point.endswith("-receipt") or not self.model.receipts:  # else it may need no other
            self._run(self.model, options, point=point)

    @precondition(_has_lines)
    @rule(number=NUMBERS, change=st.sampled_from(["text", "year", "gone"]), point=RESUMED)
    def resume(self, number: int, change: str, point: str) -> None:
        """A run goes on where one was killed, with one record that is another by now."""
        self.kill_run(Options(allow_removals=True), point)
        line = self._line(number)
        new = {
            "text": replace(line, text="jay jay"),
            "year": replace(line, year=1999),
            "gone": None,
        }
        self._replace(number, *filter(None, [new[change]]))
        self._run(self.model, Options(allow_removals=True))

    def _run(
        self, model: Model, options: Options, *, rehash: bool = False, point: str = ""
    ) -> None:
        self.dropping &= model is not self.model
        self.history.append(dict(self.corpus.files))
        ill = AilingEncoder.ill
        expected = model.run(self.corpus.files, self.settings, options, ill=ill, point=point)
        AilingEncoder.seen.clear()
        made: dict[str, Any] = {}
        found: object = Killed()
        try:
            with self._killed_at(point):
                made = refresh(self._config(), self.store, rehash=rehash, **vars(options))
        except Kill:
            pass
        except (ConfigError, SourceError) as error:
            found = error
        else:
            found = _done(made)
        self._note(f"{type(expected).__name__.lower()} {point}".strip())
        _check_outcome(expected, found)

    def _config(self) -> dict[str, Any]:
        source = {"use": "jsonl", "id": "id", "text": "text", "tombstone": "gone"}
        sources = [
            {
                **source,
                "path": str(self.corpus.folder / folder),
                "mode": mode,
                "metadata": [*self.settings.metadata],
                "on_unreadable": self.settings.on_unreadable,
            }
            for folder, mode in self.settings.modes.items()
        ]
        chunk = {"tokens": self.settings.chunk}
        return config(
            self.corpus.folder,
            source=sources,
            encoder={"use": "tests.encoders:AilingEncoder"},
            limits={
                "max_removed": self.settings.max_removed,
                "max_quarantined": self.settings.max_quarantined,
                "max_content_bytes": MAX_BYTES,
            },
            **({"chunk": chunk} if self.settings.chunk else {}),
        )

    @contextmanager
    def _killed_at(self, point: str) -> Iterator[None]:
        def reach(name: str) -> None:
            if name == point:
                raise Kill

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(failpoints, "reach", reach)
            yield

    @precondition(lambda self: self._has_versions() and self._has_lines())
    @rule(number=NUMBERS, text=TEXTS, year=YEARS)
    def run_on_indexes(self, number: int, text: str, year: float | None) -> None:
        """A run puts a row in place of one that indexes have."""
        self._maintain(4)
        self._replace(number, replace(self._line(number), text=text, year=year))
        self._run(self.model, Options(allow_removals=True))

    @precondition(_has_versions)
    @rule(keep=st.integers(1, 4))
    def upkeep(self, keep: int) -> None:
        self._maintain(keep)

    @precondition(_has_versions)
    @rule(keep=st.integers(1, 4), point=st.sampled_from(UPKEEP_POINTS))
    def kill_upkeep(self, keep: int, point: str) -> None:
        self._maintain(keep, point)

    def _maintain(self, keep: int, point: str = "") -> None:
        if timedelta(minutes=1) > maintenance.GRACE:
            self.readers.clear()
        table = Table(self.store, self.catalog.versions(SPACE)[-1].table)
        if {*self.index.columns} - {*table.open().schema.names}:
            self._note("upkeep refused")
            self.model.heal()
            with pytest.raises(ConfigError, match="no metadata column of this name"):
                self._keep_up(table, keep)
            return
        gone = self.model.maintain(keep, self.tags.values())
        try:
            with self._killed_at(point):
                done = self._keep_up(table, keep)
        except Kill:
            self._note(f"upkeep killed {point}")
        else:
            self._note("upkeep")
            assert done["retired"] == gone
            if done["index"]["columns"]:
                self._note("upkeep with columns")
            if done["index"]["kind"]:
                self._note("upkeep with vectors")

    def _keep_up(self, table: Table, keep: int) -> dict[str, Any]:
        retention = Retention(versions=keep, days=0)
        done = maintain.fn(self.store, table.name, retention, self.index, 0.0)
        tidy.fn(self.store)
        return done

    @precondition(lambda self: len(self.model.versions) >= OLD_AGE)
    @rule(point=st.sampled_from(["", *DROP_POINTS]))
    def drop(self, point: str) -> None:
        self._note(f"drop {point}".strip())
        self.model, self.tags, self.readers = self.model.drop(), {}, []
        tables = droppable(self.store, SPACE, None)
        try:
            with self._killed_at(point):
                drop(self.store, SPACE, tables, "me", 0.0)
        except Kill:
            self.dropping = True  # until the next run

    @precondition(_has_versions)
    @rule(number=VERSIONS)
    def promote(self, number: int) -> None:
        self._note("promote")
        before, to = self.model.serving, self._number(number)
        self.model.promote(to)
        self.catalog.promote(SPACE, to, who="me", why="", expected_from=before)

    @precondition(_has_versions)
    @rule()
    def rollback(self) -> None:
        self._note("rollback")
        if self.model.earlier is None:
            with pytest.raises(ConfigError, match="no earlier serving version"):
                self.catalog.rollback(SPACE, who="me")
        else:
            self.model.rollback()
            self.catalog.rollback(SPACE, who="me")

    @precondition(_has_versions)
    @rule(number=VERSIONS, name=st.sampled_from(["paper", "audit"]))
    def tag(self, number: int, name: str) -> None:
        self._note("tag")
        entry = self._open(self._number(number)).entry
        tags = Table(self.store, entry.table).open().tags
        if self.tags.pop(name, None) is not None:
            tags.delete(name)
        tags.create(name, entry.lance_version)
        self.tags[name] = entry.version

    @precondition(_has_versions)
    @rule(number=VERSIONS)
    def hold_on(self, number: int) -> None:
        """A reader opens a version, and goes on with it whatever comes."""
        version = self._number(number)
        self.readers = [*self.readers[-2:], (self._open(version), self.model.versions[version])]

    @precondition(_has_versions)
    @rule(number=VERSIONS, other=VERSIONS)
    def differ(self, number: int, other: int) -> None:
        one, two = self._number(number), self._number(other)
        before, after = self.model.versions[one], self.model.versions[two]
        found = changes(self._open(one), self._open(two))
        both = sorted(before.keys() & after.keys())
        changed = [id_ for id_ in both if before[id_].content != after[id_].content]
        assert found.added == sorted(after.keys() - before.keys())
        assert found.removed == sorted(before.keys() - after.keys())
        assert found.changed == changed
        assert found.metadata_changed == [
            id_ for id_ in both if before[id_] != after[id_] and id_ not in changed
        ]

    # -- what must hold -----------------------------------------------------------------------

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        if self.compared:
            return
        self.compared = True
        self._check_catalog()
        if not self.dropping:
            self._check_quarantine()
        for space, records in self.readers:
            oracle.check_rows(space, records, self.corpus.folder)
        thorough = {self.model.latest, self.model.serving}
        for version in self.model.readable:
            check = oracle.check if version in thorough else oracle.check_rows
            check(self._open(version), self.model.versions[version], self.corpus.folder)
        if self.tried.versions:
            space = self._open("latest", TRIED)
            assert space.version == self.tried.latest
            oracle.check(space, self.tried.versions[space.version], self.corpus.folder)
        for name, model in self._spaces():
            if model.readable:
                assert [check for check in verify(self.store, name) if not check.ok] == []

    def _spaces(self) -> list[tuple[str, Model]]:
        return [(SPACE, self.model), (TRIED, self.tried)]

    def _check_catalog(self) -> None:
        entries = self.catalog.versions(SPACE)
        assert [entry.version for entry in entries] == self.model.readable
        assert len({entry.run_id for entry in entries}) == len(entries)
        for one, two in combinations(entries, 2):
            same = self.model.versions[one.version] == self.model.versions[two.version]
            assert (one.data_digest == two.data_digest) == same
        serving = self.catalog.serving(SPACE)
        assert (serving.version if serving else None) == self.model.serving
        assert self.catalog.hold(SPACE) == self.model.hold
        assert {tag: self._open(tag).version for tag in self.tags} == self.tags

    def _check_quarantine(self) -> None:
        for space, model in self._spaces():
            tables = quarantine.tables(self.store, space)
            found = [
                (one.id, one.reason.value, one.source_uri, one.transient)
                for table in tables
                for one in quarantine.read(self.store, table)
            ]
            assert sorted(found) == sorted(
                (self._full(one), one.reason, str(self.corpus.folder / one.file), False)
                for one in model.quarantine
            )

    def _full(self, bad: Bad) -> str:
        """Its id, which starts with the file's own where the record has none."""
        return str(self.corpus.folder / bad.id) if bad.id.startswith(bad.file) else bad.id


def _number_of(line: Line) -> object:
    return None if isinstance(line.year, str) else line.year


def _done(made: dict[str, Any]) -> Done:
    """What a run says of itself; what it encoded is what the encoder saw."""
    assert made["encoded"] == len(
        [text for text in AilingEncoder.seen if text not in canaries.TEXTS]
    )
    return Done(
        version=made["version"] or 0,
        new_version=made["new_version"],
        promoted=made["promoted"],
        books=books(made),
        rows=made["rows"],
        written=made["chunks"]["written"],
        removed=made["chunks"]["removed"],
        encoded=range(made["encoded"], made["encoded"] + 1),
    )


def _check_outcome(expected: Outcome, found: object) -> None:
    if isinstance(expected, Refused):
        assert isinstance(found, expected.errors), f"{found!r} instead of {expected}"
    elif isinstance(expected, Done) and isinstance(found, Done):
        assert {*found.encoded} <= {*expected.encoded}
        assert replace(found, encoded=expected.encoded) == expected
    else:
        assert found == expected


@contextmanager
def on_s3() -> Iterator[None]:
    """Machines that begin here have their stores on an object store."""
    with s3.server() as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment(endpoint).items():
            patch.setenv(name, value)
        patch.setattr(Machine, "stores", s3.BUCKET)
        yield


def main() -> None:
    """Reads the command line; what was done is printed at the end, or how to come to a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=200, help="lives of a space")
    parser.add_argument("--steps", type=int, default=80, help="in each of them")
    parser.add_argument("--s3", action="store_true", help="with the stores on an object store")
    args = parser.parse_args()
    wanted = settings(
        max_examples=args.examples,
        stateful_step_count=args.steps,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    started = time.monotonic()
    with on_s3() if args.s3 else nullcontext():
        try:
            run_state_machine_as_test(Machine, settings=wanted)
        finally:
            for what, count in sorted(Machine.counts.items()):
                print(f"{what:<30}{count:>7}")
            print(f"{'all':<30}{Machine.counts.total():>7}   in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
