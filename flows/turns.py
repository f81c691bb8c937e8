"""One flow of a space at a time, and one run for however many that were missed.

The queue of a space gives its runs to a worker one by one (`flows/deploy.py`); what gets past that,
as with two workers that ask in the same instant, waits here for the store's lease on the space.
Prefect's own concurrency limits are not used: their leases are lost when the server starts anew,
and with its lease Prefect ends a run that may have worked for hours.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from uuid import UUID

from tasks.errors import LeaseHeld
from tasks.store.lease import lease

WAIT_S = 24 * 3600.0


@contextmanager
def turn(space: str, store_uri: str) -> Iterator[None]:
    """Holds a space while the run of a deployment goes on; a command needs no turn.

    Runs of the same deployment whose time has passed as well end here in state `Skipped`: this one
    does what they would do. Raises LeaseHeld when the space was not free for a day.
    """
    from prefect.runtime import deployment, flow_run

    if deployment.id is None:
        yield
        return
    with ExitStack() as held:
        try:
            held.enter_context(lease(store_uri, space, WAIT_S))
        except LeaseHeld as error:
            raise LeaseHeld(f"another flow of space {space!r} does not end: {error}") from error
        skip_missed(UUID(deployment.id), str(flow_run.name))
        yield


def skip_missed(deployment_id: UUID, served_by: str) -> None:
    """Ends all runs of a deployment that are due, but for those that somebody asked for."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterNextScheduledStartTime,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import FlowRun, State, StateType

    due = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(before_=datetime.now(UTC)),
    )
    own = DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id]))
    skipped = State(
        type=StateType.CANCELLED, name="Skipped", message=f"{served_by!r} did this run's work too"
    )
    found = list[FlowRun]()
    with get_client(sync_client=True) as client:
        # The server tells 200 at a time: so many an hourly schedule has after nine days.
        while page := client.read_flow_runs(
            flow_run_filter=due, deployment_filter=own, offset=len(found)
        ):
            found += page
        for run in found:
            if run.auto_scheduled:
                client.set_flow_run_state(run.id, skipped)
