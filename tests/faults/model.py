"""What a space must hold, in plain dicts: docs/store.md read literally.

Nothing here knows of files that are not read again, of jobs, fragments, digests or Lance: that none
of these shows is what the comparison is about.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tasks.errors import ConfigError, SourceError

MAX_BYTES = 60
SERVED = 3
BLIND = "blind"  # a word that an encoder which is ill gives no vector for


@dataclass(frozen=True)
class Line:
    """A line of a file; one that is `torn` is no JSON."""

    id: str | None
    text: object
    year: object = None
    venue: str | None = None
    gone: bool = False
    torn: bool = False


@dataclass(frozen=True)
class Settings:
    """What the config says; `modes` are those of the sources, which are folders, in their order."""

    modes: Mapping[str, str]
    on_unreadable: str = "fail"
    metadata: tuple[str, ...] = ("year",)
    chunk: int | None = None
    max_removed: float = 0.5
    max_quarantined: float = 0.7


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    promote: str = "auto"
    limit: int | None = None
    allow_removals: bool = False
    replay: bool = False


Files: TypeAlias = Mapping[str, tuple[Line, ...] | None]
"""`folder/name` to its lines, None where it cannot be read; in the order of reading."""


@dataclass(frozen=True)
class Content:
    """What is encoded: with other chunks it is another one."""

    text: str
    chunk: int | None

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Characters of each chunk: so many words of a text whose words stand one space apart."""
        words = self.text.split(" ")
        size = self.chunk or len(words)
        ends = [len(" ".join(words[:n])) for n in range(len(words) + 1)]
        return [
            (ends[n] + (n > 0), ends[min(n + size, len(words))]) for n in range(0, len(words), size)
        ]

    @property
    def pieces(self) -> list[str]:
        """The chunks themselves."""
        return [self.text[start:end] for start, end in self.spans]


@dataclass(frozen=True)
class Stored:
    """A record of a version."""

    content: Content
    metadata: Mapping[str, object]
    file: str

    @property
    def folder(self) -> str:
        """The source that it is from."""
        return self.file.split("/")[0]


Records: TypeAlias = Mapping[str, Stored]


@dataclass(frozen=True)
class Bad:
    """An entry of the quarantine; `content` of those that only the encoder found to be bad."""

    id: str
    reason: str
    file: str
    content: Content | None = None


@dataclass(frozen=True)
class Done:
    """A run that came to its end; `encoded` is what it may say, in order."""

    version: int
    new_version: bool
    promoted: bool
    books: Mapping[str, int]
    rows: int
    written: int = 0
    removed: int = 0
    encoded: range = range(1)


@dataclass(frozen=True)
class Refused:
    """A run that was stopped, with one of these errors."""

    errors: tuple[type[Exception], ...]


@dataclass(frozen=True)
class Killed:
    """A run that ended at its fail point."""


Outcome: TypeAlias = Done | Refused | Killed


