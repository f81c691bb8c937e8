"""May I switch to this model? The gate on the docstrings of the standard library.

A query is the first sentence of a docstring, its document the rest without it.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

from examples.stdlib_questions import write
from schemas.evaluation import EvaluationRecord
from tasks.config import read_config
from tasks.encoders.hub import DEFAULT_MODEL, find_model
from tasks.store.catalog import Catalog
from tests.pipeline import refresh

ROOT = Path(__file__).parents[2]
N = 520
EXAMPLES = ("questions.yaml", "questions-hashing.yaml", "questions-suite.yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's files, a smaller task, and the same model with its weights in float16."""
    from sentence_transformers import SentenceTransformer

    folder = tmp_path_factory.mktemp("upgrade")
    (folder / "examples").mkdir()
    for name in EXAMPLES:
        shutil.copy(ROOT / "examples" / name, folder / "examples" / name)
    assert write(folder / "build" / "demo" / "questions", N) == N
    model = SentenceTransformer(str(find_model(DEFAULT_MODEL, None, with_code=False).download()))
    model.half().save(str(folder / "half"))
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> str:
    return str(folder / "vectors")


def run(folder: Path, store: str, name: str, **changes: object) -> dict[str, Any]:
    config = read_config(folder / "examples" / name).model_dump(mode="json")
    serial = {"compute": {"use": "serial"}}
    config["encoder"] |= changes
    return refresh(config | serial, store, backfill=True)


def serving(store: str) -> int | None:
    entry = Catalog(store).serving("questions")
    return None if entry is None else entry.version


def test_a_real_model_is_better_than_hashing_and_hashing_is_worse(folder: Path, store: str) -> None:
    assert run(folder, store, "questions-hashing.yaml")["promoted"]
    made = run(folder, store, "questions.yaml")
    assert (made["gate"]["verdict"], made["promoted"], serving(store)) == ("better", True, 2)
    back = run(folder, store, "questions-hashing.yaml")
    assert (back["gate"]["verdict"], back["promoted"], serving(store)) == ("worse", False, 2)
    assert back["gate"]["failed"] == ["ndcg@10"]


def test_a_model_in_another_precision_is_not_worse(folder: Path, store: str) -> None:
    made = run(folder, store, "questions.yaml", model=str(folder / "half"))
    assert (made["gate"]["verdict"], made["promoted"], serving(store)) == ("not worse", True, 3)
    page = Path(made["gate"]["report"]).with_suffix(".json").read_text()
    told = EvaluationRecord.model_validate_json(page)
    assert told.candidate.encoder == f"sentence-transformers {folder / 'half'}"
    assert told.baseline is not None
    assert told.baseline.encoder == f"sentence-transformers {DEFAULT_MODEL}"
