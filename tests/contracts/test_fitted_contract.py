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
from tests.contracts.test_encoders_contract import FITTED

SMALL: dict[str, Any] = {
    "dim": 8,
    "walk_length": 10,
    "walks_per_node": 4,
    "window": 3,
    "threads": 1,
}
KARATE = np.array(networkx.karate_club_graph().edges)


def make(name: str, **arguments: Any) -> FittedEncoder[Any]:
    made = plugins.build("encoders", name, {**SMALL, **arguments})
    assert isinstance(made, FittedEncoder)
    return made


@pytest.fixture(params=FITTED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def corpus() -> Graph:
    """Of 34 nodes with edges, and one without."""
    return Graph.from_edges(KARATE[:, 0], KARATE[:, 1], n_nodes=35, directed=False)


def fit(encoder: FittedEncoder[Any], corpus: Graph, folder: Path, **options: Any) -> Fit:
    return checked(encoder.fit(corpus, folder, **options), 35, encoder.dim)


def test_the_table_of_names_says_which_are_fitted() -> None:
    fitted = {
        name for name in BUILT_IN if issubclass(plugins.load("encoders", name), FittedEncoder)
    }
    assert fitted == set(FITTED)


def test_each_item_has_a_vector_but_the_isolated_one(
    name: str, corpus: Graph, tmp_path: Path
) -> None:
    seen: list[tuple[int, int, float]] = []
    encoder = make(name)
    made = fit(encoder, corpus, tmp_path, on_fit=lambda *told: seen.append(told))
    norms = np.linalg.norm(made.vectors, axis=1)
    assert (norms > 0).tolist() == [True] * 34 + [False]
    assert not made.contexts[34].any()
    assert seen[-1] == (34 * 4 * 10, 34 * 4 * 10, made.metrics["loss"])
    assert made.metrics["words"] == 34 * 4 * 10
    assert np.isfinite(made.metrics["loss"])


def test_one_thread_gives_the_same_fit_twice_and_another_seed_another(
    name: str, corpus: Graph, tmp_path: Path
) -> None:
    one, same, other = (
        fit(make(name, seed=seed), corpus, tmp_path / str(number))
        for number, seed in enumerate((0, 0, 1))
    )
    assert one.vectors.tobytes() == same.vectors.tobytes()
    assert one.contexts.tobytes() == same.contexts.tobytes()
    assert one.vectors.tobytes() != other.vectors.tobytes()


def test_a_refit_stays_near_what_it_starts_from(name: str, corpus: Graph, tmp_path: Path) -> None:
    encoder = make(name, walks_per_node=100, walk_length=20)
    first = fit(encoder, corpus, tmp_path / "1")
    known = np.arange(35) < 34
    start = Start(first.vectors, first.contexts, known, ~known)
    again = fit(encoder, corpus, tmp_path / "2", start=start)
    cold = fit(make(name, seed=1, walks_per_node=100, walk_length=20), corpus, tmp_path / "3")
    assert anchor(again, start) < anchor(cold, start) / 2
    assert start.vectors.tobytes() == first.vectors.tobytes()


def test_what_it_costs_is_measured(name: str, corpus: Graph) -> None:
    cost = make(name).cost(corpus)
    assert cost.words == 34 * 4 * 10
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


def test_its_fingerprint_is_of_method_arguments_and_lineage() -> None:
    free: list[dict[str, Any]] = [
        {"threads": 2}, {"incremental": True}, {"max_residual": 1.9}, {"refit_alpha": 0.001},
        {"device": "cpu"},
    ]  # fmt: skip
    bound: list[dict[str, Any]] = [
        {"dim": 9}, {"walk_length": 9}, {"walks_per_node": 9}, {"window": 9}, {"p": 2.0},
        {"q": 2.0}, {"extend": True}, {"negatives": 9}, {"epochs": 9}, {"alpha": 0.03},
        {"min_alpha": 0.001}, {"normalize": True}, {"seed": 9}, {"lineage": 9},
    ]  # fmt: skip
    own = make("node2vec").fingerprint()
    assert [make("node2vec", **one).fingerprint() == own for one in free] == [True] * len(free)
    others = [json.dumps(make("node2vec", **one).fingerprint()) for one in bound]
    assert len({json.dumps(own), *others}) == 1 + len(bound)
    assert make("deepwalk").fingerprint() == own


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
    assert json.loads(done.stdout)[1] == 128
