"""What `vectorline deploy` makes of a config, and the files in deploy/, by their schemas."""

import json
import pickle
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from prefect import State
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.exceptions import Abort
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.states import get_state_exception

from flows import events
from flows.deploy import FLOWS, Deployment, deployments, write_prefect_yaml
from schemas.config import Schedule
from tasks.config import from_dict, read_config
from tasks.errors import ConfigError
from tests.pipeline import books, config, refresh, write_jsonl

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
STORE = "s3://vectors/store"
IN_THE_WORKER = "/home/vectorline/deploy"
KUBERNETES = "1.34"

Row = dict[str, Any]

# What ray.yaml uses of KubeRay's RayCluster (ray.io/v1), as its custom resource defines it; the
# templates are those of Kubernetes.
RAY_GROUP: Row = {
    "type": "object",
    "properties": {
        "rayStartParams": {"type": "object", "additionalProperties": {"type": "string"}},
        "template": {"type": "object"},
    },
    "required": ["template"],
    "additionalProperties": False,
}
RAY_NODES = RAY_GROUP | {
    "properties": RAY_GROUP["properties"]
    | {"groupName": {"type": "string"}}
    | {name: {"type": "integer"} for name in ("replicas", "minReplicas", "maxReplicas")},
    "required": ["groupName", "maxReplicas", "minReplicas", "template"],
}
RAY_CLUSTER: Row = {
    "type": "object",
    "properties": {
        "rayVersion": {"type": "string"},
        "headGroupSpec": RAY_GROUP,
        "workerGroupSpecs": {"type": "array", "items": RAY_NODES},
    },
    "required": ["headGroupSpec"],
    "additionalProperties": False,
}


def made(schedule: object, **changes: object) -> list[Deployment]:
    return deployments(
        from_dict(config(Path("/x"), schedule=schedule, **changes), "a test"), STORE, "notes"
    )


def manifests() -> list[Row]:
    texts = [path.read_text() for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))]
    return [one for text in texts for one in yaml.safe_load_all(text)]


def test_each_key_of_a_schedule_has_a_flow() -> None:
    assert set(FLOWS) == set(Schedule.model_fields) - {"timezone"}


def test_a_time_alone_is_that_of_the_refresh() -> None:
    (one,) = made("0 3 * * *")
    assert (one.flow, one.cron, one.timezone) == ("refresh", "0 3 * * *", "UTC")
    assert one.parameters["store_uri"] == STORE
    assert one.parameters["options"]["promote"] == "auto"


def test_each_deployment_gives_its_flow_what_it_takes() -> None:
    every = dict.fromkeys(FLOWS, "0 3 * * *")
    sinks = [{"use": "parquet", "path": "/x/out"}]
    for one in made(every, evaluate={"suite": "/x/suite.yaml"}, drift={}, publish=sinks):
        flow: Flow[..., Any] = load_flow_from_entrypoint(one.entrypoint)
        assert flow.name == one.flow
        assert set(one.parameters) == set(flow.parameters.properties)


def test_secrets_stay_references() -> None:
    source = config(Path("/x"))["source"] | {
        "path": "s3://b/*.jsonl",
        "storage_options": {"secret": {"env": "S3_SECRET"}},
    }
    (one,) = made("0 3 * * *", source=source)
    (told,) = one.parameters["config"]["source"]
    assert told["storage_options"] == {"secret": {"env": "S3_SECRET"}}


def test_a_flow_of_which_the_config_says_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"schedule\.evaluate: the config has no `evaluate:`"):
        made({"evaluate": "0 3 * * *"})
    with pytest.raises(ConfigError, match=r"schedule\.drift: the config has no `drift:`"):
        made({"drift": "0 3 * * *"})
    with pytest.raises(ConfigError, match=r"schedule\.publish: the config has no `publish:`"):
        made({"publish": "0 3 * * *"})


def test_what_prefect_would_fill_in_is_refused(tmp_path: Path) -> None:
    source = config(Path("/x"))["source"] | {"text": "{{ title }}"}
    with pytest.raises(ConfigError, match="which Prefect would fill in"):
        write_prefect_yaml(tmp_path / "prefect.yaml", made("0 3 * * *", source=source), "pool")


def test_a_schedule_makes_no_version(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [{"id": "a", "text": "a", "year": 1}])
    first = refresh(config(tmp_path / "corpus"), tmp_path / "vectors")
    again = refresh(config(tmp_path / "corpus", schedule="0 3 * * *"), tmp_path / "vectors")
    assert (again["version"], again["new_version"]) == (1, False)
    assert books(again) == {"read": 1, "unchanged": 1}
    assert again["fingerprint"] == first["fingerprint"]


