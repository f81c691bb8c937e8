"""What every encoder that is fitted to a corpus keeps."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest

from tasks import plugins
from tasks.encoders import BUILT_IN
from tasks.encoders.fitted import Fit, FittedEncoder, Start, anchor, checked
from tasks.errors import ConfigError
from tasks.graphs.csr import Graph
from tasks.words.sentences import Sentences
from tests.contracts.test_encoders_contract import FITTED

NODE, WORD = ("node",), ("word",)
SMALL: dict[tuple[str, ...], dict[str, Any]] = {
    NODE: {"dim": 8, "walk_length": 10, "walks_per_node": 4, "window": 3, "threads": 1},
    WORD: {"dim": 8, "window": 3, "epochs": 2, "threads": 1},
}
LONG: dict[tuple[str, ...], dict[str, Any]] = {
    NODE: {"walks_per_node": 100, "walk_length": 20},
    WORD: {"epochs": 40},
}
"""What lets a fit come to something."""
DIM: dict[tuple[str, ...], int] = {NODE: 128, WORD: 100}
KARATE = np.array(networkx.karate_club_graph().edges)


def modalities(name: str) -> tuple[str, ...]:
    encoder = plugins.load("encoders", name)
    assert issubclass(encoder, FittedEncoder)
    return encoder.modalities


def make(name: str, **arguments: Any) -> FittedEncoder[Any]:
    made = plugins.build("encoders", name, {**SMALL[modalities(name)], **arguments})
    assert isinstance(made, FittedEncoder)
    return made


def sentences() -> Sentences:
    """Texts of 34 words, of which each stands mostly beside those that are near; and one alone."""
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 34, 200)
    texts = [(centre + rng.integers(0, 6, 12)) % 34 for centre in centres] + [np.array([34])]
    tokens = np.concatenate(texts)
    ranks = np.empty(35, np.int32)
    ranks[np.argsort(-np.bincount(tokens), kind="stable")] = np.arange(35)
    return Sentences(
        ranks[tokens], np.cumsum([len(text) for text in texts]), np.bincount(ranks[tokens])
    )


@pytest.fixture(params=FITTED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def corpus(name: str) -> Graph | Sentences:
    """Of 34 items with neighbours, and one without: the last."""
    if modalities(name) == WORD:
        return sentences()
    return Graph.from_edges(KARATE[:, 0], KARATE[:, 1], n_nodes=35, directed=False)


@pytest.fixture
def n_words(name: str) -> int:
    """What a fit learns from."""
    return 2 * (200 * 12 + 1) if modalities(name) == WORD else 34 * 4 * 10


def fit(encoder: FittedEncoder[Any], corpus: object, folder: Path, **options: Any) -> Fit:
    return checked(encoder.fit(corpus, folder, **options), 35, encoder.dim)


def test_the_table_of_names_says_which_are_fitted() -> None:
    fitted = {
        name for name in BUILT_IN if issubclass(plugins.load("encoders", name), FittedEncoder)
    }
    assert fitted == set(FITTED)


def test_each_item_has_a_vector_but_the_isolated_one(
    name: str, corpus: object, n_words: int, tmp_path: Path
) -> None:
    seen: list[tuple[int, int, float]] = []
    encoder = make(name)
    made = fit(encoder, corpus, tmp_path, on_fit=lambda *told: seen.append(told))
    norms = np.linalg.norm(made.vectors, axis=1)
    assert (norms > 0).tolist() == [True] * 34 + [False]
    assert not made.contexts[34].any()
    assert seen[-1] == (n_words, n_words, made.metrics["loss"])
    assert made.metrics["words"] == n_words
    assert np.isfinite(made.metrics["loss"])


def test_one_thread_gives_the_same_fit_twice_and_another_seed_another(
    name: str, corpus: object, tmp_path: Path
) -> None:
    one, same, other = (
        fit(make(name, seed=seed), corpus, tmp_path / str(number))
        for number, seed in enumerate((0, 0, 1))
    )
    assert one.vectors.tobytes() == same.vectors.tobytes()
    assert one.contexts.tobytes() == same.contexts.tobytes()
    assert one.vectors.tobytes() != other.vectors.tobytes()


def test_a_refit_stays_near_what_it_starts_from(name: str, corpus: object, tmp_path: Path) -> None:
    long = LONG[modalities(name)]
    encoder = make(name, **long)
    first = fit(encoder, corpus, tmp_path / "1")
    known = np.arange(35) < 34
    start = Start(first.vectors, first.contexts, known, ~known)
    again = fit(encoder, corpus, tmp_path / "2", start=start)
    cold = fit(make(name, seed=1, **long), corpus, tmp_path / "3")
    assert anchor(again, start) < anchor(cold, start) / 2
    assert start.vectors.tobytes() == first.vectors.tobytes()


def test_what_it_costs_is_measured(name: str, corpus: object, n_words: int) -> None:
    cost = make(name).cost(corpus)
    assert cost.words == n_words
    assert cost.words_per_s > 0


def test_a_content_alone_has_no_vector(name: str) -> None:
    encoder = make(name)
    assert encoder.prepare([]) == []
    assert encoder.encode([]).shape == (0, 8)
    for ask in (
        partial(encoder.prepare, ["a"]),
        partial(encoder.prepare_query, ["a"]),
        encoder.tokenizer,
    ):
        with pytest.raises(ConfigError):
            ask()


FREE: dict[tuple[str, ...], list[dict[str, Any]]] = {
    NODE: [{"incremental": True}, {"refit_alpha": 0.001}, {"device": "cpu"}],
    WORD: [],
}
WORDS: list[dict[str, Any]] = [
    {"lower": False},
    {"word_pattern": "[a-z]+"},
    {"min_count": 9},
    {"max_words": 9},
]
BOUND: dict[str, list[dict[str, Any]]] = {
    "node2vec": [
        {"walk_length": 9}, {"walks_per_node": 9}, {"p": 2.0}, {"q": 2.0}, {"extend": True},
        {"negatives": 9}, {"alpha": 0.03}, {"min_alpha": 0.001},
    ],
    "deepwalk": [
        {"walk_length": 9}, {"walks_per_node": 9}, {"negatives": 9}, {"alpha": 0.03},
        {"min_alpha": 0.001},
    ],
    "word2vec": [
        *WORDS, {"method": "cbow"}, {"negatives": 9}, {"sample": 0.1}, {"alpha": 0.03},
        {"min_alpha": 0.001},
    ],
    "glove": [*WORDS, {"x_max": 9.0}, {"exponent": 0.5}, {"rate": 0.01}],
}  # fmt: skip


def test_its_fingerprint_is_of_method_arguments_and_lineage(name: str) -> None:
    free = [*FREE[modalities(name)], {"threads": 2}, {"max_residual": 1.9}]
    bound = [
        *BOUND[name], {"dim": 9}, {"window": 9}, {"epochs": 9}, {"normalize": True}, {"seed": 9},
        {"lineage": 9},
    ]  # fmt: skip
    own = make(name).fingerprint()
    assert [make(name, **one).fingerprint() == own for one in free] == [True] * len(free)
    others = [json.dumps(make(name, **one).fingerprint()) for one in bound]
    assert len({json.dumps(own), *others}) == 1 + len(bound)


def test_deepwalk_is_node2vec_with_two_ones() -> None:
    assert make("deepwalk").fingerprint() == make("node2vec").fingerprint()


def test_fingerprint_and_dimension_come_without_numba_and_torch(name: str) -> None:
    module, attribute = BUILT_IN[name].split(":")
    code = f"""
import json, sys
from {module} import {attribute} as make
encoder = make()
print(json.dumps([encoder.fingerprint(), encoder.dim]))
heavy = {{"torch", "numba", "networkx", "gensim", "prefect", "ray", "pyarrow", "lance"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[1] == DIM[modalities(name)]
