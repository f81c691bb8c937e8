"""The lease of a table on a local disk: a flock on a file.

It ends with the process that holds it, also by kill -9. A child of that process does not inherit
it.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.lease import Holder
from tasks.store.files import store_error
from tasks.store.holder import me, refusal, tell_waiting

POLL_S = 0.2
RECORD_BYTES = 1024  # the whole lock file, written in one call: a reader never sees half of it

_open: set[int] = set()


def _close_in_child() -> None:
    """A flock belongs to the open file, which fork shares: a child would keep the lease."""
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


os.register_at_fork(after_in_child=_close_in_child)


@dataclass(frozen=True, slots=True)
class Locked:
    """A flock that is held."""

    token: int

    def check(self) -> None:
        """Nothing: the kernel keeps it for us."""


@contextmanager
def hold(lock_path: str, table: str, wait_s: float) -> Iterator[Locked]:
    """Holds a table as `tasks.store.lease.lease` says."""
    path = Path(lock_path)
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
        yield Locked(token)
    finally:
        _open.discard(descriptor)
        os.close(descriptor)


def _lock(descriptor: int, table: str, until: float) -> None:
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until:
                raise refusal(table, _read(descriptor)) from error
            if not told:
                told = True
                tell_waiting(table, _read(descriptor))
            time.sleep(POLL_S)
        else:
            return


def _read(descriptor: int) -> Holder | None:
    text = os.pread(descriptor, RECORD_BYTES, 0)
    try:
        return Holder.model_validate_json(text) if text else None
    except ValueError:  # not ours, or torn: whoever holds it is not known
        return None


def _write(descriptor: int, token: int) -> None:
    os.pwrite(descriptor, me(token).model_dump_json().encode().ljust(RECORD_BYTES), 0)
    os.fsync(descriptor)
