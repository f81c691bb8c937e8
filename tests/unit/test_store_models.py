"""Weights that were fitted in a store: kept by name and digest, found again, fetched whole."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks import trained
from tasks.errors import ConfigError, StoreError
from tasks.store import files, layout, models

WEIGHTS = bytes(range(256)) * 9


def about(name: str, day: int) -> dict[str, Any]:
    return {
        "name": name,
        "train": {"use": "contrastive", "seed": day},
        "sources": [{"use": "images"}],
        "corpus_digest": "00",
        "records": 3,
        "metrics": {"loss": 0.5},
        "created_at": datetime(2026, 1, day, tzinfo=UTC).isoformat(),
    }


def folder(tmp_path: Path, weights: bytes) -> Path:
    made = tmp_path / f"made{len(weights)}"
    made.mkdir()
    (made / "model.safetensors").write_bytes(weights)
    (made / "config.json").write_text("{}")
    return made


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_fits_are_found_by_name_and_digest_and_fetched_whole(store: str, tmp_path: Path) -> None:
    old = models.put(store, folder(tmp_path, WEIGHTS), about("shapes", 1))
    new = models.put(store, folder(tmp_path, WEIGHTS[1:]), about("shapes", 2))
    assert models.fits(store, "shapes") == [old, new]
    assert models.find(store, "shapes") == new
    assert models.find(store, f"shapes@{old.digest[:12]}") == old
    place = models.fetch(store, old)
    assert (place / "model.safetensors").read_bytes() == WEIGHTS
    arguments: dict[str, Any] = {"model": "trained:shapes", "dim": 3}
    pinned = trained.pin(arguments, store)
    assert pinned == {"model": f"trained:shapes@{new.digest}", "dim": 3}
    assert trained.pin(pinned, store) == pinned
    with pytest.raises(ConfigError, match=r"has no model 'other'\. It has: shapes\. "):
        models.find(store, "other")


def test_a_fit_without_its_last_file_is_none(store: str, tmp_path: Path) -> None:
    made = models.put(store, folder(tmp_path, WEIGHTS), about("shapes", 1))
    place = layout.model_folder(store, "shapes", made.digest)
    files.of(place).remove([f"{place}/{models.ABOUT}"])
    assert models.fits(store, "shapes") == []


def test_damaged_files_are_named(store: str, tmp_path: Path) -> None:
    made = models.put(store, folder(tmp_path, WEIGHTS), about("shapes", 1))
    place = layout.model_folder(store, "shapes", made.digest)
    files.of(place).write(f"{place}/config.json", "{ }")
    with pytest.raises(StoreError, match=r"shapes@.* lacks files, or they are damaged: config"):
        models.fetch(store, made)
