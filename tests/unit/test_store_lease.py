"""One writer for each table, among real processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.errors import LeaseHeld
from tasks.store.lease import lease

HOLD = """
import subprocess, sys, time
from tasks.store.lease import lease
with lease(sys.argv[1], "papers.1") as held:
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    print(child.pid, held.token, flush=True)
    time.sleep(60)
"""


def hold(store: Path) -> tuple["subprocess.Popen[str]", int, int]:
    """A process that holds the lease, the id of its child, and its token."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    child, token = holder.stdout.readline().split()
    return holder, int(child), int(token)


def test_the_loser_names_the_holder_and_kill_9_frees_the_lease_though_a_child_lives(
    tmp_path: Path,
) -> None:
    with lease(str(tmp_path), "papers.1") as first:
        assert first.token == 1
    holder, child, token = hold(tmp_path)
    try:
        assert token == 2
        with (
            pytest.raises(LeaseHeld, match=rf"by process {holder.pid} on .* since .*\(-c "),
            lease(str(tmp_path), "papers.1"),
        ):
            pass
        with lease(str(tmp_path), "papers.2") as other:
            assert other.token == 1
        holder.kill()
        holder.wait()
        os.kill(child, 0)
        with lease(str(tmp_path), "papers.1") as after:
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


def test_waiting_gets_the_lease_as_soon_as_it_is_free(tmp_path: Path) -> None:
    holder, child, _ = hold(tmp_path)
    try:
        started = time.monotonic()
        with pytest.raises(LeaseHeld), lease(str(tmp_path), "papers.1", wait_s=0.5):
            pass
        assert time.monotonic() - started >= 0.5
        ender = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {holder.pid}"])
        with lease(str(tmp_path), "papers.1", wait_s=30) as held:
            assert held.token == 2
        ender.wait()
    finally:
        holder.kill()
        os.kill(child, 9)
        holder.communicate()
