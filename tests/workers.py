"""Workers that do what a number says; functions of their job."""

import os
import threading
import time
from dataclasses import dataclass

from tasks.compute.base import Progress
from tasks.errors import Interrupted, SourceError


@dataclass(frozen=True)
class Number:
    """A job: a number to square, or a way to fail."""

    value: int
    attempt: int = 0
    way: str = "square"


class Squarer:
    def __init__(self, threads: int) -> None:
        del threads
        self._stopping = threading.Event()
        self._steps = 0

    def do(self, job: object) -> object:
        assert isinstance(job, Number)
        if job.way == "die":
            os._exit(1)
        if job.way == "hang":
            time.sleep(3600)
        if job.way == "refuse":
            raise SourceError(f"{job.value} is refused")
        if job.way == "wait" and self._stopping.wait(60):
            raise Interrupted("stopped")
        self._steps += 1
        return job.value**2, os.getpid()

    def progress(self) -> Progress:
        return Progress(steps=self._steps)

    def stop(self) -> None:
        self._stopping.set()


class Stillborn(Squarer):
    def __init__(self, threads: int) -> None:
        del threads
        raise RuntimeError("no weights here")
