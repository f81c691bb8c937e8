"""Detect: look for drift in a version, and keep what was found."""

import contextlib
import logging
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.catalog import VersionEntry
from schemas.config import DriftConfig
from schemas.drift import DriftRecord
from tasks.errors import ConfigError, DriftError, StoreError
from tasks.libraries import versions_of
from tasks.progress import Report, listener
from tasks.run import Run
from tasks.space import Space, open_space
from tasks.store import drifts
from tasks.store.catalog import Catalog
from tasks.store.reference import TAG, reference_of

if TYPE_CHECKING:
    from tasks.detection import Asked

logger = logging.getLogger(__name__)
ALARMS = ("drift", "encoder changed")


@dataclass(frozen=True)
class Detected:
    """A drift report, and where its page is.

    Attributes:
        record: The report.
        page: None where the store could not take it.
        made_anew: Whether it is not one that was there already.
    """

    record: DriftRecord
    page: str | None
    made_anew: bool = True

    @property
    def title(self) -> str:
        """What was looked at, and the verdict, in one line."""
        return f"{self.record.space} {self.record.looked_at}: {self.record.verdict}"

    @property
    def alarm(self) -> bool:
        """Whether somebody should look."""
        return self.record.verdict in ALARMS

    @property
    def markdown(self) -> str:
        """The verdict, why, and where the page is: a path of the machine that made it."""
        said = f"**{self.title}**: {self.record.reason}"
        return said if self.page is None else f"{said}\n\n`{self.page}`"

    def rows(self) -> list[dict[str, object]]:
        """The tests as rows of a table."""
        columns = {"what", "p_value", "adjusted", "statistic", "n_baseline", "n_candidate"}
        return [one.model_dump(include=columns) for one in self.record.tests]

    def notes(self) -> list[str]:
        """What was odd about the look or any of its tests, each sentence once."""
        record = self.record
        odd = (said for one in record.tests for said in one.warnings)
        return [*dict.fromkeys([*record.notes, *odd])]

    def told(self) -> dict[str, object]:
        """What a run tells of it."""
        record = self.record
        return {
            "verdict": record.verdict,
            "reason": record.reason,
            "alarm": self.alarm,
            "blocked": record.blocked,
            "seconds": record.seconds if self.made_anew else 0.0,
            "report": self.page,
        }

    def summary(self) -> dict[str, Any]:
        """What scripts may rely on, plain data."""
        record = self.record
        told = record.model_dump(mode="json", exclude={"format", "density"})
        sides = {name: told.pop(name) for name in ("baseline", "candidate")}
        first = next(iter(record.tests), None)
        return told | {
            "version": record.candidate.version,
            "alarm": self.alarm,
            "baseline": None if record.baseline is None else record.baseline.version,
            "versions": sides,
            "p_value": first and first.adjusted,
            "detectable_effect": told["detectable"],
            "notes": self.notes(),
            "n_baseline": first.n_baseline if first else 0,
            "n_candidate": first.n_candidate if first else 0,
            "report": self.page,
        }


@task(name="detect", persist_result=False, cache_policy=NO_CACHE)
def detect(
    store_uri: str,
    space: str,
    settings: DriftConfig,
    version: str,
    baseline: str | None,
    *,
    options: Sequence[str] = (),
    by_sketches: bool = False,
) -> Detected:
    """Compares a version with its reference, or with `baseline`, and keeps what it found.

    Beside its reference it is one of a year's looks, unless a later version was looked at already.
    With `by_sketches` what is kept of both versions is compared, without reading their rows.
    `options` are those that say how, as the command that makes it again has them. A verdict that
    was found before, with the same encoder and libraries, stands. Where the store takes no report
    a note of it says so. Raises ConfigError for a version or a column that is not there.
    """
    asked = _asked(store_uri, space, settings, version, baseline, options, by_sketches=by_sketches)
    asked = replace(asked, tell=_tell)
    known = _known(store_uri, asked.candidate.entry.table, asked.id)
    if known is not None and _stands(asked, known):
        return Detected(known, drifts.page(store_uri, known), made_anew=False)
    record = _record(asked)
    try:
        return _kept(asked, record)
    except StoreError as error:
        notes = (*record.notes, f"the report is not kept: {error}")
        return Detected(record.model_copy(update={"notes": notes}), None)


def _tell(part: str) -> None:
    listener.get()(Report(f"drift: {part}"))


