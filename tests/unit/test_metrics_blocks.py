from pathlib import Path

import numpy as np
import pytest

from tasks.errors import MetricError
from tasks.metrics import blocks
from tasks.metrics.blocks import choose, take
from tasks.metrics.mapped import release
from tasks.metrics.moments import centre, cross_scatter, moments


def test_chosen_rows_differ_and_ascend_and_are_as_many_as_asked() -> None:
    rows = choose(100, 60, np.random.default_rng(0))
    assert len(rows) == 60
    assert (np.diff(rows) > 0).all()
    assert rows[0] >= 0
    assert rows[-1] < 100
    assert choose(4, 4, np.random.default_rng(0)).tolist() == [0, 1, 2, 3]
    assert choose(4, None, np.random.default_rng(0)).tolist() == [0, 1, 2, 3]


def test_every_row_is_chosen_as_often_as_another() -> None:
    rng = np.random.default_rng(0)
    counts = np.zeros(10)
    for _ in range(2000):
        counts[choose(10, 3, rng)] += 1
    assert np.abs(counts - 600).max() < 5 * np.sqrt(2000 * 0.3 * 0.7)  # five standard errors


def test_a_sample_of_none_is_an_error() -> None:
    with pytest.raises(MetricError, match="sample = 0"):
        choose(4, 0, np.random.default_rng(0))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", 7)
    monkeypatch.setattr(blocks, "QUERIES", 3)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_are_those_of_numpy_however_far_from_zero(offset: float) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(50, 3)) + offset, rng.normal(size=(50, 2)) - offset
    held = moments(one)
    np.testing.assert_allclose(held.mean, one.mean(axis=0))
    np.testing.assert_allclose(held.scatter, 49 * np.cov(one.T), rtol=1e-8)
    both = np.cov(np.hstack([one, other]).T)[:3, 3:]
    np.testing.assert_allclose(cross_scatter(one, other), 49 * both, rtol=1e-8)
    assert centre(one)[1] == pytest.approx(49 * np.trace(np.cov(one.T)), rel=1e-8)


def test_equal_rows_scatter_by_exactly_zero() -> None:
    equal = np.full((10, 3), 0.1, np.float32)
    assert not moments(equal).scatter.any()
    assert centre(equal)[1] == 0


def resident_kib() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("RssFile:")[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_file_that_is_mapped_leaves_memory_after_it_was_read(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((8192, 1024), np.float32))  # 32 MiB
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    before = resident_kib()
    assert np.asarray(mapped)[1:].sum() == 8191 * 1024
    assert resident_kib() - before > 24 * 1024
    release(np.asarray(mapped)[1:])
    assert resident_kib() - before < 8 * 1024
    assert take(mapped, np.array([8191, 0])).sum() == 2048


def test_what_was_written_to_a_private_copy_stays(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((64, 64)))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="c")
    mapped[:] = 2
    release(mapped)
    assert mapped.sum() == 2 * 64 * 64
