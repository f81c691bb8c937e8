"""A Prefect server with a database, and workers, as processes of their own on loopback."""

import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

LOOPBACK = "127.0.0.1"
DONE = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}
T = TypeVar("T")
Row = dict[str, Any]


@dataclass(frozen=True)
class House:
    """A server that answers; `environment` leads programs to it."""

    environment: dict[str, str]
    database: str
    logs: Path

    @property
    def api_url(self) -> str:
        return self.environment["PREFECT_API_URL"]

    def call(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end."""
        return subprocess.run(
            words,
            cwd=self.logs,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    @contextlib.contextmanager
    def process(self, name: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """Runs a program beside the test, in a session of its own."""
        with _process(self.logs / f"{name}.log", self.environment, *words) as started:
            yield started


def wait_for(look: Callable[[], T | None], timeout_s: float = 120.0) -> T:
    """What `look` finds, as soon as it is something."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"nothing after {timeout_s} s"
        time.sleep(0.25)
    return found


@contextlib.contextmanager
def house(folder: Path) -> Iterator[House]:
    """Starts a server, on PostgreSQL where it is installed, else on SQLite."""
    with _database(folder) as database:
        port = free_port()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")} | {
            "DO_NOT_TRACK": "1",
            "PREFECT_API_DATABASE_CONNECTION_URL": database,
            "PREFECT_API_URL": f"http://{LOOPBACK}:{port}/api",
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_UI_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        made = House(environment, database, folder)
        with made.process(
            "server", *prefect("server", "start", "--host", LOOPBACK, "--port", str(port))
        ):
            wait_for(lambda: _answers(f"{made.api_url}/health"))
            yield made


def worker(made: House, pool: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """A worker that runs flows as processes."""
    return made.process(
        f"worker-{pool}", *prefect("worker", "start", "--pool", pool, "--type", "process")
    )


def ask(house: House, method: str, path: str, body: object = None) -> Any:
    """What the server answers."""
    request = urllib.request.Request(  # noqa: S310
        f"{house.api_url}/{path}",
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request) as reply:  # noqa: S310
        text = reply.read()
    return json.loads(text) if text else None


def runs(house: House, name: str) -> list[Row]:
    """Of the deployments of a name, in the order of their times."""
    body = {"deployments": {"name": {"any_": [name]}}, "sort": "EXPECTED_START_TIME_ASC"}
    found: list[Row] = ask(house, "POST", "flow_runs/filter", body)
    return found


def ended(house: House, name: str, n: int) -> list[Row]:
    """The runs of a name, once so many of them have ended."""

    def look() -> list[Row]:
        found = [one for one in runs(house, name) if one["state_type"] in DONE]
        return found if len(found) >= n else []

    return wait_for(look)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


def prefect(*words: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *words]


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310
        return True
    return False


@contextlib.contextmanager
def _process(
    log: Path, environment: dict[str, str], *words: str, user: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("ab") as out,
        subprocess.Popen(
            words,
            cwd=log.parent,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
            user=user,
        ) as started,
    ):
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                started.kill()


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[str]:
    """The URL of an empty database."""
    found = shutil.which("initdb") or next(
        map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None
    )
    user = "postgres" if os.getuid() == 0 else None  # PostgreSQL does not run as root
    if found is None or (user is not None and user not in {one.pw_name for one in pwd.getpwall()}):
        yield f"sqlite+aiosqlite:///{folder}/prefect.db"
        return
    programs = Path(found).resolve().parent
    with tempfile.TemporaryDirectory(prefix="vectorline-postgres-") as home:
        if user is not None:
            shutil.chown(home, user)
        make = [
            str(programs / "initdb"),
            "-D",
            f"{home}/data",
            "-U",
            "prefect",
            "-A",
            "trust",
            "-N",
        ]
        subprocess.run(make, cwd=home, user=user, check=True, capture_output=True)
        port = free_port()
        settings = [
            f"listen_addresses={LOOPBACK}",
            f"port={port}",
            "unix_socket_directories=",
            "fsync=off",
        ]
        words = [str(programs / "postgres"), "-D", f"{home}/data"]
        words += [word for one in settings for word in ("-c", one)]
        with _process(folder / "postgres.log", dict(os.environ), *words, user=user):
            wait_for(lambda: _listens(port))
            yield f"postgresql+asyncpg://prefect@{LOOPBACK}:{port}/postgres"


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=5):
        return True
    return False
