"""A fixed pool of Ray actors, each of which builds its worker once.

Neither Ray Data (it starts GPU actors one by one, holds several times the data in memory and notes
rows before they are committed) nor one Ray task for each shard (a model load for each). Results are
small: vectors are written by the workers and never pass through the driver.
"""

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.compute.base import BuildWorker, Demand, Finished, J, Job, OnProgress, Progress, Worker
from tasks.errors import Interrupted, VectorlineError, WorkerLost

logger = logging.getLogger(__name__)

MANY_CORES = 8
IN_FLIGHT = 2  # one job is read and tokenised while another is encoded
TICK_S = 0.5
OBJECT_STORE_BYTES = (
    256 * 2**20
)  # plans pass through it, a few dozen bytes a record; vectors never do
START_S = 300.0
STOP_S = 60.0
KNOCK_S = 10.0
RAY_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # on by default; installs everything anew for each actor
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A worker gives memory back when it has done with it: with these, workers over a million
    # records hold 141 MiB, without 230 MiB. Torch gets its large blocks back: `keep_large_blocks`.
    # Workers of a cluster have the environment of their node.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(256 * 2**10),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**10),
}

Actor = Any  # Ray makes the handle's methods at run time: no type of its own knows them


class _Host:
    """The actor: holds the worker, answers for it while it works."""

    def __init__(self, build_worker: BuildWorker, threads: int, folder: str) -> None:
        """`folder` is the driver's, for relative paths; a node of a cluster may lack it."""
        with contextlib.suppress(OSError):
            os.chdir(folder)
        self._worker: Worker = build_worker(threads)

    def ready(self) -> int:
        return os.getpid()

    def do(self, job: Job) -> object:
        return self._worker.do(job)

    def progress(self) -> Progress:
        return self._worker.progress()

    def stop(self) -> None:
        self._worker.stop()


@dataclass(slots=True)
class _Seat:
    """One place in the pool: the actor that holds it now and what that actor has in hand.

    `arriving` answers when the actor is up; None from then on.
    """

    actor: Actor
    arriving: Any = None
    jobs: dict[Any, Job] = field(default_factory=dict)
    asked: Any = None
    progress: Progress = field(default_factory=Progress)
    moved_at: float = field(default_factory=time.monotonic)

    def free_for(self, job: Job) -> bool:
        """A job that failed before goes alone, so that the next failure names the guilty one."""
        if self.arriving is not None:
            return False
        alone = job.attempt > 0 or any(other.attempt > 0 for other in self.jobs.values())
        return len(self.jobs) < (1 if alone else IN_FLIGHT)


