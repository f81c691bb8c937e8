"""Let the vector stores downstream of a space hold what serves."""

from collections.abc import Sequence
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.turns import turn
from schemas.config import SinkConfig
from schemas.publication import PublicationRecord
from tasks.errors import Interrupted, VectorlineError
from tasks.publish import PublishOptions, told
from tasks.publish import publish as publish_to
from tasks.run import Stop, stopped_by_signals


@flow(
    name="publish", flow_run_name="publish {space}", persist_result=False, validate_parameters=False
)
def publish(
    space: str, sinks: list[dict[str, Any]], store_uri: str, options: dict[str, Any]
) -> dict[str, Any]:
    """All of these sinks, one after the other; `published` is what `vectorline publish` prints."""
    configs = [SinkConfig.model_validate(one, strict=False) for one in sinks]
    stop = Stop()
    with turn(space, store_uri), stopped_by_signals(stop):
        return {"published": each(store_uri, space, configs, PublishOptions(**options), stop)}


def each(
    store_uri: str,
    space: str,
    sinks: Sequence[SinkConfig],
    options: PublishOptions,
    stop: Stop,
) -> list[dict[str, Any]]:
    """What became of each sink; what goes wrong with one keeps no other from its version.

    Raises the first error at the end, with the others and what was done as its notes.
    """
    done: list[PublicationRecord] = []
    failed: list[VectorlineError] = []
    for config in sinks:
        try:
            done.append(publish_to(store_uri, space, config, options, stop))
        except Interrupted:
            raise
        except VectorlineError as error:
            failed.append(error)
    rows = [told(one) for one in done]
    if rows:
        shown = ("sink", "to_version", "upserted", "deleted", "count", "verified")
        create_table_artifact([{key: one[key] for key in shown} for one in rows], key="published")
    if not failed:
        return rows
    for other in failed[1:]:
        failed[0].add_note(str(other))
    for one in done:
        failed[0].add_note(f"sink {one.sink!r} has version {one.to_version}")
    failed[0].add_note(f"`vectorline publish {space}` goes on from here; what serves, serves")
    raise failed[0]
