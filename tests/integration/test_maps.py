"""Maps of versions: one projection for each table and method, kept beside its evaluations."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from schemas.config import EvaluateConfig
from schemas.evaluation import Map, Point
from schemas.suite import MapMethod
from tasks.errors import ConfigError
from tasks.evaluate import Evaluated, evaluate
from tasks.evaluated import evaluated
from tasks.maps import sample_of
from tasks.metrics.score import unit_rows
from tasks.space import open_space
from tasks.store import evaluations
from tests.evaluation import search_task
from tests.pipeline import config, refresh, write_jsonl

Row = dict[str, Any]
N = 40


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries are kept apart from the user's."""
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    search_task(folder, N)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "vectors")


def settings(corpus: Path, dim: int = 16, **changes: object) -> Row:
    return config(corpus, encoder={"use": "hashing", "dim": dim}) | changes


def rows(corpus: Path) -> list[Row]:
    return [json.loads(line) for line in (corpus / "docs.jsonl").read_text().splitlines()]


def look(
    corpus: Path, store: str, version: str, baseline: str | None = None, **wanted: object
) -> tuple[Evaluated, Map]:
    """An evaluation with the map that is asked for."""
    suite = corpus / "suite.yaml"
    tasks = [{"use": "retrieval", "queries": "queries.json", "qrels": "qrels.tsv", "k": 5}]
    suite.write_text(yaml.safe_dump({"tasks": tasks, "map": wanted}))
    found: Evaluated = evaluate.fn(
        store, "notes", EvaluateConfig(suite=str(suite)), version, baseline
    )
    assert found.record.details.map is not None
    return found, found.record.details.map


def projection_of(found: Evaluated, method: str) -> Path:
    return Path(found.page).parent / f"projection-{method}.npz"


def places(points: Sequence[Point]) -> dict[str, tuple[float, float]]:
    return {point.id: (point.x, point.y) for point in points}


def spread(points: Sequence[Point]) -> Any:
    return np.array([(point.x, point.y) for point in points])


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_later_version_is_placed_by_the_projection_of_the_first(
    corpus: Path, store: str, method: str
) -> None:
    refresh(settings(corpus), store)
    first, shown = look(corpus, store, "1", method=method)
    kept = projection_of(first, method).read_bytes()
    changed = rows(corpus)
    changed[3]["text"] = "something else altogether"
    write_jsonl(corpus / "docs.jsonl", changed[1:])
    refresh(settings(corpus), store, promote="no")
    second, later = look(corpus, store, "2", "1", method=method)
    assert projection_of(second, method).read_bytes() == kept
    before, after = places(shown.candidate), places(later.candidate)
    assert places(later.baseline) == before
    assert {*before} - {*after} == {"d0000"}
    moved = {id_ for id_ in after if after[id_] != pytest.approx(before[id_], rel=2e-3, abs=1e-6)}
    assert moved == {"d0003"}
    assert shown.notes == later.notes == ()


def test_a_map_of_pca_shows_where_the_directions_of_records_are(corpus: Path, store: str) -> None:
    refresh(settings(corpus), store)
    _, shown = look(corpus, store, "1", method="pca", colour="year")
    ids, vectors = open_space("notes", store).vectors()
    order = np.argsort(ids)
    directions = unit_rows(vectors)[order].astype(np.float64)
    directions -= directions.mean(axis=0)
    found = spread(shown.candidate)
    _, _, turn = np.linalg.svd(directions, full_matrices=False)
    np.testing.assert_allclose(np.abs(found), np.abs(directions @ turn[:2].T), rtol=1e-3, atol=1e-4)
    assert [point.id for point in shown.candidate] == sorted(ids)
    assert shown.column == "year"
    assert shown.colours == ("2000", "2001", "2002", "2003", "2004")
    assert [point.colour for point in shown.candidate] == [number % 5 for number in range(N)]


def test_maps_of_two_encoders_lie_on_each_other(corpus: Path, store: str) -> None:
    refresh(settings(corpus, 64), store)
    refresh(settings(corpus, 65), store, backfill=True)
    found, shown = look(corpus, store, "2", "1", method="pca")
    assert places(shown.candidate).keys() == places(shown.baseline).keys()
    ours, theirs = (spread(side) for side in (shown.candidate, shown.baseline))
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=1e-3)
    assert ours.var(axis=0).sum() == pytest.approx(theirs.var(axis=0).sum(), rel=1e-2)
    _, alone = look(corpus, store, "2", method="pca")
    apart = [np.linalg.norm(one[:, None] - one, axis=2) for one in (spread(alone.candidate), ours)]
    scale = apart[1].sum() / apart[0].sum()
    np.testing.assert_allclose(apart[1], scale * apart[0], atol=2e-3 * apart[1].max())
    _, first = look(corpus, store, "1", method="pca")
    assert first.candidate == shown.baseline
    runs = Path(found.page).parents[2]
    assert len([*runs.glob("*/evaluations/projection-pca.npz")]) == 2