class _Stop(Exception):
    def __init__(self, outcome: Refused | Killed) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class _Plan:
    """What a run means to do: rows of `gone` ids are removed, rows of `fresh` ones written."""

    def __init__(
        self, settings: Settings, buried: set[str], judged: set[tuple[str, Content]]
    ) -> None:
        self.records: dict[str, Stored] = {}  # as they will be
        self.bad: list[Bad] = []
        self.gone: set[str] = set()
        self.fresh: set[str] = set()
        self.lost: Counter[str] = Counter()  # records that are absent, by folder
        self._counts: Counter[str] = Counter()
        self._settings, self._buried, self._judged = settings, buried, judged
        self._seen = {*buried}
        self._taken: dict[str, Content] = {}
        self._standing: set[str] = set()

    @property
    def books(self) -> Counter[str]:
        """Records by outcome, and how many were read; without those that none had."""
        return +(self._counts + Counter(quarantined=len(self.bad)))

    def stand(self, id_: str, stored: Stored) -> None:
        """A record of a file that cannot be read stays, and comes before all others of its id."""
        self._seen.add(id_)
        if id_ in self._buried:
            self._counts.update(("read", "duplicate"))
            return
        self._counts.update(("read", "unchanged"))
        self.records[id_], self._taken[id_] = stored, stored.content
        self._standing.add(id_)

    def read(self, file: str, number: int, line: Line) -> None:
        """The next line of a file."""
        if line.gone and line.id is not None:
            return
        self._counts["read"] += 1
        named = line.id is not None and not line.torn
        id_ = str(line.id) if named else f"{file}#row={number}"
        self._seen |= {id_} if named else set()
        if reason := problem(line):
            self.bad.append(Bad(id_, reason, file))
            return
        content = Content(str(line.text), self._settings.chunk)
        if id_ in self._buried or self._taken.get(id_) == content:
            self._counts["duplicate"] += 1
        elif id_ in self._taken:
            self.bad.append(Bad(id_, "id_conflict", file))
        else:
            self._taken[id_] = content
            metadata = {column: getattr(line, column) for column in self._settings.metadata}
            if (id_, content) in self._judged:
                self.bad.append(Bad(id_, "zero_norm", file, content))
            else:
                self.records[id_] = Stored(content, metadata, file)

    def pass_over(self, file: str) -> None:
        """A file that cannot be read is one entry."""
        self._counts["read"] += 1
        self.bad.append(Bad(file, "unreadable", file))

    def compare(self, base: Records) -> None:
        """What becomes of the records that were read, then of those that are there."""
        for id_ in self.records.keys() - self._standing:
            outcome = _outcome(self.records[id_], base.get(id_))
            self._counts[outcome] += 1
            self.fresh |= set() if outcome == "unchanged" else {id_}
        self.gone |= self.fresh & base.keys()
        for id_ in base.keys() - self.records.keys():
            stored = base[id_]
            absent = id_ not in self._seen
            if absent and self._settings.modes[stored.folder] == "append":
                self.records[id_] = stored
                continue
            self.gone.add(id_)
            self._counts["removed"] += absent or id_ in self._buried
            self.lost[stored.folder] += absent

    def spoil(self, base: Records, blind: set[Content]) -> None:
        """Records whose content has no vector go to quarantine."""
        for id_ in sorted(id_ for id_ in self.fresh if self.records[id_].content in blind):
            stored = self.records.pop(id_)
            self.fresh.remove(id_)
            self._counts[_outcome(stored, base.get(id_))] -= 1
            self.bad.append(Bad(id_, "zero_norm", stored.file, stored.content))


