"""Spaces of nodes: fitted, versioned, anchored; in one process, without Prefect's engine."""

import csv
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest

from schemas.config import DriftConfig, IndexConfig, Retention
from schemas.drift import DriftRecord
from schemas.manifest import FitBook, Manifest
from tasks.config import from_dict
from tasks.detect import Detected, detect
from tasks.drop import drop
from tasks.encoders import checkpoint, fitted, node2vec
from tasks.encoders.canaries import cosines
from tasks.encoders.fitted import Fit, Start, anchor
from tasks.errors import ConfigError, EncoderError, Interrupted, SourceError, StoreError
from tasks.estimate import estimate
from tasks.maintain import maintain
from tasks.plan import plan
from tasks.run import Options, Run, open_run
from tasks.search import Query, search, term
from tasks.space import Space, open_space
from tasks.store import layout, manifests, models, quarantine
from tasks.verify import verify
from tests.clock import Clock
from tests.pipeline import books, refresh

Edges = Iterable[tuple[object, object]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., None]:
    """Writes the edges, and the table of nodes."""

    def write(edges: Edges, **nodes: str) -> None:
        with (tmp_path / "edges.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("a", "b"), *edges])
        with (tmp_path / "nodes.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("node", "label"), *nodes.items()])

    return write


def settings(folder: Path, **encoder: object) -> dict[str, Any]:
    small = {"dim": 8, "walk_length": 20, "walks_per_node": 5, "window": 3, "threads": 1}
    return {
        "space": "graph",
        "source": {
            "use": "edges",
            "path": str(folder / "edges.csv"),
            "source": "a",
            "target": "b",
            "nodes": {"path": str(folder / "nodes.csv"), "id": "node", "metadata": ["label"]},
        },
        "encoder": {"use": "node2vec", **small, **encoder},
        "compute": {"use": "serial"},
    }


def space(folder: Path, version: str = "latest") -> Space:
    return open_space("graph", str(folder / "v"), version)


def fit_of(one: Space) -> FitBook:
    made = manifests.read(one.store_uri, one.entry.table, one.entry.run_id, Manifest)
    assert made is not None
    assert made.fit is not None
    return made.fit


def by_id(one: Space) -> dict[str, list[float]]:
    ids, vectors = one.vectors()
    return dict(zip(ids, vectors.tolist(), strict=True))


KARATE = [(str(a), str(b)) for a, b in networkx.karate_club_graph().edges]


def test_a_graph_is_a_space_whose_versions_are_fits(
    tmp_path: Path, put: Callable[..., None]
) -> None:
    config, store = settings(tmp_path), tmp_path / "v"
    put(KARATE, **{"0": "Mr. Hi", "33": "Officer", "alone": "nobody"})
    first = refresh(config, store)
    assert books(first) == {"read": 35, "new": 34, "isolated": 1}
    assert (first["version"], first["rows"], first["promoted"]) == (1, 34, True)
    assert first["encoded"] == 34
    found = space(tmp_path)
    assert (fit_of(found).residual, fit_of(found).metrics["words"]) == (None, 34 * 5 * 20)
    assert found.row("0") is not None
    assert {row["id"]: row["label"] for row in found.sample(99)} == {
        str(node): {0: "Mr. Hi", 33: "Officer"}.get(node) for node in range(34)
    }

    assert refresh(config, store)["version"] == 1

    put([*KARATE[1:], ("0", "new"), ("loop", "loop")], **{"0": "Mr. Hi", "alone": "nobody"})
    second = refresh(config, store)
    assert books(second) == {
        "read": 37,
        "new": 1,  # `new`
        "changed": 2,  # 0 and 1
        "metadata_changed": 1,  # 33
        "unchanged": 31,
        "isolated": 2,
    }
    assert second["chunks"] == {"written": 35, "removed": 34, "truncated": 0}
    now = space(tmp_path)
    assert set(by_id(now)) == {*map(str, range(34)), "new"}
    assert fit_of(now).residual is not None
    assert fit_of(now).model != fit_of(found).model
    assert by_id(space(tmp_path, "1")) == by_id(found)

    put(KARATE[40:])
    third = refresh(config, store, allow_removals=True)
    assert third["records"]["removed"] == 35 - third["rows"]
    assert [check.detail for check in verify(str(store), "graph", None) if not check.ok] == []


@pytest.mark.stores
def test_a_space_of_nodes_may_be_on_an_object_store(
    tmp_path: Path, put: Callable[..., None], bucket: str
) -> None:
    config = settings(tmp_path)
    put(KARATE)
    first = refresh(config, bucket)
    put(KARATE[1:])
    second = refresh(config, bucket)
    assert (first["rows"], second["version"], second["rows"]) == (34, 2, 34)
    assert books(second) == {"read": 34, "changed": 2, "unchanged": 32}
    found = open_space("graph", bucket)
    assert fit_of(found).residual is not None
    assert [one.detail for one in verify(bucket, "graph", None) if not one.ok] == []
    assert search(found, Query([term("id:0")], k=1))[0].id == "0"
    drop(bucket, "graph", [found.entry.table], "a test", 0.0)
    assert models.fits(bucket, found.entry.table) == []


def test_a_refit_may_walk_around_changes_alone(tmp_path: Path, put: Callable[..., None]) -> None:
    far = [(f"x{n}", f"x{n + 1}") for n in range(200)]
    config = settings(tmp_path, incremental=True)
    put([*KARATE, *far])
    whole = refresh(config, tmp_path / "v")
    put([*KARATE, *far, ("0", "new")])
    part = refresh(config, tmp_path / "v")
    assert part["tokens"] < whole["tokens"] / 4
    assert part["tokens"] == (2 + len([e for e in KARATE if "0" in e])) * 5 * 20
    one, other = by_id(space(tmp_path, "1")), by_id(space(tmp_path))
    assert set(other) == {*one, "new"}
    kept = cosines(*(np.array([t[f"x{n}"] for n in range(50, 150)]) for t in (one, other)))
    assert kept.min() > 0.95


def test_metadata_change_without_a_fit(tmp_path: Path, put: Callable[..., None]) -> None:
    config, store = settings(tmp_path), tmp_path / "v"
    put(KARATE, **{"0": "one"})
    refresh(config, store)
    before = space(tmp_path)
    put(KARATE, **{"0": "other"})
    made = refresh(config, store)
    assert books(made) == {"read": 34, "metadata_changed": 1, "unchanged": 33}
    assert (made["encoded"], made["chunks"]["written"]) == (0, 1)
    assert by_id(space(tmp_path)) == by_id(before)
    assert fit_of(space(tmp_path)) == fit_of(before)
    put([*KARATE, ("0", "new")], **{"0": "other"})
    refresh(config, store)
    assert fit_of(space(tmp_path)).residual is not None


def test_vectors_have_unit_norm_where_it_is_wanted(
    tmp_path: Path, put: Callable[..., None]
) -> None:
    put(KARATE)
    refresh(settings(tmp_path), tmp_path / "v")
    refresh(settings(tmp_path, normalize=True), tmp_path / "v", backfill=True)
    plain, unit = by_id(space(tmp_path, "1")), by_id(space(tmp_path))
    one, other = (np.array([table[node] for node in plain]) for table in (plain, unit))
    assert np.linalg.norm(other, axis=1) == pytest.approx(1, abs=1e-6)
    assert other == pytest.approx(one / np.linalg.norm(one, axis=1, keepdims=True), abs=1e-6)


def test_nodes_are_found_by_the_ids_of_others(tmp_path: Path, put: Callable[..., None]) -> None:
    two = [(f"{side}{a}", f"{side}{b}") for side in "xy" for a in range(8) for b in range(a)]
    put(two)
    refresh(settings(tmp_path, walks_per_node=50), tmp_path / "v")
    found = space(tmp_path)
    hits = search(found, Query([term("id:x0")], k=8))
    assert {hit.id for hit in hits} == {f"x{n}" for n in range(8)}
    with pytest.raises(ConfigError, match=r"knows nothing but its own records.*search by --id"):
        search(found, Query([term("words")]))


def test_a_fit_is_estimated_by_its_walks(tmp_path: Path, put: Callable[..., None]) -> None:
    put([*KARATE, ("loop", "loop")])
    made = Run(from_dict(settings(tmp_path), "a test"), str(tmp_path / "v"), Options(backfill=True))
    with open_run(made, write=False) as run:
        found = estimate(run, plan.fn(run))
    assert (found["to_encode"], found["tokens"], found["unit"]) == (34, 3_400, "steps of walks")
    assert found["seconds_estimate"] > 0
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize(
    ("edges", "rows"),
    [([], 0), ([("a", "a")], 0), ([("a", "b")], 2), ([("a", "b"), ("a", "a")], 2)],
)
def test_the_smallest_graphs_have_a_meaning(
    tmp_path: Path, put: Callable[..., None], edges: Edges, rows: int
) -> None:
    put(edges)
    made = refresh(settings(tmp_path, dim=64), tmp_path / "v")
    assert made["rows"] == rows
    assert made["version"] == (1 if rows else None)
    assert made["records"]["isolated"] == (1 if edges and not rows else 0)


def test_a_graph_that_loses_all_of_its_edges_has_no_rows(
    tmp_path: Path, put: Callable[..., None]
) -> None:
    config, store = settings(tmp_path), tmp_path / "v"
    put([("a", "b")])
    refresh(config, store)
    put([("a", "a"), ("b", "b")])
    made = refresh(config, store, allow_removals=True)
    assert (made["version"], made["rows"]) == (2, 0)
    assert books(made) == {"read": 2, "removed": 2, "isolated": 2}
    put([("a", "b")])
    assert refresh(config, store)["rows"] == 2


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"chunk": {"tokens": 4}}, {}, "leave `chunk` out"),
        ({"encoder": {"use": "hashing"}}, {}, "the source gives node, and encoder 'hashing'"),
        ({}, {"limit": 5}, "--limit 5: encoder 'node2vec' is fitted to all records"),
        ({"encoder": {"use": "node2vec", "p": 0.0}}, {}, "encoder.p is 0.0, but must be"),
        ({"encoder": {"use": "deepwalk", "q": 2}}, {}, "encoder.q"),
        ({"encoder": {"use": "node2vec", "dim": 0}}, {}, "encoder.dim is 0"),
        ({"encoder": {"use": "node2vec", "q": 1e31}}, {}, "encoder.q is 1e\\+31, but must be"),
        ({"encoder": {"use": "node2vec", "walk_length": 1}}, {}, "walk_length is 1, .* 2 or more"),
        ({"encoder": {"use": "node2vec", "seed": -1}}, {}, "encoder.seed is -1"),
        ({"encoder": {"use": "node2vec", "threads": 0}}, {}, "encoder.threads is 0"),
        ({"encoder": {"use": "node2vec", "max_residual": 5.0}}, {}, "max_residual is 5.0"),
        ({"encoder": {"use": "node2vec", "device": "gpu"}}, {}, "device is 'gpu': cpu or cuda"),
        ({"encoder": {"use": "node2vec", "extend": True}}, {}, "extend is for weighted graphs"),
    ],
)  # fmt: skip
def test_what_a_fitted_space_cannot_be_is_told(
    tmp_path: Path,
    put: Callable[..., None],
    changes: dict[str, Any],
    options: dict[str, Any],
    said: str,
) -> None:
    put(KARATE)
    with pytest.raises((ConfigError, EncoderError), match=said):
        refresh({**settings(tmp_path), **changes}, tmp_path / "v", **options)


