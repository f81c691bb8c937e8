"""Digests of model files, remembered so that gigabytes of weights are read once.

A digest is kept by path, size and modification time.
"""

import hashlib
from pathlib import Path

from tasks.encoders.remembered import recall, remember

_WORTH_KEEPING_BYTES = 1 << 20


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hex, from the cache if the file has not changed since."""
    stat = path.stat()
    if stat.st_size < _WORTH_KEEPING_BYTES:
        return _read_and_hash(path)
    where = str(path.resolve())
    key: list[object] = [where, stat.st_size, stat.st_mtime_ns]
    known = recall("sha256", where, key)
    if isinstance(known, str):
        return known
    value = _read_and_hash(path)
    remember("sha256", where, key, value)
    return value


def _read_and_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
