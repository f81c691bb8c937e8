"""The hashing encoder against a slow loop over whole numbers."""

import itertools
import math
import pickle
import re
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.encoders import hashing
from tasks.encoders.base import Precision, Vectors
from tasks.encoders.hashing import HashingEncoder
from tasks.errors import ConfigError, EncoderError

TEXTS = [
    "The cat sat.",
    "the CAT sat",
    "cat",
    "!!!",
    "😀 😀",
    "a b c d e f g",
    "Straße 42",
    "\u200b",
]
WORD_64 = (1 << 64) - 1


def encode(encoder: HashingEncoder, texts: list[str]) -> Vectors:
    return encoder.encode(encoder.prepare(texts))


def slow_vector(text: str, dim: int, ngrams: int, seed: int) -> list[float]:
    """Signed feature hashing, one n-gram after the other, in Python's whole numbers."""
    lower = text.lower()
    words = re.findall(r"\w+", lower) or [c for c in lower if not c.isspace()]
    salt = seed.to_bytes(16, "little", signed=True)
    hashes = [
        int.from_bytes(blake2b(w.encode(), digest_size=8, salt=salt).digest(), "little")
        for w in words
    ]
    sums = [0] * dim
    for length in range(1, ngrams + 1):
        for start in range(len(hashes) - length + 1):
            gram = hashes[start]
            for word in hashes[start + 1 : start + length]:
                gram = slow_mix(gram * 0x9E3779B97F4A7C15 + word & WORD_64)
            sums[gram % dim] += -1 if gram >> 63 else 1
    norm = math.sqrt(sum(value * value for value in sums))
    return [float(np.float32(value / norm)) for value in sums]


def slow_mix(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & WORD_64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & WORD_64
    return x ^ x >> 31


@pytest.mark.parametrize(("dim", "ngrams", "seed"), [(384, 2, 0), (7, 3, -5), (64, 1, 12)])
def test_vectors_are_those_of_a_slow_loop(dim: int, ngrams: int, seed: int) -> None:
    vectors = encode(HashingEncoder(dim, ngrams, seed), TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [slow_vector(text, dim, ngrams, seed) for text in TEXTS]


@settings(max_examples=200)
@given(texts=st.lists(st.text(max_size=20), max_size=6), ngrams=st.integers(1, 3))
def test_every_text_that_is_not_blank_has_unit_norm(texts: list[str], ngrams: int) -> None:
    # One component, so that signs cancel out often.
    norms = np.abs(encode(HashingEncoder(1, ngrams), texts)[:, 0])
    assert norms.tolist() == [float(bool(text.strip())) for text in texts]


def test_words_that_cancel_out_leave_the_first_word() -> None:
    encoder = HashingEncoder(dim=1, ngrams=1)
    signs = {word: encode(encoder, [word])[0, 0] for word in "abcdefgh"}
    first, second = next(
        pair for pair in itertools.permutations(signs, 2) if signs[pair[0]] != signs[pair[1]]
    )
    assert encode(encoder, [f"{first} {second}"]).tolist() == [[signs[first]]]


def test_a_text_longer_than_a_block_is_encoded_as_if_in_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = HashingEncoder(ngrams=3)
    texts = [" ".join(f"w{n % 17}" for n in range(100)), "short", *TEXTS]
    whole = encode(encoder, texts)
    monkeypatch.setattr(hashing, "_BLOCK_WORDS", 7)
    monkeypatch.setattr(hashing, "_LONG_TEXT", 50)
    assert encode(encoder, texts).tolist() == whole.tolist()


def test_forgotten_words_hash_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_REMEMBERED_WORDS", 2)
    encoder = HashingEncoder()
    texts = ["one two three four five", "five four three two one " + "x" * 100]
    assert encode(encoder, texts).tolist() == encode(HashingEncoder(), texts).tolist()
    assert len(encoder._hashes) <= 2


def test_other_arguments_give_other_fingerprints() -> None:
    encoders = [
        HashingEncoder(),
        HashingEncoder(8),
        HashingEncoder(ngrams=1),
        HashingEncoder(seed=1),
    ]
    assert len({str(encoder.fingerprint()) for encoder in encoders}) == 4
    assert HashingEncoder().fingerprint() == HashingEncoder(384, 2, 0).fingerprint()


def test_a_pickled_encoder_gives_the_same_vectors() -> None:
    encoder = HashingEncoder(seed=3)
    before = encode(encoder, TEXTS)
    assert encode(pickle.loads(pickle.dumps(encoder)), TEXTS).tolist() == before.tolist()  # noqa: S301


def test_arguments_that_cannot_work_are_named() -> None:
    with pytest.raises(ConfigError, match=r"encoder\.dim is 0"):
        HashingEncoder(dim=0)
    with pytest.raises(EncoderError, match="'bfloat16'"):
        HashingEncoder().precision("bfloat16")
    assert HashingEncoder().precision("auto") is Precision.FLOAT32
