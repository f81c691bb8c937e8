"""Vectors from walks: each number against an oracle, each draw against its law."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import chisquare

from tasks.errors import ConfigError, EncoderError
from tasks.graphs import skipgram_torch
from tasks.graphs.skipgram import Learner, SkipGram, Start, State, Threads, Trained, count_nodes
from tests import oracles

Walks = npt.NDArray[np.signedinteger[Any]]
LEAST_P = 1e-4  # of a law that holds, one test in 10,000 says otherwise; the seeds are fixed
ONE_NEGATIVE: dict[str, Any] = {"window": 1, "negatives": 1}
"""Each centre's contexts are its neighbours in the walk."""
BOTH = pytest.mark.parametrize("device", [None, "cpu"], ids=["numba", "torch"])


@pytest.fixture(autouse=True)
def _threads_of_torch() -> Iterator[None]:
    """What a fit has set is set back."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def blocks(walks: Walks, *cuts: int) -> Callable[[int], Iterator[Walks]]:
    """The walks of every epoch, cut there."""
    return lambda epoch: (walks[a:b] for a, b in pairwise([0, *cuts, len(walks)]))


def random_walks(n_nodes: int, n_walks: int = 30, length: int = 12) -> Walks:
    return np.random.default_rng(1).integers(0, n_nodes, (n_walks, length), dtype=np.int32)


def random_start(n_nodes: int, dim: int) -> Start:
    table_in, table_out = np.random.default_rng(2).normal(size=(2, n_nodes, dim)) / 2
    return Start(np.arange(n_nodes), table_in.astype(np.float32), table_out.astype(np.float32))


def in_groups(n_groups: int = 8, size: int = 40) -> tuple[Walks, npt.NDArray[np.int64]]:
    """Walks that leave their group one step in five, and the group of each node."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(n_groups), size)
    walks = np.empty((10 * len(groups), 40), np.int32)
    at = rng.permutation(np.tile(np.arange(len(groups)), 10))
    for step in range(walks.shape[1]):
        walks[:, step] = at
        leaves = rng.random(len(at)) < 0.2
        group = np.where(leaves, rng.integers(0, n_groups, len(at)), groups[at])
        at = group * size + rng.integers(0, size, len(at))
    return walks, groups


