"""A store's server in a process of its own, which can be killed and started again."""

import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

WITHIN_S = 60


class Process:
    """What a Peer with such a server does; `command` is given by each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """That serves the folder at the port."""
        raise NotImplementedError

    def start(self) -> None:
        if self._process is not None:
            return
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(self.command(), stdout=nothing, stderr=nothing)
        until = time.monotonic() + WITHIN_S
        while True:
            with suppress(ConnectionError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            assert self._process.poll() is None, f"{self.command()} ended"
            assert time.monotonic() < until, f"{self.command()} does not answer"
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def close(self) -> None:
        self.stop()