class Model:
    """One space of a `store`, all of whose spaces have the same encoder.

    Its versions are counted from the `last` one, where there was a space of its name before.
    """

    def __init__(self, store: list["Model"], last: int = 0) -> None:
        store.append(self)
        self._store, self._last = store, last
        self.versions: dict[int, Records] = {}
        self.retired: set[int] = set()
        self.quarantine: list[Bad] = []
        self.started: set[Content] = set()
        """What runs may have encoded that never came to a commit."""
        self.receipts = False  # whether there may be some of such a run
        self._moves: list[tuple[int, bool]] = []  # what served, and whether by a rollback
        self._chosen = False  # since the newest version was made
        self._committed: Records | None = None  # by a run that was killed before its catalog row
        self._types: dict[str, type] = {}

    # -- what is there ------------------------------------------------------------------------

    @property
    def readable(self) -> list[int]:
        """The versions that were not let go."""
        return [number for number in self.versions if number not in self.retired]

    @property
    def latest(self) -> int:
        """The last one of them, 0 for none."""
        return max(self.readable, default=0)

    @property
    def retained(self) -> set[Content]:
        """Contents that stand in a version which can be read: their vectors are copied."""
        return {one.content for n in self.readable for one in self.versions[n].values()}

    @property
    def ever(self) -> set[Content]:
        """Contents whose vectors may stand in some file."""
        return {
            one.content for old in self.versions.values() for one in old.values()
        } | self.started

    @property
    def serving(self) -> int | None:
        """The one that readers get."""
        return self._moves[-1][0] if self._moves else None

    @property
    def hold(self) -> bool:
        """Whether a rollback holds it."""
        return bool(self._moves) and self._moves[-1][1]

    @property
    def earlier(self) -> int | None:
        """Where a rollback goes: to what served before, the next one further back."""
        served = [number for number in self._served() if number not in self.retired]
        return next((number for number in reversed(served) if number != self.serving), None)

    def promote(self, number: int) -> None:
        """Lets a version serve."""
        if self.serving != number or self.hold:
            self._moves.append((number, False))
            self._chosen = True

    def rollback(self) -> None:
        """Goes back, and holds."""
        assert self.earlier is not None
        self._moves.append((self.earlier, True))
        self._chosen = True

    def _served(self) -> list[int]:
        served: list[int] = []
        for number, back in self._moves:
            if back:
                while served[-1] != number:
                    served.pop()
            else:
                served.append(number)
        return served

    def maintain(self, keep: int, tagged: Iterable[int]) -> list[int]:
        """Lets versions go, and gives their numbers."""
        self.heal()
        served = [*dict.fromkeys(number for number, _ in reversed(self._moves))][:SERVED]
        held = {*self.readable[-keep:], *served, *tagged}
        gone = [number for number in self.readable if number not in held]
        self.retired |= {*gone}
        return gone

    def drop(self) -> "Model":
        """The space that takes its place, without anything but the number of its last version."""
        self._store.remove(self)
        return Model(self._store, self._last)

    # -- runs ---------------------------------------------------------------------------------

    def run(
        self, files: Files, settings: Settings, options: Options, *, ill: bool, point: str = ""
    ) -> Outcome:
        """What becomes of a run that is killed where it comes to `point`."""

        def reach(*points: str) -> None:
            if point in points:
                raise _Stop(Killed())

        try:
            return self._run(files, settings, options, ill, reach)
        except _Stop as stop:
            return stop.outcome

    def _run(
        self,
        files: Files,
        settings: Settings,
        options: Options,
        ill: bool,
        reach: Callable[..., None],
    ) -> Done:
        self.heal()
        base = self.versions.get(self.latest, {})
        if {name.split("/")[0] for name in files} != {*settings.modes}:
            raise _Stop(Refused((ConfigError,)))
        reach("plan")
        files = _limited(files, options.limit)
        types = self._checked(files, settings)
        plan = self._plan(_cut(files, options.limit), settings, options.replay, base)
        self.quarantine = plan.bad
        _check_quarantined(plan, settings)
        if not options.allow_removals and not options.limit:
            _check_removed(plan, settings, base)
        if not plan.fresh and not plan.gone:
            promoted = self.latest > 0 and self._let_serve(options.promote, reach)
            return Done(self.latest, False, promoted, plan.books, _n_rows(base.values()))
        self._types = types
        ever = {content for space in self._store for content in space.ever}
        encoded = {plan.records[id_].content for id_ in plan.fresh}
        encoded -= {content for space in self._store for content in space.retained}
        self.started |= encoded
        if plan.fresh:
            self.receipts = True
            reach("before-receipt", "after-receipt")
        plan.spoil(base, {one for one in encoded if ill and BLIND in one.text})
        self.quarantine = plan.bad
        _check_quarantined(plan, settings)
        reach("before-commit")
        self._committed = plan.records
        reach("after-commit", "after-tag")
        self.heal()
        self.started, self.receipts = set(), False
        least = {piece for one in encoded for piece in one.pieces}
        least -= {piece for one in ever for piece in one.pieces}
        most = sum(len({*one.pieces}) for one in encoded)
        return Done(
            version=self.latest,
            new_version=True,
            promoted=self._let_serve(options.promote, reach),
            books=plan.books,
            rows=_n_rows(plan.records.values()),
            written=_n_rows(plan.records[id_] for id_ in plan.fresh),
            removed=_n_rows(base[id_] for id_ in plan.gone),
            encoded=range(len(least), most + 1),
        )

    def heal(self) -> None:
        """A commit that has no row in the catalog gets it."""
        if self._committed is not None:
            self._last += 1
            self.versions[self._last] = self._committed
            self._committed, self._chosen = None, False

    def _let_serve(self, promote: str, reach: Callable[..., None]) -> bool:
        """An automatic promotion respects a hold, and what was chosen since the version came."""
        stays = self.hold or (self._chosen and self.serving is not None)
        if promote == "no" or self.serving == self.latest or (promote == "auto" and stays):
            return False
        reach("promote")
        self._moves.append((self.latest, False))
        return True

    def _checked(self, files: Files, settings: Settings) -> dict[str, type]:
        """The type of each column; stops a run that a file or a type makes impossible."""
        unreadable = [name for name, lines in files.items() if lines is None]
        refused: list[type[Exception]] = []
        if unreadable and settings.on_unreadable == "fail":
            refused.append(SourceError)
        types = dict(self._types) if self.readable else {}
        for line in (line for lines in files.values() for line in lines or ()):
            if line.gone or problem(line):
                continue
            for column in settings.metadata:
                value = getattr(line, column)
                kind = str if isinstance(value, str) else float
                if value is not None and types.setdefault(column, kind) is not kind:
                    refused.append(ConfigError)
        if refused:
            raise _Stop(Refused(tuple(refused)))
        return types

    def _plan(self, files: Files, settings: Settings, replay: bool, base: Records) -> _Plan:
        lines = [line for own in files.values() for line in own or ()]
        buried = {line.id for line in lines if line.gone and line.id is not None}
        judged = {(one.id, one.content) for one in self.quarantine if one.content and not replay}
        plan = _Plan(settings, buried, judged)
        unreadable = {name for name, own in files.items() if own is None}
        for id_, stored in base.items():
            if stored.file in unreadable:
                plan.stand(id_, stored)
        for name, own in files.items():
            if own is None:
                plan.pass_over(name)
            for number, line in enumerate(own or ()):
                plan.read(name, number, line)
        plan.compare(base)
        return plan


