"""What every encoder of the table of names keeps."""

import json
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

from tasks.encoders import BUILT_IN, canaries
from tasks.encoders.base import Encoder
from tasks.encoders.batching import Batcher, encode_all

TEXTS = [*canaries.TEXTS, "a", "one two three " * 100, "x"]


def make(name: str) -> Encoder:
    module, attribute = BUILT_IN[name].split(":")
    encoder: Encoder = getattr(import_module(module), attribute)()
    return encoder


@pytest.fixture(scope="module", params=BUILT_IN)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    made = make(request.param)
    made.load(made.precision("float32"), device="cpu", threads=2)
    return made


def test_rows_depend_neither_on_order_nor_on_batch(encoder: Encoder) -> None:
    vectors, n_truncated = encode_all(encoder, TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.dim)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled = [TEXTS[i] for i in order]
    for batch_cost in (1, 100_000):
        again, also_truncated = encode_all(encoder, shuffled, batch_cost)
        assert also_truncated == n_truncated
        assert np.einsum("ij,ij->i", again, vectors[order]).min() >= 1 - 1e-6
        if type(encoder).__name__ == "HashingEncoder":
            assert again.tolist() == vectors[order].tolist()


def test_the_same_call_twice_gives_the_same_vectors(encoder: Encoder) -> None:
    items = encoder.prepare(TEXTS[:5])
    assert encoder.encode(items).tolist() == encoder.encode(items).tolist()


def test_no_contents_give_no_rows(encoder: Encoder) -> None:
    assert encoder.prepare([]) == []
    assert encoder.encode([]).shape == (0, encoder.dim)
    assert encoder.encode([]).dtype == np.float32


def test_rows_have_unit_norm_where_the_encoder_says_so(encoder: Encoder) -> None:
    vectors, _ = encode_all(encoder, TEXTS)
    assert encoder.normalized
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    # float32 rounds each component by at most 6e-8 of itself.
    assert np.abs(norms - 1).max() <= 1e-7


def test_queries_are_encoded_into_the_same_space(encoder: Encoder) -> None:
    vectors = Batcher(encoder).encode(encoder.prepare(TEXTS[1:4]))
    queries = Batcher(encoder).encode(encoder.prepare_query(TEXTS[1:4]))
    assert (queries @ vectors.T).argmax(axis=1).tolist()[0] in (0, 1)
    assert queries.shape == vectors.shape


def test_canaries_pass_their_own_check(encoder: Encoder) -> None:
    canaries.check(encoder, canaries.canary_vectors(encoder))


def test_costs_grow_with_texts_and_the_tokenizer_counts_all_of_a_text(encoder: Encoder) -> None:
    short, long = encoder.prepare(["one two", "one two " * 50])
    assert 1 <= short.cost < long.cost
    tokenizer = encoder.tokenizer()
    assert tokenizer.count("") == 0
    assert tokenizer.count("one two") == 2
    assert tokenizer.count("one two " * 5_000) == 10_000
    assert tokenizer.name != ""


def test_a_text_within_the_tokenizers_limit_is_not_truncated(encoder: Encoder) -> None:
    limit = encoder.tokenizer().limit
    if limit is None:
        assert not encoder.prepare(["one " * 100_000])[0].truncated
        return
    within, beyond = encoder.prepare(["one " * limit, "one " * (limit + 1)])
    assert (within.truncated, beyond.truncated) == (False, True)


@pytest.mark.parametrize("name", BUILT_IN)
def test_fingerprint_dimension_and_tokens_come_without_torch(name: str) -> None:
    module, attribute = BUILT_IN[name].split(":")
    code = f"""
import json, sys
from {module} import {attribute} as make
encoder = make()
print(json.dumps([encoder.fingerprint(), encoder.dim, encoder.tokenizer().count("a b")]))
heavy = {{"torch", "transformers", "sentence_transformers", "prefect", "ray", "pyarrow", "lance"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    encoder = make(name)
    assert json.loads(done.stdout) == [
        encoder.fingerprint(),
        encoder.dim,
        2,
    ]
