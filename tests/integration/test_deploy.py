"""Schedules on a real Prefect server with a real worker; PostgreSQL where it is installed.

One space has a run at each full minute, and the last test looks at what became of it: the others
take place meanwhile.
"""

import contextlib
import http.server
import itertools
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from functools import partialmethod
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL, temporary_settings

import flows.deploy
from flows import commands
from flows.cli import build_parser
from flows.deploy import LOST
from flows.server import quiet_environment
from flows.turns import skip_missed
from tasks.errors import ConfigError, SinkError
from tasks.store import canaries, drifts
from tasks.store.catalog import Catalog
from tasks.store.lease import lease
from tests import scheduled
from tests.drift import notes
from tests.evaluation import search_task
from tests.pipeline import PROGRAM, config, refresh, write_jsonl
from tests.processes import children
from tests.scheduled import House, ask, ended, runs, wait_for

pytestmark = pytest.mark.prefect

Row = dict[str, Any]
NEVER = "0 0 1 1 *"
POOL = "vectorline"
DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("deploy")
    write_jsonl(
        made / "corpus" / "a.jsonl",
        [{"id": f"r{n}", "text": f"a {n}", "year": 1} for n in range(9)],
    )
    return made


@pytest.fixture(scope="module")
def house(folder: Path) -> Iterator[House]:
    with scheduled.house(folder) as made:
        print(f"\nPrefect's database: {made.database.partition('+')[0]}")
        corpus = folder / "clockwork"
        write_jsonl(corpus / "a.jsonl", notes(0, 240))
        source = config(corpus)["source"]
        path = write_space(folder, "clockwork", "* * * * *", source=source, drift={})
        told = vectorline(made, "deploy", path)
        assert told["deployments"] == [
            {"flow": "refresh", "name": "clockwork", "cron": "* * * * *", "timezone": "UTC"}
        ]
        with scheduled.worker(made, POOL):
            yield made


def vectorline(house: House, *words: str, code: int = 0) -> Any:
    """The JSON of a command, in a process of its own as `run` leaves traces."""
    done = house.call(PROGRAM, *words, "--json")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def write_space(folder: Path, space: str, schedule: object, **changes: object) -> str:
    path = folder / f"{space}.yaml"
    made = config(folder / "corpus", space=space, schedule=schedule) | changes
    path.write_text(json.dumps(made))
    return str(path)


def deploy(
    house: House, folder: Path, space: str, schedule: object, *words: str, **changes: object
) -> Row:
    """What `vectorline deploy` prints; quicker in this process, which has Prefect."""
    path, store = write_space(folder, space, schedule, **changes), str(folder / "vectors")
    return cast("Row", execute(house.api_url, "deploy", path, "--store", store, *words))


def execute(api_url: str, *words: str) -> Any:
    """What a command gives, in this process."""
    args = build_parser().parse_args([*words])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in quiet_environment().items():
            patch.setenv(name, value)
        patch.setenv("PREFECT_API_URL", api_url)
        with temporary_settings({PREFECT_API_URL: api_url}):
            return commands.execute(args)


def deployments(house: House, name: str) -> dict[str, Row]:
    """By flow."""
    found = ask(house, "POST", "deployments/filter", {"deployments": {"name": {"any_": [name]}}})
    return {one["entrypoint"].rpartition(".")[2]: one for one in found}


def start(house: House, deployment: Row) -> Row:
    path = f"deployments/{deployment['id']}/create_flow_run"
    made: Row = ask(house, "POST", path, {"state": {"type": "SCHEDULED"}})
    return made


def let_pass(house: House, planned: list[Row]) -> None:
    """Makes the times of these runs earlier ones."""
    for one in planned:
        past = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2026-01-01T03:00:00Z"}}
        ask(house, "POST", f"flow_runs/{one['id']}/set_state", {"state": past, "force": True})


def states(found: list[Row]) -> list[str]:
    return [one["state_name"] for one in found]