def _outcome(stored: Stored, before: Stored | None) -> str:
    if before is None:
        return "new"
    if before.content != stored.content:
        return "changed"
    return "unchanged" if before == stored else "metadata_changed"


def _check_quarantined(plan: _Plan, settings: Settings) -> None:
    if len(plan.bad) > settings.max_quarantined * plan.books["read"]:
        raise _Stop(Refused((SourceError,)))


def _check_removed(plan: _Plan, settings: Settings, base: Records) -> None:
    had = Counter(stored.folder for stored in base.values())
    if any(lost > settings.max_removed * had[folder] for folder, lost in plan.lost.items()):
        raise _Stop(Refused((SourceError,)))


def problem(line: Line) -> str:
    """Why a record cannot be used, empty where it can."""
    if line.torn:
        return "invalid_json"
    if line.id is None:
        return "null_id"
    if not isinstance(line.text, str):
        return "wrong_type"
    if len(line.text.encode()) > MAX_BYTES:
        return "too_large"
    if not line.text.strip():
        return "empty"
    return "nul_character" if "\0" in line.text else ""


def _n_rows(records: Iterable[Stored]) -> int:
    return sum(len(stored.content.spans) for stored in records)


def _limited(files: Files, limit: int | None) -> Files:
    """The files that are read for so many records."""
    wanted: dict[str, tuple[Line, ...] | None] = {}
    for name, lines in files.items():
        if limit is None or sum(len(own or ()) for own in wanted.values()) < limit:
            wanted[name] = lines
    return wanted


def _cut(files: Files, limit: int | None) -> Files:
    """The same without the records beyond the limit."""
    wanted: dict[str, tuple[Line, ...] | None] = {}
    left = limit
    for name, lines in files.items():
        wanted[name] = lines if lines is None or left is None else lines[:left]
        left = left if left is None else left - len(wanted[name] or ())
    return wanted