def test_the_picture_lies_beside_the_page_and_in_the_summary(corpus: Path, store: str) -> None:
    refresh(settings(corpus), store)
    found, shown = look(corpus, store, "1", method="pca", sample=30)
    assert len(shown.candidate) == 30
    path = Path(found.summary()["map"])
    assert path == Path(found.page).with_suffix(".png")
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (583, 649))
    kept = evaluations.read(store, found.record.candidate.table, found.record.id)
    assert kept == found.record
    plain = evaluate.fn(
        store, "notes", EvaluateConfig(suite=str(search_task(corpus, N))), "1", None
    )
    assert (plain.summary()["map"], plain.record.details.map) == (None, None)
    assert not Path(plain.page).with_suffix(".png").exists()


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_damaged_projection_is_made_anew_with_a_note(
    corpus: Path, store: str, method: str
) -> None:
    refresh(settings(corpus), store)
    found, shown = look(corpus, store, "1", method=method)
    path = projection_of(found, method)
    whole = path.read_bytes()
    for damaged in (b"damaged", whole[:-99]):
        path.write_bytes(damaged)
        _, again = look(corpus, store, "1", method=method)
        assert again.notes == (
            f"the projection {path} is damaged: it was made anew, and older maps look different",
        )
        assert again.candidate == shown.candidate
        assert path.read_bytes() == whole


def test_records_without_a_colour_of_their_own_are_others(corpus: Path, store: str) -> None:
    changed = rows(corpus)
    for number, row in enumerate(changed):
        row["year"] = 1900 + number // 3
    write_jsonl(corpus / "docs.jsonl", changed)
    refresh(settings(corpus), store)
    _, shown = look(corpus, store, "1", method="pca", colour="year")
    assert shown.colours == tuple(str(1900 + number) for number in range(10))
    expected = [number // 3 if number < 30 else None for number in range(N)]
    assert [point.colour for point in shown.candidate] == expected


def test_a_column_that_is_not_there_is_told(corpus: Path, store: str) -> None:
    refresh(settings(corpus), store)
    with pytest.raises(ConfigError, match=r"has no metadata column 'yeer', did you mean 'year'\?"):
        look(corpus, store, "1", method="pca", colour="yeer")


def test_a_version_that_can_have_no_map_is_measured_all_the_same(corpus: Path, store: str) -> None:
    same = [{**row, "text": "the same"} for row in rows(corpus)]
    write_jsonl(corpus / "docs.jsonl", same)
    refresh(settings(corpus), store)
    found, shown = look(corpus, store, "1", method="tsne")
    assert shown == Map(
        method=MapMethod.TSNE,
        notes=("version 1 has no map: 1 different vectors: a map needs 3 or more",),
    )
    assert found.summary()["map"] is None
    assert "ndcg@5" in found.record.metrics


def test_two_versions_with_few_records_in_common_are_shown_as_they_are(
    corpus: Path, store: str
) -> None:
    refresh(settings(corpus), store)
    changed = [
        {**row, "id": f"x{row['id']}" if number else row["id"]}
        for number, row in enumerate(rows(corpus))
    ]
    write_jsonl(corpus / "docs.jsonl", changed)
    refresh(settings(corpus, 17, limits={"max_removed": 1.0}), store, backfill=True)
    _, shown = look(corpus, store, "2", "1", method="pca")
    assert shown.notes == (
        "the candidate's map is not turned onto the baseline's: 1 records in common: "
        "to turn a map takes 3 or more",
    )


def test_a_record_in_chunks_is_shown_once(corpus: Path, store: str) -> None:
    refresh(settings(corpus, chunk={"tokens": 2}), store)
    _, shown = look(corpus, store, "1", method="pca", sample=20)
    space = open_space("notes", store)
    with evaluated(space, 0) as version:
        assert [point.id for point in shown.candidate] == sample_of(version.record_ids, 20)


def test_a_sample_has_the_same_records_of_two_versions() -> None:
    ids = [f"r{number}" for number in range(1000)]
    some, more = (
        sample_of(ids, 100),
        sample_of([*reversed(ids), *(f"a{n}" for n in range(100))], 100),
    )
    assert some == sorted(some)
    assert len({*some}) == 100
    assert {id_ for id_ in more if id_ in ids} <= {*some}
    assert len({*some} & {*more}) > 75
    assert sample_of(ids[:5], 100) == sorted(ids[:5])
    assert sample_of([], 3) == []
