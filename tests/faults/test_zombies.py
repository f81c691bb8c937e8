"""Workers that outlive their driver, on a real Ray: what they still do harms nobody."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.store.catalog import Catalog
from tests.faults.test_workers import RUN, check, notes
from tests.pipeline import books, config, refresh, write_jsonl
from tests.processes import children, gone, title

pytestmark = pytest.mark.ray

WORKERS = 2
JOB_RECORDS = 32  # two batches, of 0.3 s each
ACTORS = "ray::_Host"
HEAD = """
import sys, ray
ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=10**8)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""


@dataclass(frozen=True)
class Head:
    """A Ray that outlives those who use it."""

    address: str
    pid: int


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with subprocess.Popen(
        [sys.executable, "-c", HEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        family = children(process.pid)
        yield Head(address, process.pid)
        process.communicate()
        assert gone(family)


@dataclass
class Space:
    """A corpus of 400 notes, its store, and what encoders began to encode."""

    folder: Path

    def __post_init__(self) -> None:
        self.rows = notes(400)
        self.store = self.folder / "vectors"
        self._counts = self.folder / "encoded"
        write_jsonl(self.folder / "corpus" / "a.jsonl", self.rows)

    def settings(self, **compute: object) -> dict[str, Any]:
        encoder = {"use": "tests.encoders:NotingEncoder", "notes": str(self._counts)}
        return config(self.folder / "corpus", encoder=encoder, compute=compute)

    def start(self, settings: dict[str, Any]) -> subprocess.Popen[str]:
        """A run in a process of its own, at work when this returns."""
        arguments = [json.dumps(settings), str(self.store), str(JOB_RECORDS)]
        process = subprocess.Popen([sys.executable, "-c", RUN, *arguments], text=True)
        while len(self.receipts()) < WORKERS:
            assert process.poll() is None
            time.sleep(0.01)
        return process

    def receipts(self) -> list[str]:
        return [path.name for path in self.store.glob("runs/*/receipts/*.json")]

    def repeated(self) -> int:
        """How many contents were encoded again, however often."""
        seen = Counter(json.loads(line) for line in self._counts.read_text().splitlines())
        return sum(seen[row["text"]] - 1 for row in self.rows)

    def check(self, n_versions: int = 1) -> None:
        check(self.store, self.rows)
        assert len(Catalog(str(self.store)).versions("notes")) == n_versions


@pytest.mark.parametrize("shared", [False, True])
def test_the_next_run_begins_at_once_and_repeats_a_shard_of_each_worker_at_most(
    tmp_path: Path, request: pytest.FixtureRequest, shared: bool
) -> None:
    ray: dict[str, Any] = {}
    if shared:
        ray["address"] = request.getfixturevalue("head").address
    space = Space(tmp_path)
    settings = space.settings(workers=WORKERS, **ray)
    driver = space.start(settings)
    started_by = request.getfixturevalue("head").pid if shared else driver.pid
    actors = {pid for pid in children(started_by) if title(pid).startswith(ACTORS)}
    assert len(actors) == WORKERS
    driver.kill()
    t = time.monotonic()
    next_one = space.start(settings)
    print("gone after kill", gone(actors), time.monotonic() - t)
    assert driver.wait() == -signal.SIGKILL
    assert next_one.wait() == 0
    assert gone(actors, 60)
    print("repeated", space.repeated())
    assert space.repeated() <= WORKERS * JOB_RECORDS
    space.check()
    assert space.receipts() == []


def test_what_a_zombie_writes_after_the_next_commit_is_never_taken_for_more_than_it_is(
    tmp_path: Path, head: Head
) -> None:
    space = Space(tmp_path)
    settings = space.settings(use="serial")
    driver = space.start(space.settings(workers=WORKERS, address=head.address))
    family = children(head.pid)
    actors = {pid for pid in family if title(pid).startswith(ACTORS)}
    raylets = {pid for pid in family if "raylet/raylet" in title(pid).split("\0")[0]}
    assert (len(actors), len(raylets)) == (WORKERS, 1)
    for pid in raylets | actors:
        os.kill(pid, signal.SIGSTOP)
    driver.kill()
    driver.wait()
    try:
        refresh(settings, space.store)
        space.check()
        assert space.receipts() == []
        for pid in actors:
            os.kill(pid, signal.SIGCONT)
        deadline = time.monotonic() + 30
        while len(space.receipts()) < WORKERS and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        for pid in raylets | actors:
            os.kill(pid, signal.SIGCONT)
    assert gone(actors, 60)
    n_late = len(space.receipts())
    assert n_late >= WORKERS
    space.check()
    assert not refresh(settings, space.store)["new_version"]
    assert len(space.receipts()) == n_late
    for row in space.rows[:5]:
        row["text"] += ", and more"
    write_jsonl(tmp_path / "corpus" / "a.jsonl", space.rows)
    assert books(refresh(settings, space.store)) == {"read": 400, "changed": 5, "unchanged": 395}
    space.check(n_versions=2)
    assert space.receipts() == []
