"""One look for drift: what came in since a baseline, whether it differs, how much and where."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from scipy.stats import norm

from schemas.config import DriftConfig
from schemas.drift import Compared, DriftRecord, Verdict
from schemas.manifest import Manifest
from tasks import circumstances
from tasks.digests import digest_json
from tasks.drift import default_test
from tasks.drift.compare import Distances, distances
from tasks.drift.effects import Detectable, Effects, detectable_effect, effects
from tasks.drift.monitor import Watch, Window
from tasks.errors import DriftError
from tasks.identity import identity
from tasks.libraries import versions_of
from tasks.looks import Result, Test, is_refitted, nothing_to_test, result_of, tests_of
from tasks.segments import segments
from tasks.sketching import sketch_of, sketched_sides
from tasks.space import Space
from tasks.store import manifests

LIBRARIES = ("lancedb", "numpy", "scipy", "torch", "sentence-transformers")
ENOUGH = 30  # rows or blocks of a side: below, nothing is said
POWER = 0.8  # at which an effect counts as one that would have been found


@dataclass(frozen=True)
class Asked:
    """What is compared, and how.

    Attributes:
        settings: The `drift` of a config.
        candidate: The version that is looked at.
        baseline: What it is compared with; None where there is none.
        watch: The looks so far, where this is one of a year's, which have one alpha together.
        by_sketches: Whether what is kept of both versions is compared, and no row is read.
        command: What was typed.
        pause: Called between parts of the look; raises where the user asked to stop.
        tell: Called with the name of each part as it begins.
    """

    settings: DriftConfig
    candidate: Space
    baseline: Space | None
    watch: Watch | None
    command: str
    by_sketches: bool = False
    pause: Callable[[], None] = lambda: None
    tell: Callable[[str], None] = lambda part: None

    def begin(self, part: str) -> None:
        """Tells which part comes now, unless the user asked to stop."""
        self.pause()
        self.tell(part)

    @property
    def watched(self) -> bool:
        """Whether this is one of a year's looks."""
        return self.watch is not None

    @property
    def id(self) -> str:
        """The same for the same versions and settings."""
        sides = [self.candidate, *([] if self.baseline is None else [self.baseline])]
        key = [
            [[one.version, one.entry.table, one.entry.lance_version] for one in sides],
            self.settings.model_dump(mode="json"),
            self.watched,
            self.by_sketches,
        ]
        since = "none" if self.baseline is None else f"{self.baseline.version}"
        return f"{self.candidate.version}-since-{since}-{digest_json(key).hex()[:12]}"


def run_detection(asked: Asked) -> DriftRecord:
    """Looks at the encoder first, then at the data.

    Raises ConfigError for a column or a window that the version has not.
    """
    windowed = asked.settings.window is not None and not asked.by_sketches
    record = DriftRecord(
        id=asked.id,
        space=asked.candidate.entry.space,
        candidate=_compared(asked.candidate),
        baseline=None if asked.baseline is None or windowed else _compared(asked.baseline),
        watched=asked.watched,
        verdict="cannot tell",
        reason="",
        limits=asked.settings.effect.model_dump(),
        blocked=False,
        alpha=asked.settings.alpha,
        seed=asked.settings.seed,
        seconds=0.0,
        created_at=datetime.now(UTC),
        command=asked.command,
        libraries=versions_of(LIBRARIES),
    )
    if asked.baseline is None:
        return _said(record, "cannot tell", NOTHING_SERVED)
    asked.begin("the encoder")
    found = identity(asked.baseline, asked.candidate)
    record = record.model_copy(update={"notes": found.notes})
    if found.verdict is not None:
        if asked.baseline.entry.fingerprint != asked.candidate.entry.fingerprint:
            beside = circumstances.encoders(asked.baseline, asked.candidate, asked.settings.seed)
            record = record.model_copy(update={"encoders": beside})
        return _said(record, found.verdict, found.reason)
    if not windowed and asked.baseline.version == asked.candidate.version:
        return _said(record, "cannot tell", f"version {record.candidate.version} is the baseline")
    if is_refitted(asked.candidate) and not windowed:
        if asked.settings.group is None or asked.by_sketches:
            return _said(record, "cannot tell", REFITTED)
        record = record.model_copy(update={"notes": (*record.notes, IN_ONE_FIT)})
    if asked.by_sketches:
        return _sketches(asked, asked.baseline, record)
    return _data(asked, asked.baseline, record)


NOTHING_SERVED = (
    "there is nothing to compare with yet: the first version of this encoder that serves is what "
    "later ones are measured from"
)
REFITTED = (
    "each version has a fit of its own, so that vectors of two have nothing in common, and within "
    "one fit those of new nodes depend on their neighbours: only whole parts of the graph compare. "
    "`group` names the column whose values are such parts"
)
IN_ONE_FIT = (
    "ids that came are set beside those that were there, both in one fit; what only has other "
    "neighbours is on neither side"
)


