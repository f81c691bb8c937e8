"""Suites and their files: what is read, and every way in which a user may get it wrong."""

import gzip
from pathlib import Path

import pytest

from schemas.config import Allowed, EvaluateConfig
from schemas.suite import MapConfig, MapMethod
from tasks.errors import ConfigError
from tasks.evaluations.files import read_columns, read_numbers, read_qrels, read_queries
from tasks.suites import check_suite, read_suite

RETRIEVAL = "- {use: retrieval, queries: q.tsv, qrels: r.tsv}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with queries and qrels, where the test runs."""
    monkeypatch.chdir(tmp_path)
    Path("q.tsv").write_text("1\tred cars\n2\tblue boats\n")
    Path("r.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n2\tb\t2\n2\tc\t0\n")
    return tmp_path


def suite(*tasks: str) -> str:
    Path("suite.yaml").write_text("tasks:\n" + "".join(f"  {task}\n" for task in tasks))
    return "suite.yaml"


def message(path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_suite(path)
    return str(caught.value)


def test_a_suite_names_its_metrics_and_the_main_one_of_each_task() -> None:
    found = read_suite(suite(RETRIEVAL, RETRIEVAL.replace("{", "{name: again, k: [1, 5], ")))
    measures = ("ndcg", "map", "mrr", "recall", "precision", "success")
    assert found.metrics == (
        *(f"{name}@10" for name in measures),
        "index_recall@10",
        *(f"again.{name}@{k}" for k in (1, 5) for name in measures),
        "again.index_recall@5",
    )
    assert found.main == ("ndcg@10", "again.ndcg@1")


def test_paths_start_at_the_folder_of_the_suite(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = suite(RETRIEVAL)
    monkeypatch.chdir(folder.parent)
    assert read_suite(folder / path).metrics[0] == "ndcg@10"


def test_the_digest_changes_with_the_suite_and_with_its_files() -> None:
    digests = [read_suite(suite(RETRIEVAL)).digest]
    digests.append(read_suite(suite(RETRIEVAL.replace("q.tsv", "q.tsv, k: 3"))).digest)
    Path("q.tsv").write_text("1\tred car\n2\tblue boats\n")
    digests.append(read_suite(suite(RETRIEVAL)).digest)
    assert len({*digests}) == 3
    assert read_suite(suite(RETRIEVAL)).digest == digests[-1]


def mapped(text: str) -> str:
    return suite(RETRIEVAL + "\nmap: " + text)


def test_a_suite_may_ask_for_a_map() -> None:
    assert read_suite(suite(RETRIEVAL)).map is None
    assert read_suite(mapped("{}")).map == MapConfig(method=MapMethod.PCA, sample=2000, colour=None)
    written = "{method: tsne, sample: 300, colour: year}"
    wanted = MapConfig(method=MapMethod.TSNE, sample=300, colour="year")
    assert read_suite(mapped(written)).map == wanted
    digests = {read_suite(mapped(one)).digest for one in ("{}", written, "{method: tsne}")}
    assert len(digests | {read_suite(suite(RETRIEVAL)).digest}) == 4


def test_a_map_by_umap_needs_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_suite(mapped("{method: umap}")).map == MapConfig(method=MapMethod.UMAP)
    monkeypatch.setattr("tasks.suites.find_spec", lambda name: None)
    assert message(mapped("{method: umap}")) == (
        "suite.yaml line 3: map.method: umap-learn is not installed: pip install 'vectorline[umap]'"
    )
    assert read_suite(mapped("{method: pca}")).map is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{method: mds}", "map.method = 'mds': expected 'pca', 'tsne' or 'umap'"),
        ("{sample: 2}", "map.sample = 2: expected an integer >= 3 and <= 2000"),
        ("{sample: 2001}", "map.sample = 2001: expected an integer >= 3 and <= 2000"),
        ("{color: year}", "map.color: unknown key, did you mean 'colour'? (allowed: "),
        ("pca", "map = 'pca': expected a mapping or null"),
    ],
)
def test_a_map_that_cannot_be_is_told_with_its_line(text: str, said: str) -> None:
    assert f"suite.yaml line 3: {said}" in message(mapped(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "suite.yaml line 1: an empty suite: expected `tasks:`"),
        ("tasks: []", "suite.yaml line 1: an empty suite"),
        ("- a", "suite.yaml line 1: an empty suite"),
        (
            f"# mine\ntaks:\n  {RETRIEVAL}",
            "suite.yaml line 2: taks: unknown key, did you mean 'tasks'? (allowed: map, tasks)",
        ),
        ("tasks: {use: retrieval}", 'suite.yaml line 1: tasks = {"use": "retrieval"}: expected a'),
        ("tasks:\n- {}", "suite.yaml line 2: tasks[0].use is missing: expected a string"),
        (
            "tasks:\n- use: retrieval\n  qrels: r.tsv\n  querys: q.tsv",
            "suite.yaml line 2: tasks[0].queries is missing: expected a string\n"
            "suite.yaml line 4: tasks[0].querys: unknown key, did you mean 'queries'? "
            "(allowed: group, k, name, qrels, queries, use)",
        ),
        (
            "tasks:\n- use: retrieval\n  qrels: r.tsv\n  queries: q.tsv\n  k: 0",
            "suite.yaml line 2: tasks[0]: k = 0: expected 1 or more",
        ),
        (
            "tasks:\n- {use: retrieval, queries: q.tsv, qrels: more.tsv}",
            "q.tsv lacks 1, such as '9'",
        ),
        ("tasks:\n- use: retreival", "'retreival' is none of retrieval"),
        (
            f"tasks:\n  {RETRIEVAL}\nalpha: 3",
            "suite.yaml line 3: alpha: unknown key (allowed: map, tasks)",
        ),
        (
            f"tasks:\n  {RETRIEVAL}\n  {RETRIEVAL}",
            "suite.yaml line 3: tasks[1] (retrieval) measures ndcg@10 and 6 more as tasks[0] "
            "(retrieval) does: give one of them a `name`",
        ),
        (
            f"tasks:\n  {RETRIEVAL}\n  - {{use: labels, column: x}}\n  - {{use: clusters}}",
            "suite.yaml line 4: tasks[2] (clusters) measures silhouette as tasks[1] (labels) does: "
            "give one of them a `name`",
        ),
        (
            "tasks:\n  - {use: retrieval, queries: no.tsv, qrels: r.tsv}",
            "no.tsv cannot be read: No such file or directory",
        ),
    ],
)
def test_a_bad_suite_is_told_with_its_line(text: str, said: str) -> None:
    Path("more.tsv").write_text("1\ta\t1\n2\ta\t1\n9\ta\t1\n")
    Path("suite.yaml").write_text(text)
    assert said in message("suite.yaml")


