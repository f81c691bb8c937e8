"""Small answers that are dear to find, kept between runs.

One small file for each, in the user's cache folder: `VECTORLINE_CACHE`, else
`XDG_CACHE_HOME/vectorline`, else `~/.cache/vectorline`. A cache that is broken or cannot be written
costs time, nothing else.
"""

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path


def cache_folder() -> Path:
    """Where this user's caches are; it need not exist."""
    if own := os.environ.get("VECTORLINE_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(shared).expanduser() / "vectorline"


def recall(kind: str, name: str, key: list[object]) -> object:
    """What was remembered by this name if the key is the same; None if nothing was."""
    try:
        entry = json.loads(_place(kind, name).read_text(encoding="utf-8"))
        return entry["value"] if entry["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(kind: str, name: str, key: list[object], value: object) -> None:
    """Keeps plain data for `recall`; what was kept by this name goes."""
    kept = _place(kind, name)
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=kept.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"key": key, "value": value}, file)
        # A rename is atomic: another process sees the old entry or the new one.
        Path(draft).replace(kept)


def _place(kind: str, name: str) -> Path:
    return cache_folder() / kind / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