def times(one: Row) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(one["start_time"]), datetime.fromisoformat(one["end_time"])


def one_after_the_other(spans: list[tuple[datetime, datetime]]) -> bool:
    spans = sorted(spans)
    return all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def complaints(house: House, run: Row) -> list[str]:
    """What its log has that is worse than a warning."""
    logs = {"flow_run_id": {"any_": [run["id"]]}, "level": {"ge_": logging.ERROR}}
    found = ask(house, "POST", "logs/filter", {"logs": logs})
    return [one["message"] for one in found]


def work(house: House, run: Row) -> tuple[datetime, datetime]:
    """From the first task of a run to its last."""
    body = {"flow_runs": {"id": {"any_": [run["id"]]}}}

    def look() -> list[tuple[datetime, datetime]]:  # tasks are written down a little later
        found = ask(house, "POST", "task_runs/filter", body)
        whole = found and all(one["end_time"] for one in found)
        return [times(one) for one in found] if whole else []

    spans = wait_for(look)
    return min(begin for begin, _ in spans), max(end for _, end in spans)


def test_each_flow_with_a_time_gets_a_deployment_and_loses_it_with_the_time(
    house: House, folder: Path
) -> None:
    berlin = {"run": NEVER, "maintain": "0 5 * * 0", "timezone": "Europe/Berlin"}
    told = deploy(house, folder, "books", berlin)
    assert told == {
        "space": "books",
        "store": str(folder / "vectors"),
        "pool": POOL,
        "deployments": [
            {"flow": "refresh", "name": "books", "cron": NEVER, "timezone": "Europe/Berlin"},
            {"flow": "maintain", "name": "books", "cron": "0 5 * * 0", "timezone": "Europe/Berlin"},
        ],
        "removed": [],
        "written": None,
    }
    first = deployments(house, "books")
    assert set(first) == {"refresh", "maintain"}
    refresh = first["refresh"]
    assert refresh["parameters"]["store_uri"] == str(folder / "vectors")
    assert refresh["parameters"]["config"]["schedule"] == berlin | {
        "evaluate": None,
        "drift": None,
        "publish": None,
    }
    assert (refresh["work_pool_name"], refresh["work_queue_name"]) == (POOL, "books")
    queue = ask(house, "GET", f"work_pools/{POOL}/queues/books")
    assert queue["concurrency_limit"] == 1

    assert deploy(house, folder, "books", berlin)["removed"] == []
    assert {flow: one["id"] for flow, one in deployments(house, "books").items()} == {
        flow: one["id"] for flow, one in first.items()
    }
    told = deploy(house, folder, "books", "5 0 1 1 *")
    assert told["removed"] == ["maintain"]
    (left,) = deployments(house, "books").values()
    assert [one["schedule"]["cron"] for one in left["schedules"]] == ["5 0 1 1 *"]
    assert left["id"] == refresh["id"]
    assert deploy(house, folder, "books", None)["removed"] == ["refresh"]
    assert deployments(house, "books") == {}
    watches = ask(house, "POST", "automations/filter", {})
    assert [one["name"] for one in watches].count(LOST) == 1


def test_a_name_that_another_store_has_is_refused(house: House, folder: Path) -> None:
    deploy(house, folder, "taken", NEVER)
    elsewhere = ["--store", str(folder / "elsewhere")]
    with pytest.raises(ConfigError) as caught:
        deploy(house, folder, "taken", NEVER, *elsewhere)
    assert str(caught.value) == (
        f"deployment 'taken' is of store {folder}/vectors, and this is {folder}/elsewhere: name "
        "this one with --name, or remove that one with `prefect deployment delete`"
    )
    deploy(house, folder, "taken", NEVER, *elsewhere, "--name", "taken-2")
    assert set(deployments(house, "taken-2")) == {"refresh"}


