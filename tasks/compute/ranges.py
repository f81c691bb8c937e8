"""Ranges of a job over a pool's workers: what lets walks be made on several processes or machines.

A run fits in one worker, which walks in its own process: walking is a hundredth of the work. This
is for graphs whose laws make walks dear, and for walks that somebody wants for themselves:

    with over_pool(workers=4) as map_ranges:
        for walks in corpus(graph, length=80, walks_per_node=10, seed=0, map_ranges=map_ranges): ...
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from tasks import plugins
from tasks.compute.base import Demand, Pool, Progress
from tasks.errors import StoreError, Transient

Made = TypeVar("Made")
MapRanges: TypeAlias = Callable[[Callable[[range], Any], Iterable[range]], Iterator[Any]]
"""Results of a function that pickles, in the order of the ranges."""

TRIES = 3
AHEAD = 2  # ranges for each worker, given out or waiting for those before them


@dataclass(frozen=True, slots=True)
class RangeJob:
    """Call the function with the range."""

    number: int
    function: Callable[[range], object]
    places: range
    attempt: int = 0


class RangeWorker:
    """Does such jobs."""

    def __init__(self, threads: int) -> None:
        """Needs nothing."""
        del threads
        self._done = 0

    def do(self, job: object) -> object:
        """What the function gives."""
        if not isinstance(job, RangeJob):
            raise TypeError(f"a worker of ranges cannot do {type(job).__name__}")
        found = job.function(job.places)
        self._done += 1
        return found

    def progress(self) -> Progress:
        """A step for each range."""
        return Progress(steps=self._done)

    def stop(self) -> None:
        """A range is short: nothing is done to end it."""


@contextmanager
def over_pool(
    use: str = "ray",
    workers: int | None = None,
    address: str | None = None,
    stall_s: float = 300.0,
) -> Iterator[MapRanges]:
    """A `map` over ranges, by the workers of a pool that is closed afterwards.

    `use`, `workers`, `address` and `stall_s` are as under `compute:` in a config. At most two
    results for each worker are held. A range whose worker is lost is done by another one, twice at
    most. Raises what the function raises.
    """
    pool: Pool = plugins.load("compute", use)(
        RangeWorker,
        Demand(workers=workers, gpus=False, stall_s=stall_s, address=address),
        stop=threading.Event(),
        on_progress=lambda progress: None,
    )
    try:
        yield lambda function, ranges: _mapped(pool, function, ranges)
    finally:
        pool.close()


def _mapped(
    pool: Pool, function: Callable[[range], Made], ranges: Iterable[range]
) -> Iterator[Made]:
    todo = (RangeJob(number, function, places) for number, places in enumerate(ranges))
    jobs = deque(islice(todo, AHEAD * pool.n_workers))
    held: dict[int, Any] = {}
    wanted = 0
    for finished in pool.map(jobs):
        job, error = finished.job, finished.error
        if isinstance(error, Transient) and job.attempt + 1 < TRIES:
            jobs.append(replace(job, attempt=job.attempt + 1))
            continue
        if error is not None:
            raise error
        held[job.number] = finished.result
        while wanted in held:
            yield held.pop(wanted)
            wanted += 1
            jobs.extend(islice(todo, 1))
    if held:
        raise StoreError(f"range {wanted} was never done")
