"""The processes of deploy/compose.yaml on loopback: server, worker, two Ray nodes, an S3 store."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tasks.space import open_space
from tests import s3, scheduled
from tests.pipeline import PROGRAM, write_config, write_jsonl
from tests.processes import children, gone, title
from tests.scheduled import House, wait_for

pytestmark = [pytest.mark.prefect, pytest.mark.ray, pytest.mark.stores, pytest.mark.slow]

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-thirty-two-letters-abc"}
RAY = str(PROGRAM.with_name("ray"))
NEVER = "0 0 1 1 *"
DEPLOY = Path(__file__).parents[2] / "deploy"


@contextlib.contextmanager
def ray_head(house: House, address: str, n_cpus: int) -> Iterator[subprocess.Popen[bytes]]:
    """A head that answers, and knows a token."""
    house.environment.update(TOKEN)
    words = ["--head", f"--port={address.partition(':')[2]}", f"--num-cpus={n_cpus}"]
    words += [f"--node-ip-address={scheduled.LOOPBACK}", "--include-dashboard=false", "--block"]
    with house.process("ray-head", RAY, "start", *words) as head:
        wait_for(lambda: house.call(RAY, "health-check", f"--address={address}").returncode == 0)
        yield head


@contextlib.contextmanager
def ray_cluster(house: House) -> Iterator[str]:
    """The address of a head without CPUs and a node with two."""
    address = f"{scheduled.LOOPBACK}:{scheduled.free_port()}"
    node = [f"--address={address}", "--num-cpus=2", "--block"]
    with ray_head(house, address, 0), house.process("ray-node", RAY, "start", *node):

        def nodes() -> bool:
            listed = house.call(RAY, "status", f"--address={address}").stdout
            return listed.count("node_") == 2 and "/2.0 CPU" in listed

        wait_for(nodes)
        yield address


def worker(
    house: House, address: str
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """The program of a worker's container."""
    house.environment["RAY_ADDRESS"] = address
    house.environment["PATH"] = f"{PROGRAM.parent}:{os.environ['PATH']}"
    return house.process("worker", sys.executable, str(DEPLOY / "worker.py"))


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
        house.environment.update(s3.environment(s3_endpoint))
        done = house.call(PROGRAM, "deploy", path, "--store", bucket, "--json")
        assert (done.returncode, json.loads(done.stdout)["store"]) == (0, bucket)
        with worker(house, address):
            (run, *_) = scheduled.ended(house, "notes", 1)
    assert (run["state_name"], run["auto_scheduled"]) == ("Completed", True)
    assert list(open_space("notes", bucket).to_pandas()["id"].sort_values()) == [
        f"r{n:03d}" for n in range(300)
    ]


def start(house: House) -> None:
    (made,) = scheduled.ask(house, "POST", "deployments/filter", {})
    path = f"deployments/{made['id']}/create_flow_run"
    scheduled.ask(house, "POST", path, {"state": {"type": "SCHEDULED"}})


def test_a_worker_ends_with_the_head_of_its_cluster_and_the_next_one_works(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [{"id": "a", "text": "a", "year": 1}])
    compute = {"use": "ray", "workers": 1}
    path = write_config(tmp_path, tmp_path / "corpus", schedule=NEVER, compute=compute)
    address = f"{scheduled.LOOPBACK}:{scheduled.free_port()}"
    with scheduled.house(tmp_path) as house:
        house.environment["RAY_gcs_rpc_server_reconnect_timeout_s"] = "5"  # 60 by default
        done = house.call(PROGRAM, "deploy", path, "--store", str(tmp_path / "vectors"))
        assert done.returncode == 0, done.stderr

        def works() -> bool:
            pools = "work_pools/vectorline/workers/filter"
            listed = scheduled.ask(house, "POST", pools, {})
            return "ONLINE" in {one["status"] for one in listed}

        with ray_head(house, address, 1) as head, worker(house, address) as first:
            wait_for(works)
            (prefect,) = (pid for pid in children(first.pid) if "prefect" in title(pid))
            os.killpg(head.pid, signal.SIGKILL)
            wait_for(lambda: first.poll() is not None)
            assert first.returncode == 1
            assert gone({prefect})
        with ray_head(house, address, 1), worker(house, address):
            start(house)
            (run,) = scheduled.ended(house, "notes", 1)
    assert run["state_name"] == "Completed"
    assert list(open_space("notes", str(tmp_path / "vectors")).to_pandas()["id"]) == ["a"]