def test_a_sink_takes_its_secret_from_a_block_and_nobody_reads_it(
    house: House, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.pushing.ATTEMPTS", 1)
    secret, store = "hunter2-of-the-store", str(folder / "secretive")
    with temporary_settings({PREFECT_API_URL: house.api_url}):
        Secret(value=secret).save("store-key")
    sink: Row = {
        "use": "tests.fussy:FussySink",
        "path": str(folder / "sink"),
        "key": {"block": "secret/store-key"},
        "refuses": "a 3",
        "max_refused": 1.0,
        "max_removed": 0.0,
    }

    def written(rows: int = 9, **more: object) -> str:
        write_jsonl(
            folder / "few" / "a.jsonl",
            [{"id": f"r{n}", "text": f"a {n}", "year": 1} for n in range(rows)],
        )
        source = config(folder / "few")["source"]
        return write_space(folder, "secretive", None, source=source, publish=[sink | more])

    def told(*words: str, api_url: str = house.api_url) -> Any:
        return execute(api_url, *words, "--store", store)

    assert told("run", written())["published"][0]["refused"] == [
        {"id": "r3", "reason": "no a 3s here, says {block: secret/store-key}"}
    ]
    assert told("verify", "secretive", "--sink", "fussysink")["ok"]
    assert told("search", "secretive", "a 5", "--sink", "fussysink", "-k", "1")[0]["id"] == "r5"
    assert told("run", written(6), "--allow-removals")["published"][0]["deleted"] == 3

    away = written(6, away={"count": 99})
    assert told("publish", "secretive", "--config", away)[0]["error"] == {
        "kind": "SinkUnavailable",
        "message": "count is away, and was asked with {block: secret/store-key}",
        "exit_code": 1,
    }
    for path in (folder / "secretive").rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()
    kept = Catalog(store).config("secretive", Catalog(store).versions("secretive")[-1].fingerprint)
    assert kept is not None
    assert cast("Any", kept.config)["publish"][0]["key"] == {"block": "secret/store-key"}

    wrong = written(6, key={"block": "secret/no-key"})
    lacks = (
        "sink 'fussysink': key comes from Prefect block 'secret/no-key', which the Prefect "
        f"server at {house.api_url} does not have: `prefect block create secret` leads to the "
        "form that makes it"
    )
    (failed,) = told("publish", "secretive", "--config", wrong, "--to", "fussysink")
    assert failed["error"] == {"kind": "ConfigError", "message": lacks, "exit_code": 2}
    with pytest.raises(ConfigError) as missing:
        told("verify", "secretive", "--config", wrong, "--sink", "fussysink")
    assert str(missing.value) == lacks
    down = f"http://127.0.0.1:{scheduled.free_port()}/api"
    with pytest.raises(SinkError, match=f"at {down} does not give it .*: start that server"):
        told("verify", "secretive", "--sink", "fussysink", api_url=down)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    for words in (["publish", "secretive"], ["run", written(6)]):
        args = build_parser().parse_args([*words, "--store", store])
        with pytest.raises(ConfigError) as unset:
            commands.execute(args)
        assert str(unset.value) == (
            "publish.fussysink.key comes from Prefect block 'secret/store-key', and "
            "PREFECT_API_URL is not set: let it name the Prefect server that has it"
        )


@pytest.mark.slow
def test_the_file_for_prefect_makes_the_same_deployments(house: House, folder: Path) -> None:
    both = {"run": NEVER, "maintain": NEVER}
    deploy(house, folder, "filed", both)
    made = deployments(house, "filed")
    path = folder / "filed-prefect.yaml"
    written = deploy(house, folder, "filed", both, "--prefect-yaml", str(path))
    assert written["written"] == str(path)
    path.write_text(path.read_text().replace("name: filed\n", "name: filed-2\n"))
    done = house.call(
        *scheduled.prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(path))
    )
    assert done.returncode == 0, done.stdout + done.stderr
    same = deployments(house, "filed-2")
    for flow in ("refresh", "maintain"):
        for key in ("entrypoint", "parameters", "tags", "description", "job_variables", "path"):
            assert same[flow][key] == made[flow][key], key
        assert same[flow]["schedules"][0]["schedule"] == made[flow]["schedules"][0]["schedule"]


