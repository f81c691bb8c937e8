"""Tasks of mteb measured on versions: the same numbers as mteb has of a model of its own."""

import importlib
import json
import logging
import sys
import time
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from schemas.config import EvaluateConfig
from tasks.encoders.hashing import HashingEncoder
from tasks.errors import ConfigError, MetricError
from tasks.evaluate import evaluate
from tasks.evaluated import evaluated
from tasks.evaluations.base import Measurement
from tasks.evaluations.mteb import Mteb
from tasks.space import open_space
from tasks.suites import read_suite
from tests.evaluation import ArrayVersion
from tests.pipeline import config, refresh, write_jsonl

DIM = 6


def vector(text: str) -> Any:
    """The sum of random vectors of its words, which is not of unit length."""
    words = [np.random.default_rng(zlib.crc32(word.encode())) for word in text.split()]
    return np.sum([rng.normal(size=DIM) for rng in words], axis=0).astype(np.float32)


class WordVersion(ArrayVersion):
    """Embeds any text, a query with a prompt before it; notes what it was asked."""

    def __init__(self) -> None:
        super().__init__(np.ones((1, DIM)))
        self.queries: list[str] = []
        self.contents: list[str] = []

    def embed(self, texts: Sequence[str]) -> Any:
        self.queries += texts
        return np.array([vector(f"query: {text}") for text in texts])

    def encode(self, texts: Sequence[str]) -> Any:
        self.contents += texts
        return np.array([vector(text) for text in texts])


@pytest.fixture(scope="module")
def local() -> ModuleType:
    """Tasks of our own, and mteb."""
    return importlib.import_module("tests.mteb_tasks")


