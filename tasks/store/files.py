"""The files of a store, and what their errors are called.

Tables are Lance's own business; what stands beside them, and what Lance leaves to us, is done here.
Lance never calls fsync on a local disk: what it wrote is gone after a power cut unless we do.
"""

import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from tasks.errors import StoreError
from tasks.store.layout import bucket_of, is_local

BLOCK_BYTES = 2**20
DRAFTS = f".*.{'[0-9a-f]' * 32}"
"""The names of drafts, as a pattern."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
OWN_PLACE = re.compile(r",? \S+\.rs:\d+(:\d+)?")
"""Where in its own source Lance raised an error, on the machine that it was built on."""


class Files(Protocol):
    """Files by their locations, which `tasks.store.layout` gives; each is read and written whole.

    Raises StoreError for whatever goes wrong.
    """

    def read(self, location: str) -> bytes | None:
        """What a file holds; None if there is none."""

    def blocks(self, location: str) -> Iterator[bytes]:
        """What a file holds, piece by piece; for files that are large, and are there."""

    def write(self, location: str, data: str | bytes | Path) -> None:
        """Makes or replaces a file, durably, whole or not at all; a path is of what to copy."""

    def size_bytes(self, location: str) -> int | None:
        """How long a file is; None if there is none."""

    def names(self, folder: str) -> list[str]:
        """Names of what is directly in a folder, sorted; none where there is no such folder."""

    def torn(self, folder: str, end: bytes) -> list[str]:
        """Names of files in a folder that do not end as they must: a power cut leaves such."""

    def move(self, location: str, to: str) -> None:
        """Gives a file another place, durably; nothing if it is gone."""

    def remove(self, locations: Iterable[str]) -> None:
        """Removes files; those that are gone already are no error."""

    def remove_folder(self, folder: str) -> int:
        """Removes a folder and all that is in it, durably; gives the bytes that are free now.

        One that is gone already is no error.
        """

    def sweep(self, folder: str, before: datetime) -> None:
        """Removes drafts from before then, which killed writers left in a folder or below."""

    def sync(self, locations: Iterable[str], *, missing_ok: bool = False) -> None:
        """Makes files durable that Lance wrote, with the folders that name them.

        `locations` are not even looked at where all that is written is durable.
        """

    def free_bytes(self, folder: str) -> int | None:
        """What the disk has left; None where nothing ends it."""


class LocalFiles:
    """On a local disk."""

    def read(self, location: str) -> bytes | None:
        """By its path."""
        with _told(f"reading {location}"), contextlib.suppress(FileNotFoundError):
            return Path(location).read_bytes()
        return None

    def blocks(self, location: str) -> Iterator[bytes]:
        """Of a mebibyte."""
        with _told(f"reading {location}"), Path(location).open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block

    def write(self, location: str, data: str | bytes | Path) -> None:
        """By a draft beside it, which takes its name."""
        path = Path(location)
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        with _told(f"writing {location}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                if isinstance(data, Path):
                    shutil.copyfile(data, draft)
                else:
                    draft.write_bytes(data.encode() if isinstance(data, str) else data)
                _sync([draft])
                draft.replace(path)
            except OSError:
                draft.unlink(missing_ok=True)
                raise
            _sync([path.parent])

    def size_bytes(self, location: str) -> int | None:
        """By stat."""
        with _told(f"reading {location}"), contextlib.suppress(FileNotFoundError):
            return Path(location).stat().st_size
        return None

    def names(self, folder: str) -> list[str]:
        """Drafts too, whose names begin with a dot."""
        with _told(f"listing {folder}"), contextlib.suppress(FileNotFoundError):
            return sorted(one.name for one in Path(folder).iterdir())
        return []

    def torn(self, folder: str, end: bytes) -> list[str]:
        """By their last bytes; one that is removed meanwhile is not torn."""
        return [name for name in self.names(folder) if not _ends(Path(folder, name), end)]

    def move(self, location: str, to: str) -> None:
        """By another name."""
        path, target = Path(location), Path(to)
        with _told(f"moving {location}"), contextlib.suppress(FileNotFoundError):
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
            _sync([target.parent, path.parent])

    def remove(self, locations: Iterable[str]) -> None:
        """Not durably: after a power cut they may be there again."""
        for location in locations:
            with _told(f"removing {location}"):
                Path(location).unlink(missing_ok=True)

    def remove_folder(self, folder: str) -> int:
        """File by file."""
        path = Path(folder)
        if not path.exists():
            return 0
        with _told(f"removing {folder}"):
            size_bytes = sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
            shutil.rmtree(path)
            _sync([path.parent])
        return size_bytes

    def sweep(self, folder: str, before: datetime) -> None:
        """By their names and when they were last written."""
        with _told(f"sweeping {folder}"):
            for path in Path(folder).rglob(DRAFTS):
                with contextlib.suppress(FileNotFoundError):  # it has its name by now
                    if path.stat().st_mtime < before.timestamp():
                        path.unlink()

    def sync(self, locations: Iterable[str], *, missing_ok: bool = False) -> None:
        """By fsync, which takes 50 microseconds where the file is on the disk already."""
        folders = set()
        for path in map(Path, locations):
            with _told(f"writing {path}"):
                try:
                    _sync([path])
                except FileNotFoundError:
                    if not missing_ok:
                        raise
            folders.add(path.parent)
        with _told("writing folders"):
            _sync(folders)

    def free_bytes(self, folder: str) -> int | None:
        """Of the disk on which the folder is, or will be made."""
        path = Path(folder)
        return shutil.disk_usage(next(one for one in (path, *path.parents) if one.is_dir())).free


def of(location: str) -> Files:
    """The files of the disk or bucket that a location is in."""
    if is_local(location):
        return LocalFiles()
    from tasks.store.object_files import connect

    return connect(bucket_of(location))


def store_error(error: Exception, doing: str) -> StoreError:
    """What to tell the user; of a full disk Lance says so only in its text."""
    text = OWN_PLACE.sub("", str(error))
    full = isinstance(error, OSError) and error.errno in DISK_FULL
    if full or any(os.strerror(number) in text for number in DISK_FULL):
        return StoreError(
            f"no space left on the disk while {doing}; no committed row is lost: "
            "free some space and run again"
        )
    return StoreError(f"{doing} failed: {text}")


@contextlib.contextmanager
def lance_errors(doing: str) -> Iterator[None]:
    """Lets what Lance and Arrow raise over damaged files be a StoreError."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise store_error(error, doing) from error


@contextlib.contextmanager
def _told(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise store_error(error, doing) from error


def _sync(paths: Iterable[Path]) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _ends(path: Path, end: bytes) -> bool:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - len(end)))
        return file.read() == end
    return True
