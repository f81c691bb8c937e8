"""The tests of one look for drift: what is set beside what, and what comes out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from schemas.config import DriftConfig
from schemas.drift import Found
from schemas.manifest import Manifest
from tasks.drift import default_test
from tasks.drift.monitor import CAME, WENT, Watch, Window, compared
from tasks.drift.pool import ROWS
from tasks.drift.value import Blocks, DriftValue
from tasks.sides import Side, Sides, alike_sides, windows
from tasks.space import Space, open_space
from tasks.store import drifts, manifests
from tasks.store.catalog import Catalog

QUANTILES = 101  # of the null distribution that are kept
MOST_BYTES = 2**28  # of arrangements: a byte for each row of both sides
FEWEST = 100  # rows of a side, however many permutations there are
OF_ANOTHER = ("encoder changed", "not comparable")  # looks that saw no rows


@dataclass(frozen=True)
class Test:
    """Two sides, and for how many tests of them this one stands.

    `whole` is the first side as it was drawn, where its groups were made like the other's: what is
    fitted on it is the same whatever it stands beside.
    """

    what: str
    before: Side
    now: Side
    window: Window
    looks: int | None = None
    removed: bool = False
    whole: Side | None = None

    @property
    def sides(self) -> tuple[str, str]:
        """What both are called."""
        return ("stayed", "went") if self.removed else ("baseline", "candidate")

    @property
    def blocks(self) -> Blocks | None:
        """What rows belong to, where any do."""
        return self.before.blocks_beside(self.now)

    @property
    def units(self) -> tuple[int, int]:
        """What can change sides, of both."""
        return self.before.units, self.now.units


@dataclass(frozen=True)
class Result:
    """What a test found."""

    test: Test
    value: DriftValue
    adjusted: float

    @property
    def at_most(self) -> bool:
        """Whether p is a bound: what was seen is further apart than all that chance gave."""
        return self.value.p_value <= 1 / (1 + self.value.permutations)

    def told(self) -> Found:
        """For the record."""
        test, found = self.test, self.value
        return Found(
            what=test.what,
            since=test.window.since if test.looks is not None else None,
            looks=test.looks,
            p_value=found.p_value,
            adjusted=self.adjusted,
            at_most=self.at_most,
            statistic=found.statistic,
            null=tuple(np.quantile(found.null, np.linspace(0, 1, QUANTILES)).tolist()),
            n_baseline=found.n_baseline,
            n_candidate=found.n_candidate,
            sides=test.sides,
            units=(found.units_baseline, found.units_candidate),
            total=test.now.total,
            permutations=found.permutations,
            warnings=found.warnings,
        )


def tests_of(
    settings: DriftConfig, baseline: Space, candidate: Space, watch: Watch | None
) -> Iterator[Test]:
    """All that are done, whose sides are drawn already; those without any row are left out.

    `watch` are the looks so far, where this is one of them.
    """
    for test in _tests(settings, baseline, candidate, watch):
        if settings.group is None:
            yield test
        else:
            rng = np.random.default_rng(settings.seed)
            before, now = alike_sides(test.before, test.now, rng)
            yield replace(test, before=before, now=now, whole=test.before)


def _tests(
    settings: DriftConfig, baseline: Space, candidate: Space, watch: Watch | None
) -> Iterator[Test]:
    once = Window(looks=0, since=baseline.version, tests=1)
    if settings.window is not None:
        before, now, newest = windows(
            candidate, settings.window, group=settings.group, seed=settings.seed
        )
        what = (
            f"rows of the last {settings.window.days:g} days by {settings.window.column} up to "
            f"{newest:%Y-%m-%d}"
        )
        yield Test(what, before, now, once)
        return
    looked = _Looked(settings, baseline, candidate)
    if watch is not None:
        looks = watch.look(candidate.version)[1]
        looks = (*looks, *_held_back(settings, candidate, looks))
        yield from looked.came(looks)
        yield from looked.went(looks)
        return
    added, gone = looked.sides.added(), looked.sides.removed()
    both = 1 + bool(added.total and gone.total)  # tests, of which either may alarm
    once = Window(looks=0, since=baseline.version, tests=both)
    if added.total:
        yield Test(looked.words("added", once), looked.sides.were, added, once)
    if gone.total:
        yield Test(looked.words("removed", once), looked.sides.kept, gone, once, removed=True)


def nothing_to_test(baseline: Space, candidate: Space, watch: Watch | None) -> str:
    """Why there is no test, in words: nothing came, nothing went, but perhaps metadata changed."""
    looked = _Looked(DriftConfig(), baseline, candidate)
    windows = () if watch is None else watch.look(candidate.version)[1]
    since = min((one.since for one in windows), default=baseline.version)
    first, last = sorted((since, candidate.version))
    said = f"nothing came and nothing went between versions {first} and {last}"
    if since != baseline.version:
        said = (
            f"of what version {baseline.version} lacks nothing came since version {since}, and of "
            "what it has nothing went"
        )
    beside = looked.since(since)
    n = 0 if beside is None else beside.redescribed()
    return f"{said}; metadata of {n:,} records changed, which drift does not look at" if n else said


def _held_back(
    settings: DriftConfig, candidate: Space, looks: tuple[Window, ...]
) -> Iterator[Window]:
    """What came and went since the version that serves, where drift may have kept later ones back.

    Else a good look would let what a look before it kept back serve. It has the level of a single
    look, for which alpha has room: SHARES sum to 0.6, and single looks have 0.3.
    """
    entry = candidate.entry
    serving = Catalog(candidate.store_uri).serving(entry.space) if settings.block else None
    for window in looks[:1]:
        same = serving is not None and serving.table == entry.table
        if serving is not None and same and serving.version < window.since:
            yield replace(window, since=serving.version)


class _Looked:
    """The windows of one look beside a reference; `sides` is the candidate beside that itself."""

    def __init__(self, settings: DriftConfig, baseline: Space, candidate: Space) -> None:
        """Reads no row yet."""
        self._baseline, self._candidate = baseline, candidate
        self._refitted = is_refitted(candidate)
        self.sides = Sides(
            baseline,
            candidate,
            group=settings.group,
            seed=settings.seed,
            refitted=self._refitted,
        )
        self._earlier: dict[int, Sides | None] = {baseline.version: self.sides}

    def came(self, looks: tuple[Window, ...]) -> Iterator[Test]:
        """What came in each window and was not in the reference, beside the reference's rows."""
        for window in looks:
            earlier = self.since(window.since)
            added = self.sides.added(window.since if earlier is None else earlier)
            if added.total:
                words = self.words("added", window)
                if window.since != self._baseline.version:
                    words += f" (not in version {self._baseline.version})"
                yield Test(words, self.sides.were, added, window.part(CAME), window.looks)

    def went(self, looks: tuple[Window, ...]) -> Iterator[Test]:
        """What went of the reference's rows in each window, beside those that stayed.

        A version that retention has taken cannot say what it had: all that went is meant, once.
        """
        seen = set()
        for window in looks:
            earlier = self.since(window.since)
            since = window.since if earlier is not None else self._baseline.version
            if since in seen:
                continue
            seen.add(since)
            gone = self.sides.removed(earlier)
            if gone.total:
                own, kept = replace(window.part(WENT), since=since), self.sides.kept
                yield Test(self.words("removed", own), kept, gone, own, window.looks, removed=True)

    def words(self, what: str, window: Window) -> str:
        """Which rows these are; of an earlier version nothing came since."""
        this, other = self._candidate.version, window.since
        if this < other:
            has, lacks = (this, other) if what == "added" else (other, this)
            otherwise = "" if self._refitted else " or has otherwise"
            return f"rows of version {has} that version {lacks} lacks{otherwise}"
        changed = "" if self._refitted else " or changed"
        several = f" in {window.looks} looks" if window.looks > 1 else ""
        return f"rows {what}{changed}{several} since version {other}"

    def since(self, version: int) -> Sides | None:
        """The candidate beside an earlier version; None where that is gone."""
        if version not in self._earlier:
            space, store_uri = self._candidate.entry.space, self._candidate.store_uri
            there = {one.version for one in Catalog(store_uri).versions(space)}
            self._earlier[version] = (
                self.sides.beside(open_space(space, store_uri, version))
                if version in there
                else None
            )
        return self._earlier[version]