def _data(asked: Asked, baseline: Space, record: DriftRecord) -> DriftRecord:
    """The data of two versions of one encoder, or of two windows of one version."""
    asked.begin("which rows came and went")
    tests = [*tests_of(asked.settings, baseline, asked.candidate, asked.watch)]
    if not tests:
        reason = nothing_to_test(baseline, asked.candidate, asked.watch)
        return _said(record, "no drift", reason)
    few, results = list[str](), list[Result]()
    for test in tests:
        beside = f"{test.what}: {test.units[1]:,} beside {test.units[0]:,}"
        if min(test.units) < ENOUGH:
            few.append(beside)
            continue
        asked.begin(f"test of {test.what}")
        results.append(result_of(asked.settings, test))
    results.sort(key=lambda one: _order(one, asked.settings.alpha))
    if not results:
        return _said(
            record,
            "cannot tell",
            f"at least {ENOUGH} rows or blocks on each side are needed, and there are fewer "
            f"({'; '.join(few)}){_mend(asked, tests)}",
        )
    told, size = _most_telling(asked, results)
    results.sort(key=lambda one: one is not told)
    tests_told = tuple(one.told() for one in results)
    unsaid = (f"too few to say anything of {one}" for one in few)
    record = record.model_copy(update={"tests": tests_told, "notes": (*record.notes, *unsaid)})
    return _described(asked, told, size, record)


def _mend(asked: Asked, tests: Sequence[Test]) -> str:
    """What to do where it is the reference that has too few rows: more will not come."""
    if not asked.watched or not any(one.units[0] < ENOUGH for one in tests):
        return ""
    space, version = asked.candidate.entry.space, asked.candidate.version
    return (
        "; the reference is too small to be measured from: "
        f"`vectorline drift {space} --rebase {version}` takes this version"
    )


def _most_telling(asked: Asked, results: Sequence[Result]) -> tuple[Result, Effects]:
    """The first that is sure and large enough, else the first, and how large that is.

    What is sure and too small to matter must not hide another one.
    """
    settings = asked.settings
    sizes: list[Effects] = []
    for one in results:
        if sizes and one.adjusted > settings.alpha:
            break
        asked.begin(f"size of {one.test.what}")
        size = _size(settings, one.test)
        if one.adjusted <= settings.alpha and _reached(settings, size):
            return one, size
        sizes.append(size)
    return results[0], sizes[0]


def _order(result: Result, alpha: float) -> tuple[bool, bool, float, int]:
    """What came is told before what went, where both are alarms: that went may be an old story."""
    test = result.test
    return result.adjusted > alpha, test.removed, result.adjusted, -min(test.units)


def _described(asked: Asked, told: Result, size: Effects, record: DriftRecord) -> DriftRecord:
    """The verdict, by the test that says most, and what shows it."""
    settings, test = asked.settings, told.test
    record = _measured(asked, told, size, record)
    asked.begin("segments")
    where, odd = segments(test.before, test.now, settings, removed=test.removed, whole=test.whole)
    update = {
        "segments": where,
        "notes": (*record.notes, *odd),
        "density": circumstances.density(test.before, test.now, test.whole),
        "quality": {
            name: circumstances.quality(side.space, side)
            for name, side in zip(test.sides, (test.before, test.now), strict=True)
        },
        "blocked": settings.block and record.verdict == "drift",
    }
    return record.model_copy(update=update)


def _measured(asked: Asked, told: Result, size: Effects, record: DriftRecord) -> DriftRecord:
    """The verdict by one test, how large the difference is, and how small it could have been."""
    settings = asked.settings
    verdict, reason = _verdict(settings, told, size)
    least = None
    if verdict == "no drift" and told.adjusted > settings.alpha:
        asked.begin("how small a drift would have been found")
        least = _detectable(settings, told)
        reason += (
            f"; a shift of the law by {least.shift_sd:.2f} sd in one direction, an AUC of "
            f"{least.auc:.2f} to one who knows it, would have been found in four cases of five; a "
            "classifier that must learn it measures less"
            if least
            else "; there are too few rows for any difference to be found"
        )
        verdict = verdict if least else "cannot tell"
    sizes = {
        "effect": circumstances.effect(size),
        "detectable": least and circumstances.effect(least),
    }
    return _said(record.model_copy(update=sizes), verdict, reason)


def _size(settings: DriftConfig, test: Test) -> Effects:
    """How far its sides are apart."""
    rng = np.random.default_rng(settings.seed)
    return effects(test.before.vectors, test.now.vectors, rng, blocks=test.blocks)


