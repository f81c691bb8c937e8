"""The tests of one look for drift: what is set beside what, and what comes out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from schemas.config import DriftConfig
from schemas.drift import Found
from tasks.drift import default_test
from tasks.drift.monitor import SHARES, Watch, Window, compared
from tasks.drift.pool import ROWS
from tasks.drift.value import Blocks, DriftValue
from tasks.sides import Side, Sides, windows
from tasks.space import Space, open_space
from tasks.store import drifts
from tasks.store.catalog import Catalog

QUANTILES = 101  # of the null distribution that are kept
MANY, FEWER = 20_000, 1_000  # permutations of 2,000 rows a side that do not fit into memory
REMOVED = 0.3  # of alpha in a year of looks, beside the 0.6 of what came


@dataclass(frozen=True)
class Test:
    """Two sides, and for how many tests of them this one stands."""

    what: str
    before: Side
    now: Side
    window: Window
    looks: int | None = None
    removed: bool = False

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

    def told(self) -> Found:
        """For the record."""
        found = told(self.value, self.test.what, self.test.now.total)
        since = self.test.window.since if self.test.looks is not None else None
        return found.model_copy(
            update={
                "adjusted": self.adjusted,
                "since": since,
                "looks": self.test.looks,
                "sides": self.test.sides,
            }
        )


def told(found: DriftValue, what: str, total: int) -> Found:
    """One test that stands for itself alone."""
    return Found(
        what=what,
        p_value=found.p_value,
        adjusted=found.p_value,
        statistic=found.statistic,
        null=tuple(np.quantile(found.null, np.linspace(0, 1, QUANTILES)).tolist()),
        n_baseline=found.n_baseline,
        n_candidate=found.n_candidate,
        units=(found.units_baseline, found.units_candidate),
        total=total,
        permutations=found.permutations,
        warnings=found.warnings,
    )


def tests_of(
    settings: DriftConfig, baseline: Space, candidate: Space, *, watched: bool
) -> Iterator[Test]:
    """All that are done, whose sides are drawn already; those without any row are left out."""
    once = Window(looks=0, since=baseline.version, tests=1)
    if settings.window is not None:
        before, now = windows(candidate, settings.window, group=settings.group, seed=settings.seed)
        what = f"rows of the last {settings.window.days:g} days by {settings.window.column}"
        yield Test(what, before, now, once)
        return
    sides = Sides(baseline, candidate, group=settings.group, seed=settings.seed)
    if watched:
        looks = watch_of(candidate, baseline.version).look(candidate.version)[1]
        for window in looks:
            added = sides.added(window.since)
            if added.total:
                yield Test(_added_since(window, baseline), sides.were, added, window, window.looks)
        yield from _went(settings, sides, baseline, candidate, looks)
        return
    added, gone = sides.added(), sides.removed
    both = 1 + bool(added.total and gone.total)  # tests, of which either may alarm
    once = Window(looks=0, since=baseline.version, tests=both)
    if added.total:
        what = f"rows added or changed since version {baseline.version}"
        yield Test(what, sides.were, added, once)
    if gone.total:
        what = f"rows removed or changed since version {baseline.version}"
        yield Test(what, sides.kept, gone, once, removed=True)


def _went(
    settings: DriftConfig,
    sides: Sides,
    baseline: Space,
    candidate: Space,
    looks: tuple[Window, ...],
) -> Iterator[Test]:
    """What went in each window beside what stayed of the version that it begins with.

    A version that retention has taken cannot say what it had: the baseline does for it, once.
    """
    catalog = Catalog(candidate.store_uri)
    there = {one.version for one in catalog.versions(candidate.entry.space)}
    seen = set()
    for window in looks:
        since = window.since if window.since in there else baseline.version
        if since in seen:
            continue
        seen.add(since)
        then = sides
        if since != baseline.version:
            earlier = open_space(candidate.entry.space, candidate.store_uri, str(since))
            then = Sides(earlier, candidate, group=settings.group, seed=settings.seed)
        gone = then.removed
        if gone.total:
            share = REMOVED / sum(SHARES.values())
            own = replace(window, since=since, tests=window.tests / share)
            what = f"rows removed or changed since version {since}{_in_looks(window)}"
            yield Test(what, then.kept, gone, own, window.looks, removed=True)


def _added_since(window: Window, baseline: Space) -> str:
    other = f" (not in version {baseline.version})" if window.since != baseline.version else ""
    return f"rows added or changed since version {window.since}{_in_looks(window)}{other}"


def _in_looks(window: Window) -> str:
    return f", in {window.looks} looks" if window.looks > 1 else ""


def watch_of(candidate: Space, reference: int) -> Watch:
    """What the looks at this space so far leave behind, from this reference on."""
    told = drifts.looks(candidate.store_uri, candidate.entry.space).to_pylist()
    seen = sorted(
        {
            look["version"]
            for look in told
            if look["watched"]
            and look["baseline"] == reference
            and look["version"] > reference
            and look["fingerprint"] == candidate.entry.fingerprint
        }
    )
    watch = Watch(reference)
    for version in seen:
        watch, _ = watch.look(version)
    return watch


def result_of(settings: DriftConfig, test: Test) -> Result:
    """With as many permutations as its level needs."""

    def run(permutations: int) -> DriftValue:
        rows = ROWS if permutations < MANY else FEWER
        return default_test(permutations=permutations, rows=rows)(
            test.before.vectors,
            test.now.vectors,
            np.random.default_rng(settings.seed),
            blocks=test.blocks,
        )

    found = compared(test.window, run, alpha=settings.alpha)
    return Result(test, found, test.window.adjusted(found.p_value))