def test_a_worker_that_is_told_to_end_lets_its_run_keep_what_it_has(tmp_path: Path) -> None:
    texts = [f"note {n}" for n in range(600)]
    rows = [{"id": text, "text": text, "year": 1} for text in texts]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    noted = tmp_path / "noted"
    encoder = {"use": "tests.encoders:NotingEncoder", "notes": str(noted)}
    path = write_config(tmp_path, tmp_path / "corpus", schedule=NEVER, encoder=encoder)
    address = f"{scheduled.LOOPBACK}:{scheduled.free_port()}"

    def contents() -> list[str]:
        told = map(json.loads, noted.read_text().splitlines()) if noted.exists() else ()
        return sorted(one for one in told if one.startswith("note "))

    with scheduled.house(tmp_path) as house, ray_head(house, address, 0):
        done = house.call(PROGRAM, "deploy", path, "--store", str(tmp_path / "vectors"))
        assert done.returncode == 0, done.stderr
        with worker(house, address) as first:
            start(house)
            wait_for(contents)
            beside = children(first.pid)
            first.terminate()
            assert first.wait() == 0
            assert gone(beside)
        (stopped,) = scheduled.ended(house, "notes", 1)
        assert stopped["state_name"] == "Failed"
        assert "what was done is kept" in stopped["state"]["message"]
        assert 0 < len(contents()) < len(texts)
        with worker(house, address):
            start(house)
            (_, run) = scheduled.ended(house, "notes", 2)
    assert run["state_name"] == "Completed"
    assert contents() == sorted(texts)


Ports = dict[str, int]
PROBES = ("livenessProbe", "readinessProbe")


def passes(container: dict[str, Any], ports: Ports) -> dict[str, bool]:
    """What kubelet's gRPC probes of a container say, each at the port that stands for its own."""

    def serves(port: int) -> bool:
        url = f"http://{scheduled.LOOPBACK}:{port}/grpc.health.v1.Health/Check"
        headers = {"Content-Type": "application/grpc", "TE": "trailers"}
        try:
            with httpx.Client(http1=False, http2=True, trust_env=False) as client:
                reply = client.post(url, headers=headers, content=bytes(5))
        except httpx.TransportError:
            return False
        return reply.content == bytes([0, 0, 0, 0, 2, 8, 1])  # status: SERVING

    return {name: serves(ports[str(container[name]["grpc"]["port"])]) for name in PROBES}


def test_the_probes_in_ray_yaml_pass_while_head_and_node_live(tmp_path: Path) -> None:
    spec = yaml.safe_load((DEPLOY / "kubernetes" / "ray.yaml").read_text())["spec"]
    house = House(dict(os.environ) | TOKEN, "", tmp_path)
    head_ports: Ports = {"6379": scheduled.free_port()}
    address = f"{scheduled.LOOPBACK}:{head_ports['6379']}"

    def start(
        group: dict[str, Any], ports: Ports, *words: str
    ) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        """As KubeRay does, which adds the ports that are not named here."""
        added = {"metrics-export-port": "8080", "dashboard-agent-listen-port": "52365"}
        given = group["rayStartParams"] | added
        ports |= {port: scheduled.free_port() for name, port in given.items() if "-port" in name}
        words += tuple(f"--{name}={ports.get(value, value)}" for name, value in given.items())
        return house.process("ray", RAY, "start", *words, "--block")

    head, (node,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
    (head_container,) = head["template"]["spec"]["containers"]
    (node_container,) = node["template"]["spec"]["containers"]
    node_ports: Ports = {}
    well, dead = dict.fromkeys(PROBES, True), dict.fromkeys(PROBES, False)
    started = ["--head", f"--port={head_ports['6379']}"]
    started += [f"--node-ip-address={scheduled.LOOPBACK}", "--dashboard-host=0.0.0.0"]
    with start(head, head_ports, *started) as head_process:
        wait_for(lambda: passes(head_container, head_ports) == well)
        with start(node, node_ports, f"--address={address}") as node_process:
            wait_for(lambda: passes(node_container, node_ports) == well)
            os.killpg(head_process.pid, signal.SIGKILL)
            wait_for(lambda: passes(head_container, head_ports) == dead)
            assert passes(node_container, node_ports) == well  # a node outlives its head a while
            os.killpg(node_process.pid, signal.SIGKILL)
            wait_for(lambda: passes(node_container, node_ports) == dead)
