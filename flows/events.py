"""How a flow ends that did its work and found something that somebody should look at."""

from typing import Any

from prefect import State
from prefect.client.schemas.objects import StateType
from prefect.events import emit_event


def needs_someone(space: str, name: str, message: str, summary: dict[str, Any]) -> State[Any]:
    """A failed state called `name`, with the flow's answer in it; an event says the same.

    The event is `vectorline.<name>` in lower case, its resource `vectorline.space.<space>`: what
    automations can look for. `message` is one sentence.
    """
    emit_event(
        event=f"vectorline.{name.lower()}",
        resource={
            "prefect.resource.id": f"vectorline.space.{space}",
            "prefect.resource.name": space,
        },
        payload={"message": message, "summary": summary},
    )
    return State(type=StateType.FAILED, name=name, message=message, data=summary)


def judged(space: str, summary: dict[str, Any]) -> dict[str, Any] | State[Any]:
    """The answer of a flow, or state `Refused` where its gate said no and nobody overruled it."""
    gate = summary.get("gate")
    if not gate or gate["passed"] or summary.get("promoted"):
        return summary
    reason = gate.get("reason") or summary.get("reason") or ", ".join(gate["failed"])
    return needs_someone(space, "Refused", f"the gate says no: {reason}", summary)


def answer(state: State[Any]) -> dict[str, Any]:
    """What a flow gave, also where it needs someone; raises what it raised."""
    given = state.result(raise_on_failure=False)
    if isinstance(given, BaseException):
        raise given
    answered: dict[str, Any] = given
    return answered
