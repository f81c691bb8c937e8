"""What a pool gives: workers that are built once per process and take job after job."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Job(Protocol):
    """Something that a worker can do; plain data that pickles."""

    @property
    def attempt(self) -> int:
        """How often it was tried before; a job that failed once gets a worker of its own."""


J = TypeVar("J", bound=Job)


@dataclass(frozen=True, slots=True)
class Progress:
    """What a worker has done since it was built: `steps` grows with whatever moves.

    Of a fit, `expected` are the words of walks or of texts that it takes, `tokens` those that are
    done, and `loss` is the mean over a pair of late.
    """

    steps: int = 0
    records: int = 0
    contents: int = 0
    tokens: int = 0
    expected: int = 0
    loss: float = 0.0

    def __add__(self, other: "Progress") -> "Progress":
        return Progress(
            self.steps + other.steps,
            self.records + other.records,
            self.contents + other.contents,
            self.tokens + other.tokens,
            self.expected + other.expected,
            self.loss + other.loss,
        )


class Worker(Protocol):
    """What a pool drives. `do` may run in two threads at once; the others answer at any time."""

    def do(self, job: Job) -> object:
        """Does one job; raises what the job raised."""

    def progress(self) -> Progress:
        """Counters that change whenever anything moves: where they stand, the worker is stalled."""

    def stop(self) -> None:
        """Asks `do` to raise Interrupted after the batch in hand."""


BuildWorker = Callable[[int], Worker]
"""Builds a worker that may use so many CPU cores."""

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Finished(Generic[J]):
    """One job's end: its result, or the error that it raised.

    The error is WorkerLost if the worker went away.
    """

    job: J
    result: object = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of a pool.

    `workers` None means one for each GPU, or for each core where there is none (two cores a worker
    on big machines: half of the models in memory, little slower). `gpus` allows GPUs. A worker
    without progress for `stall_s` seconds is ended. `address` names a cluster.
    """

    workers: int | None = None
    gpus: bool = True
    stall_s: float = 300.0
    address: str | None = None


class Pool(Protocol):
    """Workers, started in the background when the pool is made.

    Every pool's constructor takes (build_worker, demand, *, stop, on_progress).
    """

    @property
    def n_workers(self) -> int:
        """How many there are; waits until they are started."""

    def map(self, jobs: deque[J]) -> Iterator[Finished[J]]:
        """Does all jobs, in any order, and gives each one's end as it comes.

        The caller may append to `jobs` while it takes results (a retry, a halved job); the iterator
        ends when nothing is left and nothing is under way. Raises Interrupted, after the workers
        stopped, when the pool's stop event is set, and WorkerLost if workers cannot be started.
        """

    def close(self) -> None:
        """Ends the workers; safe to call twice and from an error's path."""
