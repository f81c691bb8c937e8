"""Small random models of every kind, against SentenceTransformer itself, one text at a time."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tasks.encoders import canaries
from tasks.encoders.base import Precision, Vectors
from tasks.encoders.batching import Batcher, encode_all
from tasks.encoders.hashing import HashingEncoder
from tasks.encoders.sentence_transformers import SentenceTransformersEncoder
from tasks.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PROMPTS = {"query": "Find what answers: ", "document": "passage: "}
TEXTS = [*canaries.TEXTS[:14], "x " * 30, "passage"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from tests.text_models import save_models

    texts = [*canaries.TEXTS, *PROMPTS.values()]
    return save_models(tmp_path_factory.mktemp("models"), texts, PROMPTS)


def library(folder: Path) -> "SentenceTransformer":
    """The model as its own library loads it."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def load(encoder: SentenceTransformersEncoder, precision: str = "float32") -> None:
    encoder.load(Precision(precision), device="cpu", threads=2)


def lowest_cosine(ours: Vectors, theirs: Vectors) -> float:
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float((np.einsum("ij,ij->i", ours, theirs) / norms).min())


KINDS = ["mean", "class", "prompts", "instructor", "last token", "static"]


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_the_library_one_text_at_a_time(
    folders: dict[str, Path], kind: str
) -> None:
    encoder = SentenceTransformersEncoder(str(folders[kind]))
    load(encoder)
    oracle = library(folders[kind])
    documents = np.stack([oracle.encode_document([text])[0] for text in TEXTS])
    queries = np.stack([oracle.encode_query([text])[0] for text in TEXTS])
    for batch_cost in (1, 10_000):
        batcher = Batcher(encoder, batch_cost)
        assert lowest_cosine(batcher.encode(encoder.prepare(TEXTS)), documents) >= 0.999999
        assert lowest_cosine(batcher.encode(encoder.prepare_query(TEXTS)), queries) >= 0.999999
    assert encoder.dim == documents.shape[1]


def test_only_the_static_model_is_read_by_the_library(folders: dict[str, Path]) -> None:
    readers = {}
    for kind in KINDS:
        encoder = SentenceTransformersEncoder(str(folders[kind]))
        load(encoder)
        payload = encoder.prepare(["text"])[0].payload
        readers[kind] = type(getattr(payload, "reader", None)).__name__
    assert readers == {kind: "TokenReader" for kind in KINDS} | {"static": "LibraryReader"}


def test_a_matryoshka_cut_is_of_unit_norm_only_if_asked(folders: dict[str, Path]) -> None:
    oracle = library(folders["mean"])
    whole = oracle.encode(TEXTS)
    unit = SentenceTransformersEncoder(str(folders["mean"]), dim=8)
    plain = SentenceTransformersEncoder(str(folders["mean"]), dim=8, normalize=False)
    load(unit)
    load(plain)
    cut = whole[:, :8]
    expected = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    # Sums in another order: a few units in the last place of float32.
    np.testing.assert_allclose(encode_all(unit, TEXTS)[0], expected, atol=2e-6)
    np.testing.assert_allclose(encode_all(plain, TEXTS)[0], cut, atol=2e-6)
    assert (unit.dim, plain.dim) == (8, 8)
    with pytest.raises(ConfigError, match=r"encoder\.dim is 33, but .* gives 32 at most"):
        _ = SentenceTransformersEncoder(str(folders["mean"]), dim=33).dim


@pytest.mark.parametrize("kind", ["mean", "prompts", "last token"])
def test_vectors_are_made_of_those_of_another_cut_norm_or_length(
    folders: dict[str, Path], kind: str
) -> None:
    def make(**arguments: Any) -> SentenceTransformersEncoder:
        encoder = SentenceTransformersEncoder(str(folders[kind]), **arguments)
        load(encoder)
        return encoder

    pairs = [
        (make(), make(dim=8, query_prompt="q: ")),
        (make(normalize=False), make()),
        (make(dim=16, normalize=False), make(dim=8)),
        (make(normalize=False, max_tokens=40), make(dim=8, normalize=False, max_tokens=20)),
        (make(max_tokens=20), make(max_tokens=40)),
    ]
    for other, own in pairs:
        conversion, tokenizer = own.conversion(other.fingerprint()), own.tokenizer()
        assert conversion is not None
        fits = [conversion.holds(text, tokenizer) for text in TEXTS]
        assert any(fits)
        converted = own.convert(encode_all(other, TEXTS)[0])[fits]
        np.testing.assert_allclose(converted, encode_all(own, TEXTS)[0][fits], atol=2e-6)
        if conversion.longest is not None:
            cut_off = [[item.truncated for item in one.prepare(TEXTS)] for one in (own, other)]
            assert fits == [not any(cuts) for cuts in zip(*cut_off, strict=True)]


def test_vectors_are_made_of_no_others(folders: dict[str, Path]) -> None:
    own = SentenceTransformersEncoder(str(folders["mean"]), dim=8)
    whole = SentenceTransformersEncoder(str(folders["mean"]))
    raw = SentenceTransformersEncoder(str(folders["mean"]), dim=8, normalize=False)
    other_model = SentenceTransformersEncoder(str(folders["class"]), dim=8)
    prompted = SentenceTransformersEncoder(str(folders["mean"]), prompt="p: ")
    for one in (whole, raw, other_model, prompted):
        assert one.conversion(own.fingerprint()) is None
    assert whole.conversion(HashingEncoder().fingerprint()) is None
    assert own.conversion({**whole.fingerprint(), "method": 2}) is None


