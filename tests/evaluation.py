"""Versions made of arrays, and small search tasks: what evaluations are tested with."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.evaluations.base import Measurement, Version
from tasks.metrics.score import mean_score
from tests.pipeline import write_jsonl

Matrix = npt.NDArray[np.float64]


class ArrayVersion:
    """A version whose vectors, texts and columns are given; texts embed to what `known` says."""

    def __init__(
        self,
        vectors: Any,
        ids: Sequence[str] | None = None,
        *,
        owners: Sequence[int] | None = None,
        columns: Mapping[str, Sequence[object]] | None = None,
        known: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self.rows = np.asarray(vectors, np.float32)
        self.owners = np.arange(len(self.rows)) if owners is None else np.array(owners, np.int64)
        n = int(self.owners[-1]) + 1
        self.record_ids = [f"r{number:03d}" for number in range(n)] if ids is None else list(ids)
        self.records = np.array([self.rows[self.owners == one].mean(axis=0) for one in range(n)])
        self._columns, self._known = columns or {}, known or {}

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(0)

    def column(self, name: str) -> list[object]:
        return list(self._columns[name])

    def texts(self, record_ids: Sequence[str]) -> list[str | None]:
        return [f"text of {id_}" for id_ in record_ids]

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.array([self._known[text] for text in texts], np.float32)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return self.embed(texts)

    def near(self, queries: npt.NDArray[Any], k: int) -> list[list[str]] | None:
        return None


def search_task(folder: Path, n: int, *, words: int = 6, seed: int = 0) -> Path:
    """Documents `docs.jsonl` of random words, a query for each of some of its words, and a suite.

    By words alone a query finds its document, unless another one has the same words.
    """
    rng = np.random.default_rng(seed)
    vocabulary = [f"word{number}" for number in range(4 * n)]
    documents = [list(rng.choice(vocabulary, words, replace=False)) for _ in range(n)]
    rows = [
        {"id": f"d{number:04d}", "text": " ".join(document), "year": 2000 + number % 5}
        for number, document in enumerate(documents)
    ]
    write_jsonl(folder / "docs.jsonl", rows)
    queries = [
        {"_id": f"q{number:04d}", "text": " ".join(document[:2])}
        for number, document in enumerate(documents)
    ]
    (folder / "queries.json").write_text("".join(json.dumps(one) + "\n" for one in queries))
    judged = [f"q{number:04d}\td{number:04d}\t1" for number in range(n)]
    (folder / "qrels.tsv").write_text("\n".join(judged) + "\n")
    suite = folder / "suite.yaml"
    suite.write_text("tasks:\n- {use: retrieval, queries: queries.json, qrels: qrels.tsv, k: 5}\n")
    return suite


class OwnEvaluation:
    """A user's own: each record scores its place times what a file says."""

    metrics = ("own",)

    def __init__(self, *, truth: str) -> None:
        self._truth = truth

    def measure(self, version: Version) -> list[Measurement]:
        sign, dim = float(Path(self._truth).read_text()), version.records.shape[1]
        values = np.full(len(version.record_ids), 0.5) + sign * 0.2 * (dim == 65)
        score = mean_score(values, items=version.record_ids)
        return [Measurement("own", score, "record", score.items)]