def is_refitted(space: Space) -> bool:
    """Whether each version of its table has vectors of a fit of its own."""
    entry = space.entry
    manifest = manifests.read(space.store_uri, entry.table, entry.run_id, Manifest)
    return manifest is not None and manifest.fit is not None


def watch_of(candidate: Space, reference: int) -> Watch:
    """What the looks at this space so far leave behind, from this reference on.

    One that saw rows has spent its part of alpha, whatever was said when it was made again.
    """
    told = drifts.verdicts(candidate.store_uri, candidate.entry.space).to_pylist()
    seen = sorted(
        {
            look["version"]
            for look in told
            if look["watched"]
            and look["baseline"] == reference
            and look["version"] > reference
            and look["fingerprint"] == candidate.entry.fingerprint
            and look["verdict"] not in OF_ANOTHER
        }
    )
    watch = Watch(reference)
    for version in seen:
        watch, _ = watch.look(version)
    return watch


def result_of(settings: DriftConfig, test: Test) -> Result:
    """With as many permutations as its level needs."""

    def run(permutations: int) -> DriftValue:
        rows = max(FEWEST, min(ROWS, MOST_BYTES // (2 * permutations)))
        return default_test(permutations=permutations, rows=rows)(
            test.before.vectors,
            test.now.vectors,
            np.random.default_rng(settings.seed),
            blocks=test.blocks,
        )

    found = compared(test.window, run, alpha=settings.alpha)
    return Result(test, found, test.window.adjusted(found.p_value))