@pytest.fixture(autouse=True)
def _known(local: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, task in local.NAMED.items():
        monkeypatch.setitem(local.REGISTRY, name, task)


@pytest.fixture(scope="module")
def by_mteb(local: ModuleType) -> Any:
    """The scores of a task by split and subset, as mteb's entry gives them for a plain model."""
    import mteb

    def scores(name: str) -> dict[tuple[str, str], Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = mteb.evaluate(
                local.PlainModel(vector),
                local.NAMED[name](),
                cache=None,
                co2_tracker=False,
                show_progress_bar=False,
            )
        told = found.task_results[0].scores
        return {(split, one["hf_subset"]): one for split, rows in told.items() for one in rows}

    return scores


def measure(name: str, **more: Any) -> Measurement:
    [found] = Mteb(task=name, **more).measure(WordVersion())
    return found


def ndcg_at_10(local: ModuleType) -> dict[str, float]:
    """Of each query, from exact cosines, by trec_eval."""
    import pytrec_eval

    task = local.Search()
    task.load_data()
    data = task.dataset["default"]["test"]
    ids, documents = data["corpus"]["id"], [vector(text) for text in data["corpus"]["text"]]
    run = {}
    for query, text in zip(data["queries"]["id"], data["queries"]["text"], strict=True):
        asked = vector(f"query: {text}").astype(np.float64)
        cosines = [one @ asked / np.linalg.norm(one) for one in documents]
        run[query] = {
            id_: round(float(cosine / np.linalg.norm(asked)), 6)
            for id_, cosine in zip(ids, cosines, strict=True)
        }
    measured = pytrec_eval.RelevanceEvaluator(data["relevant_docs"], {"ndcg_cut.10"}).evaluate(run)
    return {query: scores["ndcg_cut_10"] for query, scores in measured.items()}


def test_retrieval_gives_what_mteb_gives_and_the_score_of_each_query(
    local: ModuleType, by_mteb: Any
) -> None:
    found = measure("LocalSearch")
    theirs = by_mteb("LocalSearch")["test", "default"]
    assert found.name == "LocalSearch.ndcg_at_10"
    assert round(found.score.value, 5) == theirs["main_score"]
    assert 0.05 < found.score.value < 0.95
    assert (found.of, found.score.n, found.score.warnings) == ("query", 15, ())
    expected = ndcg_at_10(local)
    assert found.score.per_item is not None
    assert dict(zip(found.items, found.score.per_item.tolist(), strict=True)) == pytest.approx(
        expected, abs=1e-9
    )
    assert found.score.value == pytest.approx(np.mean([*expected.values()]), abs=1e-12)
    assert found.texts == tuple(local.texts(15, 2, 2))


def test_queries_have_the_prompt_of_queries_and_documents_do_not(local: ModuleType) -> None:
    version = WordVersion()
    Mteb(task="LocalSearch").measure(version)
    assert version.queries == local.texts(15, 2, 2)
    assert version.contents == local.search(30, 1)["corpus"]["text"][:]


def test_likeness_gives_what_mteb_gives_and_can_be_resampled(
    local: ModuleType, by_mteb: Any
) -> None:
    found = measure("LocalLikeness")
    theirs = by_mteb("LocalLikeness")["test", "default"]["main_score"]
    assert found.score.value == pytest.approx(theirs, abs=1e-9)
    assert (found.of, found.score.n, found.score.per_item) == ("pair", 25, None)
    assert found.items == tuple(str(number) for number in range(1, 26))
    ones, others = local.texts(25, 3), local.texts(25, 4)
    alike = [
        vector(one) @ vector(other) / np.linalg.norm(vector(one)) / np.linalg.norm(vector(other))
        for one, other in zip(ones, others, strict=True)
    ]
    known = np.random.default_rng(5).integers(0, 6, 25)
    assert found.statistic is not None
    for seed in range(5):
        rows = np.random.default_rng(seed).integers(0, 25, 25)
        expected = spearmanr(np.array(alike)[rows], known[rows]).statistic
        assert found.statistic(rows) == pytest.approx(expected, abs=1e-9)
    assert np.isnan(found.statistic(np.zeros(3, np.int64)))


def test_classification_gives_what_mteb_gives_and_how_often_each_text_is_right(
    local: ModuleType, by_mteb: Any
) -> None:
    found = measure("LocalKinds")
    theirs = by_mteb("LocalKinds")["test", "default"]
    assert found.score.value == pytest.approx(theirs["main_score"], abs=1e-9)
    assert found.score.per_item is not None
    assert len({*found.score.per_item.tolist()}) > 2
    tenths = found.score.per_item * 10
    np.testing.assert_allclose(tenths, tenths.round(), atol=1e-9)
    assert (found.of, found.texts) == ("text", tuple(local.texts(40, 40)))


@pytest.mark.parametrize("name", ["LocalGroups", "LocalReciprocal"])
def test_other_scores_stand_alone_and_that_is_said(name: str, by_mteb: Any) -> None:
    found = measure(name)
    assert found.score.value == pytest.approx(
        by_mteb(name)["test", "default"]["main_score"], abs=1e-9
    )
    assert (found.items, found.resampled) == ((), None)
    assert found.score.warnings == (
        "mteb does not tell what single items score: there is no interval",
    )
    assert found.score.n == (30 if name == "LocalGroups" else 15)


def test_of_several_subsets_the_score_is_the_mean_of_theirs(by_mteb: Any) -> None:
    found, theirs = measure("LocalSearches"), by_mteb("LocalSearches")
    assert len(theirs) == 4
    expected = {f"{split}/{subset}": one["main_score"] for (split, subset), one in theirs.items()}
    assert found.score.parts == pytest.approx(expected, abs=1e-9)
    assert found.score.value == pytest.approx(np.mean([*expected.values()]), abs=5e-6)
    assert found.score.warnings == ("mteb has a newer task, NFCorpus",)
    assert len({*found.items}) == found.score.n == 2 * 6 + 2 * 8
    assert found.items[:2] == ("dev/one/q0", "dev/one/q1")
    assert found.statistic is not None
    everything = np.arange(28)
    assert found.statistic(everything) == found.score.value
    last = [found.statistic(np.r_[everything[:-1], row]) for row in range(28)]
    assert np.isfinite(last).all()
    assert np.isnan(found.statistic(everything[6:]))


def test_a_split_and_a_subset_can_be_chosen(by_mteb: Any) -> None:
    theirs = by_mteb("LocalSearches")
    one = measure("LocalSearches", split="test", subset="other")
    assert round(one.score.value, 5) == theirs["test", "other"]["main_score"]
    assert (one.items[0], one.score.parts) == ("q0", {})
    both = measure("LocalSearches", split="dev", subset=["one", "other"])
    mean = np.mean([theirs["dev", subset]["main_score"] for subset in ("one", "other")])
    assert both.score.value == pytest.approx(mean, abs=5e-6)


def test_it_measures_the_same_again() -> None:
    evaluation = Mteb(task="LocalKinds")
    first, second = (evaluation.measure(WordVersion())[0] for _ in range(2))
    np.testing.assert_array_equal(first.score.per_item, second.score.per_item)


def test_nothing_is_shown_and_what_has_no_score_is_told(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    evaluation = Mteb(task="LocalConstant")
    level = logging.getLogger("mteb").level
    with pytest.raises(MetricError) as caught:
        evaluation.measure(WordVersion())
    assert str(caught.value) == "mteb gives no number for test/default of LocalConstant"
    measure("LocalSearches")
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert logging.getLogger("mteb").level == level


def suite(folder: Path, task: str) -> str:
    path = folder / "suite.yaml"
    path.write_text(f"tasks:\n- {{use: mteb, {task}}}\n")
    return str(path)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("task: NFCorpsu", " has no task 'NFCorpsu', did you mean 'NFCorpus'?"),
        ("task: zzzzzzzz", " has no task 'zzzzzzzz'"),
        ("task: NFCorpus, split: tset", "no split 'tset', did you mean 'test'? It has test"),
        (
            "task: LocalSearches, subset: [one, othr]",
            "no subset 'othr', did you mean 'other'? It has one, other",
        ),
        ("task: LocalSearches, subset: []", "an empty list of subsets"),
        ("task: CIFAR10", "task 'CIFAR10' of mteb is of image: expected text alone"),
        ("task: CQADupstackRetrieval", "stands for several: name them one by one, CQADupstack"),
        ("task: NFCorpus, k: 3", "k: unknown key"),
        ("task: 3", "task = 3: expected a string"),
    ],
)
def test_a_task_that_cannot_be_measured_is_told_with_its_line(
    tmp_path: Path, task: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_suite(suite(tmp_path, task))
    assert str(caught.value).startswith(f"{tmp_path}/suite.yaml line 2: tasks[0]")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_metric_is_known_before_any_data_are(tmp_path: Path) -> None:
    assert read_suite(suite(tmp_path, "task: NFCorpus")).metrics == ("NFCorpus.ndcg_at_10",)


def test_a_machine_without_mteb_is_told_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(
        ConfigError, match=r"mteb cannot be imported .*: pip install 'vectorline\[mteb\]'"
    ):
        read_suite(suite(tmp_path, "task: NFCorpus"))


@pytest.mark.parametrize("offline", [True, False])
def test_data_that_cannot_be_loaded_are_told_at_once(
    offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    from huggingface_hub import constants

    nowhere = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "ENDPOINT", nowhere)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", offline)
    evaluation = Mteb(task="NFCorpus")
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        evaluation.measure(WordVersion())
    assert time.monotonic() - started < 5
    assert str(caught.value).startswith(
        "the data of task 'NFCorpus' of mteb cannot be loaded: 'mteb/nfcorpus' is not in the cache,"
        f" and {nowhere} cannot be reached: go online once ("
    )
    assert "\n" not in str(caught.value)
    assert offline == constants.HF_HUB_OFFLINE == datasets.config.HF_HUB_OFFLINE


def fill(tmp_path: Path, documents: Sequence[str]) -> None:
    """A new version of a space of these documents, by an encoder that counts."""
    folder = tmp_path / "corpus"
    folder.mkdir(exist_ok=True)
    rows = [
        {"id": f"d{number:02d}", "text": text, "year": 1} for number, text in enumerate(documents)
    ]
    write_jsonl(folder / "docs.jsonl", rows)
    counting = {"use": "tests.encoders:PromptedEncoder", "counts": str(tmp_path / "counts")}
    refresh(config(folder, encoder=counting), str(tmp_path / "vectors"))


@pytest.fixture
def store(tmp_path: Path, local: ModuleType) -> str:
    """A space of half of the documents that a task searches."""
    fill(tmp_path, local.search(30, 1)["corpus"]["text"][:15])
    return str(tmp_path / "vectors")


def encoded(tmp_path: Path) -> list[str]:
    """What was encoded since it was asked last, but for the canaries of tables."""
    path = tmp_path / "counts"
    told = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("")
    return [text for text in told if text.startswith(("word", "query: word"))]


def test_what_the_version_has_is_not_encoded_and_the_rest_once(
    tmp_path: Path, store: str, local: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    documents = list(local.search(30, 1)["corpus"]["text"])
    queries = [f"query: {text}" for text in local.texts(15, 2, 2)]
    assert encoded(tmp_path) == documents[:15]
    wanted = EvaluateConfig.model_validate({"suite": suite(tmp_path, "task: LocalSearch")})
    found = evaluate.fn(store, "notes", wanted, "1", None).record.metrics["LocalSearch.ndcg_at_10"]
    assert encoded(tmp_path) == [*queries, *documents[15:30]]
    again = evaluate.fn(store, "notes", wanted, "1", None).record.metrics["LocalSearch.ndcg_at_10"]
    assert encoded(tmp_path) == []
    assert (again.estimate, found.of) == (found.estimate, "query")
    assert found.estimate.low is not None
    assert found.estimate.high is not None
    assert found.estimate.low < found.estimate.value < found.estimate.high


def test_a_version_gives_the_vectors_of_its_rows_and_of_its_encoder(
    tmp_path: Path, store: str, local: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    documents = list(local.search(30, 1)["corpus"]["text"])
    encoder = HashingEncoder(dim=8)
    expected = encoder.encode(encoder.prepare(documents))
    edited = [*documents[:3], documents[20], *documents[4:15]]  # its old row is deleted
    fill(tmp_path, edited)
    encoded(tmp_path)
    space = open_space("notes", store, "latest")
    backwards = documents[::-1]
    with evaluated(space, 0, ["d00"]) as version:
        known = [text for text in backwards if text in edited]
        rows = [documents.index(text) for text in known]
        np.testing.assert_array_equal(version.encode(known), expected[rows])
        assert version.encode([]).shape == (0, 8)
        assert encoded(tmp_path) == []
        np.testing.assert_array_equal(version.encode(backwards), expected[::-1])
    new = [text for text in dict.fromkeys(backwards) if text not in edited]
    assert encoded(tmp_path) == new
    with evaluated(space, 0) as version:
        np.testing.assert_array_equal(version.encode(backwards), expected[::-1])
        assert encoded(tmp_path) == []
        np.testing.assert_array_equal(version.encode(documents[::2]), expected[::2])
    assert encoded(tmp_path) == [text for text in documents[::2] if text not in edited]
