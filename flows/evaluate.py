"""Evaluate a version of a space, alone or beside another one."""

from typing import Any

from prefect import State, flow
from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.events import found
from flows.turns import turn
from schemas.config import EvaluateConfig
from tasks.evaluate import Evaluated
from tasks.evaluate import evaluate as evaluate_version
from tasks.store.catalog import Catalog


@flow(
    name="evaluate",
    flow_run_name="evaluate {space}",
    persist_result=False,
    validate_parameters=False,
)
def evaluate(
    space: str,
    settings: dict[str, Any],
    store_uri: str,
    version: str,
    baseline: str | None,
    options: list[str],
) -> dict[str, Any] | State[Any]:
    """One evaluation; gives what `vectorline evaluate --json` prints.

    Without `baseline` it is beside the version that serves, if one does.
    """
    with turn(space, store_uri):
        if baseline is None and Catalog(store_uri).serving(space) is not None:
            baseline = "serving"
        measured = evaluate_version(
            store_uri,
            space,
            EvaluateConfig.model_validate(settings),
            version,
            baseline,
            options,
        )
        show_artifacts(measured)
        return found(space, measured.summary())


def show_artifacts(found: Evaluated) -> None:
    """Lets Prefect show the metrics, and a link to the page."""
    create_table_artifact(found.rows(), key="metrics", description=found.title)
    create_link_artifact(found.page, key="report", link_text=found.title)
