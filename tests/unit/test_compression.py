import numpy as np
import numpy.typing as npt
import pytest

from tasks.compression import Compression, fit, recall
from tasks.errors import ConfigError
from tasks.sinks.base import Element

Rows = npt.NDArray[np.float32]


def rows(n: int = 600, dim: int = 32, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    falling = np.linspace(2, 0.05, dim)
    return np.asarray(rng.normal(size=(n, dim)) * falling + 0.3, np.float32)


def made(
    element: Element = Element.FLOAT32,
    dim: int | None = None,
    *,
    pca: bool = False,
    keeps_original: bool = False,
) -> Compression:
    return fit(rows(), dim=dim, pca=pca, element=element, keeps_original=keeps_original)


def slow_recall(compression: Compression, queries: Rows, held: Rows, k: int) -> list[float]:
    """One query after the other, with sorts."""

    def cosines(query: Rows, some: Rows) -> Rows:
        return np.asarray(
            some @ query / (np.linalg.norm(some, axis=1) * np.linalg.norm(query) + 1e-30)
        )

    short, asked = compression.apply(held), compression.apply(queries)
    found = []
    for query, small in zip(queries, asked, strict=True):
        exact = cosines(query, held)
        if compression.element is Element.BINARY:
            near = -np.unpackbits(short ^ small, axis=1).sum(axis=1).astype(np.float64)
        else:
            near = cosines(small.astype(np.float32), short.astype(np.float32)).astype(np.float64)
        order = np.argsort(-np.round(near, 6), kind="stable")
        if compression.keeps_original:
            first = order[:40]
            order = first[np.argsort(-exact[first], kind="stable")]
        least = np.sort(exact)[::-1][k - 1]
        found.append(float((exact[order[:k]] >= least - 1e-6).mean()))
    return found


@pytest.mark.parametrize(
    "compression",
    [
        made(),
        made(Element.FLOAT16),
        made(Element.INT8),
        made(Element.INT8, 8, pca=True),
        made(Element.FLOAT32, 16),
        made(Element.FLOAT32, 16, pca=True),
        made(Element.BINARY),
        made(Element.BINARY, keeps_original=True),
        made(Element.FLOAT32, 8, keeps_original=True),
    ],
    ids=lambda one: f"{one.element}-{one.dim}-{one.directions is not None}-{one.keeps_original}",
)
def test_recall_is_that_of_a_search_one_by_one(compression: Compression) -> None:
    held, queries = rows(), rows(20, seed=1)

    def batches() -> list[Rows]:
        return [held[:250], held[250:]]

    found = recall(compression, queries, batches)
    slow = slow_recall(compression, queries, held, 10)
    np.testing.assert_allclose(found, slow, atol=0.11)  # a tie at the tenth of short vectors
    assert abs(found.mean() - np.mean(slow)) < 0.02


def test_what_keeps_all_finds_all() -> None:
    held = rows()
    assert recall(made(), rows(20, seed=1), lambda: [held]).tolist() == [1.0] * 20
    assert recall(made(Element.FLOAT16), rows(20, seed=1), lambda: [held]).mean() > 0.95


def test_principal_components_keep_more_than_the_first_ones() -> None:
    mixed = np.linalg.qr(np.random.default_rng(3).normal(size=(32, 32)))[0].astype(np.float32)
    held, queries = rows() @ mixed, rows(30, seed=1) @ mixed
    cut = fit(held, dim=8, pca=False, element=Element.FLOAT32, keeps_original=False)
    pca = fit(held, dim=8, pca=True, element=Element.FLOAT32, keeps_original=False)
    assert pca.directions is not None
    np.testing.assert_allclose(pca.directions.T @ pca.directions, np.eye(8), atol=1e-5)
    assert recall(pca, queries, lambda: [held]).mean() > recall(cut, queries, lambda: [held]).mean()


def test_cosines_of_int8_are_those_of_the_originals_within_two_hundredths() -> None:
    compression, held = made(Element.INT8), rows()
    short = compression.apply(held)
    assert short.dtype == np.int8
    own = made().scores(held[:20], held)
    np.testing.assert_allclose(compression.scores(short[:20], short), own, atol=0.02)


def test_bits_are_signs_the_first_the_highest() -> None:
    compression = Compression(8, Element.BINARY)
    signs = np.array([[1, -1, 1, 1, -1, -1, -1, 2]], np.float32)
    assert compression.apply(signs).tolist() == [[0b10110001]]


@pytest.mark.parametrize(
    ("dim", "element", "said"),
    [
        (33, Element.FLOAT32, "compress.dim = 33: vectors have 32 components"),
        (12, Element.BINARY, "compress.dim = 12: components that become bits must fill bytes"),
    ],
)
def test_what_cannot_be_is_said(dim: int, element: Element, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made(element, dim)
