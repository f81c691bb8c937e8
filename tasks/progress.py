"""Who is told how far a run is: the command line, Prefect's artifacts, or nobody."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from tasks.compute.base import Progress


@dataclass(frozen=True, slots=True)
class Report:
    """How far a stage is: `done` of `total` records, and what the workers have done in all.

    `unit` is what their tokens are, if contents are no texts.
    """

    stage: str
    done: int = 0
    total: int = 0
    workers: Progress = field(default_factory=Progress)
    unit: str = "tokens"


class Listener(Protocol):
    """Takes reports as they come, at most a few a second."""

    def __call__(self, report: Report) -> None:
        """Shows or stores the report; must be quick and must not raise."""


def _silent(report: Report) -> None:
    del report


listener: ContextVar[Listener] = ContextVar("listener", default=_silent)
"""The listener of the run in this context."""
