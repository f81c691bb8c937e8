"""A clock that tests may turn, for all of our own code."""

import time
from datetime import UTC, datetime, timedelta, tzinfo
from types import SimpleNamespace

import pytest

from tasks import detection, evaluation, fitting, maintain, marking, publishing, run, train
from tasks.sinks import http_answers, lance_table, lancedb
from tasks.sources import access, web
from tasks.store import catalog, commit, flock, holder

READERS = (
    access,
    catalog,
    commit,
    detection,
    evaluation,
    fitting,
    flock,
    holder,
    http_answers,
    lance_table,
    lancedb,
    maintain,
    marking,
    publishing,
    run,
    train,
    web,
)
"""All modules that ask for the time of day."""


class Clock:
    """What the program takes for the time of day: so many days more than it is."""

    days = 0

    def now(self, zone: tzinfo = UTC) -> datetime:
        """Instead of that of `datetime`."""
        return datetime.now(zone) + timedelta(days=self.days)

    def time(self) -> float:
        """Instead of that of `time`."""
        return self.now().timestamp()

    def time_ns(self) -> int:
        """Instead of that of `time`."""
        return int(self.time() * 1e9)


def install(patch: pytest.MonkeyPatch) -> Clock:
    """Puts a clock in place of the real one."""
    clock = Clock()
    dates = SimpleNamespace(now=clock.now, fromisoformat=datetime.fromisoformat)
    times = SimpleNamespace(
        time=clock.time, time_ns=clock.time_ns, monotonic=time.monotonic, sleep=time.sleep
    )
    for module in READERS:
        for name, value in (("datetime", dates), ("time", times)):
            if hasattr(module, name):
                patch.setattr(module, name, value)
    return clock
