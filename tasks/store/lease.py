"""One writer for each table.

A lease saves work; that no row is written twice is the commit's business. It is flock on a file: it
ends with the process that holds it, also by kill -9. A child of that process does not inherit it.
"""

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from tasks.errors import LeaseHeld
from tasks.store import layout
from tasks.store.files import store_error

POLL_S = 0.2
RECORD_BYTES = 1024  # the whole lock file, written in one call: a reader never sees half of it
COMMAND_CHARACTERS = 120

_open: set[int] = set()


def _close_in_child() -> None:
    """A flock belongs to the open file, which fork shares: a child would keep the lease."""
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


os.register_at_fork(after_in_child=_close_in_child)


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that is held; `token` grows with every lease of the table."""

    table: str
    token: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a lease, or had it last; stands in the lock file."""

    token: int
    pid: int
    host: str
    since: str
    command: str


@contextmanager
def lease(store_uri: str, table: str, wait_s: float = 0.0) -> Iterator[Held]:
    """Holds a table for writing; waits for it up to `wait_s`, then LeaseHeld names the holder."""
    path = Path(layout.lock_path(store_uri, table))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise store_error(error, f"opening the lock {path}") from error
    _open.add(descriptor)
    try:
        _lock(descriptor, table, time.monotonic() + wait_s)
        last = _read(descriptor)
        # Of a file that cannot be read the last token is lost: the clock's microseconds are higher.
        first = 1 if not os.fstat(descriptor).st_size else time.time_ns() // 1000
        token = last.token + 1 if last else first
        try:
            _write(descriptor, token)
        except OSError as error:
            raise store_error(error, f"writing the lock {path}") from error
        yield Held(table, token)
    finally:
        _open.discard(descriptor)
        os.close(descriptor)


def _lock(descriptor: int, table: str, until: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until:
                raise LeaseHeld(_describe(_read(descriptor), table)) from error
            time.sleep(POLL_S)
        else:
            return


def _describe(holder: Holder | None, table: str) -> str:
    who = "another process"
    if holder:
        who = f"process {holder.pid} on {holder.host} since {holder.since} ({holder.command})"
    return f"table {table!r} is being written by {who}: wait for it with --wait 10m, or end it"


def _read(descriptor: int) -> Holder | None:
    text = os.pread(descriptor, RECORD_BYTES, 0)
    try:
        return Holder(**json.loads(text)) if text else None
    except (ValueError, TypeError):  # not ours, or torn: whoever holds it is not known
        return None


def _write(descriptor: int, token: int) -> None:
    holder = Holder(
        token=token,
        pid=os.getpid(),
        host=socket.gethostname(),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        command=" ".join(sys.argv)[:COMMAND_CHARACTERS],
    )
    os.pwrite(descriptor, json.dumps(asdict(holder)).encode().ljust(RECORD_BYTES), 0)
    os.fsync(descriptor)