def test_rows_of_the_table_of_nodes_that_are_bad_go_to_quarantine(
    tmp_path: Path, put: Callable[..., None]
) -> None:
    config = settings(tmp_path)
    config["source"]["nodes"]["types"] = {"label": "int"}
    config["limits"] = {"max_quarantined": 0.5}
    put(KARATE, **{"0": "1", "1": "many", "alone": "3"})
    made = refresh(config, tmp_path / "v")
    assert books(made) == {"read": 36, "new": 34, "isolated": 1, "quarantined": 1}
    (entry,) = quarantine.read(str(tmp_path / "v"), made["table"])
    assert (entry.id, entry.reason) == ("1", "wrong_type")
    assert entry.source_uri == config["source"]["nodes"]["path"]
    assert refresh(config, tmp_path / "v")["records"]["quarantined"] == 1
    put(KARATE, **{"0": "1", "1": "2", "alone": "3"})
    mended = refresh(config, tmp_path / "v")
    assert books(mended) == {"read": 35, "metadata_changed": 1, "unchanged": 33, "isolated": 1}


def test_a_graph_that_cannot_be_read_keeps_its_rows_where_that_is_wanted(
    tmp_path: Path, put: Callable[..., None]
) -> None:
    config = settings(tmp_path)
    config["source"]["on_unreadable"] = "quarantine"
    config["limits"] = {"max_quarantined": 1.0}
    put(KARATE)
    first = refresh(config, tmp_path / "v")
    (tmp_path / "edges.csv").write_text("a,b\n1,2,3\n")
    second = refresh(config, tmp_path / "v")
    assert (second["version"], second["rows"]) == (first["version"], 34)
    assert second["records"]["quarantined"] == 1


