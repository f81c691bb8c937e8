"""Vectors that a GPU fits to walks are as good as those of a CPU, and its first step is the same.

They need torch and numba, nothing else of vectorline's packages: `python -m pytest --noconftest
tests/gpu`.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tasks.graphs.skipgram import SkipGram, Start, count_nodes

pytestmark = pytest.mark.gpu

N_GROUPS = 8
SIZE = 40


@pytest.fixture(scope="module", autouse=True)
def _cuda() -> None:
    torch: Any = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")


@pytest.fixture(scope="module")
def walks() -> npt.NDArray[np.int32]:
    """Walks among groups, from which one step in five goes anywhere."""
    rng = np.random.default_rng(3)
    at = rng.permutation(np.tile(np.arange(N_GROUPS * SIZE), 10))
    steps = [at]
    for _ in range(39):
        group = np.where(rng.random(len(at)) < 0.2, rng.integers(0, N_GROUPS, len(at)), at // SIZE)
        at = group * SIZE + rng.integers(0, SIZE, len(at))
        steps.append(at)
    return np.stack(steps, axis=1).astype(np.int32)


def test_nearest_nodes_are_of_the_same_group(walks: npt.NDArray[np.int32]) -> None:
    trainer = SkipGram(count_nodes([walks], N_GROUPS * SIZE), dim=32, window=3, device="cuda")
    trainer.fit(lambda epoch: [walks[a:b] for a, b in pairwise([0, 1_000, len(walks)])])
    unit = trainer.input / np.linalg.norm(trainer.input, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    nearest = np.argsort(-cosines, axis=1)[:, :10] // SIZE
    assert (nearest == np.arange(N_GROUPS * SIZE)[:, None] // SIZE).mean() > 0.9


def test_one_step_on_a_gpu_is_that_of_the_cpu() -> None:
    # One node is ever drawn, and each node's contexts are its neighbours: there is no chance in it.
    table_in, table_out = np.random.default_rng(2).normal(size=(2, 9, 16)).astype(np.float32)
    walks = np.random.default_rng(1).integers(0, 8, (5, 12), dtype=np.int32)
    counts = np.zeros(9, np.int64)
    counts[8] = walks.size
    start = Start(np.arange(9), table_in, table_out)
    found = []
    for device in ("cpu", "cuda"):
        trainer = SkipGram(counts, dim=16, window=1, negatives=1, start=start, device=device)
        trainer.fit(lambda epoch: [walks])
        found.append(np.stack([trainer.input, trainer.output]))
    assert not np.array_equal(found[0], [table_in, table_out])
    # Sums in another order, and products in TF32, of 10 bits, where that is allowed.
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)
