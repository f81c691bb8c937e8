"""Digests of model files, remembered so that gigabytes of weights are read once.

A digest is kept by path, size and modification time, one small file for each, in the user's cache
folder: `VECTORLINE_CACHE`, else `XDG_CACHE_HOME/vectorline`, else `~/.cache/vectorline`. A cache
that is broken or cannot be written costs time, nothing else.
"""

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

_WORTH_KEEPING_BYTES = 1 << 20


def cache_folder() -> Path:
    """Where this user's caches are; it need not exist."""
    if own := os.environ.get("VECTORLINE_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(shared).expanduser() / "vectorline"


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hex, from the cache if the file has not changed since."""
    stat = path.stat()
    if stat.st_size < _WORTH_KEEPING_BYTES:
        return _read_and_hash(path)
    where = str(path.resolve())
    key = [where, stat.st_size, stat.st_mtime_ns]
    kept = cache_folder() / "sha256" / f"{hashlib.sha256(where.encode()).hexdigest()[:32]}.json"
    if (known := _recall(kept, key)) is not None:
        return known
    value = _read_and_hash(path)
    _remember(kept, key, value)
    return value


def _read_and_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recall(kept: Path, key: list[object]) -> str | None:
    try:
        entry = json.loads(kept.read_text(encoding="utf-8"))
        return str(entry["sha256"]) if entry["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(kept: Path, key: list[object], value: str) -> None:
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=kept.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"key": key, "sha256": value}, file)
        # A rename is atomic: another process sees the old entry or the new one.
        Path(name).replace(kept)