def test_a_gate_on_what_is_not_measured_is_refused() -> None:
    settings = EvaluateConfig(suite=suite(RETRIEVAL), gate={"ndcg@1": Allowed(max_drop=0.01)})
    with pytest.raises(ConfigError) as caught:
        check_suite(settings)
    assert str(caught.value) == (
        "evaluate.gate.ndcg@1: suite suite.yaml does not measure it, did you mean 'ndcg@10'? "
        "It measures ndcg@10, map@10, mrr@10, recall@10, precision@10, success@10, "
        "index_recall@10"
    )


def test_a_gate_on_what_can_never_be_judged_is_refused_with_the_reason() -> None:
    path = suite(
        "- {use: geometry, name: shape}",
        "- {use: labels, column: x}",
        "- {use: clusters, name: c}",
        "- {use: clusters, method: hdbscan, name: d}",
        "- {use: association, targets: {a: [x], b: [y]}, attributes: {c: [x], d: [y]}}",
    )
    items = "it has no items that another version would have, too"
    wanted = {
        "shape.anisotropy": "neither way is better",
        "few_shot_accuracy": items,
        "c.stability": items,
        "c.silhouette": "neither way is better",
        "d.noise": "neither way is better",
        "association": "neither way is better",
    }
    for names in ([*wanted], ["accuracy", "c.stability"]):
        gate = {name: Allowed(max_drop=0.1) for name in names}
        with pytest.raises(ConfigError) as caught:
            check_suite(EvaluateConfig(suite=path, gate=gate))
        assert str(caught.value).splitlines() == [
            f"evaluate.gate.{name}: no gate can ask for it: {wanted[name]}"
            for name in names
            if name in wanted
        ]
    gate = {"accuracy": Allowed(max_drop=0.1)}
    assert check_suite(EvaluateConfig(suite=path, gate=gate)).metrics[-1] == "association"


