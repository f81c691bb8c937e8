"""Runs of a fitted space that are killed at each place; what comes out is what would have."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import failpoints
from tasks.space import open_space
from tasks.store import models
from tasks.store.catalog import Catalog
from tasks.verify import verify
from tests.pipeline import refresh

PLACES = ("fragment", "before-receipt", "before-commit", "after-commit", "after-tag", "promote")
RUN = """
import json, sys
from pathlib import Path
from tasks.encoders import checkpoint
from tests.pipeline import refresh
checkpoint.CHECKPOINT_S = 0.0
refresh(json.loads(sys.argv[1]), Path(sys.argv[2]))
"""


def settings(folder: Path) -> dict[str, Any]:
    return {
        "space": "graph",
        "source": {"use": "edges", "path": str(folder / "edges.txt")},
        "encoder": {
            **{"use": "node2vec", "dim": 8, "walk_length": 10, "walks_per_node": 3, "window": 3},
            **{"epochs": 4, "threads": 1},
        },
        "compute": {"use": "serial"},
    }


def write(folder: Path, seed: int) -> None:
    ends = np.random.default_rng(seed).integers(0, 60, (200, 2)).tolist()
    (folder / "edges.txt").write_text("".join(f"{a} {b}\n" for a, b in ends))


def killed(folder: Path, store: Path, place: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(settings(folder)), str(store)],
        env={**os.environ, failpoints.VARIABLE: place},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def rows(store: Path, version: int) -> dict[str, bytes]:
    space = open_space("graph", str(store), version)
    ids, vectors = space.vectors()
    return {id_: vector.tobytes() for id_, vector in zip(ids, vectors, strict=True)}


def live(folder: Path, name: str, kills: dict[int, str]) -> Path:
    """A store with two versions, of which some runs were killed once."""
    store = folder / name
    for version in (1, 2):
        write(folder, version)
        if version in kills:
            killed(folder, store, kills[version])
        refresh(settings(folder), store)
    return store


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, bytes]]:
    """The rows of both versions where nothing was killed."""
    folder = tmp_path_factory.mktemp("quiet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VECTORLINE_CACHE", str(folder / "cache"))
        store = live(folder, "v", {})
    return {version: rows(store, version) for version in (1, 2)}


@pytest.mark.parametrize(
    "kills",
    [
        {1: "checkpoint", 2: "checkpoint:3"},
        {1: "fit", 2: "fit"},
        {1: "after-receipt", 2: "after-receipt"},
        *({2: place} for place in PLACES),
    ],
    ids=lambda kills: "-".join(kills.values()),
)
def test_a_fit_that_is_killed_anywhere_ends_as_if_it_had_not_been(
    tmp_path: Path,
    kills: dict[int, str],
    quiet: dict[int, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    store = str(live(tmp_path, "v", kills))
    versions = Catalog(store).versions("graph")
    assert {one.version: rows(Path(store), one.version) for one in versions} == quiet
    assert [one.detail for one in verify(store, "graph", None) if not one.ok] == []
    assert len(models.fits(store, versions[0].table)) == 2
    assert not list((tmp_path / "cache" / "fits").glob("*/*"))


def test_a_cache_may_be_deleted_while_a_fit_runs(
    tmp_path: Path, quiet: dict[int, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    made = settings(tmp_path)
    made["encoder"]["use"] = "tests.encoders:ForgetfulWalkEncoder"
    for version in (1, 2):
        write(tmp_path, version)
        refresh(made, tmp_path / "v")
    assert {version: rows(tmp_path / "v", version) for version in (1, 2)} == quiet


@pytest.mark.ray
def test_a_worker_that_is_killed_while_it_fits_is_followed_by_one_that_goes_on(
    tmp_path: Path, quiet: dict[int, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    write(tmp_path, 1)
    made = settings(tmp_path) | {"compute": {"workers": 2}}
    log = tmp_path / "log"
    made["encoder"] |= {"use": "tests.encoders:CarefulWalkEncoder", "log": str(log)}
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(made), str(tmp_path / "v")],
        env={**os.environ, failpoints.VARIABLE: "checkpoint:3"},  # of each worker
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "v", 1) == quiet[1]
    assert len(set(log.read_text().split())) == 2