def test_nodes_that_become_isolated_are_losses(tmp_path: Path, put: Callable[..., None]) -> None:
    names = {str(node): "x" for node in range(34)}
    put(KARATE, **names)
    refresh(settings(tmp_path), tmp_path / "v")
    put(KARATE[:1], **names)
    with pytest.raises(SourceError, match="lost 32 of 34 records"):
        refresh(settings(tmp_path), tmp_path / "v")


def test_absence_cannot_be_kept_by_a_fit(tmp_path: Path, put: Callable[..., None]) -> None:
    put(KARATE)
    config = settings(tmp_path)
    config["source"]["mode"] = "append"
    with pytest.raises(ConfigError, match=r"source\.mode = 'append'"):
        refresh(config, tmp_path / "v")


def test_nothing_is_taken_over_from_another_fit(
    tmp_path: Path, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that fitted is cut off; then only metadata are others than in the last version."""
    from tasks import commit

    names = {str(node): "x" for node in range(34)}
    put(KARATE, **names)
    refresh(settings(tmp_path), tmp_path / "v")
    others = {name: "y" for name in names}
    put(KARATE[1:], **others)
    with monkeypatch.context() as patch:
        patch.setattr(commit, "commit_change", _raise)
        with pytest.raises(OSError, match="no commit"):
            refresh(settings(tmp_path), tmp_path / "v")
    put(KARATE, **others)
    made = refresh(settings(tmp_path), tmp_path / "v")
    assert books(made) == {"read": 34, "metadata_changed": 34}
    assert by_id(space(tmp_path)) == by_id(space(tmp_path, "1"))


def _raise(*_: object) -> None:
    raise OSError("no commit today")


def test_rehash_reads_files_that_look_as_they_did(tmp_path: Path, put: Callable[..., None]) -> None:
    put([("a", "b"), ("b", "c")])
    path = tmp_path / "edges.csv"
    os.utime(path, (1_600_000_000, 1_600_000_000))
    refresh(settings(tmp_path), tmp_path / "v")
    data = path.read_bytes().replace(b"b,c", b"a,c")
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    assert refresh(settings(tmp_path), tmp_path / "v")["version"] == 1
    made = refresh(settings(tmp_path), tmp_path / "v", rehash=True)
    assert books(made) == {"read": 3, "changed": 3}


def test_several_sources_are_no_graph(tmp_path: Path, put: Callable[..., None]) -> None:
    put(KARATE)
    config = settings(tmp_path)
    (tmp_path / "other.txt").write_text("a b\n")
    config["source"] = [config["source"], {"use": "edges", "path": str(tmp_path / "other.txt")}]
    with pytest.raises(ConfigError, match="is fitted to one source"):
        refresh(config, tmp_path / "v")


def test_a_refit_too_far_from_the_last_version_is_refused_and_a_lineage_begins_anew(
    tmp_path: Path, put: Callable[..., None]
) -> None:
    put(KARATE)
    refresh(settings(tmp_path), tmp_path / "v")
    put([(b, a) for a, b in zip(range(34), range(1, 34), strict=False)])
    strict = settings(tmp_path, max_residual=0.01)
    with pytest.raises(EncoderError, match=r"residual of \d\.\d\d.*encoder\.lineage: 1 and"):
        refresh(strict, tmp_path / "v", allow_removals=True)
    assert space(tmp_path).version == 1
    anew = settings(tmp_path, lineage=1, max_residual=0.01)
    with pytest.raises(ConfigError, match="vectorline backfill"):
        refresh(anew, tmp_path / "v")
    made = refresh(anew, tmp_path / "v", backfill=True)
    assert made["table"] != space(tmp_path, "1").entry.table
    assert fit_of(space(tmp_path)).residual is None


def test_a_fit_that_was_cut_off_goes_on_to_the_same_vectors(
    tmp_path: Path, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(tmp_path, epochs=4)
    put(KARATE)
    refresh(config, tmp_path / "undisturbed")
    monkeypatch.setattr(checkpoint, "CHECKPOINT_S", 0.0)
    keep = checkpoint.Checkpoint.keep
    kept = 0

    def stop_after_two(*arguments: Any) -> None:
        nonlocal kept
        keep(*arguments)
        kept += 1
        if kept == 2:
            raise Interrupted("in the middle of a fit")

    monkeypatch.setattr(checkpoint.Checkpoint, "keep", stop_after_two)
    with pytest.raises(Interrupted):
        refresh(config, tmp_path / "v")
    refresh(config, tmp_path / "v")
    assert kept == 4
    undisturbed = open_space("graph", str(tmp_path / "undisturbed"))
    assert by_id(space(tmp_path)) == by_id(undisturbed)


def test_a_checkpoint_that_finds_no_room_costs_no_fit(
    tmp_path: Path, small_disk: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(checkpoint, "CHECKPOINT_S", 0.0)
    (small_disk / "full").write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 4096))
    kept = checkpoint.Checkpoint(small_disk / "fit")
    kept.keep(lambda: {"table": np.zeros((1000, 100), np.float32), "words": 7})
    assert "no checkpoint of the fit could be written" in caplog.text
    assert kept.read() is None
    (small_disk / "full").unlink()
    kept.keep(lambda: {"table": np.ones(3, np.float32), "words": 8})
    found = kept.read()
    assert found is not None
    assert (found["words"], found["table"].tolist()) == (8, [1.0, 1.0, 1.0])


def test_what_was_fitted_before_a_crash_is_not_fitted_again(
    tmp_path: Path, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import worker

    put(KARATE)

    def full(*_: object) -> None:
        raise OSError("no rows today")

    with monkeypatch.context() as patch:
        patch.setattr(worker, "to_arrow", full)
        with pytest.raises(Exception, match="no rows today"):
            refresh(settings(tmp_path), tmp_path / "v")
    monkeypatch.setattr(node2vec.Node2VecEncoder, "fit", None)
    assert refresh(settings(tmp_path), tmp_path / "v")["rows"] == 34


@pytest.mark.parametrize("damage", ["cut", "gone", "folder"])
def test_a_damaged_fit_is_found_and_told(
    tmp_path: Path, put: Callable[..., None], damage: str
) -> None:
    store = str(tmp_path / "v")
    put(KARATE)
    table = refresh(settings(tmp_path), store)["table"]
    (path,) = Path(layout.models_folder(store, table)).rglob("*.safetensors")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "gone":
        path.unlink()
    else:
        shutil.rmtree(path.parent)
    (fault,) = [one.detail for one in verify(store, "graph", None) if not one.ok]
    assert "encoder.lineage" in fault
    put(KARATE[1:])
    with pytest.raises(StoreError, match=r"encoder\.lineage and `vectorline backfill`"):
        refresh(settings(tmp_path), store)
    made = refresh(settings(tmp_path, lineage=1), store, backfill=True)
    assert (made["version"], made["rows"]) == (2, 34)


def test_rows_that_are_not_those_of_the_fit_are_found(
    tmp_path: Path, put: Callable[..., None]
) -> None:
    store = str(tmp_path / "v")
    for edges in (KARATE, KARATE[1:]):
        put(edges)
        table = refresh(settings(tmp_path), store)["table"]
    first, second = (open_space("graph", store, version) for version in (1, 2))
    path = Path(layout.manifest_path(store, table, second.entry.run_id))
    path.write_text(path.read_text().replace(fit_of(second).model, fit_of(first).model))
    (fault,) = [one.detail for one in verify(store, "graph", None) if not one.ok]
    assert "34 rows are not those of fit" in fault
    path.unlink()
    put(KARATE[2:])
    made = refresh(settings(tmp_path), store)
    assert any("the manifest of version 2 is gone" in note for note in made["notes"])
    assert made["fit"]["residual"] is not None


def test_fits_go_with_their_versions(
    tmp_path: Path, put: Callable[..., None], clock: Clock
) -> None:
    config, store = settings(tmp_path), str(tmp_path / "v")
    for number in range(4):
        put(KARATE[number:])
        refresh(config, store)
        clock.days += 10
    table = space(tmp_path).entry.table
    assert len(models.fits(store, table)) == 4
    kept = Retention(versions=1, days=1)
    maintain.fn(store, table, kept, IndexConfig(), 0.0)
    clock.days += 1  # more than the grace of readers
    maintain.fn(store, table, kept, IndexConfig(), 0.0)
    left = {model.digest for model in models.fits(store, table)}
    assert fit_of(space(tmp_path)).model in left
    assert len(left) < 4
    put(KARATE)
    assert refresh(config, store)["rows"] == 34
    drop(store, "graph", [table], "a test", 0.0)
    assert not Path(layout.models_folder(store, table)).exists()


def test_a_rotation_is_found_and_what_is_left_is_the_residual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitted, "BLOCK_ROWS", 7)
    rng = np.random.default_rng(0)
    then = rng.normal(size=(50, 6)).astype(np.float32)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0].astype(np.float32)
    known = np.arange(50) < 40
    start = Start(then, then, known, ~known)
    fit = Fit(then @ turn, then @ turn, {})
    assert anchor(fit, start) < 1e-6
    assert np.abs(fit.vectors - then).max() < 1e-5
    assert np.abs(fit.contexts - then).max() < 1e-5
    noisy, contexts = then @ turn + rng.normal(size=(50, 6)).astype(np.float32), then[::-1].copy()
    fit = Fit(noisy.copy(), contexts.copy(), {})
    residual = anchor(fit, start)
    left = np.linalg.norm(fit.vectors[known] - then[known])
    assert residual == pytest.approx(float(left / np.linalg.norm(then[known])), abs=1e-6)
    assert fit.vectors @ fit.contexts.T == pytest.approx(noisy @ contexts.T, abs=1e-4)
    for _ in range(20):  # of all rotations it is the one that leaves least
        other = np.linalg.qr(rng.normal(size=(6, 6)))[0]
        assert np.linalg.norm(noisy[known] @ other - then[known]) > left


def test_unchanged_neighbourhoods_stay_where_they_were(
    tmp_path: Path, put: Callable[..., None]
) -> None:
    blocks = networkx.planted_partition_graph(10, 40, 0.3, 0.01, seed=0)
    before = [(str(a), str(b)) for a, b in blocks.edges]
    rng = np.random.default_rng(0)
    n = len(before) // 100
    fresh = [(str(a), str(b)) for a, b in rng.integers(0, 400, (n, 2)).tolist()]
    after = before[n:] + fresh
    config = settings(tmp_path, dim=32, walks_per_node=20, walk_length=40, window=5)
    put(before)
    refresh(config, tmp_path / "v")
    put(after)
    made = refresh(config, tmp_path / "v")
    old, new = (networkx.Graph(edges) for edges in (before, after))
    same = [node for node in old if node in new and set(old[node]) == set(new[node])]
    assert made["records"]["unchanged"] == len(same)
    one, other = by_id(space(tmp_path, "1")), by_id(space(tmp_path))
    refresh(config, tmp_path / "cold")
    cold = by_id(open_space("graph", str(tmp_path / "cold")))
    then, now, anew = (
        np.array([table[node] for node in same], np.float32) for table in (one, other, cold)
    )
    kept = float(np.median(cosines(then, now)))
    unanchored = float(np.median(cosines(then, anew)))
    print(f"median cosine of {len(same)} unchanged nodes: {kept:.3f}, cold {unanchored:.3f}")
    assert kept > 0.95


def test_versions_of_two_fits_compare_by_whole_parts_of_the_graph_alone(
    tmp_path: Path, put: Callable[..., None]
) -> None:
    """Beside vectors of another fit all nodes would have drifted."""

    def ring(letter: str, first: int, n: int) -> list[tuple[str, str]]:
        """Parts of five nodes, each a ring of its own."""
        return [
            (f"{letter}{part:03d}-{node}", f"{letter}{part:03d}-{(node + 1) % 5}")
            for part in range(first, first + n)
            for node in range(5)
        ]

    def look(version: str, **more: Any) -> DriftRecord:
        settings = DriftConfig.model_validate(more)
        found: Detected = detect.fn(str(tmp_path / "v"), "graph", settings, version, "1")
        return found.record

    def build(edges: list[tuple[str, str]]) -> None:
        nodes = sorted({node for edge in edges for node in edge})
        put(edges, **{node: node.split("-")[0] for node in nodes})
        refresh(settings(tmp_path), tmp_path / "v", allow_removals=True)

    build(ring("n", 0, 40))
    build([*ring("n", 0, 40), *ring("m", 0, 35)])
    told = look("2")
    assert told.verdict == "cannot tell"
    assert told.reason.startswith("each version has a fit of its own")
    parts = look("2", group="label")
    assert [(one.what, one.units, one.n_candidate) for one in parts.tests] == [
        ("rows added since version 1", (40, 35), 175)
    ]
    assert parts.notes[-1].startswith("ids that came are set beside those that were there")
