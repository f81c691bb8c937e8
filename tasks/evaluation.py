"""One evaluation: a version measured by a suite, and what stands beside it in another version."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import signature
from typing import Any

import numpy as np

from schemas.config import EvaluateConfig
from schemas.evaluation import EvaluationRecord, Judged
from schemas.manifest import Manifest
from tasks import findings, judge
from tasks.digests import digest_json
from tasks.errors import ConfigError, MetricError
from tasks.evaluated import EvaluatedVersion, evaluated
from tasks.evaluations.base import Measurement
from tasks.judge import Pair
from tasks.libraries import versions_of
from tasks.maps import map_of
from tasks.metrics import compare
from tasks.metrics.mapped import release
from tasks.metrics.score import Matrix
from tasks.plugins import load
from tasks.progress import Report, listener
from tasks.space import Space
from tasks.store import manifests
from tasks.store.catalog import Catalog
from tasks.suites import BuiltSuite

LIBRARIES = (
    "lancedb",
    "mteb",
    "numpy",
    "scipy",
    "scikit-learn",
    "umap-learn",
    "torch",
    "sentence-transformers",
)
NEIGHBOURS = 10
BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class Asked:
    """What is to be evaluated, and how; `baseline` None looks at the candidate alone.

    `alone` says why there is no baseline. `pause` is called between the tasks of the suite, and may
    raise to stop.
    """

    suite: BuiltSuite
    settings: EvaluateConfig
    candidate: Space
    baseline: Space | None
    command: str = ""
    alone: str = ""
    pause: Callable[[], None] = lambda: None

    @property
    def id(self) -> str:
        """The same for the same versions, suite and settings."""
        baseline = None if self.baseline is None else self.baseline.version
        settings = self.settings.model_dump(mode="json", exclude={"suite"})
        sides = [self.candidate, *([] if self.baseline is None else [self.baseline])]
        states = [[one.version, one.entry.table, one.entry.lance_version] for one in sides]
        key = [states, self.suite.digest, settings]
        beside = "alone" if baseline is None else f"beside-{baseline}"
        return f"{self.candidate.version}-{beside}-{digest_json(key).hex()[:12]}"


@dataclass(frozen=True)
class Side:
    """A version with what was measured of it."""

    version: EvaluatedVersion
    measured: Mapping[str, Measurement]


def run_evaluation(asked: Asked) -> EvaluationRecord:
    """Measures the candidate; where there is a baseline, both on the records that both have.

    Raises ConfigError for what the suite asks and a version has not, MetricError for a metric that
    is undefined on one.
    """
    wanted, seed = asked.suite.map, asked.settings.seed
    shown = wanted and map_of(wanted, asked.candidate, asked.baseline, seed)
    with ExitStack() as stack:
        record = _measured(asked, stack)
    details = record.details.model_copy(update={"map": shown})
    return record.model_copy(update={"details": details})


def _measured(asked: Asked, stack: ExitStack) -> EvaluationRecord:
    candidate = _side(asked, asked.candidate, stack)
    metrics = {
        name: judge.described(name, one, asked.settings) for name, one in candidate.measured.items()
    }
    serving = Catalog(asked.candidate.store_uri).serving(asked.candidate.entry.space)
    record = EvaluationRecord(
        id=asked.id,
        space=asked.candidate.entry.space,
        suite=asked.suite.path,
        suite_digest=asked.suite.digest,
        candidate=_judged(candidate.version),
        serving=None if serving is None else serving.version,
        metrics=metrics,
        alpha=asked.settings.alpha,
        seed=asked.settings.seed,
        seconds=0.0,
        created_at=datetime.now(UTC),
        command=asked.command,
        libraries=versions_of(LIBRARIES),
    )
    if asked.baseline is None:
        details = findings.alone(candidate.version, candidate.measured)
        return record.model_copy(update={"details": details, "reason": asked.alone})
    return _beside(asked, asked.baseline, record, candidate, stack)


def _beside(
    asked: Asked, baseline: Space, record: EvaluationRecord, candidate: Side, stack: ExitStack
) -> EvaluationRecord:
    ids = _common(candidate.version, stack.enter_context(evaluated(baseline, asked.settings.seed)))
    if not ids:
        raise ConfigError(
            f"versions {asked.candidate.version} and {baseline.version} of space "
            f"{record.space!r} have no record in common: there is nothing to compare"
        )
    ours = candidate
    if len(ids) < len(candidate.version.record_ids):
        ours = _side(asked, asked.candidate, stack, ids)
    theirs = _side(asked, baseline, stack, ids, told_by=ours.version)
    pairs = {
        name: Pair(one, theirs.measured[name])
        for name, one in ours.measured.items()
        if name in theirs.measured
    }
    wanted = judge.margins(asked.settings, asked.suite.main)
    metrics, outcome = judge.compared(
        record.metrics,
        pairs,
        wanted,
        asked.settings,
        same_encoder=baseline.entry.fingerprint == asked.candidate.entry.fingerprint,
        same_vectors=_same(ours.version.rows, theirs.version.rows),
    )
    return record.model_copy(
        update={
            "baseline": _judged(theirs.version),
            "metrics": metrics,
            "verdict": outcome.verdict,
            "reason": outcome.reason,
            "gate": outcome.gate,
            "neighbour_overlap": _overlap(ours.version, theirs.version),
            "common_records": len(ids),
            "details": findings.beside(ours.version, theirs.version, pairs, [*wanted]),
        }
    )


def _side(
    asked: Asked,
    space: Space,
    stack: ExitStack,
    only: Sequence[str] | None = None,
    told_by: EvaluatedVersion | None = None,
) -> Side:
    """A version that is measured; labels are those that `told_by` has."""
    version = stack.enter_context(evaluated(space, asked.settings.seed, only, told_by))
    measured: dict[str, Measurement] = {}
    for number, task in enumerate(asked.suite.tasks):
        asked.pause()
        listener.get()(
            Report(f"measure version {space.version}", number, len(asked.suite.tasks), unit="tasks")
        )
        try:
            measured.update(task.measure(version))
        except (ConfigError, MetricError) as error:
            named = f"{task.use}, named {task.name!r}" if task.name else task.use
            where = f"task {number + 1} of the suite ({named}), version {space.version}"
            raise type(error)(f"{where}: {error}") from error
    return Side(version, measured)


def _same(one: Matrix, other: Matrix) -> bool:
    """Whether all vectors are equal to the bit."""
    if one.shape != other.shape:
        return False
    starts = range(0, len(one), BLOCK_ROWS)
    for at in starts:
        if not np.array_equal(one[at : at + BLOCK_ROWS], other[at : at + BLOCK_ROWS]):
            return False
        release(one)
        release(other)
    return True


def _common(one: EvaluatedVersion, other: EvaluatedVersion) -> list[str]:
    shared = set(other.record_ids)
    return [id_ for id_ in one.record_ids if id_ in shared]


def _overlap(candidate: EvaluatedVersion, baseline: EvaluatedVersion) -> float | None:
    """The mean share of nearest neighbours that a record keeps."""
    k = min(NEIGHBOURS, len(candidate.record_ids) - 1)
    if k < 1:
        return None
    found = compare.neighbour_overlap(candidate.records, baseline.records, k=k, rng=candidate.rng)
    return found.value


def _judged(version: EvaluatedVersion) -> Judged:
    """What a version is and takes; the largest run of its table says how long that took."""
    space = version.space
    entry, settings = space.entry, space.settings
    own = [
        one for one in Catalog(space.store_uri).versions(entry.space) if one.table == entry.table
    ]
    read = (manifests.read(space.store_uri, one.table, one.run_id, Manifest) for one in own)
    largest = max((one for one in read if one), key=lambda one: one.encoded, default=None)
    return Judged(
        version=space.version,
        table=entry.table,
        fingerprint=entry.fingerprint,
        encoder=_named(settings.encoder),
        precision=settings.precision,
        rows=space.rows,
        records=space.records,
        dim=settings.dim,
        size_bytes=4 * settings.dim * space.rows,
        encode_seconds=None if largest is None else largest.seconds.encode,
        encoded=None if largest is None else largest.encoded,
    )


def _named(encoder: Mapping[str, Any]) -> str:
    """By which people tell two encoders apart: what is used and its model, a default one too."""
    model = encoder.get("model")
    with suppress(ConfigError):  # a plugin that is gone has made vectors, which can be evaluated
        model = model or getattr(
            signature(load("encoders", encoder["use"])).parameters.get("model"), "default", None
        )
    return f"{encoder['use']} {model}" if isinstance(model, str) else str(encoder["use"])
