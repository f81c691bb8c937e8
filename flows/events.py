"""How a flow ends that did its work and found something that somebody should look at."""

from typing import Any

from prefect import State
from prefect.client.schemas.objects import StateType
from prefect.events import emit_event
from prefect.exceptions import Abort

from tasks.mistakes import of_sink

LONG = ("metrics", "segments", "tests", "libraries")
"""Parts of an answer that an event leaves out: Prefect refuses large ones."""


class NeedsSomeone(Exception, Abort):
    """What a flow raises that ended in a failed state of its own, to whoever asks for its answer.

    Prefect resolves a failed state's data into an exception, and logs a traceback for any but an
    Abort, which ends a deployment's process and leaves the state as it is. A flow around this one
    fails with it, since it is an Exception as well.
    """

    def __init__(self, message: str, summary: dict[str, Any]) -> None:
        """`summary` is the flow's answer."""
        super().__init__(message, summary)
        self.message, self.summary = message, summary

    def __str__(self) -> str:
        """The one sentence of the state."""
        return self.message


def needs_someone(space: str, what: str, message: str, summary: dict[str, Any]) -> State[Any]:
    """A failed state with the flow's answer in it; an event says the same.

    `what` are the words that both are called by: `encoder changed` is the state `EncoderChanged`.
    """
    tell(space, what, message, summary)
    name, data = what.title().replace(" ", ""), NeedsSomeone(message, summary)
    return State(type=StateType.FAILED, name=name, message=message, data=data)


def tell(space: str, what: str, message: str, summary: dict[str, Any]) -> None:
    """An event that automations can look for.

    That of `encoder changed` is `vectorline.encoder-changed`, its resource
    `vectorline.space.<space>`; `message` is one sentence.
    """
    emit_event(
        event=f"vectorline.{what.replace(' ', '-')}",
        resource={
            "prefect.resource.id": f"vectorline.space.{space}",
            "prefect.resource.name": space,
        },
        payload={
            "message": message,
            "summary": {key: value for key, value in summary.items() if key not in LONG},
        },
    )


def found(space: str, summary: dict[str, Any]) -> dict[str, Any] | State[Any]:
    """The answer of a flow that judged a version, or the state that its verdict asks for.

    `Refused` where the gate said no, `Drift` where drift blocks, and nobody overruled it, and
    `NotPublished` where a sink has not the version that serves. Drift that does not block is an
    event alone, and so is another encoder.
    """
    gate, drift = summary.get("gate"), summary.get("drift")
    failed = [one for one in summary.get("published", ()) if one["error"]]
    overruled = bool(summary.get("promoted"))
    if gate and not gate["passed"] and not overruled:
        reason = gate.get("reason") or summary.get("reason") or ", ".join(gate["failed"])
        return needs_someone(space, "refused", f"the gate says no: {reason}", summary)
    if drift and drift["alarm"]:
        message = f"{drift['verdict']}: {drift['reason']}"
        if drift["blocked"] and not overruled:
            return needs_someone(space, drift["verdict"], message, summary)
        tell(space, drift["verdict"], message, summary)
    if failed:
        message = "; ".join(of_sink(one["sink"], one["error"]["message"]) for one in failed)
        return needs_someone(space, "not published", message, summary)
    return summary


def answer(state: State[Any]) -> dict[str, Any]:
    """What a flow gave, also where it needs someone; raises what it raised."""
    given = state.result(raise_on_failure=False)
    if isinstance(given, NeedsSomeone):
        return given.summary
    if isinstance(given, BaseException):
        raise given
    answered: dict[str, Any] = given
    return answered
