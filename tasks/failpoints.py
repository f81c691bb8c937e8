"""Places where a fault test may end the process, as `kill -9` would."""

import os
import signal
from collections import Counter

VARIABLE = "VECTORLINE_FAIL_POINT"
"""The name of the place, and with `:N` which time it is reached; without, the first time."""

_reached: Counter[str] = Counter()


def reach(name: str) -> None:
    """Ends this process at once if the variable names this place; otherwise nothing happens."""
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return
    _reached[name] += 1
    place, _, number = wanted.partition(":")
    if place == name and _reached[name] == int(number or 1):
        os.kill(os.getpid(), signal.SIGKILL)
