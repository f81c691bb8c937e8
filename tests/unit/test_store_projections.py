"""Projections that a store keeps: made once, read whole, made anew where they are damaged."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.suite import MapMethod
from tasks.projections import Anchored, Linear, Projection
from tasks.store import layout
from tasks.store.projections import keep

KINDS = [MapMethod.PCA, MapMethod.TSNE]


def never() -> Projection:
    raise AssertionError("it was there already")


def example(method: MapMethod, dim: int = 3, *, other: bool = False) -> Projection:
    rng = np.random.default_rng(other)
    if method is MapMethod.PCA:
        return Linear(rng.normal(size=dim), rng.normal(size=(2, dim)))
    return Anchored(rng.normal(size=(4, dim)).astype(np.float32), rng.normal(size=(4, 2)))


def kept(
    store: Path, method: MapMethod, make: Callable[[], Projection], dim: int = 3
) -> tuple[Projection, str]:
    return keep(str(store), "notes.abc", method, dim, make)


def path_of(store: Path, method: MapMethod) -> Path:
    name = f"projection-{method}"
    return Path(layout.evaluation_path(str(store), "notes.abc", name, "npz"))


def is_same(one: Projection, other: Projection) -> bool:
    return type(one) is type(other) and all(
        np.array_equal(mine, theirs) and mine.dtype == theirs.dtype
        for mine, theirs in zip(vars(one).values(), vars(other).values(), strict=True)
    )


@pytest.mark.parametrize("method", [*MapMethod])
def test_it_is_made_once_for_each_method(tmp_path: Path, method: MapMethod) -> None:
    made, said = kept(tmp_path, method, lambda: example(method))
    assert (is_same(made, example(method)), said) == (True, "")
    again, said = kept(tmp_path, method, never)
    assert (is_same(again, made), said) == (True, "")
    assert [one.name for one in path_of(tmp_path, method).parent.iterdir()] == [
        f"projection-{method}.npz"
    ]


@pytest.mark.parametrize(("dim", "places"), [(3, range(0, 1000, 3)), (3000, range(30, 260))])
@pytest.mark.parametrize("method", KINDS)
def test_a_bit_that_flips_is_noticed_or_means_nothing(
    tmp_path: Path, method: MapMethod, dim: int, places: range
) -> None:
    """All over a small file, and in the header of a large one, which numpy reads unchecked."""
    first, second = example(method, dim), example(method, dim, other=True)
    kept(tmp_path, method, lambda: first, dim)
    path = path_of(tmp_path, method)
    whole, anew = path.read_bytes(), 0
    for place in places:
        place = place % len(whole)
        flipped = whole[place] ^ (1 << place // 3 % 8)
        path.write_bytes(whole[:place] + bytes([flipped]) + whole[place + 1 :])
        found, said = kept(tmp_path, method, lambda: second, dim)
        assert is_same(found, second if said else first)
        anew += bool(said)
    assert anew > len(places) / 2


@pytest.mark.parametrize("method", KINDS)
def test_what_is_cut_off_or_of_another_kind_is_made_anew(tmp_path: Path, method: MapMethod) -> None:
    kept(tmp_path, method, lambda: example(method))
    path = path_of(tmp_path, method)
    whole = path.read_bytes()
    (wrong,) = {*KINDS} - {method}
    others = [example(wrong), example(method, 4)]
    first = vars(example(method))
    for name in first:
        others.append(type(example(method))(**{**first, name: first[name] * np.nan}))
        others.append(type(example(method))(**{**first, name: first[name][:1]}))
        others.append(type(example(method))(**{**first, name: first[name].astype(np.int64)}))
    others.append(type(example(method))(**{name: of[:0] for name, of in first.items()}))
    contents = [whole[:length] for length in range(0, len(whole), 7)]
    for number, other in enumerate(others):
        np.savez(tmp_path / f"{number}.npz", **asdict(other))
        contents.append((tmp_path / f"{number}.npz").read_bytes())
    objects: dict[str, Any] = dict.fromkeys(first, np.array([None, {}]))
    np.savez(tmp_path / "objects.npz", **objects)
    contents.append((tmp_path / "objects.npz").read_bytes())
    for damaged in contents:
        path.write_bytes(damaged)
        found, said = kept(tmp_path, method, lambda: example(method))
        assert said == (
            f"the projection {path} is damaged: it was made anew, and older maps look different"
        )
        assert is_same(found, example(method))
        assert path.read_bytes() == whole
