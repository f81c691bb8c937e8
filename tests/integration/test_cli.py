"""The program as users run it: real Prefect, real Ray, a real store.

Runs have a process of their own, as Prefect and Ray leave traces; other commands are quick here.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import cli, commands
from flows.server import embedded_server
from schemas.config import SinkConfig
from tasks.errors import ConfigError
from tasks.publish import PublishOptions, publish
from tasks.run import Stop
from tasks.space import open_space
from tests.pipeline import PROGRAM, config, refresh, write_config, write_jsonl

pytestmark = [pytest.mark.ray, pytest.mark.prefect]


def run(folder: Path, *words: str) -> Any:
    """The JSON of a command that starts workers."""
    done = subprocess.run(
        [PROGRAM, *words, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """The JSON of any other command."""
    monkeypatch.chdir(tmp_path)

    def ask(*words: str) -> Any:
        code = cli.main([*words, "--json"])
        out, err = capfd.readouterr()
        assert (code, err) == (0, "")
        return json.loads(out)

    return ask


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """A Prefect server of the user's own; gives what asks it for all of a kind."""
    with embedded_server() as server:
        server.wait_ready()
        monkeypatch.setenv("PREFECT_API_URL", server.api_url)

        def ask(kind: str) -> Any:
            request = urllib.request.Request(  # noqa: S310
                f"{server.api_url}/{kind}/filter", b"{}", {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request) as reply:  # noqa: S310
                return json.load(reply)

        yield ask


def test_a_new_user_gets_from_init_to_a_hit_without_a_network(
    tmp_path: Path, answer: Callable[..., Any]
) -> None:
    assert answer("init") == {
        "written": ["vectorline.yaml", "notes.jsonl", "vectorline.schema.json"]
    }
    with (tmp_path / "vectorline.yaml").open("a") as settings:
        settings.write("\ncompute: {workers: 1}\n")  # each of two would load a model for 40 notes
    made = run(tmp_path, "run", "vectorline.yaml")
    assert (made["version"], made["rows"], made["promoted"]) == (1, 40, True)
    hits = answer("search", "notes", "the dough needs time", "-k", "3")
    assert len(hits) == 3
    assert hits[0]["metadata"] == {"topic": "kitchen"}
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def test_every_command_answers_in_json_on_a_cluster_and_a_server_of_the_users_own(
    tmp_path: Path,
    answer: Callable[..., Any],
    local_ray: str,
    own_server: Callable[[str], Any],
) -> None:
    odd = ("", " odd")
    rows = [{"id": f"r{n}", "text": f"text {n}{odd[n % 2]}", "year": n % 3} for n in range(600)]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    write_jsonl(tmp_path / "corpus" / "bad.jsonl", [{"id": "e", "text": " ", "year": 1}])
    index = {"columns": ["year"], "rows": 100}
    old = {"compute": {"address": local_ray}, "index": index}
    path = str(write_config(tmp_path, tmp_path / "corpus", **old))
    plan = run(tmp_path, "plan", path)
    assert (plan["records"]["new"], plan["records"]["quarantined"]) == (600, 1)
    assert plan["to_encode"] == 600
    assert min(plan["tokens"], plan["seconds_estimate"]) > 0
    assert not list((tmp_path / "vectors").glob("*.lance"))

    first = run(tmp_path, "run", path)
    assert (first["version"], first["rows"], first["promoted"]) == (1, 600, True)
    assert (first["encoded"], first["encoder_loads"] > 0) == (600, True)
    again = run(tmp_path, "run", path)
    assert (again["version"], again["encoder_loads"], again["encoded"]) == (1, 0, 0)
    assert (again["records"]["unchanged"], again["new_version"]) == (600, False)

    assert {(one["name"], one["state_name"]) for one in own_server("flow_runs")} == {
        ("refresh notes", "Completed")
    }
    artifacts = {one["key"]: one for one in own_server("artifacts/latest")}
    assert artifacts["records"]["data"] == 100.0
    assert artifacts["manifest"]["description"] == again["run_id"]
    table = json.loads(artifacts["manifest"]["data"])
    assert {row["outcome"]: row["records"] for row in table} == again["records"]

    kept = run(tmp_path, "maintain", "notes")
    assert kept["space"] == "notes"
    (done,) = kept["tables"]
    assert (done["table"], done["retired"]) == (first["table"], [])
    assert done["fragments_before"] == done["fragments"]  # so few are left alone
    assert (done["index"]["kind"], done["index"]["columns"]) == ("IVF_RQ", ["year"])

    near = answer("search", "notes", "--id", "r7", "-k", "1")
    assert (near[0]["id"], near[0]["text"]) == ("r7", "text 7 odd")
    assert near[0]["score"] == pytest.approx(1, abs=1e-6)
    some = answer("search", "notes", "text 7", "--where", "year = 2")
    assert {hit["metadata"]["year"] for hit in some} == {2}
    assert answer("search", "notes", "text 7", "--where", "year = 2", "--exact") == some
    assert (
        answer("spaces")[0].items()
        >= {
            "space": "notes",
            "version": 1,
            "rows": 600,
            "dim": 32,
        }.items()
    )
    (version,) = answer("versions", "notes")
    assert (version["version"], version["rows"], version["serving"]) == (1, 600, True)
    assert version["tags"] == [f"run-{first['run_id']}"]
    shown = answer("show", "notes")
    assert shown["manifest"]["records"] == first["records"]
    assert {**shown["index"], "retrained": False} == done["index"]
    (entry,) = answer("quarantine", "notes")
    assert entry.items() >= {"id": "e", "reason": "empty", "transient": False}.items()

    new = {"encoder": {"use": "hashing", "dim": 16}, "compute": {"address": local_ray}}
    path = str(write_config(tmp_path, tmp_path / "corpus", **new))
    second = run(tmp_path, "backfill", path)
    assert (second["version"], second["promoted"], second["encoded"]) == (2, False, 600)
    assert "backfill notes" in {one["name"] for one in own_server("flow_runs")}
    assert [one["serving"] for one in answer("versions", "notes")] == [True, False]


def test_promote_and_rollback_move_what_readers_get(
    tmp_path: Path, answer: Callable[..., Any]
) -> None:
    corpus, places = tmp_path / "corpus", [str(tmp_path / "downstream"), str(tmp_path / "gone")]
    one, gone = ({"use": "parquet", "path": place} for place in places)
    gone["name"] = "gone"
    for number, sinks in enumerate(([one, gone], [one, gone], [one]), 1):
        settings = config(corpus, publish=sinks)
        write_jsonl(
            tmp_path / "corpus" / f"{number}.jsonl", [{"id": f"r{number}", "text": "a", "year": 1}]
        )
        refresh(settings, tmp_path / "vectors", promote="no")
    with pytest.raises(ConfigError, match="promote notes 3"):
        open_space("notes", str(tmp_path / "vectors"))
    differ = answer("diff", "notes", "1", "latest")
    assert (differ["from"], differ["to"], differ["added"]) == (1, 3, ["r2", "r3"])
    assert answer("diff", "notes", "1", "latest", "--counts")["added"] == 2
    moved = [answer("promote", "notes", "1")]
    for sink in map(SinkConfig.model_validate, (one, gone)):
        publish.fn(str(tmp_path / "vectors"), "notes", sink, PublishOptions(), Stop())
    moved += [answer("promote", "notes", "latest"), answer("rollback", "notes")]
    steps = [(one["from_version"], one["to_version"], one["hold"]) for one in moved]
    assert steps == [(None, 1, False), (1, 3, False), (3, 1, True)]
    behind = [one["sinks_behind"] for one in moved]
    assert behind == [[], [{"sink": "parquet", "version": 1}], []]
    assert [one["sinks"] for one in answer("versions", "notes")] == [["gone", "parquet"], [], []]
    served = {one["version"]: one["serving"] for one in answer("versions", "notes")}
    assert served == {1: True, 2: False, 3: False}
    assert [hit["id"] for hit in answer("search", "notes", "a")] == ["r1"]
    assert answer("show", "notes", "2")["rows"] == 2
    write_jsonl(tmp_path / "corpus" / "4.jsonl", [{"id": "r4", "text": "a", "year": 1}])
    held = refresh(settings, tmp_path / "vectors")
    assert (held["version"], held["promoted"]) == (4, False)
    assert held["notes"] == [
        "serving was rolled back by hand: `vectorline promote` lets it move again"
    ]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run", "nothing.yaml"], 2, "nothing.yaml"),
        (["search", "nowhere", "text"], 2, "nowhere"),
        (["versions", "nowhere"], 2, "no space 'nowhere'"),
        (["run"], 2, "CONFIG"),
        (["promote", "nowhere", "3"], 2, "nowhere"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended: object
    try:
        ended = cli.main(words)
    except SystemExit as stop:  # argparse
        ended = stop.code
    out, err = capfd.readouterr()
    assert (ended, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(tmp_path / "corpus" / "c.jsonl", [{"id": "c", "text": "c", "year": 1}])
    path = write_config(tmp_path, tmp_path / "corpus", compute={"workers": 2})
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    done = subprocess.run(
        [PROGRAM, "plan", path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Ray at 127.0.0.1:1 cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_ends_any_command_as_ctrl_c_does(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def last_long(args: argparse.Namespace) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setitem(commands.COMMANDS, "spaces", last_long)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert cli.main(["spaces"]) == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capfd.readouterr() == ("", "vectorline: stopped\n")


def test_another_package_called_tasks_is_named(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text("")
    done = subprocess.run(
        [PROGRAM, "spaces"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert str(tmp_path / "tasks") in done.stderr
    assert "Traceback" not in done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from flows import cli; cli.build_parser();"
        "heavy = {'numpy', 'pyarrow', 'pydantic', 'prefect', 'ray', 'lance', 'torch', 'yaml'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
