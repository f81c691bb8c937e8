"""Batches by cost, out-of-memory, and canaries, with an encoder that does what it is told."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tasks.encoders import canaries
from tasks.encoders.base import Prepared, Vectors
from tasks.encoders.batching import Batcher, encode_all
from tasks.encoders.hashing import HashingEncoder
from tasks.errors import EncoderError


class SmallEncoder(HashingEncoder):
    """Hashing on a device that holds `room` padded words, and notes its batches."""

    def __init__(self, room: int) -> None:
        super().__init__(dim=16)
        self.room = room
        self.batches: list[list[int]] = []

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        costs = [item.cost for item in items]
        if max(costs) * len(costs) > self.room:
            raise MemoryError
        self.batches.append(costs)
        return super().encode(items)


class ChangedEncoder(HashingEncoder):
    """Hashing whose vectors are changed at the end."""

    def __init__(self, change: Callable[[Vectors], Vectors]) -> None:
        super().__init__()
        self.change = change

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        return self.change(super().encode(items))


TEXTS = ["a b", "a b c d e", "a", "", "b c d e f", "a b c", "b"]


def test_batches_are_filled_by_padded_cost_and_put_back_in_order() -> None:
    encoder = SmallEncoder(room=100)
    seen: list[tuple[int, int]] = []
    items = encoder.prepare(TEXTS)
    vectors = Batcher(encoder, batch_cost=10).encode(items, lambda n, cost: seen.append((n, cost)))
    assert encoder.batches == [[5, 5], [3, 2, 1], [1, 1]]
    assert seen == [(2, 10), (3, 6), (2, 2)]
    assert vectors.tolist() == HashingEncoder(dim=16).encode(items).tolist()


def test_a_batch_out_of_memory_is_halved_and_the_budget_remembered() -> None:
    encoder = SmallEncoder(room=12)
    batcher = Batcher(encoder, batch_cost=40)
    items = encoder.prepare(["a b c"] * 9)
    vectors = batcher.encode(items)
    assert encoder.batches == [[3] * 4, [3] * 4, [3]]
    assert batcher.budget == 3 * 9 // 2
    assert vectors.tolist() == HashingEncoder(dim=16).encode(items).tolist()


def test_a_single_content_beyond_the_budget_goes_alone() -> None:
    encoder = SmallEncoder(room=100)
    Batcher(encoder, batch_cost=2).encode(encoder.prepare(["a b c d", "a b c"]))
    assert encoder.batches == [[4], [3]]


def test_a_single_content_beyond_memory_is_an_error() -> None:
    encoder = SmallEncoder(room=3)
    with pytest.raises(MemoryError):
        Batcher(encoder, batch_cost=8).encode(encoder.prepare(["a b", "a b c d", "a b c"]))
    assert encoder.batches == []


def test_no_contents_give_no_rows() -> None:
    vectors, n_truncated = encode_all(SmallEncoder(room=1), [])
    assert vectors.shape == (0, 16)
    assert n_truncated == 0


def test_the_same_canaries_pass_and_others_are_refused_with_the_worst_cosine() -> None:
    stored = canaries.canary_vectors(HashingEncoder())
    canaries.check(HashingEncoder(), stored)
    with pytest.raises(EncoderError, match=r"cosine of -?0\.\d{6}, allowed is 0\.999 or more"):
        canaries.check(HashingEncoder(seed=1), stored)
    with pytest.raises(EncoderError, match=r"shape \(16, 8\), the table's \(16, 384\)"):
        canaries.check(HashingEncoder(dim=8), stored)


def test_the_worst_canary_is_named_with_its_cosine() -> None:
    stored = canaries.canary_vectors(HashingEncoder())
    cosine = float(stored[1] @ stored[3])
    stored[3] = 0.5 * stored[1]
    canaries.check(HashingEncoder(), stored, floor=cosine - 1e-6)
    with pytest.raises(EncoderError) as raised:
        canaries.check(HashingEncoder(), stored, floor=0.5)
    assert f"canary {canaries.TEXTS[3]!r} has a cosine of {cosine:.6f}" in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [lambda v: v + np.nan, lambda v: v + np.inf, np.zeros_like],
    ids=["nan", "inf", "zero"],
)
def test_canaries_without_direction_name_the_weights(change: Callable[[Vectors], Vectors]) -> None:
    with pytest.raises(EncoderError, match=r"ChangedEncoder.*16 of 16 canaries.*weights"):
        canaries.canary_vectors(ChangedEncoder(change))
