"""How sinks wait for their stores, so that whoever asked them may end the wait."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_pause: ContextVar[Callable[[float], object]] = ContextVar("pause", default=time.sleep)


def wait(seconds: float) -> None:
    """Waits; raises what `waits_by` lets it raise."""
    _pause.get()(seconds)


@contextmanager
def waits_by(pause: Callable[[float], object]) -> Iterator[None]:
    """Lets all sinks of this thread wait by `pause` in the block."""
    token = _pause.set(pause)
    try:
        yield
    finally:
        _pause.reset(token)
