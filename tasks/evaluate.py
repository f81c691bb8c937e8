"""Evaluate: measure a version, set it beside another one, and keep what was found."""

import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.catalog import VersionEntry
from schemas.config import EvaluateConfig
from schemas.evaluation import EvaluationRecord
from tasks.errors import ConfigError, Interrupted, MetricError
from tasks.run import Run
from tasks.space import open_space
from tasks.store import evaluations
from tasks.store.catalog import Catalog
from tasks.suites import check_suite

if TYPE_CHECKING:
    from tasks.evaluation import Asked


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, and where its page is, and the picture of its map, if it has one.

    `main` are the metrics that count: those of the gate, else the main one of each task.
    """

    record: EvaluationRecord
    page: str
    picture: str | None
    main: tuple[str, ...]

    @property
    def passed(self) -> bool | None:
        """What the gate says; None where nobody asked it."""
        return None if self.record.gate is None else self.record.gate.passed

    @property
    def title(self) -> str:
        """What was looked at, and the verdict, in one line."""
        record = self.record
        beside = "" if record.baseline is None else f" beside version {record.baseline.version}"
        said = "" if record.verdict is None else f": {record.verdict}"
        return f"{record.space} version {record.candidate.version}{beside}{said}"

    def rows(self) -> list[dict[str, object]]:
        """The metrics as rows of a table."""
        return [
            {
                "metric": name,
                **one.estimate.model_dump(include={"value", "low", "high", "n"}),
                "baseline": one.compared and one.compared.baseline,
                "verdict": one.compared and one.compared.verdict,
            }
            for name, one in self.record.metrics.items()
        ]

    def told(self) -> dict[str, object]:
        """What a run tells of it, beside what the gate says."""
        return {
            "baseline": self.record.baseline and self.record.baseline.version,
            "verdict": self.record.verdict,
            "reason": self.record.reason,
            "metrics": self._metrics(self.main),
            "report": self.page,
        }

    def gate(self) -> dict[str, object] | None:
        """What the gate says; None where nobody asked it."""
        gate = self.record.gate
        if gate is None:
            return None
        return {
            "passed": gate.passed,
            "failed": list(gate.failed),
            "verdict": self.record.verdict,
            "reason": self.record.reason,
            "report": self.page,
        }

    def summary(self) -> dict[str, Any]:
        """What scripts may rely on, plain data."""
        told = self.record.model_dump(mode="json", exclude={"format", "metrics", "details"})
        candidate, baseline = self.record.candidate, self.record.baseline
        return told | {
            "version": candidate.version,
            "baseline": None if baseline is None else baseline.version,
            "metrics": self._metrics(self.record.metrics),
            "cost": {
                name: {key: getattr(one, key) for key in COSTS}
                for name, one in (("candidate", candidate), ("baseline", baseline))
                if one is not None
            },
            "report": self.page,
            "map": self.picture,
        }

    def _metrics(self, names: Iterable[str]) -> dict[str, object]:
        known = self.record.metrics
        return {
            name: {
                **known[name].estimate.model_dump(mode="json"),
                "of": known[name].of,
                "parts": known[name].parts,
                "compared": (one := known[name].compared) and one.model_dump(mode="json"),
            }
            for name in names
            if name in known
        }


COSTS = ("encoder", "precision", "dim", "size_bytes", "encode_seconds", "encoded")


@task(name="evaluate", persist_result=False, cache_policy=NO_CACHE)
def evaluate(
    store_uri: str,
    space: str,
    settings: EvaluateConfig,
    version: str,
    baseline: str | None,
    options: Sequence[str] = (),
) -> Evaluated:
    """Measures a version by the suite, beside `baseline` if there is one, and keeps what it found.

    `options` are those that say what to measure, as the command that makes it again has them.
    Raises ConfigError for a suite, a gate or a version that cannot be, MetricError for a metric
    that is undefined on one of the versions.
    """
    return _evaluate(_asked(store_uri, space, settings, version, baseline, options))


@task(name="judge", persist_result=False, cache_policy=NO_CACHE)
def judge(run: Run, version: VersionEntry | None) -> Evaluated | None:
    """Evaluates the version of a run beside the one that serves, as the config says.

    None where the config does not, where only some records were taken, where the version serves
    already, and where it cannot be judged and is to serve all the same. What was found before of
    the same versions by the same suite stands. Raises Interrupted when the user asked to stop.
    """
    settings, serving = run.config.evaluate, run.catalog.serving(run.space)
    if settings is None or version is None or run.options.limit:
        return None
    if serving is not None and serving.version == version.version:
        return None
    run.report("evaluate")
    baseline = None if serving is None else str(serving.version)
    try:
        asked = _asked(run.store_uri, run.space, settings, str(version.version), baseline)
        known = evaluations.read(run.store_uri, version.table, asked.id)
        if known is not None and asked.suite.repeatable:
            return _kept(asked, known)
        return _evaluate(replace(asked, pause=run.check))
    except Interrupted as error:
        error.add_note(
            f"version {version.version} is committed and not judged, so that it does not serve: "
            "the next run judges it"
        )
        raise
    except (ConfigError, MetricError) as error:
        if run.options.promote == "yes":
            run.notes.append(f"not judged, and promoted all the same: {error}")
            return None
        error.add_note(
            f"version {version.version} is made, and does not serve, since it cannot be judged: "
            f"the next run tries again, `vectorline promote {run.space} {version.version}` "
            "serves it"
        )
        raise


def _asked(
    store_uri: str,
    space: str,
    settings: EvaluateConfig,
    version: str,
    baseline: str | None,
    options: Sequence[str] = (),
) -> "Asked":
    from tasks.evaluation import Asked  # with scipy, which a run that is not judged does not need

    suite = check_suite(settings)
    candidate = open_space(space, store_uri, version)
    beside = None if baseline is None else open_space(space, store_uri, baseline)
    alone = "no version serves: there is nothing to compare with"
    if beside is not None and beside.version == candidate.version:
        alone = f"version {candidate.version} is the baseline itself: there is nothing to compare"
        beside = None
    numbers = ["--version", candidate.version, "--baseline", (beside or candidate).version]
    words = ["vectorline", "evaluate", space, *map(str, numbers), *options, "--store", store_uri]
    return Asked(suite, settings, candidate, beside, shlex.join(words), alone)


def _evaluate(asked: "Asked") -> Evaluated:
    from tasks.evaluation import run_evaluation
    from tasks.reports.map_figure import draw
    from tasks.reports.page import render

    started = time.monotonic()
    record = run_evaluation(asked)
    record = record.model_copy(update={"seconds": round(time.monotonic() - started, 3)})
    store_uri = asked.candidate.store_uri
    Catalog(store_uri).resolve(record.space, str(record.candidate.version))  # else it was dropped
    evaluations.add_scores(store_uri, record)
    picture = draw(record)
    page = render(record, evaluations.scores(store_uri, record.space), picture)
    evaluations.write(store_uri, record, page, picture)
    return _kept(asked, record)


def _kept(asked: "Asked", record: EvaluationRecord) -> Evaluated:
    store_uri = asked.candidate.store_uri
    page, picture = evaluations.page(store_uri, record), evaluations.picture(store_uri, record)
    return Evaluated(record, page, picture, tuple(asked.settings.gate) or asked.suite.main)
