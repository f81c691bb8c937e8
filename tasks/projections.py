"""Maps of vectors: positions in the plane, made once, where later vectors find their place, too."""

import warnings
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.linalg

from schemas.suite import MapMethod
from tasks.encoders.base import Vectors
from tasks.errors import ConfigError, MetricError
from tasks.metrics.score import Matrix, Reals, check_matrix

Plane: TypeAlias = npt.NDArray[np.float64]
"""Positions, shape (n, 2): row i belongs to vector i."""
LEAST = 3  # different vectors: two are on a line in any map
NEAREST = 5  # anchors that say where a vector is
PERPLEXITY, NEIGHBOURS = 30.0, 15  # what t-SNE and UMAP look at; fewer where there are fewer
ROUNDING = 1e-9  # of positions: what is nearer is in one place
JITTER = 1e-3  # of the start's spread: equal vectors may part, and a line leaves itself


@dataclass(frozen=True)
class Linear:
    """The two directions of largest variance, as PCA finds them.

    Attributes:
        mean: Of the vectors that it was fitted on, shape (dim,).
        components: Directions, the one of larger variance first, shape (2, dim). The largest
            component of each is above 0.
    """

    mean: Reals
    components: Plane

    def place(self, vectors: npt.ArrayLike) -> Plane:
        """Exact: each vector's part in the two directions."""
        placed: Plane = (check_matrix(vectors) - self.mean) @ self.components.T
        return placed


@dataclass(frozen=True)
class Anchored:
    """A map of some vectors, by which others are placed: t-SNE and UMAP have no formula for them.

    UMAP's own transform needs the fitted object, of which only a pickle could be kept.

    Attributes:
        anchors: The vectors that it was fitted on, shape (n, dim).
        positions: Theirs.
    """

    anchors: Vectors
    positions: Plane

    def place(self, vectors: npt.ArrayLike) -> Plane:
        """The mean position of the five nearest anchors, each weighing 1 / distance.

        An anchor comes where it was, within 1e-5 of a map 100 wide. Measured on 1,500 of the 1,797
        handwritten digits of scikit-learn as anchors of a t-SNE, and the others placed: of the ten
        nearest anchors of a placed one 53 % are its ten nearest in the map, 60 % of an anchor's
        own. Placed by ten anchors instead of five it would be 50 %, by fifteen 45 %.
        """
        from sklearn.neighbors import KNeighborsRegressor

        k = min(NEAREST, len(self.anchors))
        nearest = KNeighborsRegressor(k, weights="distance", algorithm="brute")
        nearest.fit(self.anchors.astype(np.float64), self.positions)
        placed: Plane = nearest.predict(check_matrix(vectors).astype(np.float64))
        return placed


Projection: TypeAlias = Linear | Anchored


def fit(method: MapMethod, vectors: npt.ArrayLike, *, rng: np.random.Generator) -> Projection:
    """A map of some thousand vectors, shape (n, dim), by Euclidean distance.

    PCA (Hotelling 1933); t-SNE (van der Maaten and Hinton 2008, JMLR 9) and UMAP (McInnes, Healy
    and Melville 2018, arXiv:1802.03426), both started from PCA, so that what is far apart stays so
    (Kobak and Linderman 2021, Nature Biotechnology 39). The same for the same seed:
    t-SNE of 2,000 vectors of 384 was so to the last bit with one thread to four.

    Raises MetricError for what is not finite, and for fewer than three different vectors;
    ConfigError for UMAP where it is not installed.
    """
    matrix = check_matrix(vectors).astype(np.float64)
    different = len(np.unique(matrix, axis=0))
    if different < LEAST:
        raise MetricError(f"{different} different vectors: a map needs {LEAST} or more")
    linear = _pca(matrix)
    if method is MapMethod.PCA:
        return linear
    start = linear.place(matrix)
    start += rng.normal(scale=JITTER * start.std(axis=0).max(), size=start.shape)
    start /= start.std(axis=0).max()
    seed = int(rng.integers(2**31))
    made = (_tsne if method is MapMethod.TSNE else _umap)(matrix, start, seed)
    return Anchored(matrix.astype(np.float32), made.astype(np.float64))


def turned(positions: Plane, own: Plane, others: Plane) -> Plane:
    """Positions moved so that `own`, some of the same map, come near `others`, row by row.

    By the best turn or mirror image (Schoenemann 1966, Psychometrika 31:1), at the size and with
    the middle of `others`: distances keep their proportions. Not at the scale of least squares,
    which shrinks a map the more the less it has in common with the other one. Raises MetricError
    for fewer than three rows, and where all of one map are in one place.
    """
    if len(own) < LEAST:
        raise MetricError(f"{len(own)} records in common: to turn a map takes {LEAST} or more")
    middle, others_middle = own.mean(axis=0), others.mean(axis=0)
    size, others_size = np.linalg.norm(own - middle), np.linalg.norm(others - others_middle)
    reach = np.abs(own).max(), np.abs(others).max()
    if not (size > ROUNDING * reach[0] and others_size > ROUNDING * reach[1]):
        raise MetricError("the records in common are in one place: a map cannot be turned by them")
    turn, _ = scipy.linalg.orthogonal_procrustes(own - middle, others - others_middle)
    moved: Plane = (positions - middle) @ turn * (others_size / size) + others_middle
    return moved


def _pca(matrix: Matrix) -> Linear:
    from sklearn.decomposition import PCA

    found = PCA(min(2, matrix.shape[1]), svd_solver="full").fit(matrix)
    components = np.zeros((2, matrix.shape[1]))
    components[: len(found.components_)] = found.components_
    return Linear(found.mean_, components)


def _tsne(matrix: Matrix, start: Plane, seed: int) -> Matrix:
    from sklearn.manifold import TSNE

    made: Matrix = TSNE(
        perplexity=min(PERPLEXITY, (len(matrix) - 1) / 3),
        init=(1e-4 * start).astype(np.float32),  # as large as scikit-learn's own start
        random_state=seed,
    ).fit_transform(matrix)
    return made


def _umap(matrix: Matrix, start: Plane, seed: int) -> Matrix:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TensorFlow is missing, numba's about its own code
        try:
            from umap import UMAP
        except ImportError as error:
            raise ConfigError(f"{error}; pip install 'vectorline[umap]'") from error
        made: Matrix = UMAP(
            n_neighbors=min(NEIGHBOURS, len(matrix) - 1),
            init=start.astype(np.float32),
            random_state=seed,
            n_jobs=1,
        ).fit_transform(matrix)
    return made
