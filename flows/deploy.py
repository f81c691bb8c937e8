"""Prefect deployments of a config: one for each flow that its schedule gives a time.

A deployment carries the config as it was when it was deployed, secrets as references: a worker
needs neither the file nor its folder.
"""

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from schemas.config import Config, DriftConfig, EvaluateConfig, Schedule
from tasks.errors import ConfigError
from tasks.publish import PublishOptions
from tasks.run import Options

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

TAG = "vectorline"
WAIT_S = 3600.0  # for a writer that somebody started by hand
HEARTBEAT_S = 60
LOST_AFTER_S = 300.0
LOST = "vectorline: runs without a sign of life have crashed"

# What Prefect shows of a run beside its own words, and how soon it hears that a worker is lost.
ENVIRONMENT = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,tasks",
}

Parameters = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Deployment:
    """One flow of a space, and when it begins."""

    flow: str
    name: str
    space: str
    cron: str
    timezone: str
    parameters: Parameters

    @property
    def entrypoint(self) -> str:
        """The flow's dotted path: a worker imports it."""
        return f"flows.{self.flow}.{self.flow}"

    @property
    def description(self) -> str:
        """What Prefect says of it."""
        return f"vectorline: {self.flow} of space {self.space}"

    @property
    def tags(self) -> list[str]:
        """By which automations and `deploy` find it and its runs."""
        return [TAG, f"space:{self.space}"]

    def summary(self) -> dict[str, str]:
        """What `--json` prints."""
        return {
            "flow": self.flow,
            "name": self.name,
            "cron": self.cron,
            "timezone": self.timezone,
        }


def _refresh(config: Config) -> Parameters:
    return {
        "config": config.model_dump(mode="json"),
        "options": asdict(Options(wait_s=WAIT_S)),
    }


def _evaluate(config: Config) -> Parameters:
    return _look("evaluate", config.evaluate)


def _drift(config: Config) -> Parameters:
    return _look("drift", config.drift) | {"by_sketches": False}


def _look(key: str, settings: EvaluateConfig | DriftConfig | None) -> Parameters:
    if settings is None:
        raise ConfigError(f"schedule.{key}: the config has no `{key}:`, which says how")
    return {
        "settings": settings.model_dump(mode="json"),
        "version": "latest",
        "baseline": None,
        "options": [],
    }


def _maintain(config: Config) -> Parameters:
    return {"config": config.model_dump(mode="json"), "wait_s": WAIT_S}


def _publish(config: Config) -> Parameters:
    if not config.publish:
        raise ConfigError("schedule.publish: the config has no `publish:`, which says where to")
    return {
        "sinks": [one.model_dump(mode="json") for one in config.publish],
        "options": asdict(PublishOptions(wait_s=WAIT_S)),
    }


FLOWS: dict[str, tuple[str, Callable[[Config], Parameters]]] = {
    "run": ("refresh", _refresh),
    "evaluate": ("evaluate", _evaluate),
    "drift": ("drift", _drift),
    "publish": ("publish", _publish),
    "maintain": ("maintain", _maintain),
}
"""By key of a schedule: the flow, its module's name too, and its parameters but space and store."""


def deployments(config: Config, store_uri: str, name: str) -> list[Deployment]:
    """Those that the config's schedule asks for, by `name`; `store_uri` is an absolute one.

    Raises ConfigError where the schedule names a flow that the config says nothing of.
    """
    found = config.schedule
    schedule = Schedule(run=found) if isinstance(found, str) else found or Schedule()
    where: Parameters = {"space": config.space, "store_uri": store_uri}
    return [
        Deployment(flow, name, config.space, cron, schedule.timezone, where | parameters(config))
        for key, (flow, parameters) in FLOWS.items()
        if (cron := getattr(schedule, key)) is not None
    ]


