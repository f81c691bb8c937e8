"""Runs a Prefect worker on a node of the Ray cluster at RAY_ADDRESS, until one of them ends.

A program that uses a Ray cluster runs on one of its nodes: the worker is one, without CPUs. A node
ends about a minute after the cluster's head, and every flow would fail from then on. So this ends
as well, and what started it (compose, Kubernetes) starts both anew.
"""

import os
import signal
import socket
import subprocess
import sys
import time

POOL = "vectorline"


def main() -> int:
    """Gives 0 when it was told to end, 1 when worker or node ended by themselves."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> int:
        started.append(subprocess.Popen(words))  # noqa: S603 - they stand below
        return started[-1].pid

    try:
        port = _free_port()
        address = f"--address={os.environ['RAY_ADDRESS']}"
        manager = f"--node-manager-port={port}"
        node = start("ray", "start", address, manager, "--num-cpus=0", "--block")
        while not _listens(port):
            if started[0].poll() is not None:
                return 1
            time.sleep(1)
        worker = start("prefect", "worker", "start", "--pool", POOL, "--type", "process")
        # As the first process of a container it also reaps those that lost their parents.
        while os.wait()[0] not in {node, worker}:
            pass
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for process in reversed(started):  # the worker's runs end first, which use the node
            process.terminate()
            process.wait()


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