def test_prompts_of_the_config_come_before_those_of_the_model(folders: dict[str, Path]) -> None:
    own = SentenceTransformersEncoder(str(folders["prompts"]), prompt="query", query_prompt="Q: ")
    plain = SentenceTransformersEncoder(str(folders["prompts"]), prompt="", query_prompt="")
    load(own)
    load(plain)
    by_hand = [PROMPTS["query"] + text for text in TEXTS]
    assert lowest_cosine(encode_all(own, TEXTS)[0], encode_all(plain, by_hand)[0]) >= 0.999999
    queries = Batcher(own).encode(own.prepare_query(TEXTS))
    by_hand = ["Q: " + text for text in TEXTS]
    assert lowest_cosine(queries, encode_all(plain, by_hand)[0]) >= 0.999999


def test_documents_and_queries_cannot_share_a_batch(folders: dict[str, Path]) -> None:
    encoder = SentenceTransformersEncoder(str(folders["prompts"]))
    load(encoder)
    with pytest.raises(ValueError, match="one call of prepare"):
        encoder.encode([*encoder.prepare(["a"]), *encoder.prepare_query(["a"])])


@pytest.mark.parametrize("kind", ["mean", "last token"])
def test_texts_are_cut_at_the_limit_and_said_to_be(folders: dict[str, Path], kind: str) -> None:
    encoder = SentenceTransformersEncoder(str(folders[kind]), max_tokens=10)
    load(encoder)
    tokenizer = encoder.tokenizer()
    assert tokenizer.limit is not None
    text = "The cat sat on the mat. Is water wet? " * 3
    ends = [at for at in range(len(text)) if tokenizer.count(text[:at]) <= tokenizer.limit]
    within, beyond = text[: ends[-1]], text[: ends[-1] + 12]
    items = encoder.prepare([within, beyond, text * 100_000])
    assert [item.truncated for item in items] == [False, True, True]
    assert [item.cost for item in items] == [10, 10, 10]
    vectors = encoder.encode(items)
    oracle = library(folders[kind])
    oracle.max_seq_length = 10
    assert lowest_cosine(vectors, oracle.encode([within, beyond, text * 3])) >= 0.999999


def test_a_limit_beyond_the_models_positions_is_refused(folders: dict[str, Path]) -> None:
    encoder = SentenceTransformersEncoder(str(folders["mean"]), max_tokens=65)
    with pytest.raises(ConfigError, match=r"max_tokens is 65, but .* reads 64 at most"):
        encoder.fingerprint()


def test_bfloat16_gives_the_same_directions(folders: dict[str, Path]) -> None:
    encoder = SentenceTransformersEncoder(str(folders["mean"]))
    load(encoder)
    stored = canaries.canary_vectors(encoder)
    load(encoder, "bfloat16")
    canaries.check(encoder, stored, floor=0.999)
    assert np.abs(np.linalg.norm(canaries.canary_vectors(encoder), axis=1) - 1).max() <= 1e-6


def test_a_fingerprint_follows_files_and_arguments_but_not_the_place(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(folders["mean"], tmp_path / "copy")
    (copy / "README.md").write_text("other words")
    make = SentenceTransformersEncoder
    own = make(str(folders["mean"])).fingerprint()
    assert make(str(copy)).fingerprint() == own
    others = [
        make(str(copy), dim=8).fingerprint(),
        make(str(copy), normalize=False).fingerprint(),
        make(str(copy), prompt="p: ").fingerprint(),
        make(str(copy), query_prompt="q: ").fingerprint(),
        make(str(copy), max_tokens=20).fingerprint(),
    ]
    pooling = copy / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace('"mean"', '"cls"'))
    others.append(make(str(copy)).fingerprint())
    assert len({json.dumps(one, sort_keys=True) for one in [own, *others]}) == 7


def test_weights_with_nan_are_named_by_the_canaries(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    broken = shutil.copytree(folders["mean"], tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if "layer.1" in name)
    weights[name][0] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    encoder = SentenceTransformersEncoder(str(broken))
    load(encoder)
    with pytest.raises(EncoderError, match=r"broken.*16 of 16 canaries are NaN.*weights"):
        canaries.canary_vectors(encoder)


def test_damaged_weights_are_an_encoder_error(folders: dict[str, Path], tmp_path: Path) -> None:
    broken = shutil.copytree(folders["mean"], tmp_path / "broken")
    with (broken / "model.safetensors").open("r+b") as file:
        file.truncate(1_000)
    with pytest.raises(EncoderError, match="broken cannot be loaded"):
        load(SentenceTransformersEncoder(str(broken)))


def test_loading_and_encoding_print_nothing(
    folders: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = SentenceTransformersEncoder(str(folders["last token"]))
    load(encoder)
    encode_all(encoder, TEXTS)
    assert capfd.readouterr() == ("", "")


def test_running_out_of_memory_is_a_memory_error(folders: dict[str, Path]) -> None:
    import torch

    encoder = SentenceTransformersEncoder(str(folders["mean"]))
    load(encoder)
    assert encoder._loaded is not None
    first = encoder._loaded._model[0]
    first.register_forward_pre_hook(lambda *_: (torch.empty(1 << 50), None)[1])
    with pytest.raises(MemoryError, match=r"1 texts on cpu: .*can't allocate memory"):
        encode_all(encoder, ["a"])