def test_runs_of_one_space_take_turns_and_wait_in_its_queue(house: House, folder: Path) -> None:
    deploy(house, folder, "busy", {"run": NEVER, "maintain": NEVER})
    made = deployments(house, "busy")
    for one in (made["refresh"], made["maintain"]):
        start(house, one)
    found = ended(house, "busy", 2)
    assert states(found) == ["Completed"] * 2
    assert one_after_the_other([times(one) for one in found])


@pytest.mark.slow
def test_runs_that_get_past_the_queue_wait_for_the_store(house: House, folder: Path) -> None:
    deploy(house, folder, "crowded", {"run": NEVER, "maintain": NEVER})
    ask(house, "PATCH", f"work_pools/{POOL}/queues/crowded", {"concurrency_limit": None})
    made = deployments(house, "crowded")
    with lease(str(folder / "vectors"), "crowded", 0):
        for one in (made["refresh"], made["maintain"]):
            start(house, one)
        wait_for(lambda: states(runs(house, "crowded")).count("Running") == 2)
    found = ended(house, "crowded", 2)
    assert states(found) == ["Completed"] * 2
    assert one_after_the_other([work(house, one) for one in found])


def test_more_missed_runs_than_the_server_tells_at_once_are_skipped(
    house: House, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(house, folder, "often", "0 3 * * *")
    ask(house, "PATCH", f"work_pools/{POOL}/queues/often", {"is_paused": True})
    planned = wait_for(lambda: runs(house, "often"))
    let_pass(house, planned)
    (deployment,) = deployments(house, "often").values()
    told = partialmethod(SyncPrefectClient.read_flow_runs, limit=2)
    monkeypatch.setattr(SyncPrefectClient, "read_flow_runs", told)
    with temporary_settings({PREFECT_API_URL: house.api_url}):
        skip_missed(UUID(deployment["id"]), "another run")
    passed = {one["id"] for one in planned}
    left = [one for one in runs(house, "often") if one["id"] in passed]
    assert len(planned) > 2
    assert states(left) == ["Skipped"] * len(planned)


def test_runs_that_were_missed_are_caught_up_once(house: House, folder: Path) -> None:
    deploy(house, folder, "missed", "0 3 * * *")
    queue = f"work_pools/{POOL}/queues/missed"
    ask(house, "PATCH", queue, {"is_paused": True})
    planned = wait_for(lambda: runs(house, "missed"))
    assert len(planned) > 1
    let_pass(house, planned)
    (deployment,) = deployments(house, "missed").values()
    start(house, deployment)  # somebody's own wish is not a missed run
    ask(house, "PATCH", queue, {"is_paused": False})

    found = ended(house, "missed", len(planned) + 1)
    scheduled_ones = [one for one in found if one["auto_scheduled"]]
    assert sorted(states(scheduled_ones)) == ["Completed"] + ["Skipped"] * (len(planned) - 1)
    assert states([one for one in found if not one["auto_scheduled"]]) == ["Completed"]
    (first,) = (one for one in scheduled_ones if one["state_name"] == "Completed")
    skipped = {one["state"]["message"] for one in scheduled_ones if one is not first}
    assert skipped == {"'refresh missed' did this run's work too"}


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, list[Row]]]:
    """The address of a webhook, and what it was told."""
    told: list[Row] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with http.server.ThreadingHTTPServer((scheduled.LOOPBACK, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{scheduled.LOOPBACK}:{server.server_port}/", told
        server.shutdown()


def events(house: House, space: str, n: int) -> list[Row]:
    """What was told of a space, once it is so much; the server writes it down a little later."""
    of = {"resource": {"id": [f"vectorline.space.{space}"]}, "order": "ASC"}

    def look() -> list[Row]:
        found: list[Row] = ask(house, "POST", "events/filter", {"filter": of})["events"]
        return found if len(found) >= n else []

    return wait_for(look)


def test_drift_is_an_event_of_a_run_and_a_state_of_a_look_and_so_is_another_encoder(
    house: House, folder: Path
) -> None:
    corpus, store = folder / "drifting", str(folder / "vectors")
    write_jsonl(corpus / "a.jsonl", notes(0, 240))
    refresh(config(corpus, space="drifting"), store)
    write_jsonl(corpus / "b.jsonl", notes(240, 120, ("bees",)))
    source = config(corpus)["source"]
    deploy(house, folder, "drifting", {"run": NEVER, "drift": NEVER}, source=source, drift={})
    made = deployments(house, "drifting")
    with listening() as (url, told):
        done = house.call(sys.executable, DEPLOY / "webhook.py", url)
        assert done.returncode == 0, done.stderr

        def ends(flow: str, n: int) -> Row:
            wanted = start(house, made[flow])
            wait_for(lambda: len(told) == n)
            (run,) = (one for one in ended(house, "drifting", n) if one["id"] == wanted["id"])
            return run

        ran = ends("refresh", 1)
        looked = ends("drift", 2)
        table = Catalog(store).resolve("drifting", "latest").table
        canaries.write(store, table, -canaries.read(store, table))
        changed = ends("drift", 3)
    assert (ran["state_type"], ran["state_name"]) == ("COMPLETED", "Completed")
    assert (looked["state_type"], looked["state_name"]) == ("FAILED", "Drift")
    assert (changed["state_type"], changed["state_name"]) == ("FAILED", "EncoderChanged")
    assert [complaints(house, one) for one in (ran, looked, changed)] == [[], [], []]
    drift, other = (one["state"]["message"] for one in (looked, changed))
    assert drift.startswith("drift: rows added or changed since version 1 differ")
    assert other.startswith("encoder changed: the encoder of this machine is another one")
    assert [one["text"] for one in told] == [
        f"vectorline.drift: refresh drifting: {drift}",
        f"vectorline.drift: drift drifting: {drift}",
        f"vectorline.encoder-changed: drift drifting: {other}",
    ]
    serving = Catalog(store).serving("drifting")
    assert serving is not None
    assert serving.version == 2  # drift does not block by itself
    assert [
        (one["event"], one["payload"]["message"], one["payload"]["summary"]["version"])
        for one in events(house, "drifting", 3)
    ] == [
        ("vectorline.drift", drift, 2),
        ("vectorline.drift", drift, 2),
        ("vectorline.encoder-changed", other, 2),
    ]


@pytest.mark.slow
def test_a_gate_that_says_no_is_a_state_an_event_and_a_webhook(house: House, folder: Path) -> None:
    corpus = folder / "judged"
    corpus.mkdir()
    search_task(corpus, 60)
    changes = {
        "source": config(corpus)["source"],
        "encoder": {"use": "hashing", "dim": 256},
        "evaluate": {"suite": str(corpus / "suite.yaml"), "gate": {"ndcg@5": {"max_drop": 0.02}}},
    }
    path = write_space(folder, "judged", NEVER, **changes)
    vectorline(house, "run", path)
    rows = [json.loads(line) for line in (corpus / "docs.jsonl").read_text().splitlines()]
    write_jsonl(corpus / "docs.jsonl", [row | {"text": "the same for all"} for row in rows])
    deploy(house, folder, "judged", NEVER, **changes)
    with listening() as (url, told):
        done = house.call(sys.executable, DEPLOY / "webhook.py", url)
        assert done.returncode == 0, done.stderr
        (deployment,) = deployments(house, "judged").values()
        start(house, deployment)
        (run,) = ended(house, "judged", 1)
        assert (run["state_type"], run["state_name"]) == ("FAILED", "Refused")
        assert complaints(house, run) == []
        message = run["state"]["message"]
        assert message.startswith("the gate says no: ")
        wait_for(lambda: told, 30)
    assert told == [{"text": f"vectorline.refused: refresh judged: {message}"}]
    serving = Catalog(str(folder / "vectors")).serving("judged")
    assert serving is not None
    assert serving.version == 1
    made = vectorline(house, "evaluate", "judged", "--config", path, code=3)
    assert made["gate"]["passed"] is False


def test_a_deployment_with_a_schedule_runs_twice_by_itself_and_has_nothing_to_do_then(
    house: House, folder: Path
) -> None:
    first, second = ended(house, "clockwork", 2)[:2]
    assert states([first, second]) == ["Completed", "Completed"]
    assert [one["auto_scheduled"] for one in (first, second)] == [True, True]

    def artifact(run: Row, key: str) -> Any:
        body = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}, "key": {"any_": [key]}}}
        (found,) = ask(house, "POST", "artifacts/filter", body)
        return found["data"]

    def books(run: Row) -> dict[str, int]:
        data = artifact(run, "manifest")
        rows = json.loads(data) if isinstance(data, str) else data
        return {row["outcome"]: row["records"] for row in rows if row["records"]}

    assert books(first) == {"read": 240, "new": 240}
    assert books(second) == {"read": 240, "unchanged": 240}
    catalog = Catalog(str(folder / "vectors"))
    assert [one.version for one in catalog.versions("clockwork")] == [1]
    reports = [artifact(run, "drift-report") for run in (first, second)]
    assert ["1-since-none" in reports[0], "1-since-1" in reports[1]] == [True, True]
    pages = {path.name for path in folder.glob("vectors/runs/clockwork.*/drift/*.html")}
    assert len(pages) == 2
    assert all(name in "".join(reports) for name in pages)

    write_jsonl(folder / "clockwork" / "b.jsonl", notes(240, 120))
    start(house, *deployments(house, "clockwork").values())  # unless its minute comes before

    def look() -> Row | None:
        later = [
            one for one in ended(house, "clockwork", 3)[2:] if one["state_name"] == "Completed"
        ]
        return next((one for one in later if "new" in books(one)), None)

    assert "2-since-1" in artifact(wait_for(look), "drift-report")
    looks = drifts.looks(str(folder / "vectors"), "clockwork").to_pylist()
    assert [(one["version"], one["baseline"], one["verdict"]) for one in looks] == [
        (1, None, "cannot tell"),
        (1, 1, "cannot tell"),
        (2, 1, "no drift"),
    ]


