"""Versions that are measured, judged beside the one that serves, and let through or not."""

import json
import os
import shlex
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import tasks.evaluation
from flows.display import show
from schemas.config import EvaluateConfig
from schemas.evaluation import EvaluationRecord
from tasks.commit import commit
from tasks.config import from_dict
from tasks.drop import drop, droppable
from tasks.encode import encode
from tasks.errors import ConfigError, Interrupted, MetricError
from tasks.evaluate import Evaluated, evaluate
from tasks.evaluate import judge as judge_run
from tasks.evaluated import evaluated
from tasks.evaluation import Asked, run_evaluation
from tasks.plan import plan
from tasks.promote import promote
from tasks.run import Options, Run, open_run
from tasks.space import open_space
from tasks.store import evaluations
from tasks.store.catalog import Catalog
from tests.evaluation import search_task
from tests.pipeline import PROGRAM, config, refresh, write_jsonl

Row = dict[str, Any]
N = 120
GATE = {"ndcg@5": {"max_drop": 0.02}}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Queries are kept apart from the user's."""
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    search_task(folder, N)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "vectors")


def settings(corpus: Path, dim: int, **changes: object) -> Row:
    """Hashing into few dimensions mixes words up, and finds less."""
    judged = {"suite": str(corpus / "suite.yaml"), "gate": GATE}
    return config(corpus, encoder={"use": "hashing", "dim": dim}, evaluate=judged) | changes


def judge(
    corpus: Path, store: str, version: str, baseline: str | None, **more: object
) -> Evaluated:
    wanted = {"suite": str(corpus / "suite.yaml"), "gate": GATE} | more
    found: Evaluated = evaluate.fn(
        store, "notes", EvaluateConfig.model_validate_json(json.dumps(wanted)), version, baseline
    )
    return found


def test_a_first_version_is_measured_alone_and_serves(corpus: Path, store: str) -> None:
    made = refresh(settings(corpus, 256), store)
    assert (made["promoted"], made["gate"]) == (True, None)
    scores = evaluations.scores(store, "notes")
    assert scores["metric"].to_pylist() == [
        f"{name}@5" for name in ("ndcg", "map", "mrr", "recall", "precision", "success")
    ]
    assert set(scores["version"].to_pylist()) == {1}
    low, value, high = (scores[name][0].as_py() for name in ("low", "value", "high"))
    assert 0.5 < low < value < high <= 1
    assert scores["n"].to_pylist() == [N] * 6


def test_a_better_encoder_serves_and_a_worse_one_does_not(corpus: Path, store: str) -> None:
    refresh(settings(corpus, 16), store)
    better = refresh(settings(corpus, 512), store, backfill=True)
    assert (better["promoted"], better["gate"]["passed"]) == (True, True)
    assert better["gate"]["verdict"] == "better"
    worse = refresh(settings(corpus, 17), store, backfill=True)
    assert (worse["promoted"], worse["gate"]["passed"]) == (False, False)
    assert worse["gate"]["verdict"] == "worse"
    assert worse["gate"]["failed"] == ["ndcg@5"]
    serving = Catalog(store).serving("notes")
    assert serving is not None
    assert serving.version == 2
    assert (
        f"the gate says no, so that version 2 serves on: {worse['gate']['reason']}"
        in (worse["notes"])
    )