def _stands(asked: "Asked", known: DriftRecord) -> bool:
    """Whether the same would be found again: the encoder is looked at, as it has no version.

    With `block` what serves decides, too, which rows are looked at.
    """
    from tasks.detection import LIBRARIES
    from tasks.identity import identity

    if known.verdict not in ("drift", "no drift") or asked.baseline is None or asked.settings.block:
        return False
    if known.libraries != versions_of(LIBRARIES):
        return False
    _tell("the encoder")
    return identity(asked.baseline, asked.candidate).verdict is None


@task(name="watch", persist_result=False, cache_policy=NO_CACHE)
def watch(run: Run, version: VersionEntry | None) -> Detected | None:
    """Looks for drift in the version of a run, as the config says.

    None where the config does not, and where only some records were taken. What was found before
    of the same versions stands. Raises Interrupted when the user asked to stop.
    """
    settings = run.config.drift
    if settings is None or version is None or run.options.limit:
        return None
    run.report("drift")
    try:
        asked = _asked(run.store_uri, run.space, settings, str(version.version), None)
        known = _known(run.store_uri, version.table, asked.id)
        if known is not None:
            return Detected(known, drifts.page(run.store_uri, known), made_anew=False)
        _sketch(run, version)
        asked = replace(asked, pause=run.check, tell=lambda part: run.report(f"drift: {part}"))
        return _kept(asked, _record(asked))
    except (ConfigError, DriftError, StoreError) as error:
        if not settings.block:
            run.notes.append(f"drift was not looked for: {error}")
            return None
        error.add_note(
            f"version {version.version} is made, and does not serve, since drift cannot be looked "
            "for: the next run tries again, "
            f"`vectorline promote {run.space} {version.version}` serves it"
        )
        raise


def _known(store_uri: str, table: str, report_id: str) -> DriftRecord | None:
    """A report that was made before; one that cannot be read is made anew."""
    try:
        return drifts.read(store_uri, table, report_id)
    except StoreError as error:
        logger.warning("%s: it is made anew", error)
        return None


def _sketch(run: Run, version: VersionEntry) -> None:
    """Keeps what later versions compare with, made by the pool that the config names."""
    from tasks.sketching import sketch_of

    space = open_space(run.space, run.store_uri, version.version)
    with contextlib.suppress(DriftError):  # of a version without two different rows there is none
        sketch_of(space, run.config.compute)


def _asked(
    store_uri: str,
    space: str,
    settings: DriftConfig,
    version: str,
    baseline: str | None,
    options: Sequence[str] = (),
    *,
    by_sketches: bool = False,
) -> "Asked":
    from tasks.detection import Asked  # with scipy, which other runs do not need
    from tasks.looks import watch_of

    candidate = open_space(space, store_uri, version)
    named = baseline or str(settings.baseline)
    windowed = settings.window is not None and not by_sketches  # within one version
    other = candidate if windowed else _baseline(store_uri, candidate, named)
    watch = None
    if named == TAG and not windowed and other is not None and not by_sketches:
        so_far = watch_of(candidate, other.version)
        if candidate.version >= max((other.version, *so_far.recent)):
            watch = so_far
    words = ["vectorline", "drift", space, "--candidate", str(candidate.version)]
    if other is not None and not windowed:  # `reference` may be another one by then
        words += ["--baseline", str(other.version)]
    words += [*(["--sketches"] * by_sketches), *options, "--store", store_uri]
    return Asked(settings, candidate, other, watch, shlex.join(words), by_sketches)


def _baseline(store_uri: str, candidate: Space, named: str) -> Space | None:
    """The version that is named; for `reference` what serves where the table has none."""
    space = candidate.entry.space
    if named != TAG:
        return open_space(space, store_uri, named)
    entry = reference_of(store_uri, candidate.entry) or Catalog(store_uri).serving(space)
    return None if entry is None else open_space(space, store_uri, entry.version)


def _record(asked: "Asked") -> DriftRecord:
    from tasks.detection import run_detection

    started = time.monotonic()
    record = run_detection(asked)
    return record.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def _kept(asked: "Asked", record: DriftRecord) -> Detected:
    from tasks.reports.drift_page import render

    store_uri = asked.candidate.store_uri
    Catalog(store_uri).resolve(record.space, str(record.candidate.version))  # else it was dropped
    drifts.write(store_uri, record, render(record, drifts.looks(store_uri, record.space, record)))
    return Detected(record, drifts.page(store_uri, record))
