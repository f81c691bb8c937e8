"""The processes of deploy/compose.yaml on loopback: server, worker, two Ray nodes, an S3 store."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.space import open_space
from tests import s3, scheduled
from tests.pipeline import PROGRAM, write_config, write_jsonl
from tests.scheduled import House, wait_for

pytestmark = [pytest.mark.prefect, pytest.mark.ray, pytest.mark.stores, pytest.mark.slow]

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-thirty-two-letters-abc"}
RAY = str(PROGRAM.with_name("ray"))


@contextlib.contextmanager
def ray_cluster(house: House) -> Iterator[str]:
    """The address of a head without CPUs and a node with two, which know a token."""
    house.environment.update(TOKEN)
    address = f"{scheduled.LOOPBACK}:{scheduled.free_port()}"
    head = ["--head", f"--port={address.partition(':')[2]}", "--num-cpus=0"]
    head += [f"--node-ip-address={scheduled.LOOPBACK}", "--include-dashboard=false", "--block"]
    node = [f"--address={address}", "--num-cpus=2", "--block"]
    with house.process("ray-head", RAY, "start", *head):
        wait_for(lambda: house.call(RAY, "health-check", f"--address={address}").returncode == 0)
        with house.process("ray-node", RAY, "start", *node):

            def nodes() -> bool:
                listed = house.call(RAY, "status", f"--address={address}").stdout
                return listed.count("node_") == 2 and "/2.0 CPU" in listed

            wait_for(nodes)
            yield address


def test_a_deployed_refresh_encodes_on_a_cluster_into_an_object_store(
    tmp_path: Path, s3_endpoint: str, bucket: str
) -> None:
    rows: list[dict[str, object]] = [
        {"id": f"r{n:03d}", "text": f"text {n}", "year": n % 3} for n in range(300)
    ]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    compute = {"use": "ray", "workers": 2}
    path = write_config(tmp_path, tmp_path / "corpus", schedule="* * * * *", compute=compute)
    with scheduled.house(tmp_path) as house, ray_cluster(house) as address:
        house.environment.update(s3.environment(s3_endpoint) | {"RAY_ADDRESS": address})
        done = house.call(PROGRAM, "deploy", path, "--store", bucket, "--json")
        assert (done.returncode, json.loads(done.stdout)["store"]) == (0, bucket)
        with scheduled.worker(house, "vectorline"):
            (run, *_) = scheduled.ended(house, "notes", 1)
    assert (run["state_name"], run["auto_scheduled"]) == ("Completed", True)
    assert list(open_space("notes", bucket).to_pandas()["id"].sort_values()) == [
        f"r{n:03d}" for n in range(300)
    ]