def test_without_a_server_deploy_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    args = build_parser().parse_args(["deploy", write_space(folder, "lonely", NEVER)])
    with pytest.raises(ConfigError) as caught:
        commands.execute(args)
    assert str(caught.value) == (
        "PREFECT_API_URL is not set, and deployments are made on the server that it names: start "
        "one with `prefect server start`, then `export PREFECT_API_URL=http://127.0.0.1:4200/api`"
    )


@pytest.mark.slow
def test_a_run_whose_worker_is_lost_is_crashed_and_its_space_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.deploy, "LOST_AFTER_S", 40.0)
    monkeypatch.setitem(flows.deploy.ENVIRONMENT, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
    rows = [{"id": f"r{n}", "text": f"a {n}", "year": 1} for n in range(900)]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    slow = {"use": "tests.encoders:SlowEncoder"}
    with scheduled.house(tmp_path) as house:
        deploy(house, tmp_path, "lost", NEVER, encoder=slow)
        (deployment,) = deployments(house, "lost").values()
        start(house, deployment)
        start(house, deployment)
        with scheduled.worker(house, POOL) as worker:
            wait_for(lambda: "Running" in states(runs(house, "lost")))
            for pid in (worker.pid, *children(worker.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        with scheduled.worker(house, POOL):
            found = ended(house, "lost", 2)
    assert states(found) == ["Crashed", "Completed"]
    assert found[0]["state"]["message"] == "its worker is lost"
