"""Let the vector stores downstream of a space hold what serves."""

from collections.abc import Sequence
from typing import Any

from prefect import State, flow
from prefect.artifacts import create_table_artifact

from flows.events import found
from flows.turns import turn
from schemas.config import SinkConfig
from tasks.errors import VectorlineError
from tasks.publish import PublishOptions, told, told_failure
from tasks.publish import publish as publish_to
from tasks.run import Stop, stopped_by_signals

SHOWN = ("sink", "to_version", "upserted", "deleted", "count", "verified", "error")


@flow(
    name="publish", flow_run_name="publish {space}", persist_result=False, validate_parameters=False
)
def publish(
    space: str, sinks: list[dict[str, Any]], store_uri: str, options: dict[str, Any]
) -> dict[str, Any] | State[Any]:
    """All of these sinks, one after the other; `published` is what `vectorline publish` prints."""
    configs = [SinkConfig.model_validate(one, strict=False) for one in sinks]
    stop = Stop()
    with turn(space, store_uri), stopped_by_signals(stop):
        published = each(store_uri, space, configs, PublishOptions(**options), stop)
        return found(space, {"published": published})


def each(
    store_uri: str,
    space: str,
    sinks: Sequence[SinkConfig],
    options: PublishOptions,
    stop: Stop,
) -> list[dict[str, Any]]:
    """What became of each sink; what goes wrong with one keeps no other from its version."""
    rows = []
    for config in sinks:
        try:
            rows.append(told(publish_to(store_uri, space, config, options, stop)))
        except VectorlineError as error:  # where the user asked to stop, of all that are left
            rows.append(told_failure(config, error))
    if rows:
        shown = [{key: one[key] for key in SHOWN} for one in rows]
        create_table_artifact(shown, key="published")
    return rows
