"""Another encoder under the same name is called that, never drift; another precision is a note."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from schemas.config import DriftConfig
from schemas.drift import DriftRecord
from tasks.detect import detect
from tasks.encoders import canaries
from tests.pipeline import config, refresh, write_jsonl

N = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a small BERT, which tests copy."""
    from tests.text_models import save_models

    prompts = {"query": "query: ", "document": "document: "}
    return save_models(tmp_path_factory.mktemp("models"), [*canaries.TEXTS], prompts)["mean"]


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "model"))


def rows(n: int) -> list[dict[str, Any]]:
    texts = [canaries.TEXTS[number % len(canaries.TEXTS)] for number in range(n)]
    return [
        {"id": f"r{number:03d}", "text": f"{text} {number}", "year": 1}
        for number, text in enumerate(texts)
    ]


def run(model: Path, n: int, store: Path, **options: Any) -> dict[str, Any]:
    corpus = store.parent / "corpus"
    write_jsonl(corpus / "a.jsonl", rows(n))
    encoder = {"use": "sentence-transformers", "model": str(model)}
    return refresh(config(corpus, encoder=encoder, precision="float32"), store, **options)


def look(store: Path) -> DriftRecord:
    found: DriftRecord = detect.fn(str(store), "notes", DriftConfig(), "latest", None).record
    return found


def other_weights(folder: Path) -> None:
    path = next(folder.rglob("model.safetensors"))
    weights = load_file(path)
    name = next(name for name in weights if "word_embeddings" in name)
    weights[name] = weights[name][::-1].copy()
    save_file(weights, path, metadata={"format": "pt"})


def other_tokenizer(folder: Path) -> None:
    path = next(folder.rglob("tokenizer.json"))
    told = json.loads(path.read_text())
    words = told["model"]["vocab"]
    kept = [word for word in words if word.startswith("[")]
    turned = kept + [word for word in words if word not in kept][::-1]
    told["model"]["vocab"] = {word: number for number, word in enumerate(turned)}
    path.write_text(json.dumps(told))


def other_preprocessing(folder: Path) -> None:
    for path in folder.rglob("tokenizer.json"):
        told = json.loads(path.read_text())
        told["normalizer"] = {"type": "Prepend", "prepend": "the "}
        path.write_text(json.dumps(told))


SWAPS: list[Callable[[Path], None]] = [other_weights, other_tokenizer, other_preprocessing]


@pytest.mark.parametrize("swap", SWAPS)
def test_a_swapped_file_is_another_encoder_on_this_machine(
    model: Path, tmp_path: Path, swap: Callable[[Path], None]
) -> None:
    store = tmp_path / "vectors"
    run(model, N, store)
    run(model, 2 * N, store)
    assert look(store).verdict in ("no drift", "cannot tell", "drift")
    swap(model)
    record = look(store)
    assert record.verdict == "encoder changed"
    assert record.reason.startswith("the encoder of this machine is another one: ")
    assert record.tests == ()
    assert record.encoders is None  # vectors of one table say nothing of the other encoder


@pytest.mark.parametrize("swap", SWAPS)
def test_a_version_by_a_swapped_file_is_another_encoder_than_the_one_before(
    model: Path, tmp_path: Path, swap: Callable[[Path], None]
) -> None:
    store = tmp_path / "vectors"
    run(model, N, store)
    swap(model)
    assert run(model, 2 * N, store, backfill=True)["version"] == 2
    record = look(store)
    assert record.verdict == "encoder changed"
    assert "the config names one encoder, and what stands under that name has changed" in (
        record.reason
    )
    assert record.encoders is not None
    assert record.encoders.records == N


def test_another_precision_is_a_note(model: Path, tmp_path: Path) -> None:
    store = tmp_path / "vectors"
    run(model, N, store)
    run(model, 2 * N, store, precision="bfloat16")
    record = look(store)
    assert record.verdict != "encoder changed"
    assert record.tests != ()
    assert "numerics changed: float32 -> bfloat16" in record.notes
