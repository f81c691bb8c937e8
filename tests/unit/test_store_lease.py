"""One writer for each table, among real processes, on a local disk and on an object store."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tasks.errors import Interrupted, LeaseHeld, LeaseLost, StoreError
from tasks.progress import listener
from tasks.store import epochs, object_files
from tasks.store.lease import lease
from tests import s3

TTL_S = 1.0

HOLD = """
import subprocess, sys, time
from tasks.store import epochs
from tasks.store.lease import lease
epochs.TTL_S = float(sys.argv[2])
with lease(sys.argv[1], "papers.1") as held:
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    print(child.pid, held.token, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def ttl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "TTL_S", TTL_S)


def hold(store: str) -> tuple["subprocess.Popen[str]", int, int]:
    """A process that holds the lease, the id of its child, and its token."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, store, str(TTL_S)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    child, token = holder.stdout.readline().split()
    return holder, int(child), int(token)


def test_the_loser_names_the_holder_and_kill_9_frees_the_lease_though_a_child_lives(
    store: str,
) -> None:
    with lease(store, "papers.1") as first:
        assert first.token == 1
    holder, child, token = hold(store)
    try:
        assert token == 2
        with (
            pytest.raises(LeaseHeld, match=rf"by process {holder.pid} on .* since .*\(-c "),
            lease(store, "papers.1"),
        ):
            pass
        with lease(store, "papers.2") as other:
            assert other.token == 1
        holder.kill()
        holder.wait()
        os.kill(child, 0)
        with lease(store, "papers.1") as after:
            assert after.token == 3
    finally:
        holder.kill()
        os.kill(child, 9)
        holder.communicate()


FORK = """
import os, sys, time
from tasks.store.lease import lease
with lease(sys.argv[1], "papers.1"):
    child = os.fork()
    if child == 0:
        time.sleep(60)
    print(child, flush=True)
os._exit(0)
"""


def test_a_forked_child_does_not_keep_the_lease(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", FORK, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    child = int(parent.stdout.readline())
    try:
        parent.wait()
        os.kill(child, 0)
        # The child closes its copy as soon as it runs, which may be after the parent's end.
        with lease(str(tmp_path), "papers.1", wait_s=20) as held:
            assert held.token == 2
    finally:
        os.kill(child, 9)
        parent.communicate()


def test_waiting_gets_the_lease_as_soon_as_it_is_free_and_not_before(store: str) -> None:
    holder, child, _ = hold(store)
    try:
        started = time.monotonic()
        told: list[str] = []
        token = listener.set(lambda report: told.append(report.stage))
        with pytest.raises(LeaseHeld), lease(store, "papers.1", wait_s=2 * TTL_S):
            pass
        listener.reset(token)
        assert [stage.split(" on ")[0] for stage in told] == [
            f"wait for papers.1, written by process {holder.pid}"
        ]
        assert time.monotonic() - started >= 2 * TTL_S
        ender = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {holder.pid}"])
        with lease(store, "papers.1", wait_s=30) as held:
            assert held.token == 2
        ender.wait()
    finally:
        holder.kill()
        os.kill(child, 9)
        holder.communicate()


@pytest.mark.stores
def test_a_lease_that_was_given_back_is_free_at_once_and_leaves_one_object(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "TTL_S", 3600)
    for token in (1, 2, 3):
        with lease(bucket, "papers.1") as held:
            assert held.token == token
            held.check()
    folder = f"{bucket}/_leases/papers.1.lease"
    assert object_files.connect(s3.BUCKET).names(folder) == ["000000000003.json"]


@pytest.mark.stores
def test_of_those_who_see_an_old_lease_one_gets_the_next_number(bucket: str) -> None:
    files = object_files.connect(s3.BUCKET)
    objects = epochs._Epochs(files, f"{bucket}/_leases/papers.1.lease", "papers.1")
    with ThreadPoolExecutor(4) as racers:
        for token in range(1, 26):
            made = [*racers.map(lambda _: objects.create(token), range(4))]  # noqa: B023
            assert [one is None for one in made].count(False) == 1
    assert objects.tokens() == [*range(1, 26)]


FROZEN = """
import sys, threading
from tasks.errors import Interrupted, LeaseLost
from tasks.store import epochs
from tasks.store.lease import lease
epochs.TTL_S = float(sys.argv[2])
lost = threading.Event()
try:
    with lease(sys.argv[1], "papers.1", lost=lost) as held:
        print(held.token, flush=True)
        sys.stdin.readline()
        if sys.argv[3] == "check":
            held.check()
        elif lost.wait(10):
            raise Interrupted("stopped")
except LeaseLost as error:
    print(error, flush=True)
"""


@pytest.mark.stores
@pytest.mark.parametrize("finds_out", ["check", "wait"])
def test_a_holder_that_was_frozen_for_too_long_stops(bucket: str, finds_out: str) -> None:
    frozen = subprocess.Popen(
        [sys.executable, "-c", FROZEN, bucket, str(TTL_S), finds_out],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert frozen.stdout
    assert frozen.stdout.readline() == "1\n"
    frozen.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    with lease(bucket, "papers.1") as held:
        assert (held.token, time.monotonic() - started >= TTL_S) == (2, True)
        frozen.send_signal(signal.SIGCONT)
        said = frozen.communicate("go\n")[0]
        assert f"'papers.1' was taken over by process {os.getpid()} on " in said
        assert "had not renewed its lease for 1 s, and stops before its commit" in said
        held.check()


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ExitStack]]:
    """Starts a server for one test, which ends it; with the words that it takes."""

    def start(*words: str) -> ExitStack:
        endpoint = running.enter_context(s3.server(*words))
        for name, value in s3.environment(endpoint).items():
            monkeypatch.setenv(name, value)
        return running

    monkeypatch.setattr(object_files, "MAX_RETRIES", 1)
    object_files.connect.cache_clear()
    with ExitStack() as running:
        yield start
    object_files.connect.cache_clear()


@pytest.mark.stores
def test_a_lease_that_cannot_be_renewed_is_lost(servers: Callable[..., ExitStack]) -> None:
    server, lost = servers(), threading.Event()

    def work() -> None:
        with lease(s3.BUCKET, "papers.1", lost=lost) as held:
            server.close()
            assert lost.wait(20)
            with pytest.raises(LeaseLost):
                held.check()
            raise Interrupted("stopped")

    with pytest.raises(LeaseLost, match=r"may be another one's by now: listing s3:.* failed"):
        work()


@pytest.mark.stores
def test_a_server_that_lets_an_object_be_made_twice_is_refused(
    servers: Callable[..., ExitStack],
) -> None:
    servers("careless")
    with (
        pytest.raises(StoreError, match=r"cannot keep a second writer out.*give another --store"),
        lease(s3.BUCKET, "papers.1"),
    ):
        pass
