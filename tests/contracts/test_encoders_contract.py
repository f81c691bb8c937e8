"""What every encoder of the table of names keeps."""

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from tasks.content import Content
from tasks.encoders import BUILT_IN, canaries
from tasks.encoders.base import Encoder
from tasks.encoders.batching import Batcher, encode_all
from tasks.errors import ConfigError
from tests.words import save_words

TEXTS = [*canaries.TEXTS, "a", "one two three " * 100, "x"]
READ_NO_TEXT = ("timm",)
FITTED = ("node2vec", "deepwalk", "word2vec", "glove")
"""Those of which a vector is nothing alone: see test_fitted_contract.py."""
PAD_ALL_TEXTS = ("open-clip",)
"""Those whose texts all cost the same."""


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What an encoder without a default model is made with."""
    from tests.media_models import save_clap

    clap = save_clap(tmp_path_factory.mktemp("models") / "clap", fusion=True)
    words = tmp_path_factory.mktemp("words")
    save_words(words, [*TEXTS, "two"], word_pattern=r"\S+")
    return {
        "timm": {"model": "test_vit", "seed": 0},
        "clap": {"model": str(clap)},
        "static-words": {"model": str(words)},
    }


def make(name: str, arguments: Mapping[str, dict[str, Any]]) -> Encoder:
    module, attribute = BUILT_IN[name].split(":")
    encoder: Encoder = getattr(import_module(module), attribute)(**arguments.get(name, {}))
    return encoder


@pytest.fixture(scope="module", params=[name for name in BUILT_IN if name not in FITTED])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def encoder(name: str, arguments: dict[str, dict[str, Any]]) -> Encoder:
    made = make(name, arguments)
    made.load(made.precision("float32"), device="cpu", threads=2)
    return made


def contents(encoder: Encoder) -> list[Content]:
    """The canaries of all its modalities, and more texts where it reads some."""
    known = canaries.contents(encoder)
    return [*known, *TEXTS[len(canaries.TEXTS) :]] if "text" in encoder.modalities else known


def test_rows_depend_neither_on_order_nor_on_batch(name: str, encoder: Encoder) -> None:
    known = contents(encoder)
    vectors, n_truncated = encode_all(encoder, known)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(known), encoder.dim)
    order = np.random.default_rng(0).permutation(len(known))
    shuffled = [known[i] for i in order]
    for batch_cost in (1, 1_000_000):
        again, also_truncated = encode_all(encoder, shuffled, batch_cost)
        assert also_truncated == n_truncated
        assert np.einsum("ij,ij->i", again, vectors[order]).min() >= 1 - 1e-6
        if name == "hashing":
            assert again.tolist() == vectors[order].tolist()


def test_the_same_call_twice_gives_the_same_vectors(encoder: Encoder) -> None:
    items = encoder.prepare(contents(encoder)[:5])
    assert encoder.encode(items).tolist() == encoder.encode(items).tolist()


def test_no_contents_give_no_rows(encoder: Encoder) -> None:
    assert encoder.prepare([]) == []
    assert encoder.encode([]).shape == (0, encoder.dim)
    assert encoder.encode([]).dtype == np.float32


def test_rows_have_unit_norm_where_the_encoder_says_so(encoder: Encoder) -> None:
    vectors, _ = encode_all(encoder, contents(encoder))
    assert encoder.normalized
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    # float32 rounds each component by at most 6e-8 of itself.
    assert np.abs(norms - 1).max() <= 1e-7


def test_queries_are_encoded_into_the_same_space(encoder: Encoder) -> None:
    known = contents(encoder)[1:4]
    vectors = Batcher(encoder).encode(encoder.prepare(known))
    queries = Batcher(encoder).encode(encoder.prepare_query(known))
    assert (queries @ vectors.T).argmax(axis=1).tolist()[0] in (0, 1)
    assert queries.shape == vectors.shape


def test_canaries_pass_their_own_check(encoder: Encoder) -> None:
    canaries.check(encoder, canaries.canary_vectors(encoder))


def test_the_tokenizer_counts_all_of_a_text(name: str, encoder: Encoder) -> None:
    if name in READ_NO_TEXT:
        with pytest.raises(ConfigError, match="reads no text"):
            encoder.tokenizer()
        return
    short, long = encoder.prepare(["one two", "one two " * 50])
    assert 1 <= short.cost <= long.cost
    assert (short.cost < long.cost) == (name not in PAD_ALL_TEXTS)
    tokenizer = encoder.tokenizer()
    assert tokenizer.count("") == 0
    assert tokenizer.count("one two") >= 2
    assert tokenizer.count("one two " * 5_000) == 5_000 * tokenizer.count("one two")
    assert tokenizer.name != ""


def test_a_text_within_the_tokenizers_limit_is_not_truncated(name: str, encoder: Encoder) -> None:
    if name in READ_NO_TEXT:
        return
    tokenizer = encoder.tokenizer()
    if tokenizer.limit is None:
        assert not encoder.prepare(["one " * 100_000])[0].truncated
        return
    fitting = tokenizer.limit // tokenizer.count("one")
    within, beyond = encoder.prepare(["one " * fitting, "one " * (fitting + 1)])
    assert (within.truncated, beyond.truncated) == (False, True)


def test_fingerprint_dimension_and_tokens_come_without_torch(
    name: str, arguments: dict[str, dict[str, Any]]
) -> None:
    module, attribute = BUILT_IN[name].split(":")
    code = f"""
import json, sys
from {module} import {attribute} as make
encoder = make(**{arguments.get(name, {})!r})
counted = encoder.tokenizer().count("a b") if "text" in encoder.modalities else None
print(json.dumps([encoder.fingerprint(), encoder.dim, counted]))
heavy = {{"torch", "transformers", "sentence_transformers", "open_clip", "timm"}}
heavy |= {{"prefect", "ray", "pyarrow", "lance"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    encoder = make(name, arguments)
    counted = encoder.tokenizer().count("a b") if "text" in encoder.modalities else None
    assert json.loads(done.stdout) == [encoder.fingerprint(), encoder.dim, counted]
