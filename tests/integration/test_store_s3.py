"""Whole runs on an object store: what the commands do, and who was there at the same time."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.config import IndexConfig, Retention
from tasks.drop import drop, droppable
from tasks.maintain import maintain
from tasks.space import open_space
from tasks.store import epochs, evaluations, files, layout, quarantine
from tasks.store.catalog import Catalog
from tasks.verify import verify
from tests.evaluation import search_task
from tests.pipeline import books, config, refresh, write_jsonl

pytestmark = pytest.mark.stores

TTL_S = 1.0


def rows(*ids: str, text: str = "text of") -> list[dict[str, Any]]:
    return [{"id": id_, "text": f"{text} {id_}", "year": 2000} for id_ in ids]


def test_runs_upkeep_and_reading_on_an_object_store(bucket: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    settings = config(corpus)
    write_jsonl(corpus / "a.jsonl", [*rows("a", "b", "c"), {"id": "bad", "text": "", "year": 1}])
    made = refresh(settings, bucket)
    assert (made["version"], books(made)) == (1, {"read": 4, "new": 3, "quarantined": 1})
    write_jsonl(corpus / "a.jsonl", [*rows("a"), *rows("b", text="another text of"), *rows("d")])
    made = refresh(settings, bucket)
    assert (made["version"], made["promoted"]) == (2, True)
    assert books(made) == {"read": 3, "new": 1, "changed": 1, "unchanged": 1, "removed": 1}
    assert refresh(settings, bucket)["new_version"] is False
    catalog = Catalog(bucket)
    (table,) = quarantine.tables(bucket, "notes")
    assert quarantine.read(bucket, table) == []
    assert catalog.spaces() == ["notes"]
    found = open_space("notes", bucket).to_arrow(["id", "text"]).to_pylist()
    assert sorted((row["id"], row["text"]) for row in found) == [
        ("a", "text of a"),
        ("b", "another text of b"),
        ("d", "text of d"),
    ]
    assert open_space("notes", bucket, 1).rows == 3
    wanted = IndexConfig(columns=("year",), rows=3)
    done = maintain.fn(bucket, table, Retention(versions=1, days=0), wanted, 0.0)
    assert (done["retired"], done["notes"]) == ([], [])  # both served last
    assert (done["index"]["kind"], done["index"]["columns"]) == ("IVF_RQ", ["year"])
    kept = open_space("notes", bucket)
    assert kept.rows == 3
    vector = kept.vectors()[1][0]
    by_index, by_scan = (
        kept.nearest(vector, 3, where="year = 2000", exact=exact) for exact in (False, True)
    )
    assert len(by_index) == 3
    assert by_index == by_scan


def test_versions_are_judged_on_an_object_store(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    corpus = tmp_path / "corpus"
    judged = {"suite": str(search_task(corpus, 60)), "gate": {"ndcg@5": {"max_drop": 0.02}}}
    for dim, verdict in ((16, None), (512, "better")):
        encoder = {"use": "hashing", "dim": dim}
        made = refresh(config(corpus, encoder=encoder, evaluate=judged), bucket, backfill=True)
        assert made["promoted"]
        assert (made["gate"] or {}).get("verdict") == verdict
    report = made["gate"]["report"]
    page = files.of(report).read(report)
    assert page is not None
    assert b"better" in page
    assert set(evaluations.scores(bucket, "notes")["version"].to_pylist()) == {1, 2}
    names = droppable(bucket, "notes", None)
    drop(bucket, "notes", names, "someone", 0.0)
    assert files.of(report).read(report) is None
    assert evaluations.scores(bucket, "notes").num_rows == 0


def test_verify_and_drop_on_an_object_store(bucket: str, tmp_path: Path) -> None:
    settings = config(tmp_path / "corpus")
    for ids in ("ab", "abc"):
        write_jsonl(tmp_path / "corpus" / "a.jsonl", rows(*ids))
        refresh(settings, bucket)
    assert [check for check in verify(bucket, "notes") if not check.ok] == []
    names = droppable(bucket, "notes", None)
    there = files.of(bucket)
    folder = f"{layout.table_uri(layout.root(bucket), names[0])}/data"
    there.remove([f"{folder}/{there.names(folder)[0]}"])
    (bad,) = [check for check in verify(bucket, "notes") if not check.ok]
    assert (bad.name, "is missing" in bad.detail) == ("files", True)
    done = drop(bucket, "notes", names, "ann", 0.0)
    assert (done["versions"], done["freed_bytes"] > 1000) == ([1, 2], True)
    root = layout.root(bucket)
    assert [names for names in there.names(root) if names.startswith("notes")] == []
    assert there.names(layout.states_folder(bucket)) == []
    assert there.names(layout.runs_folder(bucket)) == []
    made = refresh(settings, bucket)
    assert (made["version"], books(made)) == (3, {"read": 3, "new": 3})


FROZEN = """
import json, sys
from tasks.commit import check, commit
from tasks.config import from_dict
from tasks.encode import encode
from tasks.errors import LeaseLost
from tasks.plan import plan
from tasks.run import Options, Run, open_run
from tasks.store import epochs
epochs.TTL_S = float(sys.argv[3])
try:
    with open_run(Run(from_dict(json.loads(sys.argv[1]), "a test"), sys.argv[2], Options())) as run:
        planned = plan.fn(run)
        check.fn(run, planned)
        encoded = encode.fn(run, planned)
        print("encoded", flush=True)
        sys.stdin.readline()
        commit.fn(run, planned, encoded)
except LeaseLost as error:
    print(error, flush=True)
"""


def test_a_run_that_was_frozen_while_another_one_came_commits_nothing(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "TTL_S", TTL_S)
    settings = config(tmp_path / "corpus")
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows("a", "b"))
    frozen = subprocess.Popen(
        [sys.executable, "-c", FROZEN, json.dumps(settings), bucket, str(TTL_S)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert frozen.stdout
    assert frozen.stdout.readline() == "encoded\n"
    frozen.send_signal(signal.SIGSTOP)
    made = refresh(settings, bucket)
    assert made["encoded"] == 0  # what the frozen one wrote was taken over
    frozen.send_signal(signal.SIGCONT)
    said = frozen.communicate("go\n")[0]
    assert f"was taken over by process {os.getpid()} on" in said
    assert [entry.version for entry in Catalog(bucket).versions("notes")] == [1]
    assert open_space("notes", bucket).rows == 2
