"""What a source makes of its files once for each machine: a folder in the user's cache."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.digests import digest_json
from tasks.errors import SourceError
from tasks.sources.base import File

WHOLE = "whole.json"
"""The sizes and digests of all other files of a folder."""
ABANDONED_S = 86_400.0
"""A draft that is so much older than another one was left by a process that was killed."""


def as_one(uri: str, files: Sequence[File]) -> File:
    """One file that stands for all of these, which are read whole when one of them changes."""
    stamps = [file.stamp for file in files]
    return File(
        uri,
        sum(file.size_bytes for file in files),
        digest_json(stamps).hex() if all(stamps) else "",
        digest_json([[file.uri, file.state or file.stamp] for file in files]).hex(),
    )


@contextmanager
def written_whole(folder: Path, what: str) -> Iterator[Path]:
    """A draft that becomes the folder, whole or not at all; older ones beside it go.

    Should another process be faster, its folder stays. `what` is named in the SourceError of a disk
    that is full, or of a cache that cannot be written.
    """
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        draft.mkdir(parents=True)
        yield draft
        (draft / WHOLE).write_text(json.dumps(_digests(draft)), encoding="utf-8")
        for path in _files(draft):
            with path.open("rb") as written:
                os.fsync(written.fileno())
        _sweep(draft, folder)
        draft.rename(folder)
    except OSError as error:
        if folder.exists():
            return
        raise SourceError(
            f"no {what} can be kept in {folder.parent}: {error}; is the disk full? "
            "VECTORLINE_CACHE names another place"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """Whether the folder is there as it was written; one that is damaged is taken away.

    All of it is read.
    """
    if not folder.exists():
        return False
    with suppress(OSError, ValueError):
        if json.loads((folder / WHOLE).read_text(encoding="utf-8")) == _digests(folder):
            return True
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    with suppress(OSError):
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
    return False


def _sweep(draft: Path, folder: Path) -> None:
    """Removes what the draft replaces, and drafts of long ago."""
    for other in folder.parent.iterdir():
        if other in (draft, folder):
            continue
        with suppress(OSError):
            age_s = draft.stat().st_mtime - other.stat().st_mtime
            if not other.name.startswith(".") or age_s > ABANDONED_S:
                shutil.rmtree(other)  # who has it open, has its pages


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in _files(folder):
        if path.name != WHOLE:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = digest
    return found
