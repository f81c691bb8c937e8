"""Workers and whole nodes that go away while they work, on a real Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks import failpoints
from tasks.space import open_space
from tests.encoders import SlowEncoder
from tests.pipeline import books, config, write_jsonl

pytestmark = pytest.mark.ray

JOB_RECORDS = 10
RUN = """
import json, sys
from pathlib import Path
from tasks import cut
from tests.pipeline import refresh
cut.MAX_RECORDS = cut.MIN_RECORDS = int(sys.argv[3])
print(json.dumps(refresh(json.loads(sys.argv[1]), Path(sys.argv[2]))))
"""
# Two nodes of one core on this machine; one of them goes away when the first receipt is there.
ON_TWO_NODES = (
    """
import sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
other = cluster.add_node(num_cpus=1)
cluster.connect()
def strike():
    while not list(Path(sys.argv[2]).glob("runs/*/receipts/*.json")):
        time.sleep(0.05)
    cluster.remove_node(other, allow_graceful=False)
    print("a node is gone", file=sys.stderr, flush=True)
striking = threading.Thread(target=strike)
striking.start()
"""
    + RUN
    + """
striking.join()
import ray
ray.shutdown()
cluster.shutdown()
"""
)


def notes(n: int) -> list[dict[str, Any]]:
    return [{"id": f"r{i}", "text": f"note {i} on it", "year": 1} for i in range(n)]


def run(program: str, settings: dict[str, Any], store: Path, **environment: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(settings), str(store), str(JOB_RECORDS)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (summary,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(summary), done.stderr


def check(store: Path, rows: list[dict[str, Any]]) -> None:
    ids, vectors = open_space("notes", str(store)).vectors()
    assert sorted(ids) == sorted(row["id"] for row in rows)
    encoder = SlowEncoder()
    texts = {row["id"]: row["text"] for row in rows}
    want = encoder.encode(encoder.prepare([texts[id_] for id_ in ids]))
    assert vectors.tolist() == want.tolist()


def test_workers_that_crash_cost_a_retry_and_no_record(tmp_path: Path) -> None:
    rows = notes(60)
    for number in (7, 25, 26, 44):
        rows[number]["text"] = f"fatal {number}"
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    (tmp_path / "flags").mkdir()
    fatal = {"use": "tests.encoders:FatalEncoder", "folder": str(tmp_path / "flags")}
    settings = config(tmp_path / "corpus", encoder=fatal, compute={"workers": 2})
    made, _ = run(RUN, settings, tmp_path / "vectors")
    assert sorted(flag.name for flag in (tmp_path / "flags").iterdir()) == [
        "fatal 25",
        "fatal 26",
        "fatal 44",
        "fatal 7",
    ]
    assert books(made) == {"read": 60, "new": 60}
    check(tmp_path / "vectors", rows)


def test_a_node_that_goes_away_costs_a_retry_and_no_record(tmp_path: Path) -> None:
    rows = notes(200)
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    slow = {"use": "tests.encoders:SlowEncoder"}
    settings = config(tmp_path / "corpus", encoder=slow, compute={"workers": 2})
    made, said = run(ON_TWO_NODES, settings, tmp_path / "vectors")
    assert "a node is gone" in said
    assert books(made) == {"read": 200, "new": 200}
    check(tmp_path / "vectors", rows)


@pytest.mark.parametrize("place", ["fragment", "before-receipt", "after-receipt"])
def test_a_worker_killed_while_it_writes_costs_a_retry_and_no_record(
    tmp_path: Path, place: str
) -> None:
    rows = notes(100)
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    settings = config(tmp_path / "corpus", compute={"workers": 2})
    made, _ = run(RUN, settings, tmp_path / "vectors", **{failpoints.VARIABLE: f"{place}:4"})
    assert books(made) == {"read": 100, "new": 100}
    assert made["encoder_loads"] > 2  # of more than the two workers that it began with
