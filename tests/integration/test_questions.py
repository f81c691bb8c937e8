"""Questions beyond one text: sums of vectors, labels, near-duplicates; against brute force."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import cli
from schemas.config import IndexConfig, Retention
from tasks.classify import accuracy, classify, read_labels
from tasks.duplicates import duplicates, firsts
from tasks.encoders.hashing import HashingEncoder
from tasks.errors import ConfigError, StoreError
from tasks.maintain import maintain
from tasks.marking import mark
from tasks.search import Query, Term, search, term
from tasks.space import open_space
from tasks.store import indexes, maintenance
from tasks.store.catalog import Catalog
from tasks.store.rows import unit
from tasks.verify import verify
from tests.pipeline import config, refresh, write_jsonl

WORDS = ("red", "blue", "round", "square", "large", "small")
PAIRS = [f"{one} {two}" for one in WORDS for two in WORDS if one != two]


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Thirty pairs of words, the first four of them once more with a word that they share."""
    rows = [{"id": f"p{n:02}", "text": text, "year": n} for n, text in enumerate(PAIRS)]
    rows += [{"id": f"q{n}", "text": f"{PAIRS[n]} thing", "year": 0} for n in range(4)]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    refresh(config(tmp_path / "corpus"), tmp_path / "vectors")
    return str(tmp_path / "vectors")