def test_prefect_takes_the_file_in_deploy_which_is_made_of_the_config_beside_it(
    tmp_path: Path,
) -> None:
    found = yaml.safe_load((DEPLOY / "prefect.yaml").read_text())
    loaded = PrefectYamlModel.model_validate(found)
    assert [one.entrypoint for one in loaded.deployments] == [
        f"flows.{flow}.{flow}" for flow in ("refresh", "evaluate", "drift", "maintain")
    ]
    now = deployments(read_config(DEPLOY / "papers.yaml"), STORE, "papers")
    write_prefect_yaml(tmp_path / "prefect.yaml", now, "vectorline")
    written = (tmp_path / "prefect.yaml").read_text().replace(str(DEPLOY), IN_THE_WORKER)
    assert found == yaml.safe_load(written)


def test_a_worker_sees_the_example_and_its_suite() -> None:
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    shown = [f"./{name}:{IN_THE_WORKER}/{name}:ro" for name in ("papers.yaml", "papers-suite.yaml")]
    assert set(shown) <= set(composed["services"]["worker"]["volumes"])
    (worker,) = (one for one in manifests() if one["metadata"]["name"] == "worker")
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    assert {"name": "configs", "mountPath": IN_THE_WORKER} in container["volumeMounts"]


def test_compose_and_kubernetes_run_the_worker_that_the_image_has_and_let_it_end() -> None:
    program = "/opt/vectorline/worker.py"
    assert f"COPY deploy/worker.py {program}\n" in (DEPLOY / "Dockerfile").read_text()
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["worker"]
    (worker,) = (one for one in manifests() if one["metadata"]["name"] == "worker")
    pod = worker["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert composed["command"] == container["args"] == ["python", program]
    assert composed["restart"] == "unless-stopped"
    assert (composed["stop_grace_period"], pod["terminationGracePeriodSeconds"]) == ("10m", 600)


def test_compose_is_what_its_specification_says() -> None:
    schemas = files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text())
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    jsonschema.Draft7Validator(schema).validate(composed)
    services = composed["services"]
    assert set(services) == {"postgres", "prefect", "worker", "ray-head", "ray-node", "s3"}
    for one in services.values():
        assert set(one.get("depends_on", {})) <= set(services)


def test_kubernetes_takes_the_manifests() -> None:
    found = manifests()
    for one in found:
        if one["kind"] != "RayCluster":
            kubernetes_validate.validate(one, KUBERNETES, strict=True)
    assert sorted(one["kind"] for one in found) == [
        *("Deployment", "Deployment", "RayCluster", "Service", "Service", "StatefulSet")
    ]


def test_the_ray_cluster_is_what_kuberay_takes() -> None:
    (cluster,) = (one for one in manifests() if one["kind"] == "RayCluster")
    assert cluster["apiVersion"] == "ray.io/v1"
    jsonschema.Draft202012Validator(RAY_CLUSTER).validate(cluster["spec"])
    spec = cluster["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **group["template"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        (container,) = group["template"]["spec"]["containers"]
        assert {"livenessProbe", "readinessProbe"} <= set(container)  # else KubeRay's, which fail
    assert f"\nray=={spec['rayVersion']} " in (ROOT / "requirements.lock").read_text()
    (worker,) = (one for one in manifests() if one["metadata"]["name"] == "worker")
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    addresses = [one["value"] for one in container["env"] if one["name"] == "RAY_ADDRESS"]
    assert addresses == [f"{cluster['metadata']['name']}-head-svc:6379"]


def test_the_dockerfile_has_nothing_that_a_linter_minds() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_image_gets_all_that_the_package_needs() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    given = {one.removeprefix("!") for one in ignored if one.startswith("!")}
    copied = {
        word
        for line in (DEPLOY / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert given == copied
    assert all((ROOT / one).exists() for one in given)


@pytest.mark.parametrize(
    ("verdict", "state", "event"),
    [
        ("drift", "Drift", "vectorline.drift"),
        ("encoder changed", "EncoderChanged", "vectorline.encoder-changed"),
    ],
)
def test_an_alarm_is_called_by_its_verdict(
    monkeypatch: pytest.MonkeyPatch, verdict: str, state: str, event: str
) -> None:
    told: list[str] = []
    monkeypatch.setattr("flows.events.emit_event", lambda **words: told.append(words["event"]))
    drift = {"verdict": verdict, "reason": "so it is", "alarm": True, "blocked": True}
    ended = events.found("notes", {"drift": drift})
    assert isinstance(ended, State)
    assert (ended.name, ended.message) == (state, f"{verdict}: so it is")
    assert events.answer(ended) == {"drift": drift}
    raised = get_state_exception(ended)
    assert isinstance(raised, Abort)  # else Prefect logs a traceback
    assert isinstance(raised, Exception)  # else a flow around this one would never end
    assert str(pickle.loads(pickle.dumps(raised))) == ended.message  # noqa: S301
    goes_on: Row = {"drift": drift | {"blocked": False}}
    assert events.found("notes", goes_on) == goes_on
    assert told == [event, event]
