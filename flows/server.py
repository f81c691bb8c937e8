"""A Prefect server of our own for one run, used where PREFECT_API_URL names none.

Prefect's temporary server outlives a kill -9 of its parent, hears the terminal's Ctrl-C before the
flow has finished its books, and shares one database with all runs of a user. This one has a home
and a session of its own, and ends with its parent: its standard input is a pipe that only the
parent holds open. Starting takes seconds (4 from a cached database, 9 without), so it goes on in
the background, beside Ray and the weights.

Prefect reads its settings while it is imported: put `client_environment` into `os.environ` before.
"""

import contextlib
import http.client
import importlib.metadata
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.encoders.remembered import cache_folder
from tasks.errors import VectorlineError

LOOPBACK = "127.0.0.1"
DATABASE = "prefect.db"
LOG = "server.log"
ROOM = 16 * 2**20  # bytes: database, its journal and the log take some MiB


@dataclass(frozen=True, slots=True)
class Server:
    """A server that was started, and may not be ready yet."""

    port: int
    home: Path
    process: subprocess.Popen[bytes]

    @property
    def api_url(self) -> str:
        """The address that clients take."""
        return f"http://{LOOPBACK}:{self.port}/api"

    def wait_ready(self, timeout_s: float = 120.0) -> None:
        """Returns when the server answers.

        Raises:
            VectorlineError: It ended or did not answer in time; the message has the end of its log,
                and says so where its folder has hardly any room.
        """
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            ended = self.process.poll() is not None
            if ended:
                _cached_database().unlink(missing_ok=True)
            if ended or time.monotonic() > deadline:
                log = (self.home / LOG).read_text(errors="replace")[-2000:]
                told = f"ends:\n{log}" if log else "is empty"
                raise VectorlineError(
                    f"the embedded Prefect server {'ended' if ended else 'does not answer'}; "
                    f"{_little_room(self.home.parent)}try again, or set PREFECT_API_URL to a "
                    f"server that runs. Its log {told}"
                )
            time.sleep(0.05)
        _cache_database(self.home / DATABASE)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=5)
        try:
            connection.request("GET", "/api/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _little_room(folder: Path) -> str:
    """What to say where a server may have ended for want of room."""
    free = shutil.disk_usage(folder).free
    return f"{folder} has only {free:,} bytes free, and TMPDIR names another; " * (free < ROOM)


def check_answers(api_url: str) -> None:
    """Raises VectorlineError unless a Prefect server answers at this address."""
    try:
        with urllib.request.urlopen(f"{api_url.rstrip('/')}/health", timeout=10):  # noqa: S310 - the user's own address
            return
    except (OSError, ValueError) as error:
        raise VectorlineError(
            f"PREFECT_API_URL = {api_url!r} does not answer ({error}): start that server, or unset "
            "the variable and each run starts one of its own"
        ) from error


@contextlib.contextmanager
def embedded_server() -> Iterator[Server]:
    """Starts a server without waiting for it; at the end ends it and removes its home."""
    home = Path(tempfile.mkdtemp(prefix="vectorline-prefect-"))
    try:
        with contextlib.suppress(OSError):
            shutil.copyfile(_cached_database(), home / DATABASE)
        # The socket is bound here and handed over: nobody else can take the port in between.
        with socket.socket() as listener:
            listener.bind((LOOPBACK, 0))
            port = listener.getsockname()[1]
            process = _start(home, listener)
        with process:  # closes its standard input at the end, and waits for it
            yield Server(port, home, process)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def client_environment(server: Server) -> dict[str, str]:
    """The variables under which flows of this process talk to `server`, and print nothing.

    Logs are not sent to it: nobody could read them once the run has ended.
    """
    direct = ",".join(filter(None, [os.environ.get("NO_PROXY"), LOOPBACK]))
    return quiet_environment() | {
        "NO_PROXY": direct,
        "no_proxy": direct,
        "PREFECT_API_URL": server.api_url,
        "PREFECT_HOME": str(server.home),
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
    }


def quiet_environment() -> dict[str, str]:
    """The variables under which Prefect prints nothing, whatever its server.

    Loggers stay as they are, so that a server of the user's own still gets the logs of a run.
    """
    return {
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL": "CRITICAL",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


def _start(home: Path, listener: socket.socket) -> subprocess.Popen[bytes]:
    with (home / LOG).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", "flows.server", str(listener.fileno()), str(home)],
            cwd=home,
            env=_server_environment(home),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    if process.stdin is not None:  # a forked child must not keep the server alive
        os.register_at_fork(after_in_child=process.stdin.close)
    return process


def _server_environment(home: Path) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return inherited | {
        "DO_NOT_TRACK": "1",
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / DATABASE}",
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "PREFECT_UI_ENABLED": "false",
    }


def _cached_database() -> Path:
    """Where a database that went through all migrations is kept, which take half of a start."""
    return cache_folder() / f"prefect-{importlib.metadata.version('prefect')}.db"


def _cache_database(database: Path) -> None:
    cached = _cached_database()
    if cached.exists():
        return
    copy = cached.with_name(f"{cached.name}.{os.getpid()}")
    with contextlib.suppress(OSError, sqlite3.Error):  # without a cache the next start is slower
        cached.parent.mkdir(parents=True, exist_ok=True)
        with (
            contextlib.closing(sqlite3.connect(database)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        copy.replace(cached)


def _serve(listener: socket.socket, home: Path) -> None:
    threading.Thread(target=_end_with_parent, args=[home], daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=True, final=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


def _end_with_parent(home: Path) -> None:
    sys.stdin.buffer.read()
    shutil.rmtree(home, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]))
