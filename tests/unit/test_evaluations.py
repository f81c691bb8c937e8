"""What each evaluation measures, on versions made of arrays whose truth is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval

from tasks import plugins
from tasks.errors import ConfigError, MetricError
from tasks.evaluations.base import Evaluation, Measurement, Version
from tasks.evaluations.retrieval import nearest_records
from tasks.metrics import downstream, geometry, graph, retrieval, similarity
from tests.evaluation import ArrayVersion


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def build(use: str, **arguments: object) -> Evaluation:
    return plugins.build("evaluations", use, arguments)


def measure(version: ArrayVersion, use: str, **arguments: object) -> dict[str, Measurement]:
    """All metrics, whose items, statistics and scores agree with each other."""
    evaluation = build(use, **arguments)
    seen: Version = version
    found = evaluation.measure(seen)
    without_index = [one for one in evaluation.metrics if not one.startswith("index_recall")]
    assert [one.name for one in found] == without_index
    for one in found:
        if one.resampled is not None and one.items:
            every = np.arange(len(one.items))
            assert one.resampled(every) == pytest.approx(one.score.value, abs=1e-9), one.name
            assert len({*one.items}) == len(one.items)
            assert len(one.texts) in (0, len(one.items))
    return {one.name: one for one in found}


def blobs(n: int = 60, dim: int = 8, spread: float = 0.2, seed: int = 0) -> tuple[Any, list[str]]:
    """Vectors around three directions, and which one each belongs to."""
    rng = np.random.default_rng(seed)
    labels = [("red", "green", "blue")[number % 3] for number in range(n)]
    centres = {name: np.eye(dim)[place] for place, name in enumerate(("red", "green", "blue"))}
    noise = rng.normal(scale=spread, size=(n, dim))
    return np.array([centres[name] for name in labels]) + noise, labels


def test_retrieval_scores_records_by_their_best_chunk() -> None:
    Path("q.tsv").write_text("1\tred\n2\tblue\n9\tunjudged\n")
    Path("r.tsv").write_text("1\tr001\t1\n2\tr000\t1\n")
    version = ArrayVersion(
        [[1, 0], [0.9, 0.1], [0, 1], [0.5, 0.5]],
        owners=[0, 0, 1, 2],
        known={"red": [0, 1], "blue": [0.6, 0.4]},
    )
    found = measure(version, "retrieval", queries="q.tsv", qrels="r.tsv", k=2)
    run = {"1": {"r001": 1.0, "r002": 0.7071}, "2": {"r002": 0.9806, "r000": 0.8866}}
    qrels = {"1": {"r001": 1}, "2": {"r000": 1}}
    assert found["ndcg@2"].score.value == retrieval.ndcg(qrels, run, k=2).value
    assert found["mrr@2"].score.value == 0.75
    assert found["ndcg@2"].items == ("1", "2")
    assert found["ndcg@2"].texts == ("red", "blue")
    unjudged = "left out, since nobody judged them: 1 of 3 queries"
    assert found["ndcg@2"].score.warnings == (unjudged,)


def test_retrieval_finds_records_whose_many_chunks_hide_others() -> None:
    chunks = [[1, 0.001 * number] for number in range(100)]
    version = ArrayVersion([*chunks, [0, 1]], owners=[*[0] * 100, 1], known={"x": [1, 0]})
    Path("q.tsv").write_text("1\tx\n")
    Path("r.tsv").write_text("1\tr001\t1\n")
    found = measure(version, "retrieval", queries="q.tsv", qrels="r.tsv", k=2)
    assert found["recall@2"].score.value == 1.0
    assert found["mrr@2"].score.value == 0.5


def test_queries_about_one_document_are_resampled_together() -> None:
    texts = ["of a", "of a too", "of b and c", "of c", "of none"]
    Path("q.tsv").write_text("".join(f"{place}\t{text}\n" for place, text in enumerate(texts)))
    Path("r.tsv").write_text(
        "0\tr000\t1\n1\tr001\t1\n2\tr002\t1\n2\tr003\t1\n3\tr004\t1\n4\tr000\t0\n3\tgone\t1\n"
    )
    version = ArrayVersion(
        np.eye(5),
        columns={"document": ["a", "a", "b", "c", "c"]},
        known=dict(zip(texts, np.eye(5).tolist(), strict=True)),
    )
    arguments = {"queries": "q.tsv", "qrels": "r.tsv", "k": 1}
    for one in measure(version, "retrieval", **arguments, group="document").values():
        assert one.groups is not None
        assert one.groups.tolist() == [0, 0, 1, 1, 2]
    assert measure(version, "retrieval", **arguments)["mrr@1"].groups is None


def test_queries_whose_relevant_records_are_not_there_are_left_out_and_counted() -> None:
    Path("q.tsv").write_text("1\tx\n2\ty\n3\tz\n")
    Path("r.tsv").write_text("1\tr000\t1\n1\tgone\t1\n2\tgone\t1\n2\tr001\t0\n3\tr001\t0\n")
    version = ArrayVersion(np.eye(2), known={"x": [1, 0], "y": [0, 1], "z": [0, 1]})
    arguments = {"queries": "q.tsv", "qrels": "r.tsv", "k": 1}
    found = measure(version, "retrieval", **arguments)
    said = "left out, since the version has none of their relevant records: 1 of 3 queries"
    for one in found.values():
        assert (one.items, one.texts, one.score.n) == (("1", "3"), ("x", "z"), 2)
        assert said in one.score.warnings
    assert found["success@1"].score.value == 0.5
    assert found["recall@1"].score.value == 0.25
    with pytest.raises(
        ConfigError, match=r"of the 2 records that r\.tsv calls relevant the version"
    ):
        build("retrieval", **arguments).measure(ArrayVersion(np.eye(2), ["a", "b"]))


def test_ties_at_the_cut_go_to_the_larger_id_as_in_trec_eval() -> None:
    Path("q.tsv").write_text("1\tx\n")
    Path("r.tsv").write_text("1\tr059\t1\n")
    vectors, known = np.tile([1.0, 0.0], (60, 1)), {"x": [1.0, 0.0]}
    found = measure(ArrayVersion(vectors, known=known), "retrieval", queries="q.tsv", qrels="r.tsv")
    whole = {"1": {f"r{number:03d}": 1.0 for number in range(60)}}
    by_trec = pytrec_eval.RelevanceEvaluator({"1": {"r059": 1}}, {"ndcg_cut.10"}).evaluate(whole)
    assert found["ndcg@10"].score.value == by_trec["1"]["ndcg_cut_10"] == 1.0


@pytest.mark.parametrize("k", [1, 3, 8])
def test_the_nearest_records_are_those_of_a_sort_by_best_chunk_and_id_descending(k: int) -> None:
    rng = np.random.default_rng(k)
    owners = np.sort(rng.integers(0, 30, 300))
    owners = np.unique(owners, return_inverse=True)[1]
    vectors = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 300)]
    file = Path("rows.f4")
    vectors.tofile(file)
    version = ArrayVersion(vectors, owners=owners.tolist())
    version.rows = np.memmap(file, np.float32, "r", shape=vectors.shape)
    queries = np.array([[1, 0.5, 0.25, 0], [0, 0, 1, 1]], np.float32)
    for query, (records, _) in zip(queries, nearest_records(version, queries, k), strict=True):
        likeness = vectors @ query
        best = [float(likeness[owners == record].max()) for record in range(owners.max() + 1)]
        wanted = sorted(range(len(best)), key=lambda record: (best[record], record), reverse=True)
        assert records[:k] == wanted[:k]


def ties_said(version: ArrayVersion, relevant: str, k: int) -> tuple[str, ...]:
    Path("q.tsv").write_text("1\tx\n2\ty\n")
    Path("r.tsv").write_text(f"1\tr001\t1\n2\t{relevant}\t1\n")
    arguments = {"queries": "q.tsv", "qrels": "r.tsv", "k": k}
    return measure(version, "retrieval", **arguments)[f"ndcg@{k}"].score.warnings


def test_queries_whose_score_the_order_of_ties_decides_are_counted() -> None:
    known = {"x": [1.0, 0.0, 0.0], "y": [0.0, 1.0, 0.0]}
    said = (
        "in 1 of 2 queries a relevant record ties with others up to the cut at 2: their ids "
        "decide, as in trec_eval",
    )
    apart = [[0.6, 0, 0.8], [1, 0, 0], [0, 1, 0], [0, 0.8, 0.6]]
    assert ties_said(ArrayVersion(apart, known=known), "r002", 2) == ()
    many = np.array([[1, 0, 0], [1, 0, 0], *[[0, 0.6, 0.8]] * 40])
    assert ties_said(ArrayVersion(many, known=known), "r000", 2) == said  # its own ties: below 0.6
    # Found or not, and through its chunks: r002 ties with 39 others, of which 2 are shown.
    owners = [0, 0, 1, 1, *range(2, 40)]
    in_chunks = np.array([[1, 0, 0], [0, 0, 1], [0, 0, -1], [0.9, 0, 0.1], *many[2:40]])
    version = ArrayVersion(in_chunks, owners=owners, known=known)
    assert ties_said(version, "r002", 2) == said
    # All that tie are relevant, or the cut comes before them.
    Path("both.tsv").write_text("1\tr000\t1\n1\tr001\t1\n")
    arguments = {"queries": "q.tsv", "qrels": "both.tsv", "k": 1}
    found = measure(ArrayVersion(many, known=known), "retrieval", **arguments)
    assert found["ndcg@1"].score.warnings == ("left out, since nobody judged them: 1 of 2 queries",)
    below = np.array([[0, 1, 0], [1, 0, 0], [0, 0.6, 0.8], [0, 0.6, 0.8]])
    assert ties_said(ArrayVersion(below, known=known), "r003", 1) == ()
    assert len(ties_said(ArrayVersion(below, known=known), "r003", 2)) == 1


def test_similarity_of_texts_and_of_records() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12, 4))
    names = [f"w{number}" for number in range(12)]
    lines = [f"w{number},w{number + 1},{number * 7 % 5}" for number in range(11)]
    Path("p.csv").write_text("\n".join(["sentence1,sentence2,score", *lines]) + "\n")
    gold = [number * 7 % 5 for number in range(11)]
    known = dict(zip(names, vectors.tolist(), strict=True))
    texts = measure(ArrayVersion(vectors, known=known), "similarity", pairs="p.csv")
    wanted = similarity.spearman(vectors[:-1], vectors[1:], gold)
    assert texts["spearman"].score.value == pytest.approx(wanted.value, abs=1e-6)
    version = ArrayVersion(vectors[:10], names[:10])
    some = measure(version, "similarity", pairs="p.csv", of="records")
    assert some["spearman"].score.n == 9
    assert some["spearman"].score.parts["oov"] == pytest.approx(2 / 11)
    assert some["spearman"].score.warnings == (
        "2 of 11 pairs name records that this version lacks",
    )
    with pytest.raises(ConfigError, match=r"of the 11 pairs of p\.csv the version has none"):
        measure(ArrayVersion(vectors), "similarity", pairs="p.csv", of="records")


def test_pairs_that_belong_together_are_told_from_others() -> None:
    vectors, labels = blobs(30, spread=0.01)
    pairs = [(one, other) for one in range(20) for other in range(one + 1, 20, 2)]
    lines = [f"r{one:03d},r{other:03d},{int(labels[one] == labels[other])}" for one, other in pairs]
    lines = ["sentence1,sentence2,label", *lines]
    Path("p.csv").write_text("\n".join(lines) + "\n")
    found = measure(ArrayVersion(vectors), "pair-classification", pairs="p.csv", of="records")
    assert [one.score.value for one in found.values()] == pytest.approx([1.0, 1.0, 1.0])


def test_analogies_are_answered_by_category() -> None:
    words = {"man": [1, 0, 0.1], "woman": [1, 1, 0.1], "king": [0, 0, 1], "queen": [0, 1, 1]}
    Path("a.txt").write_text(": family\nman woman king queen\n: none\nman woman dog cat\n")
    version = ArrayVersion(list(words.values()), list(words))
    found = measure(version, "analogies", path="a.txt")
    assert found["three_cos_add"].score.value == 1.0
    assert found["three_cos_add"].score.parts["oov"] == 0.5
    Path("b.txt").write_text("man woman king\n")
    with pytest.raises(ConfigError, match=r"b\.txt line 1: expected four words, there are 3"):
        build("analogies", path="b.txt")


def test_labels_are_read_from_vectors_and_found_by_clusters() -> None:
    vectors, labels = blobs()
    values: list[object] = [None, *labels[1:]]
    found = measure(ArrayVersion(vectors, columns={"colour": values}), "labels", column="colour")
    scores = {name: one.score.value for name, one in found.items()}
    assert min(scores[name] for name in ("accuracy", "knn_accuracy", "v_measure", "ari")) > 0.95
    said = "1 of 60 records have no value in column 'colour'"
    assert all(said in one.score.warnings for one in found.values())
    confusion = found["v_measure"].confusion
    assert confusion is not None
    assert confusion.labels == ("blue", "green", "red")
    assert confusion.columns.startswith("clusters by k-means, named one to one")
    assert np.trace(confusion.counts) >= 57
    assert confusion.counts.sum() == 59
    assert found["accuracy"].score.parts["commonest label"] == 20 / 59


def test_repeats_of_few_shots_are_no_records_even_where_there_are_as_many() -> None:
    vectors, labels = blobs(downstream.REPEATS)
    found = measure(ArrayVersion(vectors, columns={"x": labels}), "labels", column="x", folds=3)
    few = found["few_shot_accuracy"]
    assert (few.score.n, few.of, few.items) == (downstream.REPEATS, "repeat", ())
    assert {*found["accuracy"].items} == {*ArrayVersion(vectors).record_ids}
    assert found["silhouette"].items == found["accuracy"].items


def test_records_of_one_group_are_held_out_and_resampled_together() -> None:
    rng = np.random.default_rng(5)
    places = rng.normal(size=(40, 8))
    vectors = np.repeat(places, 5, axis=0) + 0.01 * rng.normal(size=(200, 8))
    documents: list[object] = [f"d{number // 5}" for number in range(200)]
    labels: list[object] = [("a", "b")[int(rng.integers(2))] for _ in range(40)]
    labels = [labels[number // 5] for number in range(200)]
    version = ArrayVersion(vectors, columns={"label": labels, "document": documents})
    leaking = measure(version, "labels", column="label", k=1)["knn_accuracy"]
    held_out = measure(version, "labels", column="label", k=1, group="document")["knn_accuracy"]
    assert leaking.score.value == 1.0  # others of its document are known
    assert 0.25 < held_out.score.value < 0.75
    assert held_out.groups is not None
    groups = dict(zip(held_out.items, held_out.groups.tolist(), strict=True))
    assert len(set(groups.values())) == 40
    assert len({groups[f"r{number:03d}"] for number in range(5)}) == 1
    years: list[object] = [len(str(document)) for document in documents]
    told = ArrayVersion(vectors, columns={"year": years, "document": documents})
    assert measure(told, "numbers", column="year", group="document")["r2"].groups is not None


def test_labels_without_a_pattern_are_at_chance() -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice(["a", "b"], 200).tolist()
    version = ArrayVersion(rng.normal(size=(200, 5)), columns={"x": labels})
    found = measure(version, "labels", column="x")
    assert 0.35 < found["accuracy"].score.value < 0.65
    assert abs(found["ari"].score.value) < 0.1


@pytest.mark.parametrize("values", [["a"] * 8, [None] * 8])
def test_labels_that_say_nothing_are_an_error(values: list[object]) -> None:
    version = ArrayVersion(np.random.default_rng(0).normal(size=(8, 3)), columns={"x": values})
    with pytest.raises(MetricError):
        build("labels", column="x").measure(version)


@pytest.mark.parametrize(
    ("use", "arguments", "said"),
    [
        (
            "labels",
            {"column": "x", "shots": 20},
            r"shots = 20: 0 of 3 .*\(blue 20, green 20, red 20",
        ),
        ("labels", {"column": "x", "k": 50}, "k = 50: a fold leaves 48 rows"),
        ("labels", {"column": "x", "folds": 21}, "folds = 21: expected 2 to 20"),
        ("clusters", {"n": 50}, "n = 50: n_clusters = 50: expected 1 to 48 rows"),
        (
            "clusters",
            {"method": "hdbscan", "min_cluster_size": 61},
            "min_cluster_size = 61: expect",
        ),
    ],
)
def test_a_number_that_is_too_large_for_the_data_is_named(
    use: str, arguments: dict[str, Any], said: str
) -> None:
    vectors, labels = blobs()
    with pytest.raises(MetricError, match=said):
        build(use, **arguments).measure(ArrayVersion(vectors, columns={"x": labels}))


def test_labels_of_equal_vectors_have_probes_and_no_clusters() -> None:
    version = ArrayVersion(np.ones((30, 4)), columns={"x": [*"aab"] * 10})
    found = build("labels", column="x").measure(version)
    assert [one.name for one in found] == ["accuracy", "knn_accuracy", "few_shot_accuracy"]
    assert found[0].score.value == 2 / 3
    said = "clusters are undefined, and their metrics left out: 2 clusters need as many different"
    for one in found:
        assert [text for text in one.score.warnings if text.startswith(said)] == [said + " rows"]


def test_numbers_are_read_from_vectors() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(80, 4))
    years: list[object] = [int(2000 + 10 * one) for one in vectors[:, 0]]
    found = measure(ArrayVersion(vectors, columns={"year": years}), "numbers", column="year")
    assert found["r2"].score.value > 0.95
    version = ArrayVersion(vectors, columns={"year": ["x"] * 80})
    with pytest.raises(ConfigError, match="column 'year' holds no number"):
        build("numbers", column="year").measure(version)


def test_clusters_that_are_there_are_found_again() -> None:
    vectors, _ = blobs(spread=0.05)
    found = measure(ArrayVersion(vectors), "clusters", n=3)
    assert found["stability"].score.value > 0.99
    assert found["silhouette"].score.value > 0.8
    dense = measure(ArrayVersion(vectors), "clusters", method="hdbscan")
    assert dense["clusters"].score.value == 3


def test_descriptions_classify_without_labels() -> None:
    Path("labels.txt").write_text("red\tthe red one\ngreen\tthe green one\n")
    vectors, labels = blobs(30, spread=0.05)
    known = {"the red one": np.eye(8)[0].tolist(), "the green one": np.eye(8)[1].tolist()}
    version = ArrayVersion(vectors, columns={"colour": labels}, known=known)
    found = measure(version, "zero-shot", labels="labels.txt", column="colour")
    assert found["accuracy"].score.value == 1.0
    assert found["accuracy"].score.n == 20
    assert found["accuracy"].score.warnings == ("10 records have no label that is described",)


def test_partners_find_each_other() -> None:
    vectors = np.repeat(np.eye(5), 2, axis=0)
    lines = [f"r{2 * pair:03d},r{2 * pair + 1:03d}" for pair in range(5)]
    Path("p.csv").write_text("\n".join(["one,other", *lines]) + "\n")
    found = measure(ArrayVersion(vectors), "cross-modal", pairs="p.csv", k=[1, 9])
    assert found["cross_modal_recall@1"].score.value == 1.0
    assert found["cross_modal_recall@9"].score.warnings == (
        "there are 5 records of a side: measured at 5 instead of 9",
    )
    one, other = vectors[::2], vectors[1::2]
    wanted = downstream.cross_modal_recall(one, other, 1)
    assert found["cross_modal_recall@1"].score.parts == wanted.parts


def test_any_of_several_partners_is_a_hit() -> None:
    images = np.random.default_rng(0).normal(size=(40, 8))
    vectors = np.concatenate([images, np.repeat(images, 5, axis=0)])
    lines = [f"r{number // 5:03d},r{40 + number:03d}" for number in range(200)]
    Path("p.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    arguments = {"pairs": "p.csv", "one": "image", "other": "caption"}
    found = measure(ArrayVersion(vectors), "cross-modal", **arguments)["cross_modal_recall@1"]
    assert (found.score.value, found.score.n) == (1.0, 240)
    assert found.score.parts == {"forth": 1.0, "back": 1.0}
    assert (found.items[0], found.items[40]) == ("image r000", "caption r040")
    assert found.groups is not None
    assert found.groups.tolist() == [*range(40), *(number // 5 for number in range(200))]


def test_partners_that_are_all_tied_together_have_no_groups() -> None:
    Path("p.csv").write_text("one,other\nr000,r002\nr000,r003\nr001,r003\n")
    vectors = np.concatenate([np.eye(2), np.eye(2)])
    found = measure(ArrayVersion(vectors), "cross-modal", pairs="p.csv")["cross_modal_recall@1"]
    assert (found.score.value, found.groups) == (1.0, None)
    assert found.score.warnings == (
        "partners tie all records together: intervals take them as independent",
    )


def test_links_are_told_from_pairs_that_are_none() -> None:
    vectors, labels = blobs(30, spread=0.05)
    same = [(a, b) for a in range(30) for b in range(a) if labels[a] == labels[b]]
    held, known = same[::4], [pair for place, pair in enumerate(same) if place % 4]
    for name, pairs in (("held.csv", held), ("known.csv", known)):
        lines = [f"r{a:03d},r{b:03d}" for a, b in pairs]
        Path(name).write_text("\n".join(["source,target", *lines]) + "\n")
    found = measure(ArrayVersion(vectors), "links", edges="held.csv", known="known.csv", k=10)
    assert {name: one.score.value for name, one in found.items()} == {
        "auc": 1.0,
        "average_precision": 1.0,
        "hits@10": 1.0,
        "mrr": 1.0,
        "auc_by_degree": 1.0,
    }
    assert found["auc"].score.n == len(held)


def test_edges_of_one_component_are_resampled_together_if_that_is_asked() -> None:
    vectors, _ = blobs(30)
    Path("held.csv").write_text("source,target\nr000,r003\nr001,r004\nr005,r002\nr008,r011\n")
    Path("known.csv").write_text("source,target\nr003,r006\nr006,r002\n")
    arguments = {"edges": "held.csv", "known": "known.csv", "k": 1}
    found = measure(ArrayVersion(vectors), "links", **arguments, components=True)
    for one in found.values():
        assert one.groups is not None
        assert one.groups.tolist() == [0, 1, 0, 2]
    assert measure(ArrayVersion(vectors), "links", **arguments)["auc"].groups is None


def test_an_edge_that_is_given_again_counts_once_and_unknown_edges_are_warned_of() -> None:
    vectors, _ = blobs(30)
    Path("once.csv").write_text("source,target\nr000,r003\nr001,r004\nr002,r005\n")
    again = "source,target\nr000,r003\nr003,r000\nr001,r004\nr000,r003\nr002,r005\n"
    Path("again.csv").write_text(again)
    Path("known.csv").write_text("source,target\nr006,r009\nr009,r006\nr000,r003\n")
    Path("known_once.csv").write_text("source,target\nr006,r009\n")
    version = ArrayVersion(vectors)
    once = measure(version, "links", edges="once.csv", known="known_once.csv", k=1)
    found = measure(version, "links", edges="again.csv", known="known.csv", k=1)
    twice = "2 edges stand there again or the other way round: they count once"
    for name, one in found.items():
        assert one.items == ("r000 / r003", "r001 / r004", "r002 / r005")
        assert (one.score.value, one.score.parts) == (
            once[name].score.value,
            once[name].score.parts,
        )
        assert one.score.warnings == (*once[name].score.warnings, twice)
    said = "edges that the fit has seen may be among the pairs that are taken for no edges"
    unknown = measure(version, "links", edges="once.csv", k=1)
    assert all(said in one.score.warnings[-1] for one in unknown.values())
    assert not any(said in one for part in once.values() for one in part.score.warnings)


def test_negatives_are_no_edges_that_are_known() -> None:
    pairs = np.array([(a, b) for a in range(6) for b in range(a)][:10])
    drawn = graph.negatives(pairs, 6, rng=np.random.default_rng(0), n=5)
    assert not {tuple(sorted(pair)) for pair in drawn.tolist()} & {
        tuple(sorted(pair)) for pair in pairs.tolist()
    }


def test_an_association_has_its_direction_and_no_verdict() -> None:
    words = {"rose": [1, 0.1], "wasp": [0.1, 1], "nice": [1, 0], "nasty": [0, 1]}
    words |= {"tulip": [0.9, 0.2], "flea": [0.2, 0.8]}
    version = ArrayVersion(list(words.values()), list(words))
    found = measure(
        version,
        "association",
        targets={"flowers": ["rose", "tulip"], "insects": ["wasp", "flea"]},
        attributes={"pleasant": ["nice"], "unpleasant": ["nasty"]},
        of="records",
    )["association"]
    assert found.score.value > 1
    assert found.higher_is_better is None
    with pytest.raises(ConfigError, match=r"targets = .* expected two sets by name"):
        build("association", targets={"a": ["x"]}, attributes={"b": ["x"], "c": ["y"]})


def test_searches_that_show_all_groups_alike_have_no_skew() -> None:
    Path("q.tsv").write_text("1\tx\n2\ty\n")
    vectors = np.repeat(np.eye(2), 4, axis=0) + np.arange(8)[:, None] * 1e-3
    version = ArrayVersion(
        vectors, columns={"who": ["a", "b"] * 4}, known={"x": [1, 0], "y": [0, 1]}
    )
    even = measure(version, "skew", queries="q.tsv", column="who", k=4)["skew"]
    assert even.score.value == pytest.approx(0)
    apart = ArrayVersion(
        vectors, columns={"who": ["a"] * 4 + ["b"] * 4}, known={"x": [1, 0], "y": [0, 1]}
    )
    odd = measure(apart, "skew", queries="q.tsv", column="who", k=4)["skew"]
    assert odd.score.value == pytest.approx(np.log(2))
    assert odd.higher_is_better is False


NAN = float("nan")


def test_words_that_an_association_does_not_know_are_named() -> None:
    words = {"rose": [1, 0.1], "wasp": [0.1, 1], "nice": [1, 0], "nasty": [0, 1]}
    found = measure(
        ArrayVersion(list(words.values()), list(words)),
        "association",
        targets={"flowers": ["rose", "tulip"], "insects": ["gnat", "wasp", "flea"]},
        attributes={"pleasant": ["nice"], "unpleasant": ["nasty"]},
        of="records",
    )["association"]
    assert found.score.warnings == (
        "the version lacks 1 of 2 words of flowers: tulip",
        "the version lacks 2 of 3 words of insects: gnat, flea",
    )


def test_records_of_no_group_are_neither_shown_nor_counted_by_skew() -> None:
    Path("q.tsv").write_text("1\tx\n2\ty\n")
    rng = np.random.default_rng(0)
    vectors, known = rng.normal(size=(40, 3)), {"x": [1, 0, 0], "y": [0, 1, 1]}
    values: list[object] = [(None, NAN, "a", "b", "a")[number % 5] for number in range(40)]
    some = [number for number, value in enumerate(values) if value in ("a", "b")]
    all_there = ArrayVersion(
        vectors[some], columns={"who": [values[one] for one in some]}, known=known
    )
    version = ArrayVersion(vectors, columns={"who": values}, known=known)
    for k in (3, 24, 30):
        found = measure(version, "skew", queries="q.tsv", column="who", k=k)["skew"].score
        wanted = measure(all_there, "skew", queries="q.tsv", column="who", k=k)["skew"].score
        assert (found.value, found.parts) == (wanted.value, wanted.parts)
        said = "16 of 40 records have no value in column 'who'"
        assert {*found.warnings} == {said, *wanted.warnings}


def test_nan_is_no_value() -> None:
    vectors, labels = blobs(60)
    classes: list[object] = [NAN, None, *(("red", "green", "blue").index(x) for x in labels[2:])]
    version = ArrayVersion(vectors, columns={"class": classes, "none": [NAN] * 60})
    said = "2 of 60 records have no value in column 'class'"
    for use, name in (("labels", "accuracy"), ("numbers", "r2")):
        found = measure(version, use, column="class")[name]
        assert (found.score.n, said in found.score.warnings) == (58, True)
        assert not {"r000", "r001"} & {*found.items}
        with pytest.raises(MetricError, match="no record has a value in column 'none'"):
            build(use, column="none").measure(version)


def test_labels_that_are_numbers_are_described_too() -> None:
    Path("labels.txt").write_text("0\tthe red one\n1\tthe green one\nnan\tnone\n")
    vectors, labels = blobs(30, spread=0.05)
    known = {"the red one": np.eye(8)[0].tolist(), "the green one": np.eye(8)[1].tolist()}
    known["none"] = np.eye(8)[5].tolist()
    classes: list[object] = [NAN, *(("red", "green", "blue").index(x) for x in labels[1:])]
    version = ArrayVersion(vectors, columns={"class": classes}, known=known)
    found = measure(version, "zero-shot", labels="labels.txt", column="class")["accuracy"].score
    assert (found.value, found.n) == (1.0, 19)
    assert found.parts == {"commonest label": 10 / 19}


def test_geometry_needs_no_labels_and_has_no_verdict() -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 6))
    found = measure(ArrayVersion(vectors), "geometry")
    assert 4.5 < found["two_nn"].score.value < 7.5
    assert found["participation_ratio"].score.value == pytest.approx(6, abs=0.5)
    assert {one.higher_is_better for one in found.values()} == {None}


def test_geometry_of_few_records_looks_at_as_many_neighbours_as_there_are() -> None:
    vectors = np.random.default_rng(0).normal(size=(12, 3))
    found = measure(ArrayVersion(vectors), "geometry")
    rng, rows = np.random.default_rng(0), ArrayVersion(vectors).records
    wanted = {
        "levina_bickel": geometry.levina_bickel(rows, k=11, rng=rng).value,
        "correlation_dimension": geometry.correlation_dimension(rows, k1=5, k2=11, rng=rng).value,
        "hubness": geometry.hubness(rows, k=10, rng=rng).value,
    }
    assert {name: found[name].score.value for name in wanted} == pytest.approx(wanted)
    few = "there are 11 other records: measured at 11 instead of 20"
    assert {name for name, one in found.items() if few in one.score.warnings} == {
        "levina_bickel",
        "correlation_dimension",
    }


def test_what_geometry_cannot_say_of_equal_vectors_leaves_the_rest() -> None:
    evaluation = build("geometry")
    found = evaluation.measure(ArrayVersion(np.ones((30, 4))))
    names = [one.name for one in found]
    assert names == [name for name in evaluation.metrics if name in names]
    scores = {one.name: one.score.value for one in found}
    stands = {"anisotropy": 1, "norm": 2, "duplicates": 29 / 30}
    assert {name: scores[name] for name in stands} == pytest.approx(stands)
    lost = [name for name in evaluation.metrics if name not in names]
    assert {"iso_score", "two_nn", "levina_bickel", "correlation_dimension"} <= {*lost}
    said = [one for one in found[0].score.warnings if "is undefined and left out: " in one]
    assert [one.split()[0] for one in said] == lost
    alone = {one.name for one in evaluation.measure(ArrayVersion(np.ones((1, 4))))}
    assert alone == {"norm", "duplicates"}
    one = evaluation.measure(ArrayVersion(np.eye(1, 4)))[0].score.warnings
    assert "hubness is undefined and left out: neighbours need two records" in one


@pytest.mark.parametrize(
    ("use", "arguments", "said"),
    [
        ("labels", {"column": "x", "k": 0}, "k = 0: expected 1 or more"),
        ("labels", {"column": "x", "folds": 1}, "folds = 1: expected 2 or more"),
        ("numbers", {"column": "x", "folds": 1}, "folds = 1: expected 2 or more"),
        ("clusters", {"n": 1}, "n = 1: expected 2 or more"),
        ("links", {"edges": "e", "k": 0}, "k = 0"),
        ("links", {"edges": "e", "likeness": "cosin"}, "likeness = 'cosin': expected cosine, dot"),
        ("skew", {"queries": "q", "column": "c", "k": 0}, "k = 0"),
        ("cross-modal", {"pairs": "p", "k": []}, r"k = \[\]"),
    ],
)
def test_a_bad_argument_is_told(use: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(use, **arguments)