def test_queries_are_read_as_beir_and_as_lines_have_them() -> None:
    Path("q.jsonl").write_text(
        '{"_id": "1", "text": "a b", "metadata": {}}\n\n{"id": 2, "text": "c"}\n'
    )
    Path("q.csv").write_text('id,text\n1,"red, blue"\n2,x\n')
    with gzip.open("q.tsv.gz", "wt") as file:
        file.write('1\tsay "hi\n')
    assert read_queries("q.jsonl") == {"1": "a b", "2": "c"}
    assert read_queries("q.csv") == {"1": "red, blue", "2": "x"}
    assert read_queries("q.tsv.gz") == {"1": 'say "hi'}


def test_qrels_are_read_as_trec_and_as_beir_have_them() -> None:
    Path("trec.txt").write_text("1 0 a 1\n1 0 b 0\n2\t0\tb\t-1\n")
    Path("bare.tsv").write_text("1\ta b\t2\n")
    assert read_qrels("trec.txt") == {"1": {"a": 1, "b": 0}, "2": {"b": -1}}
    assert read_qrels("r.tsv") == {"1": {"a": 1}, "2": {"b": 2, "c": 0}}
    assert read_qrels("bare.tsv") == {"1": {"a b": 2}}


@pytest.mark.parametrize(
    ("read", "name", "text", "said"),
    [
        (read_queries, "q.jsonl", '{"_id": "1"}\n', "line 1: expected an object with `_id`"),
        (read_queries, "q.jsonl", '{"_id": "1"}\n', "and `text`: text is missing"),
        (read_queries, "q.jsonl", '{"text": "a"}\n', "and `text`: id is missing"),
        (read_queries, "q.jsonl", "[1]\n", "line 1: expected an object with `_id`"),
        (read_queries, "q.jsonl", "\n\n", "q.jsonl has no query"),
        (read_queries, "q.tsv", "1\n", "line 1: expected an id, a tab and a text"),
        (read_queries, "q.tsv", "1\ta\n1\tb\n", "line 2: query '1' stands twice"),
        (read_queries, "q.tsv", "1\ta\n2\t \n", "line 2: a query needs an id and a text"),
        (read_queries, "q.tsv", b"1\t\xff\n", "q.tsv line 1: "),
        (read_qrels, "r.tsv", "1\ta\n", "line 1: expected `query 0 record grade`"),
        (read_qrels, "r.tsv", "1\ta\tx\n", "line 1: the grade 'x' is no integer"),
        (read_qrels, "r.tsv", "1\ta\t1\n1\ta\t1\n", "line 2: '1' judges 'a' twice"),
        (read_qrels, "r.tsv", "query-id\tcorpus-id\tscore\n", "r.tsv has no judgement"),
    ],
)
def test_a_bad_line_is_told(read: object, name: str, text: str | bytes, said: str) -> None:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert callable(read)
    with pytest.raises(ConfigError) as caught:
        read(name)
    assert said in str(caught.value)


def test_columns_are_found_by_their_names() -> None:
    Path("p.csv").write_text("score,one,other\n0.5,a,b\n1,c,d\n")
    assert read_columns("p.csv", ["one", "score"]) == [["a", "0.5"], ["c", "1"]]
    pairs, known = read_numbers("p.csv", ["one", "other", "score"])
    assert (pairs, known.tolist()) == ([["a", "b"], ["c", "d"]], [0.5, 1.0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "one,others,score\na,b,1\n",
            "no column 'other', did you mean 'others'? It has one, others",
        ),
        ("one,other,score\na,b\n", "p.csv line 2 has 2 fields, the header 3"),
        ("one,other,score\n", "p.csv has no row below its header"),
        ("one,other,score\na,b,c\n", "column 'score' holds no number"),
        ("", "p.csv has no column 'one'. It has none"),
    ],
)
def test_a_bad_table_is_told(text: str, said: str) -> None:
    Path("p.csv").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_numbers("p.csv", ["one", "other", "score"])
    assert said in str(caught.value)