def vectors(*texts: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    encoder = HashingEncoder(dim=32)
    return encoder.encode(encoder.prepare(texts))


def test_a_sum_of_terms_finds_what_its_vector_is_nearest_to(store: str) -> None:
    space = open_space("notes", store)
    ids, held = space.vectors()
    asked = vectors("red round", "blue", "red")
    want = unit((unit(asked)[0] + 2 * unit(asked)[1] - unit(asked)[2])[None])[0]
    scores = dict(zip(ids, held @ want, strict=True))
    best = sorted(scores, key=lambda id_: (-scores[id_], id_))
    of_texts = search(space, Query([term("red round"), term("2*blue"), term("red", -1)], k=5))
    assert [hit.id for hit in of_texts] == best[:5]
    place = PAIRS.index("red round")
    of_record = search(space, Query([term(f"id:p{place:02}"), term("2*blue"), term("red", -1)], 5))
    assert [hit.id for hit in of_record] == [id_ for id_ in best if id_ != f"p{place:02}"][:5]


@pytest.mark.parametrize(
    ("where", "modality", "said"),
    [
        ("yeer > 3", None, "'yeer > 3'.*Metadata columns: year \\(int64\\)"),
        ("year >", None, "'year >'"),
        (None, "imag", "--modality = 'imag': space 'notes' version 1 has text"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_told_before_an_encoder_is_loaded(
    store: str, where: str | None, modality: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HashingEncoder, "load", None)
    with pytest.raises(ConfigError, match=said):
        search(open_space("notes", store), Query([term("red")], where=where, modality=modality))


@pytest.mark.parametrize(
    ("said", "want"),
    [
        ("a * b", Term("text", "a * b", 1.0)),
        ("0.5*id:a:b", Term("id", "a:b", 0.5)),
        ("image:a/b.jpg", Term("image", "a/b.jpg", 1.0)),
        ("see: this", Term("text", "see: this", 1.0)),
    ],
)
def test_a_term_is_read_as_it_is_written(said: str, want: Term) -> None:
    assert term(said) == want
    assert term(said, -1).weight == -want.weight


def test_each_record_gets_the_label_that_is_nearest(store: str, tmp_path: Path) -> None:
    space = open_space("notes", store)
    labels = {"warm": ["red", "orange"], "cold": ["blue"], "form": ["round", "square"]}
    (tmp_path / "labels.yaml").write_text(json.dumps(labels))
    found = classify(space, read_labels(tmp_path / "labels.yaml"), ["a {} one", "{}"])
    prompts = {
        name: [said.join(parts) for said in own for parts in (("a ", " one"), ("", ""))]
        for name, own in labels.items()
    }
    means = np.stack([unit(vectors(*own)).mean(axis=0) for own in prompts.values()])
    ids, held = space.vectors()
    scores = unit(held) @ unit(means).T
    best = {id_: [*labels][place] for id_, place in zip(ids, scores.argmax(axis=1), strict=True)}
    assert {one.id: one.label for one in found} == best
    second, first = np.sort(scores, axis=1)[:, -2:].T
    assert np.allclose([one.score for one in found], first[np.argsort(ids)], atol=1e-6)
    assert np.allclose([one.margin for one in found], (first - second)[np.argsort(ids)], atol=1e-6)


def test_a_record_in_chunks_gets_the_label_of_their_mean(tmp_path: Path) -> None:
    rows = [{"id": "long", "text": "red red red blue. blue blue red red.", "year": 1}]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    chunk = {"tokens": 3, "overlap": 0}
    refresh(config(tmp_path / "corpus", chunk=chunk), tmp_path / "vectors")
    space = open_space("notes", str(tmp_path / "vectors"))
    assert space.rows > 1
    labels = {"red": ["red"], "blue": ["blue"]}
    (found,) = classify(space, labels)
    scores = unit(space.vectors()[1]) @ unit(vectors("red", "blue")).T
    mean = scores.mean(axis=0)
    assert found.label == [*labels][int(mean.argmax())]
    assert found.score == pytest.approx(float(mean.max()), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("a.txt", "red\n", "two labels or more"),
        ("a.txt", "red\nblue\nred\n", "label 'red' is there twice"),
        ("a.json", '{"red": 3, "blue": "x"}', "'red' is no label with a description"),
        ("a.yaml", "a: [", "cannot be read"),
        ("a.yaml", "17", "expected a list"),
        ("b.txt", "", "cannot be read"),
    ],
)
def test_labels_that_are_none_are_named(tmp_path: Path, name: str, text: str, wrong: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=wrong):
        read_labels(tmp_path / name if text else tmp_path / "missing")


def linked(ids: list[str], scores: np.ndarray[Any, np.dtype[np.float32]], least: float) -> set[Any]:
    """Groups by following links, one record at a time."""
    left, groups = set(range(len(ids))), set()
    while left:
        group, edge = set[int](), {left.pop()}
        while edge:
            group |= edge
            edge = {int(n) for one in edge for n in np.flatnonzero(scores[one] >= least)} & left
            left -= edge
        if len(group) > 1:
            groups.add(tuple(sorted(ids[n] for n in group)))
    return groups


@pytest.mark.parametrize("indexed", [False, True])
def test_near_duplicates_are_those_that_links_connect(
    store: str, indexed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if indexed:
        monkeypatch.setattr(indexes, "SPARE_ROWS", 0)
        name = Catalog(store).versions("notes")[-1].table
        maintain.fn(store, name, Retention(), IndexConfig(rows=20), 0.0)
    space = open_space("notes", store)
    assert (indexes.vector_index(space.dataset) is not None) == indexed
    ids, held = space.vectors()
    scores = unit(held) @ unit(held).T
    for least in (0.7, 0.8, 0.9999):
        found = duplicates(space, least)
        assert {tuple(group.ids) for group in found} == linked(ids, scores, least - 1e-6)
        assert all(group.similarity >= least - 1e-6 for group in found)
        assert [len(group.ids) for group in found] == sorted(
            (len(group.ids) for group in found), reverse=True
        )


def test_groups_stand_in_a_column_until_a_run_writes_new_rows(store: str, tmp_path: Path) -> None:
    groups = duplicates(open_space("notes", store), 0.7)
    firsts = {id_: group.ids[0] for group in groups for id_ in group.ids}
    assert len(firsts) > 4
    command = ["duplicates", "notes", "--store", store, "--threshold", "0.7"]
    for _ in range(2):
        assert cli.main([*command, "--column", "twin"]) == 0
        rows = open_space("notes", store).to_arrow(["id", "twin"]).to_pylist()
        assert {row["id"]: row["twin"] for row in rows if row["twin"]} == firsts
    assert [entry.version for entry in Catalog(store).versions("notes")] == [1]
    assert [check.name for check in verify(store, "notes") if not check.ok] == []
    again = refresh(config(tmp_path / "corpus"), tmp_path / "vectors")
    assert not again["new_version"]
    lines = (tmp_path / "corpus" / "a.jsonl").read_text().splitlines()
    (tmp_path / "corpus" / "a.jsonl").write_text("\n".join(lines[:-1]) + '\n{"id":"n","text":"n"}')
    assert refresh(config(tmp_path / "corpus"), tmp_path / "vectors")["version"] == 2
    rows = open_space("notes", store).to_arrow(["id", "twin"]).to_pylist()
    left = {id_: first for id_, first in firsts.items() if id_ != "q3"}
    assert {row["id"]: row["twin"] for row in rows if row["twin"]} == left
    assert [check.name for check in verify(store, "notes") if not check.ok] == []


def test_a_column_that_cannot_be_is_refused(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["duplicates", "notes", "--store", store, "--column"]
    for name, wrong in (("year", "comes from a source"), ("text", "cannot have this name")):
        assert cli.main([*command, name]) == 2
        assert wrong in capsys.readouterr().err
    write_jsonl(tmp_path / "corpus" / "b.jsonl", [{"id": "new", "text": "new", "year": 1}])
    refresh(config(tmp_path / "corpus"), tmp_path / "vectors")
    assert cli.main([*command, "twin", "--version", "1"]) == StoreError.exit_code
    wrong = "version 1 of 'notes' is not the newest state of its table, which is version 2"
    assert wrong in capsys.readouterr().err


def test_a_mark_that_was_killed_is_made_by_the_next_one(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = open_space("notes", store)
    groups = duplicates(space, 0.7)

    def killed(*words: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(maintenance, "move", killed)
        with pytest.raises(KeyboardInterrupt):
            mark(space, firsts(groups), "twin", 0.0)
    mark(space, firsts(groups), "twin", 0.0)
    rows = open_space("notes", store).to_arrow(["id", "twin"]).to_pylist()
    wanted = {id_: group.ids[0] for group in groups for id_ in group.ids}
    assert {row["id"]: row["twin"] for row in rows if row["twin"]} == wanted


@pytest.mark.parametrize("indexed", [False, True])
def test_a_thousand_copies_are_one_group(
    tmp_path: Path, indexed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": f"r{n:04}", "text": "the same", "year": n} for n in range(3_000)]
    rows += [{"id": "other", "text": "quite another", "year": 1}]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    refresh(config(tmp_path / "corpus"), tmp_path / "vectors")
    if indexed:
        name = Catalog(str(tmp_path / "vectors")).versions("notes")[-1].table
        index = IndexConfig(rows=20)
        maintain.fn(str(tmp_path / "vectors"), name, Retention(), index, 0.0)
    (group,) = duplicates(open_space("notes", str(tmp_path / "vectors")), 0.99)
    assert [*group.ids] == [f"r{n:04}" for n in range(3_000)]


def test_who_says_nothing_of_the_truth_does_not_count(store: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus" / "b.jsonl", [{"id": "n", "text": "red", "year": None}])
    refresh(config(tmp_path / "corpus"), tmp_path / "vectors")
    found = classify(open_space("notes", store), {"None": ["red"], "0": ["blue"]})
    space = open_space("notes", store)
    years = {row["id"]: row["year"] for row in space.to_arrow(["id", "year"]).to_pylist()}
    right = [str(years[one.id]) == one.label for one in found if years[one.id] is not None]
    assert len(right) == len(years) - 1
    assert accuracy(space, found, "year") == pytest.approx(np.mean(right))
    assert accuracy(space, [], "year") is None
