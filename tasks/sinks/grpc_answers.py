"""What statuses of gRPC mean."""

import re
from typing import Any

from tasks.sinks.remote import Failure, Why

MEANINGS = {
    Why.AWAY: ("UNAVAILABLE", "CANCELLED"),  # by a server that ends: nobody cancels here
    Why.SLOW: ("DEADLINE_EXCEEDED",),
    Why.BUSY: ("RESOURCE_EXHAUSTED", "ABORTED"),
    Why.LOGIN: ("UNAUTHENTICATED", "PERMISSION_DENIED"),
    Why.GONE: ("NOT_FOUND",),
    Why.ROWS: ("INVALID_ARGUMENT", "OUT_OF_RANGE"),
}
TOO_LARGE = "larger than max"  # a message, also where resources are said to be exhausted
LOST = re.compile(
    "rst_stream|goaway|socket closed|stream removed|connection reset|broken pipe|transport"
    " (is )?clos|unexpected eof|closed channel|channel (is )?closed",
    re.IGNORECASE,
)
"""Of a connection that broke, as INTERNAL, UNKNOWN or by the client itself."""


def failure_of(code: str, said: str) -> Failure:
    """What a status of this name means; `said` are its details."""
    told = f"{code}: {said}" if code else said
    if TOO_LARGE in said.lower():
        return Failure(Why.ROWS, f"the batch is too large for it: {told}")
    why = next((one for one, codes in MEANINGS.items() if code in codes), Why.OTHER)
    if why is Why.OTHER and LOST.search(said):
        why = Why.AWAY
    return Failure(why, told)


def failure_behind(error: BaseException) -> Failure | None:
    """The same of the call that an exception came of; None where it did of none."""
    from grpc import RpcError

    at: BaseException | None = error
    while at is not None and not isinstance(at, RpcError):
        at = at.__cause__ or at.__context__
    if at is None:
        return None
    call: Any = at
    return failure_of(call.code().name, call.details() or "")
