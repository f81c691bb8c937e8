"""Runs that are stopped leave no process and no half of a version behind."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tasks.store.catalog import Catalog
from tests.pipeline import PROGRAM, config, refresh, write_config, write_jsonl
from tests.processes import children, gone, title

pytestmark = [pytest.mark.ray, pytest.mark.prefect]

RAY_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


@pytest.mark.parametrize(
    ("number", "n_versions"),
    [
        (signal.SIGINT, 0),
        (signal.SIGTERM, 1),  # Ray starts later, and puts a handler of its own on this signal
        pytest.param(signal.SIGKILL, 0, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_stopped_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals, n_versions: int
) -> None:
    slow = {"use": "tests.encoders:SlowEncoder"}
    for version in range(n_versions):
        row = {"id": f"v{version}", "text": "text", "year": 1}
        write_jsonl(tmp_path / "corpus" / f"v{version}.jsonl", [row])
        refresh(config(tmp_path / "corpus", encoder=slow), tmp_path / "vectors")
    rows = [{"id": f"r{n}", "text": f"text {n}", "year": 1} for n in range(2000)]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    path = write_config(tmp_path, tmp_path / "corpus", encoder=slow, compute={"workers": 2})
    started = subprocess.Popen(
        [PROGRAM, "run", path],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert started.stderr is not None
    for line in started.stderr:
        if line.startswith("encode"):
            break
    time.sleep(2)
    # Two idle agents of Ray notice a kill -9 at once, then wait a fixed minute for the head to take
    # their report: they are not ours to hurry.
    family = {pid for pid in children(started.pid) if not title(pid).startswith(RAY_AGENTS)}
    assert len(family) > 3
    os.kill(started.pid, number)
    code = started.wait(60)
    errors = started.stderr.read()
    started.stderr.close()
    assert gone(family)
    assert "Traceback" not in errors
    assert len(Catalog(str(tmp_path / "vectors")).versions("notes")) == n_versions
    if number != signal.SIGKILL:
        assert code == 130, errors
        assert "finished shards are kept" in errors
        assert "received at" not in errors  # Ray's stack of a signal
