"""Vectors that were scaled to a length of one are told again as they were, bit for bit."""

import base64

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.sinks.scaled import remainders, restored

Vectors = npt.NDArray[np.float32]


def as_it_is(vectors: Vectors) -> Vectors:
    return vectors


def at_once(vectors: Vectors) -> Vectors:
    """In float32 throughout, multiplied by the inverse, as hnswlib does."""
    summed = np.cumsum(vectors * vectors, axis=1, dtype=np.float32)[:, -1:]
    return np.multiply(vectors, (1 / (np.sqrt(summed) + 1e-30)).astype(np.float32))


def again_and_again(vectors: Vectors) -> Vectors:
    for _ in range(5):
        vectors = at_once(vectors)
    return vectors


def through_json(vectors: Vectors) -> Vectors:
    shown = [[float(str(one)) for one in row] for row in at_once(vectors)]
    return np.array(shown, np.float32).reshape(vectors.shape)


WAYS = [as_it_is, at_once, again_and_again, through_json]


@pytest.mark.parametrize("scale", WAYS)
def test_vectors_of_an_encoder_are_told_again_from_a_quarter(scale: object) -> None:
    assert callable(scale)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 384)).astype(np.float32)
    vectors[:50] /= np.linalg.norm(vectors[:50], axis=1, keepdims=True)
    vectors[50:100] *= 1e4
    vectors[100:150, ::7] = 0
    texts = remainders(vectors)
    assert {len(base64.b64decode(text)) for text in texts} == {384 + 8}
    assert restored(scale(vectors), texts).tobytes() == vectors.tobytes()


COMPONENTS = st.floats(-1e4, 1e4, width=32)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 4), st.integers(1, 9)), elements=COMPONENTS),
    st.sampled_from(WAYS),
)
@example(np.zeros((2, 3), np.float32), as_it_is)
@example(np.array([[0.0, -0.0, 1.0], [1e-42, 1.0, 2.0], [1e-40, 0.0, 0.0]], np.float32), at_once)
@example(np.array([[3e38, 3e38, -3e38], [1.0, 0.0, 0.0]], np.float32), at_once)
def test_any_vectors_are_told_again(vectors: Vectors, scale: object) -> None:
    assert callable(scale)
    with np.errstate(all="ignore"):
        held = scale(vectors)
    assert restored(held, remainders(vectors)).tobytes() == vectors.tobytes()
