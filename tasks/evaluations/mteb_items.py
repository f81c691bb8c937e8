"""What the main score of a task of mteb stands on, where mteb tells what single items score."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy.stats import spearmanr

from tasks.evaluations.base import Rows
from tasks.metrics.score import Reals

if TYPE_CHECKING:
    from mteb import AbsTask

Place: TypeAlias = tuple[str, str]
"""A split, and a subset (language) of it."""
Told: TypeAlias = dict[Place, Any]
"""What mteb tells of the items of each subset."""

# mteb's names of scores of retrieval, and what it calls them for each query.
PER_QUERY = {
    "accuracy": "recall_1",
    "hit_rate": "success",
    "map": "map_cut",
    "ndcg": "ndcg_cut",
    "precision": "P",
    "recall": "recall",
}
ROUNDING = 6e-6  # mteb rounds scores of retrieval to five digits


@dataclass(frozen=True)
class Items:
    """Queries, pairs or texts: `over` is the score of some of them, by their places.

    `values` are their own scores, shape (n,), where it is the mean of these.
    """

    of: str
    names: tuple[str, ...]
    over: Callable[[Rows], float]
    values: Reals | None = None
    texts: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """That of all of them."""
        return self.over(np.arange(len(self.names)))


def listen(task: "AbsTask") -> Told:
    """Is filled with the scores of each query while the task runs, if it is one of retrieval."""
    from mteb.abstasks import AbsTaskRetrieval

    told: Told = {}
    if not isinstance(task, AbsTaskRetrieval):
        return told
    scoring = task.task_specific_scores  # what tasks override to see the scores of each query

    def listening(
        scores: dict[str, dict[str, float]],
        qrels: Mapping[str, Mapping[str, int]],
        results: dict[str, dict[str, float]],
        hf_split: str,
        hf_subset: str,
    ) -> dict[str, float]:
        told[hf_split, hf_subset] = scores
        return scoring(scores, qrels, results, hf_split, hf_subset)

    task.task_specific_scores = listening  # type: ignore[method-assign]
    return told


def tells_items(task: "AbsTask") -> bool:
    """Whether mteb may tell what single items of the task score."""
    from mteb.abstasks import AbsTaskRetrieval

    return isinstance(task, AbsTaskRetrieval) or keeps_predictions(task)


def keeps_predictions(task: "AbsTask") -> bool:
    """Whether the items' scores can be had from the predictions that mteb writes to a folder."""
    from mteb.abstasks import AbsTaskClassification
    from mteb.abstasks.sts import AbsTaskSTS

    main = task.metadata.main_score
    return (isinstance(task, AbsTaskSTS) and main == "cosine_spearman") or (
        isinstance(task, AbsTaskClassification) and main == "accuracy"
    )


def read_predictions(task: "AbsTask", folder: Path) -> Told:
    """What mteb wrote to that folder."""
    written = json.loads((folder / task.prediction_file_name).read_text(encoding="utf-8"))
    del written["mteb_model_meta"]
    return {
        (split, subset): told
        for subset, splits in written.items()
        for split, told in splits.items()
    }


def rows_of(task: "AbsTask", place: Place) -> Any:  # noqa: ANN401
    """The dataset of a subset, that of its queries for retrieval."""
    from mteb.abstasks import AbsTaskRetrieval

    split, subset = place
    data: dict[str, Any] = task.dataset or {}
    rows = data.get(subset, data)[split]
    return rows["queries"] if isinstance(task, AbsTaskRetrieval) else rows


def items_of(
    task: "AbsTask", told: Told, scores: Mapping[Place, float]
) -> dict[Place, Items] | None:
    """The items of each subset; None where what mteb told is not what the scores stand on."""
    found = {}
    for place, score in scores.items():
        items = _items(task, rows_of(task, place), told[place]) if place in told else None
        if items is None or not abs(items.score - score) <= ROUNDING:
            return None
        found[place] = items
    return found


def _items(task: "AbsTask", rows: Any, told: Any) -> Items | None:  # noqa: ANN401
    from mteb.abstasks import AbsTaskClassification, AbsTaskRetrieval

    if isinstance(task, AbsTaskRetrieval):
        return _queries(task.metadata.main_score, rows, told)
    numbers = tuple(str(number) for number in range(1, len(rows) + 1))
    if isinstance(task, AbsTaskClassification):
        labels = np.array(rows[task.label_column_name])
        predicted = np.array(told)  # of each experiment
        if labels.ndim != 1 or predicted.shape[1:] != labels.shape:
            return None
        right = (predicted == labels).mean(axis=0)
        return _mean("text", numbers, right, rows[task.input_column_name])
    alike, known = np.array(told["cosine_scores"]), np.array(rows["score"])
    return Items("pair", numbers, _spearman(alike, known))


def _queries(main: str, rows: Any, told: Mapping[str, Mapping[str, float]]) -> Items | None:  # noqa: ANN401
    name, _, k = main.partition("_at_")
    measure = "_".join(filter(None, [PER_QUERY.get(name), k]))
    if not all(measure in scores for scores in told.values()):
        return None
    texts = dict(zip(rows["id"], map(str, rows["text"]), strict=True))
    values = np.array([scores[measure] for scores in told.values()])
    return _mean("query", tuple(told), values, [texts[id_] for id_ in told])


def _mean(of: str, names: tuple[str, ...], values: Reals, texts: Sequence[str]) -> Items:
    return Items(of, names, lambda rows: float(values[rows].mean()), values, tuple(texts))


def _spearman(alike: Reals, known: Reals) -> Callable[[Rows], float]:
    """Over some pairs; NaN where one of both is constant."""

    def over(rows: Rows) -> float:
        if not np.ptp(alike[rows]) or not np.ptp(known[rows]):
            return float("nan")
        return float(spearmanr(alike[rows], known[rows]).statistic)

    return over
