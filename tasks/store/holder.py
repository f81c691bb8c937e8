"""What both kinds of lease share: who has one, and what the others are told."""

import os
import socket
import sys
from datetime import UTC, datetime
from typing import Protocol

from schemas.lease import Holder
from tasks.errors import LeaseHeld
from tasks.progress import Report, listener

COMMAND_CHARACTERS = 120


class Held(Protocol):
    """A lease that this process holds."""

    @property
    def token(self) -> int:
        """Its number: that of the next one is higher."""

    def check(self) -> None:
        """Raises LeaseLost if this process has it no longer; to be called before a commit."""


def me(token: int) -> Holder:
    """This process, from now on."""
    return Holder(
        token=token,
        pid=os.getpid(),
        host=socket.gethostname(),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        command=" ".join(sys.argv)[:COMMAND_CHARACTERS],
    )


def tell_waiting(table: str, holder: Holder | None) -> None:
    """Lets whoever listens know why nothing goes on."""
    listener.get()(Report(f"wait for {table}, written by {holder or 'another process'}"))


def refusal(table: str, holder: Holder | None) -> LeaseHeld:
    """The error of a process that does not get the lease; None is a holder that is not known."""
    return LeaseHeld(
        f"{table!r} is being written by {holder or 'another process'}: "
        "wait for it with --wait 10m, or end it"
    )