def _detectable(settings: DriftConfig, told: Result) -> Detectable | None:
    """What would have been found at the level of this test.

    It is sought at alpha, and made larger as a normal statistic needs at the lower level of one
    of many tests: to simulate that, permutations would have to be as many as 1 / level.
    """
    test = default_test()
    rng = np.random.default_rng(settings.seed)
    found = detectable_effect(
        told.test.before.vectors,
        told.test.now.vectors,
        rng,
        test=test,
        found=told.value,
        blocks=told.test.blocks,
        alpha=settings.alpha,
        power=POWER,
    )
    if found is None:
        return None
    level = settings.alpha / told.test.window.tests
    needed, had = (norm.isf(one) + norm.ppf(POWER) for one in (level, settings.alpha))
    return found.scaled(float(needed / had))


def _sketches(asked: Asked, baseline: Space, record: DriftRecord) -> DriftRecord:
    """What is kept of both versions: samples are tested, and all rows' sums say how far apart."""
    settings, candidate = asked.settings, asked.candidate
    asked.begin("sketches")
    try:
        before, now = sketch_of(baseline), sketch_of(candidate)
        apart = distances(before, now)
    except DriftError as error:
        return _said(record, "cannot tell", str(error))
    notes = (*record.notes, *_left_out(settings), _of_all_rows(apart))
    record = record.model_copy(update={"notes": notes})
    sides = sketched_sides((baseline, before), (candidate, now))
    what = f"sketched rows that version {baseline.version} lacks"
    test = Test(what, *sides, Window(looks=0, since=baseline.version, tests=1))
    if min(test.units) < ENOUGH:
        return _said(record, "cannot tell", _too_few(asked, baseline, test))
    asked.begin("test of sketched rows")
    result = result_of(settings, test)
    record = record.model_copy(update={"tests": (result.told(),)})
    return _measured(asked, result, _size(settings, test), record)


def _too_few(asked: Asked, baseline: Space, test: Test) -> str:
    """How many rows were needed, and where they would be."""
    n, m = test.units
    since, this = baseline.version, asked.candidate.version
    reason = f"the sketch of version {this} has too few rows or blocks that version {since} lacks"
    if n < ENOUGH:
        reason = f"the sketch of version {since} has too few rows or blocks"
    return (
        f"{reason}: {n if n < ENOUGH else m} of {ENOUGH} needed; looked at without sketches, rows "
        "that came or went are read themselves"
    )


def _of_all_rows(apart: Distances) -> str:
    """What sums and histograms say, with which rows that both versions hold are counted, too."""
    return (
        f"of all rows: MMD^2 {apart.mmd:.2g}, squared Frechet distance {apart.frechet:.2g}; "
        f"{apart.clusters:.1%} would have to change cluster, {apart.norms:.1%} the length of their "
        f"vector, {apart.lengths:.1%} that of their text"
    )


def _left_out(settings: DriftConfig) -> tuple[str, ...]:
    """What of the settings sketches know nothing of."""
    asked = [name for name in ("group", "columns", "window") if getattr(settings, name)]
    if not asked:
        return ()
    return (f"sketches know nothing of {' and '.join(asked)}: compare rows to have it counted",)


def _verdict(settings: DriftConfig, told: Result, size: Effects) -> tuple[Verdict, str]:
    """An alarm needs both: evidence, and a size that matters."""
    sure = told.adjusted <= settings.alpha
    went = "that went " if told.test.removed else ""
    reached = _reached(settings, size, went)
    p = f"p {'at most' if told.at_most else '='} {told.adjusted:.2g}" + (
        " for a year of looks" if told.test.looks else ""
    )
    if sure and reached:
        return "drift", f"{told.test.what} differ ({p}): {', '.join(reached)}"
    if sure:
        return "no drift", (
            f"{told.test.what} differ ({p}), but too little to matter: AUC {size.auc:.2f}, "
            f"{size.shift_sd:.2f} sd, at least {size.share:.0%} of the rows {went}of another kind"
        )
    return "no drift", f"{told.test.what} do not differ beyond chance ({p})"


def _reached(settings: DriftConfig, size: Effects, went: str = "") -> list[str]:
    """Each size that matters, in words."""
    limits = settings.effect
    return [
        said
        for said, value, limit in (
            (f"a classifier tells them apart with an AUC of {size.auc:.2f}", size.auc, limits.auc),
            (f"the mean has moved by {size.shift_sd:.2f} sd", size.shift_sd, limits.shift_sd),
            (
                f"at least {size.share:.0%} of the rows {went}are of another kind",
                size.share,
                limits.share,
            ),
        )
        if value >= limit
    ]


def _said(record: DriftRecord, verdict: Verdict, reason: str) -> DriftRecord:
    return record.model_copy(update={"verdict": verdict, "reason": reason})


def _compared(space: Space) -> Compared:
    entry = space.entry
    manifest = manifests.read(space.store_uri, entry.table, entry.run_id, Manifest)
    return Compared(
        version=space.version,
        table=entry.table,
        fingerprint=entry.fingerprint,
        precision=manifest.precision if manifest else None,
        rows=space.rows,
        records=space.records,
        created_at=entry.created_at,
    )
