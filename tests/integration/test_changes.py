"""What differs between two versions, against a count by hand and a brute-force search."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tasks import changes as module
from tasks.changes import changes, merge
from tasks.space import Space, open_space
from tests.pipeline import config, refresh, write_jsonl

WORDS = [f"word{n}" for n in range(40)]


def rows(n: int, seed: int = 0) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [
        {"id": f"r{m:03d}", "text": " ".join(random.choice(WORDS, 12)), "year": m % 5}
        for m in range(n)
    ]


def by_brute_force(one: Space, other: Space, queries: list[str], k: int) -> float:
    """Mean share of common neighbours, straight from the definition; ties as the rows lie."""
    sides = [side.to_arrow(["record_id", "vector"]).to_pylist() for side in (one, other)]
    held = {row["record_id"] for row in sides[0]}
    common = [*dict.fromkeys(row["record_id"] for row in sides[1] if row["record_id"] in held)]
    near = []
    for side in sides:
        vectors: dict[str, list[npt.NDArray[np.float64]]] = {}
        for row in side:
            vector = np.array(row["vector"], np.float64)
            vectors.setdefault(row["record_id"], []).append(vector / np.linalg.norm(vector))
        found = {}
        for query in queries:
            mean = np.sum(vectors[query], axis=0)
            mean /= np.linalg.norm(mean)
            score = {id_: max(float(v @ mean) for v in vectors[id_]) for id_ in common}
            others = [id_ for id_ in common if id_ != query]
            found[query] = set(sorted(others, key=lambda id_: -round(score[id_], 6))[:k])
        near.append(found)
    return float(np.mean([len(near[0][q] & near[1][q]) / k for q in queries]))


@pytest.fixture
def spaces(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Space, Space]:
    settings = config(tmp_path / "corpus", **getattr(request, "param", {}))
    first = rows(60)
    write_jsonl(tmp_path / "corpus" / "a.jsonl", first)
    refresh(settings, tmp_path / "vectors")
    second = [*first[4:], {"id": "x1", "text": "a new one", "year": 1}]
    for row, other in zip(second[:20], rows(20, seed=1), strict=False):
        row["text"] = other["text"]
    second[0]["year"] = second[30]["year"] = 77
    write_jsonl(tmp_path / "corpus" / "a.jsonl", second)
    refresh(settings, tmp_path / "vectors")
    store = str(tmp_path / "vectors")
    return open_space("notes", store, 1), open_space("notes", store, 2)


CHUNKED = {"chunk": {"tokens": 5, "overlap": 0}}


@pytest.mark.parametrize("spaces", [{}, CHUNKED], indirect=True, ids=["records", "chunks"])
@pytest.mark.parametrize("batch_rows", [7, 8192])
def test_records_and_neighbours_are_those_counted_by_hand(
    spaces: tuple[Space, Space], batch_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", batch_rows)
    found = changes(*spaces)
    assert found.added == ["x1"]
    assert found.removed == ["r000", "r001", "r002", "r003"]
    assert found.changed == [f"r{n:03d}" for n in range(4, 24)]
    assert found.metadata_changed == ["r034"]
    assert (found.common, found.neighbours, found.queries) == (56, 10, 56)
    assert found.neighbour_overlap == pytest.approx(
        by_brute_force(*spaces, [f"r{n:03d}" for n in range(4, 60)], 10), abs=1e-9
    )
    assert (found.neighbour_overlap or 1) < 0.9


def test_a_version_is_like_itself_however_its_rows_lie(spaces: tuple[Space, Space]) -> None:
    found = changes(spaces[1], spaces[1])
    assert (found.added, found.changed, found.metadata_changed, found.removed) == ([], [], [], [])
    assert (found.common, found.neighbour_overlap) == (57, 1.0)


def test_of_equal_scores_the_same_ones_are_taken_in_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 5)  # sums of a shorter last batch end otherwise
    settings = config(tmp_path / "corpus", encoder={"use": "hashing", "dim": 384})
    same = [{"id": f"r{n}", "text": " ".join(WORDS[:22]), "year": 1} for n in range(40)]
    for version in range(2):
        write_jsonl(tmp_path / "corpus" / "a.jsonl", same[version * 10 :] + same[: version * 5])
        write_jsonl(tmp_path / "corpus" / "0.jsonl", [{"id": "b", "text": f"{version}", "year": 1}])
        refresh(settings, tmp_path / "vectors")
    one, two = (open_space("notes", str(tmp_path / "vectors"), n) for n in (1, 2))
    found = changes(one, two)
    assert (found.common, found.changed) == (36, ["b"])
    assert found.neighbour_overlap == 1.0


def test_merging_keeps_the_best_of_each_record() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        best, who = np.full((1, 4), -np.inf, np.float32), np.full((1, 4), -1)
        top: dict[int, float] = {}
        for _ in range(random.integers(1, 9)):
            records = np.sort(random.choice(7, random.integers(1, 4), replace=False))
            scores = random.integers(0, 9, (1, len(records))).astype(np.float32)
            best, who = merge(best, who, scores, records, 4)
            for record, score in zip(records.tolist(), scores[0].tolist(), strict=True):
                top[record] = max(score, top.get(record, -1.0))
        wanted = sorted((-score, record) for record, score in top.items())[:4]
        found = zip((-best[0]).tolist(), who[0].tolist(), strict=True)
        assert [*found][: len(wanted)] == wanted


def test_one_common_record_has_no_neighbours(tmp_path: Path) -> None:
    settings = config(tmp_path / "corpus")
    for text in ("one", "two"):
        write_jsonl(tmp_path / "corpus" / "a.jsonl", [{"id": "a", "text": text, "year": 1}])
        refresh(settings, tmp_path / "vectors")
    store = str(tmp_path / "vectors")
    found = changes(open_space("notes", store, 1), open_space("notes", store, 2))
    assert (found.changed, found.common, found.neighbour_overlap) == (["a"], 1, None)