class RayPool:
    """Ray actors on this machine, or on the cluster that `address` or RAY_ADDRESS names."""

    def __init__(
        self,
        build_worker: BuildWorker,
        demand: Demand,
        *,
        stop: threading.Event,
        on_progress: OnProgress,
    ) -> None:
        """Starts Ray and the actors in the background.

        Without an address, there or in RAY_ADDRESS, a Ray of our own is started and ended.
        """
        self._build_worker = build_worker
        self._demand = demand
        self._stop = stop
        self._folder = str(Path.cwd())
        self._on_progress = on_progress
        self._resources: dict[str, float] = {}
        self._address = demand.address or os.environ.get("RAY_ADDRESS")
        self._ended = Progress()
        self._closed = self._owns_ray = False
        # Ray's processes end with the thread that started them (Linux's parent death signal), so
        # this thread stays until the pool is closed.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="ray-start")
        self._seats: Future[list[_Seat]] = self._starter.submit(self._start)

    @property
    def n_workers(self) -> int:
        """The same for the life of the pool."""
        return len(self._ready())

    def _ready(self) -> list[_Seat]:
        """Waits for the workers; Ray's own handler of SIGTERM gives way to the one before it."""
        seats = self._seats.result()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        return seats

    def _start(self) -> list[_Seat]:
        os.environ.update(RAY_ENVIRONMENT)
        import ray

        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            # "local" unless told otherwise: ray.init() alone attaches to any cluster that it finds.
            try:
                _knock(self._address)
                ray.init(
                    address=self._address or "local",
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    include_dashboard=None if self._address else False,
                    object_store_memory=None if self._address else OBJECT_STORE_BYTES,
                )
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                where = self._address or "this machine"
                raise WorkerLost(f"Ray at {where} cannot be reached: {_cause(error)}") from error
        n_workers = self._share(ray.cluster_resources())  # type: ignore[no-untyped-call]
        seats = [_Seat(self._hire()) for _ in range(n_workers)]
        try:
            ray.get([seat.actor.ready.remote() for seat in seats], timeout=START_S)
        except ray.exceptions.GetTimeoutError as error:
            raise WorkerLost(
                f"{n_workers} workers with {self._resources} are not up in {START_S:.0f} s: "
                "has the cluster as much free? compute.workers asks for fewer"
            ) from error
        except ray.exceptions.RayError as error:
            raise WorkerLost(f"workers cannot be started: {_cause(error)}") from error
        return seats

    def _share(self, cluster: Mapping[str, float]) -> int:
        """How many workers share the cluster's cores and GPUs."""
        cores = max(1, int(cluster.get("CPU", 1)))
        gpus = int(cluster.get("GPU", 0)) if self._demand.gpus else 0
        automatic = gpus or (cores if cores <= MANY_CORES else cores // 2)
        n_workers = self._demand.workers or automatic
        self._resources = {
            "num_cpus": max(1, cores // n_workers) if n_workers <= cores else cores / n_workers,
            "num_gpus": 1 / -(-n_workers // gpus) if gpus else 0,  # shares that fill each GPU
        }
        return n_workers

    def _hire(self) -> Actor:
        import ray

        options: dict[str, Any] = {
            "max_restarts": 0,
            "max_concurrency": IN_FLIGHT,
            "concurrency_groups": {"status": 1},
            **self._resources,
        }
        threads = max(1, int(self._resources["num_cpus"]))
        return ray.remote(**options)(_Host).remote(self._build_worker, threads, self._folder)

    def map(self, jobs: deque[J]) -> Iterator[Finished[J]]:
        """Does the jobs; each worker holds two, so that reading overlaps with encoding."""
        import ray

        seats = self._ready()
        now = time.monotonic()
        for seat in seats:
            seat.moved_at = now
            seat.jobs.clear()  # of a map that its caller gave up
        while jobs or any(seat.jobs for seat in seats):
            if self._stop.is_set():
                self._wind_up(seats)
            self._receive(seats)
            self._hand_out(jobs, seats)
            pending = [ref for seat in seats for ref in seat.jobs]
            pending += [seat.arriving for seat in seats if seat.arriving is not None]
            done, _ = ray.wait(pending, num_returns=1, timeout=TICK_S)
            for seat in seats:
                yield from self._collect(seat, [ref for ref in done if ref in seat.jobs])
            self._watch(seats)

    def _hand_out(self, jobs: deque[J], seats: list[_Seat]) -> None:
        while jobs:
            free = [seat for seat in seats if seat.free_for(jobs[0])]
            if not free:
                return
            seat = min(free, key=lambda seat: len(seat.jobs))
            if not seat.jobs:
                seat.moved_at = time.monotonic()
            job = jobs.popleft()
            seat.jobs[seat.actor.do.remote(job)] = job

    def _collect(self, seat: _Seat, done: list[Any]) -> Iterator[Finished[Any]]:
        import ray

        for ref in done:
            if ref not in seat.jobs:
                continue
            try:
                result = ray.get(ref)
            except ray.exceptions.RayTaskError as error:
                job = seat.jobs.pop(ref)
                cause = error.cause
                if not isinstance(cause, VectorlineError):
                    raise WorkerLost(f"a worker failed: {_cause(error)}") from error
                yield Finished(job, error=cause)
            except ray.exceptions.RayError as error:  # of the actor, its node, or its memory
                yield from self._replace(seat, f"its worker died: {_cause(error)}")
            else:
                yield Finished(seat.jobs.pop(ref), result=result)
                seat.moved_at = time.monotonic()

    def _replace(self, seat: _Seat, why: str) -> Iterator[Finished[Any]]:
        """Everything that the worker had in hand is lost with it; another one is called for."""
        import ray

        lost = list(seat.jobs.values())
        seat.jobs.clear()
        self._ended += seat.progress
        seat.progress, seat.asked = Progress(), None
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(seat.actor)
        seat.actor = self._hire()
        seat.arriving, seat.moved_at = seat.actor.ready.remote(), time.monotonic()
        for job in lost:
            yield Finished(job, error=WorkerLost(why))

    def _receive(self, seats: list[_Seat]) -> None:
        """Seats those who have come; where a node went away, fewer do the work.

        Raises WorkerLost when nobody is left, or nobody came for so long.
        """
        import ray

        for seat in [one for one in seats if one.arriving is not None]:
            come, _ = ray.wait([seat.arriving], timeout=0)
            try:
                ray.get(come)
            except ray.exceptions.RayError as error:
                why = f"a worker died and no other can be started: {_cause(error)}"
                if len(seats) == 1:
                    raise WorkerLost(why) from error
                logger.warning("%s; the others go on", why)
                seats.remove(seat)
            if come:
                seat.arriving, seat.moved_at = None, time.monotonic()
        since = max(seat.moved_at for seat in seats)
        if all(one.arriving is not None for one in seats) and time.monotonic() - since > START_S:
            raise WorkerLost(f"all workers died and no other came in {START_S:.0f} s")

    def _watch(self, seats: list[_Seat]) -> None:
        """Asks each worker how far it is; one that does not move for `stall_s` is ended."""
        import ray

        for seat in [one for one in seats if one.arriving is None]:
            if seat.asked is None:
                seat.asked = seat.actor.progress.options(concurrency_group="status").remote()
            answered, _ = ray.wait([seat.asked], timeout=0)
            if answered:
                with contextlib.suppress(ray.exceptions.RayError):
                    progress = ray.get(seat.asked)
                    if progress != seat.progress:
                        seat.progress, seat.moved_at = progress, time.monotonic()
                seat.asked = None
            if seat.jobs and time.monotonic() - seat.moved_at > self._demand.stall_s:
                logger.warning(
                    "a worker made no progress for %.0f s and is ended", self._demand.stall_s
                )
                ray.kill(seat.actor)  # its jobs come back as lost
                seat.moved_at = time.monotonic()
        self._on_progress(sum((seat.progress for seat in seats), self._ended))

    def _wind_up(self, seats: list[_Seat]) -> None:
        """Lets the batch in hand end, then says that the user asked to stop."""
        import ray

        for seat in seats:
            seat.actor.stop.options(concurrency_group="status").remote()
        pending = [ref for seat in seats for ref in seat.jobs]
        if pending:
            ray.wait(pending, num_returns=len(pending), timeout=min(STOP_S, self._demand.stall_s))
        raise Interrupted("stopped after the batch in hand; finished shards are kept")

    def close(self) -> None:
        """Ends the actors, and Ray too if it was started here."""
        if self._closed:
            return
        self._closed = True
        import ray

        try:
            if self._seats.exception() is None:
                for seat in self._seats.result():
                    ray.kill(seat.actor)
        finally:
            if self._owns_ray:
                ray.shutdown()
            self._starter.shutdown()


def _knock(address: str | None) -> None:
    """Raises OSError if nobody listens at host:port; ray.init tries for a quarter of an hour."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        with socket.create_connection((host.strip("[]"), int(port)), KNOCK_S):
            pass


def _cause(error: BaseException) -> str:
    """The last line that says something, without the actor's traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__