def write_prefect_yaml(path: Path, made: list[Deployment], pool: str) -> None:
    """A file for `prefect deploy --all --prefect-file`.

    Raises ConfigError where the config holds what Prefect would fill in, or it cannot be written.
    """
    shown = [
        {
            "name": one.name,
            "description": one.description,
            "tags": one.tags,
            "entrypoint": one.entrypoint,
            "parameters": one.parameters,
            "schedules": [{"cron": one.cron, "timezone": one.timezone}],
            "work_pool": {
                "name": pool,
                "work_queue_name": one.name,
                "job_variables": {"env": ENVIRONMENT},
            },
        }
        for one in made
    ]
    text = yaml.safe_dump(
        {"name": TAG, "pull": [], "deployments": shown}, sort_keys=False, allow_unicode=True
    )
    if "{{" in text:
        raise ConfigError(
            "the config holds '{{', which Prefect would fill in when it reads its file: without "
            "--prefect-yaml the deployments are made directly"
        )
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def deploy(made: list[Deployment], store_uri: str, name: str, pool: str) -> list[str]:
    """Brings Prefect's server up to date; gives the flows whose deployments it removed.

    Runs of one name wait in a queue of their own, which gives a worker one at a time.

    Raises:
        ConfigError: The name is taken by another store.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        there = _there(client, name, store_uri)
        _ensure_queue(client, pool, name)
        for one in made:
            _apply(one, pool)
        gone = [flow for flow in there if flow not in {one.flow for one in made}]
        for flow in gone:
            client.delete_deployment(there[flow].id)
        _watch_over_runs(client)
    return gone


def _there(
    client: "SyncPrefectClient", name: str, store_uri: str
) -> dict[str, "DeploymentResponse"]:
    """The deployments of a name that `deploy` made, by flow."""
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterName,
        DeploymentFilterTags,
    )

    found = client.read_deployments(
        deployment_filter=DeploymentFilter(
            name=DeploymentFilterName(any_=[name]), tags=DeploymentFilterTags(all_=[TAG])
        ),
    )
    for one in found:
        other = one.parameters.get("store_uri")
        if other != store_uri:
            raise ConfigError(
                f"deployment {name!r} is of store {other}, and this is {store_uri}: name this one "
                "with --name, or remove that one with `prefect deployment delete`"
            )
    return {client.read_flow(one.flow_id).name: one for one in found}


def _ensure_queue(client: "SyncPrefectClient", pool: str, name: str) -> None:
    """A queue that gives out one run at a time; a pool of processes where there is none yet."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        client.read_work_pool(pool)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=pool, type="process", base_job_template=template)
        )
    try:
        queue = client.read_work_queue_by_name(name, work_pool_name=pool)
    except ObjectNotFound:
        client.create_work_queue(name=name, concurrency_limit=1, work_pool_name=pool)
    else:
        client.update_work_queue(queue.id, concurrency_limit=1)


def _apply(one: Deployment, pool: str) -> None:
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    flow = getattr(importlib.import_module(f"flows.{one.flow}"), one.flow)
    flow.to_deployment(
        name=one.name,
        schedules=[Cron(one.cron, timezone=one.timezone)],
        parameters=one.parameters,
        description=one.description,
        tags=one.tags,
        work_pool_name=pool,
        work_queue_name=one.name,
        job_variables={"env": ENVIRONMENT},
        entrypoint_type=EntrypointType.MODULE_PATH,
    ).apply()


def _watch_over_runs(client: "SyncPrefectClient") -> None:
    """Lets the server call a run crashed whose worker is lost: else it would block its queue."""
    from prefect.automations import AutomationCore
    from prefect.client.schemas.objects import StateType
    from prefect.events import EventTrigger, Posture, ResourceSpecification
    from prefect.events.actions import ChangeFlowRunState

    if client.read_automations_by_name(LOST):
        return
    watch = EventTrigger(
        after={"prefect.flow-run.Running", "prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.*"},
        match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        match_related=ResourceSpecification(
            {"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}
        ),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=LOST_AFTER_S),
    )
    crashed = ChangeFlowRunState(state=StateType.CRASHED, message="its worker is lost")
    client.create_automation(AutomationCore(name=LOST, trigger=watch, actions=[crashed]))
