"""Tasks of MTEB by name, run by mteb's own evaluators on the vectors of a version."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tasks.errors import MetricError
from tasks.evaluations.base import NO_ITEMS, Measurement, Rows, Version
from tasks.evaluations.mteb_items import (
    Items,
    Place,
    items_of,
    keeps_predictions,
    listen,
    read_predictions,
    rows_of,
    tells_items,
)
from tasks.evaluations.mteb_tasks import find_task, load, quiet
from tasks.metrics.score import Matrix, Score

if TYPE_CHECKING:
    from mteb import AbsTask

TextBatches: TypeAlias = Iterable[Mapping[str, Sequence[str]]]

TEXTS = 512  # that mteb hands on at once; the version batches by itself


class Mteb:
    """The main score of a task of MTEB (Muennighoff et al., 2023, arXiv 2210.07316).

    mteb's own evaluators run on what the version gives: texts that it has keep their vectors,
    others are encoded as its records are, queries with its prompt of queries. Of several splits and
    subsets (languages) the score is the mean of theirs, as mteb has it.
    """

    def __init__(
        self, *, task: str, split: str | None = None, subset: str | list[str] | None = None
    ) -> None:
        """`task` is its name in mteb; `split` and `subset` narrow what is measured of it."""
        self._name = task
        self._splits = None if split is None else [split]
        self._subsets = [subset] if isinstance(subset, str) else subset
        found = find_task(task, self._splits, self._subsets)
        self.metrics = (f"{task}.{found.metadata.main_score}",)
        self.ungated = {} if tells_items(found) else dict.fromkeys(self.metrics, NO_ITEMS)

    def measure(self, version: Version) -> list[Measurement]:
        """The one metric; an item is a query, a pair or a text, where mteb tells what they score.

        Where they are known, scores of retrieval are not rounded to five digits as mteb's are.
        Raises ConfigError where the data cannot be loaded, MetricError where mteb gives no number.
        """
        [name] = self.metrics
        task = find_task(self._name, self._splits, self._subsets)  # a run leaves traces in a task
        with quiet():
            load(task)
            try:
                scores, items = _run(task, version)
            except (ValueError, RuntimeError) as error:
                raise MetricError(f"mteb cannot measure {self._name}: {error}") from error
            n = sum(len(rows_of(task, place)) for place in scores)
        if odd := [name for name, one in _named(scores).items() if not math.isfinite(one)]:
            raise MetricError(f"mteb gives no number for {', '.join(odd)} of {self._name}")
        said = [f"mteb has a newer task, {task.superseded_by}"] if task.superseded_by else []
        parts = _named(scores) if len(scores) > 1 else {}
        if items is None:
            said.append("mteb does not tell what single items score: there is no interval")
            value = float(np.mean([*scores.values()]))
            return [Measurement(name, Score(value, n, warnings=tuple(said), parts=parts), "item")]
        joined = _joined(items)
        return [
            Measurement(
                name,
                Score(joined.score, n, joined.values, joined.names, tuple(said), parts),
                joined.of,
                joined.names,
                statistic=joined.over if joined.values is None else None,
                texts=joined.texts,
            )
        ]


class _Model:
    """A version as mteb's EncoderProtocol has models."""

    def __init__(self, version: Version) -> None:
        from mteb.models import ModelMeta
        from mteb.similarity_functions import cos_sim, pairwise_cos_sim

        self._version = version
        self.mteb_model_meta = ModelMeta.create_empty()
        self.similarity = cos_sim
        self.similarity_pairwise = pairwise_cos_sim

    def encode(self, inputs: TextBatches, *, prompt_type: str | None = None, **_: object) -> Matrix:
        """Vectors of all texts, shape (n, dim); only what mteb calls queries are queries."""
        texts = [text for batch in inputs for text in batch["text"]]
        return self._version.embed(texts) if prompt_type == "query" else self._version.encode(texts)


def _run(task: "AbsTask", version: Version) -> tuple[dict[Place, float], dict[Place, Items] | None]:
    """The main score of each subset of each split, and its items where mteb tells of them."""
    scores: dict[Place, float] = {}
    told = listen(task)
    with ExitStack() as stack:
        folder = None
        if keeps_predictions(task):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="vectorline-")))
        for split in task.eval_splits:
            found = task.evaluate(
                _Model(version),
                split,
                encode_kwargs={"batch_size": TEXTS, "show_progress_bar": False},
                prediction_folder=folder,
            )
            scores |= {(split, subset): float(one["main_score"]) for subset, one in found.items()}
        if folder is not None:
            told = read_predictions(task, folder)
    return scores, items_of(task, told, scores)


def _joined(items: Mapping[Place, Items]) -> Items:
    """All items; the score of some is the mean over subsets, NaN where one has none of them."""
    parts = [*items.values()]
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(one.names) for one in parts)])

    def over(rows: Rows) -> float:
        own = [rows[(rows >= a) & (rows < b)] - a for a, b in pairwise(starts)]
        if not all(map(len, own)):
            return float("nan")
        return float(np.mean([one.over(some) for one, some in zip(parts, own, strict=True)]))

    names = tuple(f"{'/'.join(place)}/{name}" for place, one in items.items() for name in one.names)
    texts = tuple(text for one in parts for text in one.texts)
    return Items(parts[0].of, names, over, texts=texts)


def _named(scores: Mapping[Place, float]) -> dict[str, float]:
    return {"/".join(place): score for place, score in scores.items()}
