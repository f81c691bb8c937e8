"""One worker in this process: for debugging, for tests, and where processes are not allowed."""

import os
import threading
from collections import deque
from collections.abc import Iterator

from tasks.compute.base import BuildWorker, Demand, Finished, J, OnProgress
from tasks.errors import Interrupted, VectorlineError


class SerialPool:
    """Does jobs one after the other in the caller's thread.

    A job that ends the process ends the caller too, and a job that hangs hangs it: neither stalled
    nor dying workers are handled here.
    """

    n_workers = 1

    def __init__(
        self,
        build_worker: BuildWorker,
        demand: Demand,
        *,
        stop: threading.Event,
        on_progress: OnProgress,
    ) -> None:
        """Builds the worker, with all cores; nothing of `demand` applies to the caller's thread."""
        del demand
        self._worker = build_worker(os.cpu_count() or 1)
        self._stop = stop
        self._on_progress = on_progress

    def map(self, jobs: deque[J]) -> Iterator[Finished[J]]:
        """Does the jobs in their order."""
        while jobs:
            if self._stop.is_set():
                raise Interrupted("stopped before the next shard; what was done is kept")
            job = jobs.popleft()
            try:
                finished = Finished(job, result=self._worker.do(job))
            except VectorlineError as error:
                finished = Finished(job, error=error)
            self._on_progress(self._worker.progress())
            yield finished

    def close(self) -> None:
        """Nothing to end: the worker goes with this object."""