def share_of_nearest_in_group(
    vectors: npt.NDArray[np.float32], groups: npt.NDArray[np.int64]
) -> float:
    """How many of each node's ten nearest are of its group."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    nearest = np.argsort(-cosines, axis=1)[:, :10]
    return float((groups[nearest] == groups[:, None]).mean())


def tables(trainer: SkipGram) -> list[bytes]:
    return [trainer.input.tobytes(), trainer.output.tobytes()]


def copied(state: State) -> State:
    return {
        name: value.copy() if isinstance(value, np.ndarray) else value
        for name, value in state.items()
    }


def test_each_pair_is_a_step_down_its_own_gradient() -> None:
    start = random_start(5, 6)
    walks = np.array([[0, 1, 2, 1], [3, 0, -1, -1]], np.int32)
    # Only node 4 is ever drawn. It says of 40 words in two epochs, of which there are 12.
    trainer = SkipGram(
        np.array([0, 0, 0, 0, 20]),
        dim=6,
        epochs=2,
        start=start,
        **ONE_NEGATIVE,
        alpha=0.5,
        min_alpha=0.1,
    )
    seen: list[Trained] = []
    trainer.fit(blocks(walks), on_block=seen.append)

    def pairs(words: int) -> list[tuple[int, int, list[int], float]]:
        first, second = (0.5 - 0.4 * done / 40 for done in (words, words + 4))
        return [
            *(
                (centre, context, [4], first)
                for centre, context in [(0, 1), (1, 0), (1, 2), (2, 1), (2, 1), (1, 2)]
            ),
            (3, 0, [4], second),
            (0, 3, [4], second),
        ]

    expected_in, expected_out = start.input.astype(np.float64), start.output.astype(np.float64)
    losses = []
    for words in (0, 6):
        expected_in, expected_out, loss = oracles.skipgram(expected_in, expected_out, pairs(words))
        losses.append(loss)
    # float32 has 24 bits; a dozen steps add up their rounding.
    np.testing.assert_allclose(trainer.input, expected_in, atol=2e-6)
    np.testing.assert_allclose(trainer.output, expected_out, atol=2e-6)
    assert [(one.words, one.total) for one in seen] == [(6, 40), (12, 40)]
    np.testing.assert_allclose([one.loss for one in seen], losses, rtol=1e-6)


def test_after_the_last_word_the_rate_is_the_lowest() -> None:
    start = random_start(3, 4)
    walks = np.array([[0, 1]] * 3, np.int32)
    trainer = SkipGram(
        np.array([0, 0, 2]), dim=4, start=start, **ONE_NEGATIVE, alpha=0.5, min_alpha=0.25
    )
    trainer.fit(blocks(walks))
    rates = [0.5, 0.25, 0.25]
    pairs = [pair for rate in rates for pair in [(0, 1, [2], rate), (1, 0, [2], rate)]]
    expected = oracles.skipgram(
        start.input.astype(np.float64), start.output.astype(np.float64), pairs
    )
    np.testing.assert_allclose(trainer.input, expected[0], atol=2e-6)


@BOTH
def test_a_negative_that_is_the_centre_is_left_out(device: str | None) -> None:
    start = random_start(2, 4)
    trainer = SkipGram(
        np.array([1, 0]),
        dim=4,
        start=start,
        **ONE_NEGATIVE,
        alpha=0.5,
        min_alpha=0.5,
        device=device,
    )
    trainer.fit(blocks(np.array([[0, 1]], np.int32)))
    expected = oracles.skipgram(
        start.input.astype(np.float64),
        start.output.astype(np.float64),
        [(0, 1, [], 0.5), (1, 0, [0], 0.5)],
        at_once=device is not None,
    )
    np.testing.assert_allclose(trainer.output, expected[1], atol=2e-6)


@BOTH
def test_the_contexts_of_a_centre_share_its_negatives(device: str | None) -> None:
    vectors = np.eye(3, dtype=np.float32)
    counts = np.array([0, 0, 0, *[1] * 200])
    # With output vectors of zeros, a negative moves along the sum of the contexts.
    start = Start(np.arange(3), vectors, np.zeros_like(vectors))
    rate = 2.0**-60
    trainer = SkipGram(
        counts, dim=3, **ONE_NEGATIVE, start=start, alpha=rate, min_alpha=rate, device=device
    )
    trainer.fit(blocks(np.array([[0, 1, 2]], np.int32)))
    moved = trainer.output[3:] / (-0.5 * rate)
    assert sorted(moved[moved.any(axis=1)].tolist()) == [[0, 1, 0], [0, 1, 0], [1, 0, 1]]


@BOTH
def test_negatives_are_drawn_by_their_count_to_the_power_of_three_quarters(
    device: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skipgram_torch, "_MOST_PAIRS", 10**9)
    counts = np.array([0, 0, 1, 2, 5, 0, 40, 300, 7, 7])
    start = Start(
        np.array([0, 1]), np.full((2, 1), 2**10, np.float32), np.zeros((2, 1), np.float32)
    )
    # So short a step changes no product: each draw moves its row as far.
    rate = 2.0**-60
    trainer = SkipGram(
        counts,
        dim=1,
        window=1,
        negatives=10,
        start=start,
        alpha=rate,
        min_alpha=rate,
        device=device,
    )
    trainer.fit(blocks(np.tile(np.array([0, 1], np.int32), (5_000, 1))))
    drawn = trainer.output[:, 0] / (-0.5 * 2**10 * rate)
    assert drawn[2:].sum() == 100_000
    assert drawn[5] == 0
    law = counts[counts > 0] ** 0.75
    assert chisquare(drawn[counts > 0], 100_000 * law / law.sum()).pvalue > LEAST_P


@BOTH
def test_each_seed_and_each_epoch_draws_anew(device: str | None) -> None:
    counts = np.array([0, 0, *[1] * 10_000])
    drawn = []
    for seed in (0, 1):
        trainer = SkipGram(counts, dim=4, **ONE_NEGATIVE, epochs=3, seed=seed, device=device)
        trainer.fit(blocks(np.array([[0, 1]], np.int32)))
        drawn += np.flatnonzero(trainer.output[2:].any(axis=1)).tolist()
    assert len(set(drawn)) == 12


def test_each_walk_draws_the_same_whatever_thread_trains_on_it() -> None:
    counts = np.array([0] * 6 + [1] * 1_000)
    one, three = (SkipGram(counts, dim=4, **ONE_NEGATIVE, threads=threads) for threads in (1, 3))
    for trainer in (one, three):
        trainer.fit(blocks(np.array([[0, 1], [2, 3], [4, 5]], np.int32)))
    # They share no node, and no negative with this seed: none can overwrite another's step.
    assert one.output[6:].any(axis=1).sum() == 6
    assert tables(three) == tables(one)


@pytest.mark.parametrize("n_nodes", [1, 2, 1_000])
def test_the_table_of_draws_holds_the_law(n_nodes: int) -> None:
    from tasks.graphs.draw_kernels import alias_table

    weights = np.random.default_rng(4).pareto(1.0, n_nodes) * (np.arange(n_nodes) % 3 != 1)
    keep, instead = alias_table(weights)
    law = (keep + np.bincount(instead, 1 - keep, n_nodes)) / n_nodes
    # Of each slot, the 24 bits of float32 have rounded what is kept.
    np.testing.assert_allclose(law, weights / weights.sum(), atol=2.0**-25)


@pytest.mark.parametrize(
    ("make", "where", "n_walks"),
    [(Threads, (1,), 6_000), (skipgram_torch.Torch, ("cpu", 1), 600)],
    ids=["numba", "torch"],
)
def test_the_window_reaches_as_far_as_any_number_up_to_its_size(
    make: Callable[..., Learner], where: tuple[Any, ...], n_walks: int
) -> None:
    learner = make(
        np.zeros((4, 1), np.float32), np.zeros((4, 1), np.float32), np.ones(4), 3, 1, *where
    )
    walk, length, rate = np.array([[0, 1, 2, 3]]), np.array([4]), np.zeros(1, np.float32)
    n_pairs = [learner.learn(walk, length, rate, stream)[1] for stream in range(n_walks)]
    law = np.ones(1)
    for centre in range(4):
        others = [abs(at - centre) for at in range(4) if at != centre]
        found = [sum(distance <= reach for distance in others) for reach in (1, 2, 3)]
        law = np.convolve(law, np.bincount(found) / 3)
    seen = np.bincount(n_pairs, minlength=len(law))
    assert not seen[law == 0].any()
    assert chisquare(seen[law > 0], n_walks * law[law > 0]).pvalue > LEAST_P


def test_counts_are_how_often_nodes_stand_in_walks() -> None:
    walks = np.array([[0, 1, 2], [2, -1, -1], [2, 0, -1]], np.int32)
    assert count_nodes(blocks(walks, 1)(0), 4).tolist() == [2, 1, 3, 0]
    assert count_nodes([], 2).tolist() == [0, 0]


def test_blocks_may_be_cut_anywhere() -> None:
    walks = random_walks(9)
    fits = []
    for cuts in ((), (1, 2, 29), (0, 15, 15)):
        trainer = SkipGram(count_nodes([walks], 9), dim=8, epochs=2, window=4)
        trainer.fit(blocks(walks, *cuts))
        fits.append(tables(trainer))
    assert fits == [fits[0]] * 3


def test_a_walk_that_ends_early_is_as_one_that_is_short() -> None:
    walks = random_walks(9, length=5)
    padded = np.pad(walks, ((0, 0), (0, 4)), constant_values=-1)
    fits = []
    for one in (walks, padded, padded.astype(np.int64)):
        trainer = SkipGram(count_nodes([one], 9), dim=8)
        trainer.fit(blocks(one))
        fits.append(tables(trainer))
    assert fits == [fits[0]] * 3


def test_a_fit_resumed_after_any_block_ends_with_the_same_tables() -> None:
    walks = random_walks(9)
    settings: dict[str, Any] = {"dim": 8, "epochs": 2, "window": 4, "seed": 5}
    counts = count_nodes([walks], 9)
    states: list[State] = []
    whole = SkipGram(counts, **settings)
    whole.fit(blocks(walks, 10, 17), on_block=lambda _: states.append(copied(whole.state())))
    assert len(states) == 6
    for state in states:
        other = SkipGram(counts, **settings)
        other.resume(state)
        other.fit(blocks(walks, 12))
        assert tables(other) == tables(whole)


def test_a_state_of_another_fit_is_refused() -> None:
    trainer = SkipGram(np.array([3, 1]), dim=8, seed=1)
    state = SkipGram(np.array([3, 1]), dim=4, seed=2).state()
    with pytest.raises(ConfigError, match=r"other settings: dim was 4, seed was 2, not 8, 1"):
        trainer.resume(state)
    state = SkipGram(np.array([1, 3]), dim=8, seed=1).state()
    with pytest.raises(ConfigError, match="its counts of nodes differ"):
        trainer.resume(state)


def test_a_fit_starts_from_the_vectors_that_are_given_and_others_are_fresh() -> None:
    counts = np.ones(5, np.int64)
    given = random_start(2, 3)
    fresh, warm = (
        SkipGram(counts, dim=3),
        SkipGram(counts, dim=3, start=Start(np.array([4, 1]), given.input, given.output)),
    )
    np.testing.assert_array_equal(warm.input[[4, 1]], given.input)
    np.testing.assert_array_equal(warm.output[[4, 1]], given.output)
    np.testing.assert_array_equal(warm.input[[0, 2, 3]], fresh.input[[0, 2, 3]])
    assert not warm.output[[0, 2, 3]].any()
    assert not fresh.output.any()


def test_fresh_vectors_lie_between_plus_and_minus_one_over_dim() -> None:
    first, again, other = (
        SkipGram(np.ones(1_000, np.int64), dim=4, seed=seed).input for seed in (0, 0, 1)
    )
    assert -0.25 <= first.min() < -0.249 < 0.249 < first.max() <= 0.25
    assert first.tobytes() == again.tobytes() != other.tobytes()


@BOTH
@pytest.mark.parametrize(
    "walks",
    [
        np.empty((0, 5), np.int32),
        np.empty((3, 0), np.int32),
        np.array([[0], [0]], np.int32),
        np.array([[0, -1], [-1, -1]], np.int32),
    ],
    ids=["no walks", "no steps", "one node", "ended at once"],
)
def test_walks_without_pairs_change_nothing(walks: Walks, device: str | None) -> None:
    trainer = SkipGram(count_nodes([walks], 1), dim=4, device=device)
    before = tables(trainer)
    seen: list[Trained] = []
    trainer.fit(blocks(walks), on_block=seen.append)
    assert tables(trainer) == before
    n_words = int((walks >= 0).sum())
    assert seen == ([Trained(n_words, n_words, 0.0)] if walks.size else [])


def test_no_nodes_give_no_vectors() -> None:
    trainer = SkipGram(np.empty(0, np.int64), dim=4)
    trainer.fit(lambda epoch: [])
    assert trainer.input.shape == trainer.output.shape == (0, 4)


@pytest.mark.parametrize(
    ("walks", "message"),
    [
        ([[0, 7]], "nodes from 0 to 7, but there are 3 nodes"),
        ([[0, -2]], "nodes from -2 to 0, but there are 3 nodes"),
        ([[0, 1, 2], [0, -1, 1]], "walk 1 of the block goes on after -1"),
    ],
)
def test_walks_of_other_nodes_are_refused(walks: list[list[int]], message: str) -> None:
    trainer = SkipGram(np.ones(3, np.int64), dim=4)
    with pytest.raises(ValueError, match=message):
        trainer.fit(blocks(np.array(walks, np.int32)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "window is 0: it must be at least 1"),
        ({"threads": -1}, "threads is -1: it must be at least 1"),
        ({"seed": -1}, "seed is -1: it must be at least 0"),
        ({"alpha": 0.1, "min_alpha": 0.2}, "alpha is 0.1 and min_alpha is 0.2"),
        ({"alpha": float("nan")}, "alpha is nan"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SkipGram(np.ones(3, np.int64), **settings)


@BOTH
def test_a_loss_that_is_no_number_ends_the_fit(device: str | None) -> None:
    trainer = SkipGram(np.ones(3, np.int64), dim=4, alpha=1e30, min_alpha=1e30, device=device)
    with pytest.raises(EncoderError, match="a lower alpha may help"):
        trainer.fit(blocks(random_walks(3)))


@pytest.mark.parametrize("options", [{}, {"threads": 3}, {"device": "cpu"}], ids=str)
def test_nearest_nodes_are_of_the_same_group(options: dict[str, Any]) -> None:
    walks, groups = in_groups()
    trainer = SkipGram(count_nodes([walks], len(groups)), dim=32, window=3, **options)
    fresh = share_of_nearest_in_group(trainer.input, groups)
    trainer.fit(blocks(walks, 1_000, 2_000))
    # Chance is 39 of the 319 others.
    assert abs(fresh - 39 / 319) < 0.02
    assert share_of_nearest_in_group(trainer.input, groups) > 0.9


def test_torch_takes_one_step_down_the_gradients_of_a_batch() -> None:
    start = random_start(5, 6)
    walks = np.array([[0, 1, 2, -1], [3, 1, -1, -1]], np.int32)
    trainer = SkipGram(
        np.array([0, 0, 0, 0, 5]),
        dim=6,
        start=start,
        **ONE_NEGATIVE,
        device="cpu",
        alpha=0.5,
        min_alpha=0,
    )
    seen: list[Trained] = []
    trainer.fit(blocks(walks), on_block=seen.append)
    second = 0.5 - 0.5 * 3 / 5
    *expected, loss = oracles.skipgram(
        start.input.astype(np.float64),
        start.output.astype(np.float64),
        [
            *((a, b, [4], 0.5) for a, b in [(0, 1), (1, 0), (1, 2), (2, 1)]),
            (3, 1, [4], second),
            (1, 3, [4], second),
        ],
        at_once=True,
    )
    np.testing.assert_allclose(trainer.input, expected[0], atol=2e-6)
    np.testing.assert_allclose(trainer.output, expected[1], atol=2e-6)
    assert seen[0].loss == pytest.approx(loss, rel=1e-6)


def test_torch_resumed_between_the_same_blocks_ends_with_the_same_tables() -> None:
    walks = random_walks(9)
    counts = count_nodes([walks], 9)
    states: list[State] = []
    whole = SkipGram(counts, dim=8, device="cpu")
    whole.fit(blocks(walks, 10, 17), on_block=lambda _: states.append(copied(whole.state())))
    other = SkipGram(counts, dim=8, device="cpu")
    other.resume(states[1])
    other.fit(blocks(walks, 10, 17))
    assert tables(other) == tables(whole)


def test_torch_moves_a_node_of_many_pairs_by_so_many_average_steps() -> None:
    start = random_start(3, 4)
    # One batch. Each walk has three pairs of centre 0 and context 1, and three the other way round.
    walks = np.array([[0, 1, 0, 1]] * 16, np.int32)
    trainer = SkipGram(
        np.array([0, 0, 1]),
        dim=4,
        start=start,
        **ONE_NEGATIVE,
        device="cpu",
        alpha=0.01,
        min_alpha=0.01,
    )
    trainer.fit(blocks(walks))
    for n_pairs, rows in ((32, [0, 1]), (16, [2])):
        expected = oracles.skipgram(
            start.input.astype(np.float64),
            start.output.astype(np.float64),
            [(0, 1, [2], 0.01), (1, 0, [2], 0.01)] * n_pairs,
            at_once=True,
        )
        if n_pairs == 32:
            np.testing.assert_allclose(trainer.input, expected[0], atol=2e-6)
        np.testing.assert_allclose(trainer.output[rows], expected[1][rows], atol=2e-6)
