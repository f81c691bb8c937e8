"""Runs a Prefect worker on a node of the Ray cluster at RAY_ADDRESS, until one of them ends.

A program that uses a Ray cluster runs on one of its nodes: the worker is one, without CPUs. A node
ends about a minute after the cluster's head, and every flow would fail from then on. So this ends
as well, and what started it (compose, Kubernetes) starts both anew.

Prefect kills the runs of a worker that is told to end (3.8.8), and they stay Running. Here they are
told first, and end after the batch in hand.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

POOL = "vectorline"
LOST_S = 10.0  # Prefect's worker ends within a second, or lost the interrupt and never does

Process = subprocess.Popen[bytes]


def main() -> int:
    """Gives 0 when it was told to end, 1 when worker or node ended by themselves."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = _free_port()
    address = f"--address={os.environ['RAY_ADDRESS']}"
    node = _start("ray", "start", address, f"--node-manager-port={port}", "--num-cpus=0", "--block")
    worker = None
    try:
        while not _listens(port):
            if node.poll() is not None:
                return 1
            time.sleep(1)
        worker = _start("prefect", "worker", "start", "--pool", POOL, "--type", "process")
        # As the first process of a container it also reaps those that lost their parents.
        while os.wait()[0] not in {node.pid, worker.pid}:
            pass
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if worker is not None:
            _end(worker)
        node.terminate()
        node.wait()


def _start(*words: str) -> Process:
    return subprocess.Popen(words)  # noqa: S603 - they stand above


def _end(worker: Process) -> None:
    """Ends the worker's runs, and then the worker, which tells the server how they ended."""
    told: set[int] = set()
    while worker.poll() is None and (runs := {*_children(worker.pid)}):
        for run in runs - told:  # a second signal would not wait for the batch
            with suppress(ProcessLookupError):
                os.kill(run, signal.SIGTERM)
        told |= runs
        time.sleep(1)
    worker.terminate()
    try:
        worker.wait(LOST_S)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def _children(pid: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                yield int(stat.parent.name)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
