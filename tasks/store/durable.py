"""Files that survive a power cut, and what a full disk is called.

Lance never calls fsync on a local disk: what it wrote is gone after a power cut unless we do.
"""

import errno
import os
import uuid
from collections.abc import Iterable
from pathlib import Path

from tasks.errors import StoreError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def sync(files: Iterable[Path]) -> None:
    """Brings files and the folders that name them to the disk."""
    paths = list(files)
    for path in (*paths, *{path.parent for path in paths}):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Makes or replaces a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        draft.write_text(text, encoding="utf-8")
        sync([draft])
        draft.replace(path)
        sync([path])
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise store_error(error, f"writing {path}") from error


def store_error(error: Exception, doing: str) -> StoreError:
    """What to tell the user; of a full disk Lance says so only in its text."""
    text = str(error)
    full = isinstance(error, OSError) and error.errno in DISK_FULL
    if full or any(os.strerror(number) in text for number in DISK_FULL):
        return StoreError(
            f"no space left on the disk while {doing}; no committed row is lost: "
            "free some space and run again"
        )
    return StoreError(f"{doing} failed: {text}")
