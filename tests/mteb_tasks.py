"""Tasks of mteb whose data are made here, and mteb's plain way to run them.

Import it inside a fixture: mteb takes ten seconds, and each process of the tests collects all.
"""

import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from mteb import TaskMetadata
from mteb.abstasks import AbsTaskClassification, AbsTaskClustering, AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.sts import AbsTaskSTS
from mteb.get_tasks import _TASKS_REGISTRY
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder

WORDS = [f"word{number}" for number in range(40)]


def metadata(name: str, kind: str, main: str, **more: Any) -> TaskMetadata:
    known: dict[str, Any] = {
        "description": "made by a test",
        "reference": None,
        "dataset": {"path": "NA", "revision": "NA"},
        "category": "t2t",
        "eval_splits": ["test"],
        "eval_langs": ["eng-Latn"],
        "modalities": ["text"],
    }
    return TaskMetadata(name=name, type=kind, main_score=main, **(known | more))


def texts(n: int, seed: int, words: int = 4) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, words)) for _ in range(n)]


def search(n: int, seed: int) -> RetrievalSplitData:
    """Documents, some of them twice, and grades of some; one query without a right document."""
    rng = np.random.default_rng(seed)
    documents = texts(n, seed)
    documents += documents[:3]
    ids = [f"d{number:02d}" for number in range(len(documents))]
    asked = [f"q{number}" for number in range(n // 2)]
    qrels = {
        id_: {str(one): int(rng.integers(0, 3)) for one in rng.choice(ids, 6, replace=False)}
        for id_ in asked
    }
    qrels[asked[0]] = {ids[0]: 0}
    return RetrievalSplitData(
        corpus=Dataset.from_dict({"id": ids, "text": documents, "title": [""] * len(ids)}),
        queries=Dataset.from_dict({"id": asked, "text": texts(n // 2, seed + 1, 2)}),
        relevant_docs=qrels,
        top_ranked=None,
    )


class Search(AbsTaskRetrieval):
    metadata = metadata("LocalSearch", "Retrieval", "ndcg_at_10")

    def load_data(self, *_: Any, **__: Any) -> None:
        self.dataset = {"default": {"test": search(30, 1)}}
        self.data_loaded = True


class ReciprocalSearch(Search):
    """Its main score is one whose values of single queries mteb keeps to itself."""

    metadata = metadata("LocalReciprocal", "Retrieval", "mrr_at_10")


class ManySearches(AbsTaskRetrieval):
    metadata = metadata(
        "LocalSearches",
        "Retrieval",
        "map_at_5",
        eval_splits=["dev", "test"],
        eval_langs={"one": ["eng-Latn"], "other": ["deu-Latn"]},
        superseded_by="NFCorpus",
    )

    def load_data(self, *_: Any, **__: Any) -> None:
        self.dataset = {
            subset: {
                split: search(12 + 4 * number, seed) for seed, split in enumerate(["dev", "test"])
            }
            for number, subset in enumerate(["one", "other"])
        }
        self.data_loaded = True


class Likeness(AbsTaskSTS):
    metadata = metadata("LocalLikeness", "STS", "cosine_spearman")

    def load_data(self, *_: Any, **__: Any) -> None:
        rng = np.random.default_rng(5)
        pairs = {"sentence1": texts(25, 3), "sentence2": texts(25, 4)}
        scores = rng.integers(0, 6, 25).tolist()
        self.dataset = DatasetDict({"test": Dataset.from_dict(pairs | {"score": scores})})
        self.data_loaded = True


class Kinds(AbsTaskClassification):
    metadata = metadata("LocalKinds", "Classification", "accuracy")
    samples_per_label = 6

    def load_data(self, *_: Any, **__: Any) -> None:
        rng = np.random.default_rng(6)
        self.dataset = DatasetDict(
            {
                split: Dataset.from_dict(
                    {"text": texts(n, n), "label": rng.integers(0, 3, n).tolist()}
                )
                for split, n in (("train", 60), ("test", 40))
            }
        )
        self.data_loaded = True


class Groups(AbsTaskClustering):
    metadata = metadata("LocalGroups", "Clustering", "v_measure")
    max_fraction_of_documents_to_embed = None
    max_document_to_embed = 30

    def load_data(self, *_: Any, **__: Any) -> None:
        labels = np.random.default_rng(7).integers(0, 3, 30).tolist()
        rows = {"sentences": texts(30, 8), "labels": labels}
        self.dataset = DatasetDict({"test": Dataset.from_dict(rows)})
        self.data_loaded = True


class Loud(Likeness):
    """Prints, warns, logs, and grades all pairs the same."""

    metadata = metadata("LocalConstant", "STS", "cosine_spearman")

    def load_data(self, *_: Any, **__: Any) -> None:
        super().load_data()
        assert self.dataset is not None
        print("printed")
        print("told", file=sys.stderr)
        warnings.warn("warned", stacklevel=1)
        logging.getLogger("mteb.abstasks").warning("logged")
        rows = self.dataset["test"].remove_columns("score")
        self.dataset = DatasetDict({"test": rows.add_column("score", [1] * len(rows))})


OWN = (Search, ReciprocalSearch, ManySearches, Likeness, Kinds, Groups, Loud)
REGISTRY: dict[str, Any] = _TASKS_REGISTRY
NAMED = {one.metadata.name: one for one in OWN}


class PlainModel(AbsEncoder):
    """Vectors by text, as any model of mteb gives them; queries have a prompt."""

    mteb_model_meta = ModelMeta.create_empty()

    def __init__(self, vectors: Callable[[str], Any]) -> None:
        self._vectors = vectors

    def encode(self, inputs: Any, *, prompt_type: Any = None, **_: Any) -> Any:
        prompt = "query: " if prompt_type is not None and prompt_type.value == "query" else ""
        return np.array(
            [self._vectors(prompt + text) for batch in inputs for text in batch["text"]]
        )