def test_a_run_prints_what_it_measured_what_is_odd_about_it_and_where_the_page_is(
    corpus: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = (corpus / "qrels.tsv").read_text().splitlines()
    (corpus / "qrels.tsv").write_text("\n".join([*judged[:70], "q0118\tgone\t1"]) + "\n")

    def printed(made: Row) -> list[str]:
        show(Namespace(command="run", json=False), made)
        lines = capsys.readouterr().out.splitlines()
        at = next(place for place, line in enumerate(lines) if line.startswith("evaluated"))
        return lines[at:]

    first = refresh(settings(corpus, 48), store)
    one = evaluations.scores(store, "notes").to_pylist()[0]
    unjudged = "note       ndcg@5: left out, since nobody judged them: 49 of 120 queries"
    lost = (
        "note       ndcg@5: left out, since the version has none of their relevant records: "
        "1 of 71 queries"
    )
    ties = (
        "note       ndcg@5: in 12 of 70 queries a relevant record ties with others up to the cut "
        "at 5: their ids decide, as in trec_eval"
    )
    assert first["gate"] is None
    told = first["evaluated"]["metrics"]["ndcg@5"]
    assert [told[key] for key in ("value", "low", "high", "n")] == [
        one[key] for key in ("value", "low", "high", "n")
    ]
    assert printed(first) == [
        f"evaluated  ndcg@5 {one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f}), n = 70",
        ties,
        lost,
        unjudged,
        f"report     {first['evaluated']['report']}",
        "serving    version 1",
    ]
    assert Path(first["evaluated"]["report"]).exists()
    worse = refresh(settings(corpus, 8), store, backfill=True)
    found = printed(worse)
    assert found[0].startswith("evaluated  ndcg@5 0.")
    assert "of 70 queries a relevant record ties with others" in found[1]
    assert found[2:] == [
        lost,
        unjudged,
        f"gate       NO, worse: {worse['gate']['reason']}",
        f"report     {worse['gate']['report']}",
        "note       the gate says no, so that version 1 serves on",
    ]


def test_what_serves_is_not_replaced_where_nobody_can_tell(corpus: Path, store: str) -> None:
    refresh(settings(corpus, 256), store)
    narrow = {"suite": str(corpus / "suite.yaml"), "gate": {"ndcg@5": {"max_drop": 0.0}}}
    again = refresh(settings(corpus, 250, evaluate=narrow), store, backfill=True)
    assert (again["gate"]["verdict"], again["promoted"]) == ("cannot tell", False)
    forced = refresh(settings(corpus, 250, evaluate=narrow), store, backfill=True, promote="yes")
    assert (forced["gate"]["passed"], forced["promoted"]) == (False, True)


def test_the_same_encoder_serves_on_where_nobody_can_tell(corpus: Path, store: str) -> None:
    refresh(settings(corpus, 256), store)
    rows = [json.loads(line) for line in (corpus / "docs.jsonl").read_text().splitlines()]
    for row in rows[:4]:
        row["text"] += " " + rows[9]["text"]
    write_jsonl(corpus / "docs.jsonl", rows)
    narrow = {"suite": str(corpus / "suite.yaml"), "gate": {"ndcg@5": {"max_drop": 0.0}}}
    again = refresh(settings(corpus, 256, evaluate=narrow), store)
    assert (again["gate"]["verdict"], again["gate"]["passed"]) == ("cannot tell", True)
    assert again["promoted"]


def test_another_encoder_without_a_gate_waits_for_someone(corpus: Path, store: str) -> None:
    measured = {"suite": str(corpus / "suite.yaml")}
    refresh(settings(corpus, 16, evaluate=measured), store)
    made = refresh(settings(corpus, 512, evaluate=measured), store, backfill=True)
    assert (made["gate"], made["promoted"]) == (None, False)
    assert any("no gate has judged it" in note for note in made["notes"])


def test_a_run_with_nothing_new_does_not_measure_again(
    corpus: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(settings(corpus, 256), store)
    first = refresh(settings(corpus, 16), store, backfill=True)
    written = evaluations.scores(store, "notes").num_rows
    second = refresh(settings(corpus, 16), store, backfill=True)
    assert second["gate"] == first["gate"]
    assert evaluations.scores(store, "notes").num_rows == written


def test_versions_are_compared_on_the_records_that_both_have(corpus: Path, store: str) -> None:
    refresh(settings(corpus, 256), store)
    rows = [json.loads(line) for line in (corpus / "docs.jsonl").read_text().splitlines()]
    copies = [{**row, "id": f"x{row['id']}"} for row in rows]
    write_jsonl(corpus / "more.jsonl", copies)
    refresh(settings(corpus, 256), store, promote="no")
    found = judge(corpus, store, "2", "1").record
    alone = judge(corpus, store, "1", None).record
    assert (found.common_records, found.serving) == (N, 1)
    beside = found.metrics["ndcg@5"].compared
    assert beside is not None
    assert beside.difference.value == 0
    assert beside.candidate == beside.baseline == alone.metrics["ndcg@5"].estimate.value
    assert found.metrics["ndcg@5"].estimate.value < beside.candidate  # copies stand in the way


def test_queries_are_encoded_once_for_each_encoder(
    corpus: Path, store: str, tmp_path: Path, cache: Path
) -> None:
    counts = tmp_path / "counts"
    counting = {"use": "tests.encoders:CountingEncoder", "counts": str(counts)}
    refresh(settings(corpus, 8, encoder=counting), store)
    refreshed = len(counts.read_text().splitlines())
    judge(corpus, store, "1", None)
    judge(corpus, store, "1", None, seed=3)
    told = [json.loads(line) for line in counts.read_text().splitlines()[refreshed:]]
    assert [text for text in told if text.startswith("word")] == []
    for file in (cache / "queries").rglob("*.npy"):
        file.write_bytes(b"damaged")
    again = judge(corpus, store, "1", None, seed=4).record
    assert again.metrics["ndcg@5"].estimate.n == N


def test_a_version_is_seen_in_the_order_of_its_ids(corpus: Path, store: str) -> None:
    chunked = settings(corpus, 16, chunk={"tokens": 2})
    del chunked["evaluate"]
    refresh(chunked, store)
    space = open_space("notes", store)
    ids, vectors = space.vectors()
    table = space.to_arrow(["id", "record_id", "chunk"]).to_pylist()
    order = sorted(range(len(ids)), key=lambda row: (table[row]["record_id"], table[row]["chunk"]))
    with evaluated(space, 0) as version:
        assert list(version.record_ids) == sorted({row["record_id"] for row in table})
        owners = [version.record_ids[owner] for owner in version.owners]
        assert owners == [table[row]["record_id"] for row in order]
        np.testing.assert_array_equal(version.rows, vectors[order])
        first = vectors[order][np.asarray(version.owners) == 0].astype(np.float64)
        first /= np.linalg.norm(first, axis=1, keepdims=True)
        np.testing.assert_allclose(version.records[0], first.mean(axis=0), rtol=1e-6)
        assert version.column("year")[:3] == [2000, 2001, 2002]
    with evaluated(space, 0, ["d0003", "d0001", "no"]) as version:
        assert list(version.record_ids) == ["d0001", "d0003"]
        assert version.column("year") == [2001, 2003]
        assert len(version.rows) == sum(row["record_id"] in ("d0001", "d0003") for row in table)


def test_what_cannot_be_measured_is_said(corpus: Path, store: str) -> None:
    refresh(settings(corpus, 16), store)
    (corpus / "qrels.tsv").write_text("q0000\tnobody\t1\n")
    with pytest.raises(ConfigError, match=r"of the 1 records that .*qrels\.tsv calls relevant the"):
        judge(corpus, store, "1", None)
    (corpus / "qrels.tsv").write_text("q0000\td0000\t0\n")
    with pytest.raises(
        MetricError, match=r"task 1 of the suite \(retrieval\), version 1: none of 1 queries has"
    ):
        judge(corpus, store, "1", None)
    topik = "{use: labels, column: topik, name: topics}"
    (corpus / "suite.yaml").write_text(f"tasks:\n- {{use: geometry}}\n- {topik}\n")
    said = (
        r"task 2 of the suite \(labels, named 'topics'\), version 1: space 'notes' has no metadata"
    )
    with pytest.raises(ConfigError, match=said):
        judge(corpus, store, "1", None, gate={})
    with pytest.raises(ConfigError, match=r"has no version 7"):
        judge(corpus, store, "7", None, gate={})


def test_an_evaluation_goes_with_its_table(corpus: Path, store: str) -> None:
    refresh(settings(corpus, 16), store)
    page = Path(judge(corpus, store, "1", None).page)
    assert page.exists()
    ran = subprocess.run(
        [PROGRAM, "drop", "notes", "--yes", "--store", store], capture_output=True, check=True
    )
    assert b"dropped" in ran.stdout
    assert not page.exists()
    assert evaluations.scores(store, "notes").num_rows == 0


@pytest.mark.prefect
@pytest.mark.ray
def test_the_program_says_no_with_its_exit_code(corpus: Path, store: str, tmp_path: Path) -> None:
    paths = {}
    for dim in (512, 16):
        paths[dim] = tmp_path / f"{dim}.yaml"
        paths[dim].write_text(yaml.safe_dump(settings(corpus, dim)))

    def run(*arguments: object) -> tuple[int, Row]:
        command = [str(PROGRAM), *map(str, arguments), "--json", "--store", store]
        done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
        return done.returncode, json.loads(done.stdout)

    assert run("run", paths[512])[0] == 0
    code, made = run("backfill", paths[16], "--promote", "auto")
    assert (code, made["gate"]["passed"], made["promoted"]) == (3, False, False)
    code, found = run("evaluate", "notes", "--baseline", "serving")
    assert (code, found["verdict"], found["version"], found["baseline"]) == (3, "worse", 2, 1)
    assert found["gate"] == {"passed": False, "failed": ["ndcg@5"]}
    assert set(found["metrics"]["ndcg@5"]) >= {"value", "low", "high", "n"}
    assert Path(found["report"]).read_text().count("worse")
    again = f"vectorline evaluate notes --version 2 --baseline 1 --store {store}"
    assert found["command"] == again
    assert found == run(*shlex.split(again)[1:-2])[1] | {
        key: found[key] for key in ("created_at", "seconds")
    }
    suite = str(corpus / "suite.yaml")
    code, alone = run("evaluate", "notes", "--version", "1", "--suite", suite)
    assert (code, alone["baseline"]) == (0, None)
    assert alone["command"] == (
        f"vectorline evaluate notes --version 1 --baseline 1 --suite {suite} --store {store}"
    )
    code, said = run("evaluate", "notes", "--suite", tmp_path / "no.yaml")
    assert (code, said["error"]["message"]) == (
        2,
        f"suite {tmp_path}/no.yaml: No such file or directory",
    )


def test_the_same_vectors_are_not_worse_however_few_queries_there_are(
    corpus: Path, store: str
) -> None:
    refresh(settings(corpus, 256), store)
    rows = [json.loads(line) for line in (corpus / "docs.jsonl").read_text().splitlines()]
    for row in rows:
        row["year"] += 1
    write_jsonl(corpus / "docs.jsonl", rows)
    again = refresh(settings(corpus, 256), store)
    assert again["records"]["metadata_changed"] == N
    assert (again["gate"]["verdict"], again["promoted"]) == ("not worse", True)
    assert again["gate"]["reason"].startswith("no drop beyond its margin")


def test_a_version_that_cannot_be_judged_is_there_and_does_not_serve(
    corpus: Path, store: str
) -> None:
    refresh(settings(corpus, 256), store)
    (corpus / "qrels.tsv").write_text("q0000\td0000\t0\n")
    with pytest.raises(MetricError) as caught:
        refresh(settings(corpus, 16), store, backfill=True)
    assert caught.value.__notes__[-1] == (
        "version 2 is made, and does not serve, since it cannot be judged: the next run tries "
        "again, `vectorline promote notes 2` serves it"
    )
    serving = Catalog(store).serving("notes")
    assert serving is not None
    assert serving.version == 1
    search_task(corpus, N)
    assert refresh(settings(corpus, 16), store, backfill=True)["gate"]["verdict"] == "worse"


def test_a_suite_of_what_is_neither_good_nor_bad_has_no_verdict(corpus: Path, store: str) -> None:
    (corpus / "suite.yaml").write_text("tasks:\n- {use: geometry}\n")
    measured = {"suite": str(corpus / "suite.yaml")}
    refresh(settings(corpus, 16, evaluate=measured), store)
    made = refresh(settings(corpus, 64, evaluate=measured), store, backfill=True)
    assert (made["gate"], made["promoted"]) == (None, False)
    found = judge(corpus, store, "2", "1", gate={}).record
    assert (found.verdict, found.gate) == (None, None)
    assert found.reason == "no main metric of the suite can be better or worse"
    with pytest.raises(ConfigError, match=r"two_nn: no gate can ask for it: neither way is better"):
        judge(corpus, store, "2", "1", gate={"two_nn": {"max_drop": 1.0}})
    search_task(corpus, N)
    with pytest.raises(
        ConfigError, match=r"@5: no gate can ask for it here: it could not be measured"
    ):
        judge(corpus, store, "2", "1", gate={"index_recall@5": {"max_drop": 1.0}})


def test_a_verdict_beside_a_version_that_serves_no_more_lets_nothing_serve(
    corpus: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(settings(corpus, 16), store)
    refresh(settings(corpus, 20), store, backfill=True, promote="no")
    catalog, real = Catalog(store), run_evaluation

    def overtaken(asked: Asked) -> EvaluationRecord:
        found = real(asked)
        catalog.promote("notes", 2, who="someone", why="at once", expected_from=1)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(tasks.evaluation, "run_evaluation", overtaken)
        made = refresh(settings(corpus, 512), store, backfill=True)
    assert (made["gate"]["verdict"], made["promoted"]) == ("better", False)
    assert made["notes"][-1] == (
        "version 2 began to serve while version 3 was set beside version 1: the next run judges "
        "anew"
    )
    again = refresh(settings(corpus, 512), store, backfill=True)
    assert (again["gate"]["verdict"], again["promoted"]) == ("better", False)


def test_labels_are_those_of_the_candidate_on_both_sides(corpus: Path, store: str) -> None:
    (corpus / "suite.yaml").write_text("tasks:\n- {use: labels, column: colour}\n")
    measured = {"suite": str(corpus / "suite.yaml")}
    source = config(corpus)["source"]
    refresh(settings(corpus, 64, evaluate=None), store)
    rows = [json.loads(line) for line in (corpus / "docs.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["colour"] = ("red", "blue")[number % 2]
        row["text"] += " " + row["colour"] * (number % 4 == 3)
    write_jsonl(corpus / "docs.jsonl", rows)
    coloured = source | {"metadata": ["year", "colour"]}
    made = refresh(settings(corpus, 64, evaluate=measured, source=coloured), store)
    assert made["promoted"]
    found = judge(corpus, store, "2", "1", gate={}).record
    accuracy = found.metrics["accuracy"].compared
    assert accuracy is not None  # version 1 has no such column
    assert accuracy.difference.n == N


def test_a_verdict_of_a_users_own_evaluation_is_not_taken_from_before(
    corpus: Path, store: str
) -> None:
    use = "tests.evaluation:OwnEvaluation"
    (corpus / "truth.txt").write_text("1")
    (corpus / "suite.yaml").write_text(
        f'tasks:\n- {{use: "{use}", truth: {corpus / "truth.txt"}}}\n'
    )
    gated = {"suite": str(corpus / "suite.yaml"), "gate": {"own": {"max_drop": 0.1}}}
    refresh(settings(corpus, 64, evaluate=gated), store)
    first = refresh(settings(corpus, 65, evaluate=gated), store, backfill=True, promote="no")
    assert first["gate"]["passed"]
    (corpus / "truth.txt").write_text("-1")
    second = refresh(settings(corpus, 65, evaluate=gated), store, backfill=True)
    assert (second["gate"]["passed"], second["promoted"]) == (False, False)


def test_a_run_that_is_asked_to_stop_while_it_judges_promotes_nothing(
    corpus: Path, store: str
) -> None:
    refresh(settings(corpus, 16), store)
    made = Run(from_dict(settings(corpus, 512), "a test"), store, Options(backfill=True))
    with open_run(made) as run:
        planned = plan.fn(run)
        committed = commit.fn(run, planned, encode.fn(run, planned))
        run.stop.set()
        with pytest.raises(Interrupted) as caught:
            judge_run.fn(run, committed.version)
        assert caught.value.__notes__ == [
            "version 2 is committed and not judged, so that it does not serve: the next run judges "
            "it"
        ]
        with pytest.raises(Interrupted):
            promote.fn(run, committed.version, None)
    serving = Catalog(store).serving("notes")
    assert serving is not None
    assert serving.version == 1
    again = refresh(settings(corpus, 512), store, backfill=True)
    assert (again["gate"]["verdict"], again["promoted"]) == ("better", True)


def test_a_version_that_cannot_be_judged_serves_where_someone_says_so(
    corpus: Path, store: str
) -> None:
    (corpus / "qrels.tsv").write_text("q0000\td0000\t0\n")
    made = refresh(settings(corpus, 16), store, promote="yes")
    assert made["promoted"]
    assert made["notes"][-1].startswith(
        "not judged, and promoted all the same: task 1 of the suite"
    )


def test_an_evaluation_of_a_space_that_is_dropped_meanwhile_leaves_nothing(
    corpus: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(settings(corpus, 16), store)

    def dropped(asked: Asked) -> EvaluationRecord:
        found = run_evaluation(asked)
        drop(store, "notes", droppable(store, "notes", None), "someone", 0.0)
        return found

    monkeypatch.setattr(tasks.evaluation, "run_evaluation", dropped)
    with pytest.raises(ConfigError, match="has no space 'notes', which was dropped"):
        judge(corpus, store, "1", None)
    assert [path for path in Path(store).rglob("*.html")] == []
    assert evaluations.scores(store, "notes").num_rows == 0
