"""Look for drift in a version of a space."""

from typing import Any

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.events import needs_someone
from flows.turns import turn
from schemas.config import DriftConfig
from tasks.detect import Detected, detect


@flow(name="drift", flow_run_name="drift {space}", persist_result=False, validate_parameters=False)
def drift(
    space: str,
    settings: dict[str, Any],
    store_uri: str,
    version: str,
    baseline: str | None,
    options: list[str],
    by_sketches: bool = False,
) -> dict[str, Any] | State[Any]:
    """One look; gives what `vectorline drift --json` prints.

    An alarm is the state `Drift` or `EncoderChanged`, after its verdict.
    """
    wanted = DriftConfig.model_validate(settings, strict=False)
    with turn(space, store_uri):
        found = detect(
            store_uri, space, wanted, version, baseline, options=options, by_sketches=by_sketches
        )
        show_artifacts(found)
    if found.alarm:
        message = f"{found.record.verdict}: {found.record.reason}"
        return needs_someone(space, found.record.verdict, message, found.summary())
    return found.summary()


def show_artifacts(found: Detected) -> None:
    """Lets Prefect show the tests, the verdict, and where the page is."""
    create_table_artifact(found.rows(), key="drift", description=found.title)
    create_markdown_artifact(found.markdown, key="drift-report", description=found.title)
