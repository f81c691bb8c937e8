"""Refresh a space from its sources: plan, encode, commit, judge, promote."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect import State, flow
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows import drift, evaluate, publish
from flows.events import found
from flows.turns import turn
from tasks.commit import check, commit
from tasks.config import from_dict
from tasks.detect import watch
from tasks.encode import encode
from tasks.evaluate import judge
from tasks.plan import plan
from tasks.progress import Report, listener
from tasks.promote import promote
from tasks.publish import PublishOptions
from tasks.run import Options, Run, open_run, waiting

ARTIFACT_EVERY_S = 2.0


@flow(
    name="refresh", flow_run_name="refresh {space}", persist_result=False, validate_parameters=False
)
def refresh(
    space: str, config: dict[str, Any], store_uri: str, options: dict[str, Any]
) -> dict[str, Any] | State[Any]:
    """One run of a config; gives what `vectorline run --json` prints.

    `space` names the flow's run. Raises what the verbs raise.
    """
    run = waiting.get() or Run(
        from_dict(config, f"the config of {space}"), store_uri, Options(**options)
    )
    with turn(space, store_uri), open_run(run), _progress_artifact(space):
        planned = plan(run)
        check(run, planned)
        encoded = encode(run, planned) if planned.changes else None
        committed = commit(run, planned, encoded)
        judged = judge(run, committed.version)
        watched = watch(run, committed.version)
        promoted = promote(run, committed.version, judged, watched)
        books = [{"outcome": name, "records": n} for name, n in committed.manifest.records]
        create_table_artifact(books, key="manifest", description=committed.manifest.run_id)
        gate = told = drifted = None
        if judged is not None:
            evaluate.show_artifacts(judged)
            gate, told = judged.gate(), judged.told()
        if watched is not None:
            drift.show_artifacts(watched)
            drifted = watched.told()
        summary = committed.summary(promoted, run.notes, gate, drifted)
        said = PublishOptions(run.options.allow_removals, wait_s=run.options.wait_s)
        sinks = publish.each(store_uri, space, run.sinks, said, run.stop)
        return found(space, summary | {"evaluated": told, "published": sinks})


@contextmanager
def _progress_artifact(space: str) -> Iterator[None]:
    """Shows the records that are done as a share of the plan, beside whoever listens already."""
    artifact = create_progress_artifact(0.0, key="records", description=f"records of {space}")
    others, shown_at = listener.get(), 0.0

    def show(report: Report) -> None:
        nonlocal shown_at
        others(report)
        now = time.monotonic()
        if isinstance(artifact, UUID) and report.total and now - shown_at > ARTIFACT_EVERY_S:
            shown_at = now
            update_progress_artifact(artifact, 100.0 * report.done / report.total)

    token = listener.set(show)
    try:
        yield
        if isinstance(artifact, UUID):
            update_progress_artifact(artifact, 100.0)
    finally:
        listener.reset(token)
