"""Folders of files that change as a whole: what the sinks that write files have in common.

    <path>/current -> collections/<name>            readers' name
    <path>/collections/<name> -> <name>.<token>     a collection as it is now
    <path>/collections/<name>.<token>/              a version of it: files, and _manifest.json

A version is written beside and never again; one rename of a link makes it the one that readers
find. Files that did not change are hard links to those of the version before, which is kept until
the next comes: whoever reads it by its own path may end in peace. Names of files say which version
wrote them, so that a reader who comes through a link that moves finds a file or none, never one of
another version.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import threading
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from tasks import failpoints
from tasks.errors import ConfigError, SinkError, SinkUnavailable
from tasks.sinks.base import Shape

MANIFEST = "_manifest.json"  # readers of folders pass over names that begin so
COLLECTIONS = "collections"
VERSION = re.compile(r"[a-z][a-z0-9_]*\.[0-9a-f]{12}")
LOCK = ".lock"
LOCK_WAIT_S = 10.0
POLL_S = 0.1
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
TOO_LARGE = os.strerror(errno.EFBIG)
NO_ROOM_BYTES = 2**20
READ_BYTES = 2**20
TOLD = 5
NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)

Data: TypeAlias = bytes | memoryview | pa.Buffer


class File(BaseModel):
    """A file of a version; `part` is the number of the part whose rows it has, if it has some."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str
    rows: int
    size_bytes: int
    crc32: str
    part: int | None = None


class Manifest(BaseModel):
    """What a version is and has.

    No part has the number `next_part`, or a higher one. `settings` are the sink's own, `checksum`
    is that of all the rest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    use: str
    stamp: str
    dim: int
    element: str
    metric: str
    full_dim: int
    columns: dict[str, str]
    next_part: int
    rows: int = 0
    previous: str | None = None
    settings: dict[str, str] = {}
    files: tuple[File, ...] = ()
    checksum: str = ""

    def sealed(self) -> "Manifest":
        """With its checksum."""
        said = self.model_dump_json(exclude={"checksum"}).encode()
        return self.model_copy(update={"checksum": f"{zlib.crc32(said):08x}"})


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a version or draft, in files of a folder of which row i belongs together."""

    folder: Path
    number: int
    files: tuple[File, ...]

    @property
    def rows(self) -> int:
        """How many."""
        return self.files[0].rows

    @property
    def size_bytes(self) -> int:
        """On the disk."""
        return sum(one.size_bytes for one in self.files)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a collection on the disk."""

    path: Path
    manifest: Manifest

    @property
    def parts(self) -> list[Part]:
        """All rows, by number."""
        return _parts(self.path, self.manifest.files)


@dataclass(slots=True)
class Draft:
    """A version in the making, which nobody sees."""

    path: Path
    next_part: int = 0
    files: list[File] = field(default_factory=list)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    @property
    def token(self) -> str:
        """What names of its files end with."""
        return self.path.name.rpartition(".")[2]

    @property
    def parts(self) -> list[Part]:
        """The rows that are there so far, by number."""
        return _parts(self.path, self.files)

    def number(self) -> int:
        """One that no part has had."""
        with self._mutex:
            self.next_part += 1
            return self.next_part - 1

    def keep(self, folder: Path, files: Iterable[File]) -> None:
        """Takes files of a version over as they are."""
        for one in files:
            target = self.path / one.path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.hardlink_to(folder / one.path)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                shutil.copyfile(folder / one.path, target)
                sync([target])
            self.files.append(one)

    def remove(self, part: Part) -> None:
        """Removes the files of one of its parts."""
        with self._mutex:
            self.files = [one for one in self.files if one.part != part.number]
        for one in part.files:
            (self.path / one.path).unlink()

    def write(self, name: str, pieces: Sequence[Data], rows: int, part: int | None = None) -> None:
        """Writes a file, durably; several threads may write different ones."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        checksum = size_bytes = 0
        with target.open("xb") as file:
            for piece in pieces:
                file.write(piece)
                checksum = zlib.crc32(piece, checksum)
                size_bytes += memoryview(piece).nbytes
            file.flush()
            os.fsync(file.fileno())
        self._add(name, checksum, size_bytes, rows, part)
        failpoints.reach("sink-file")

    def adopt(self, name: str) -> None:
        """Takes what a library wrote into a folder of this version."""
        for path in sorted((self.path / name).rglob("*")):
            if path.is_file():
                with ThreadPoolExecutor(1) as pool:  # the disk has its time, and so has this
                    syncing = pool.submit(sync, [path])
                    checksum = checksum_of(path)
                    syncing.result()
                inside = path.relative_to(self.path).as_posix()
                self._add(inside, checksum, path.stat().st_size, 0, None)
        failpoints.reach("sink-file")

    def _add(self, name: str, crc32: int, size_bytes: int, rows: int, part: int | None) -> None:
        checksum = f"{crc32:08x}"
        made = File(path=name, rows=rows, size_bytes=size_bytes, crc32=checksum, part=part)
        with self._mutex:
            self.files.append(made)


class Folder:
    """A folder that holds collections in versions; what it raises is a SinkError.

    Reading takes no lock; the methods that change something say so.
    """

    def __init__(self, path: str, readers: str, use: str) -> None:
        """`readers` is the name in the folder under which they look; `use` the sink's own."""
        self.path = Path(path).expanduser()
        self._readers = self.path / readers
        self._use = use
        self._mutex = threading.RLock()
        self._depth = 0
        if Path(readers).name != readers or readers in (COLLECTIONS, LOCK, "", ".", ".."):
            raise ConfigError(f"link = {readers!r} is no name that a link in a folder can have")

    def connect(self) -> None:
        """Makes the folder where it is not there."""
        with self.told("making the folder"):
            try:
                (self.path / COLLECTIONS).mkdir(parents=True, exist_ok=True)
            except FileNotFoundError as error:  # what was to be made cannot be gone
                raise SinkError(
                    f"{self.path}: {error.filename} cannot be made: this file system takes no "
                    "folders there; name another `path`"
                ) from error

    @contextlib.contextmanager
    def told(self, doing: str) -> Iterator[None]:
        """Lets what files and Arrow raise be a SinkError."""
        try:
            yield
        except FileNotFoundError as error:
            raise SinkUnavailable(
                f"{self.path}: {doing} failed, {error.filename or error} is gone: another "
                "publication came between, or somebody removed it; run again, then with --repair"
            ) from error
        except (OSError, RuntimeError) as error:  # libraries of indexes raise the latter
            number = error.errno if isinstance(error, OSError) else None
            # usearch and ScaNN do not say why a file cannot be written.
            silent = number is None and shutil.disk_usage(self.path).free < NO_ROOM_BYTES
            said = any(os.strerror(n) in str(error) for n in DISK_FULL)
            if silent or said or number in DISK_FULL:
                raise SinkError(
                    f"{self.path}: no space left on the disk while {doing}; readers have what they "
                    "had: free some space and publish again"
                ) from error
            if TOO_LARGE in str(error):
                raise SinkError(
                    f"{self.path}: a file was to be larger than one may be there while {doing}; "
                    "readers have what they had: look at `ulimit -f`, and publish again"
                ) from error
            words = str(error).replace("\n", " ")[:300]
            raise SinkError(f"{self.path}: {doing} failed: {words}") from error
        except (pa.ArrowException, ValidationError) as error:
            words = str(error).replace("\n", " ")[:300]
            raise SinkError(
                f"{self.path}: {doing} failed, a file is damaged: {words}; publish with --repair"
            ) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other writers away, also those of other processes; ends with this process."""
        with self._mutex:
            if self._depth:
                yield
                return
            with self.told("taking the lock"):
                descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._take(descriptor)
                self._depth += 1
                yield
            finally:
                self._depth = 0
                os.close(descriptor)

    def names(self) -> list[str]:
        """Of all collections."""
        with self.told("listing collections"):
            return sorted(
                one.name
                for one in (self.path / COLLECTIONS).iterdir()
                if one.is_symlink() and "." not in one.name
            )

    def stamp_of(self, name: str) -> str:
        """Also where files are not there any more."""
        return self._opened(name).manifest.stamp

    def open(self, name: str) -> Version:
        """A collection as it is now, all of whose files are there."""
        version = self._opened(name)
        with self.told(f"opening collection {name}"):
            for file in version.manifest.files:
                path = version.path / file.path
                if _size(path) != file.size_bytes and version.path.name == self._target(name):
                    raise SinkError(f"{path} is not as it was written: publish with --repair")
        return version

    def prove(self, version: Version) -> None:
        """Reads all files; SinkError for those that are not as they were written."""
        with self.told("reading files"):
            prove(version.path, version.manifest.files)

    def _opened(self, name: str) -> Version:
        with self.told(f"opening collection {name}"):
            link = self._link(name)
            if not link.is_symlink():
                raise SinkError(
                    f"{self.path} has no collection {name} (any more): publish with --repair"
                )
            path = link.parent / link.readlink()
            try:
                manifest = Manifest.model_validate_json((path / MANIFEST).read_bytes())
                if manifest != manifest.sealed():
                    raise ValueError(manifest.checksum)
            except (FileNotFoundError, ValueError) as error:  # pydantic's are such, too
                if self._target(name) != path.name:
                    raise  # it was the version before by then
                raise SinkError(
                    f"{path / MANIFEST} is gone or damaged: remove {link}, and publish again"
                ) from error
            if manifest.use != self._use:
                raise SinkError(
                    f"{self.path} holds what `use: {manifest.use}` wrote, not `use: {self._use}`: "
                    "take another folder"
                )
            return Version(path, manifest)

    def checked(self, name: str, shape: Shape) -> Version:
        """The same, if its rows are of this shape."""
        version = self.open(name)
        held = version.manifest.model_dump(include=set(_shape_of(shape)))
        if held != _shape_of(shape):
            raise SinkError(f"{self.path}: rows of collection {name} are {held}, not of this shape")
        return version

    @contextlib.contextmanager
    def drafting(self, name: str, old: Version | None = None) -> Iterator[Draft]:
        """A draft of the next version, gone at the end if it is none by then; under the lock."""
        next_part = old.manifest.next_part if old is not None else 0
        draft = Draft(self._link(name).with_name(f"{name}.{uuid.uuid4().hex[:12]}"), next_part)
        with self.told("writing"):
            draft.path.mkdir()
        try:
            yield draft
        finally:
            if self._target(name) != draft.path.name:
                shutil.rmtree(draft.path, ignore_errors=True)

    def publish(
        self,
        name: str,
        draft: Draft,
        shape: Shape,
        *,
        stamp: str,
        settings: Mapping[str, str] | None = None,
        keep: bool = True,
    ) -> None:
        """Makes a draft the version that readers find, atomically and durably; under the lock.

        The version before is kept, or with `keep` false none.
        """
        previous = self._target(name) if keep else None
        manifest = Manifest(
            use=self._use,
            stamp=stamp,
            next_part=draft.next_part,
            rows=sum(part.rows for part in draft.parts),
            previous=previous,
            settings=dict(settings or {}),
            files=tuple(sorted(draft.files, key=lambda one: one.path)),
            **_shape_of(shape),
        )
        self._write_manifest(draft.path, manifest)
        folders = {(draft.path / one.path).parent for one in draft.files}
        sync({*folders, *(up for one in folders for up in one.parents if draft.path in up.parents)})
        sync([draft.path, draft.path.parent])
        failpoints.reach("sink-before-switch")
        self._point(self._link(name), draft.path.name)
        failpoints.reach("sink-after-switch")
        self.clean()

    def clean(self) -> None:
        """Removes what is neither the version of a collection nor the one before; under the lock.

        Killed writers leave such.
        """
        named = set()
        for name in self.names():
            target = self._link(name).readlink().name
            named.add(target)
            with contextlib.suppress(OSError, ValueError):
                text = (self._link(name).with_name(target) / MANIFEST).read_bytes()
                named.add(Manifest.model_validate_json(text).previous or target)
        for path in (self.path / COLLECTIONS).iterdir():
            if VERSION.fullmatch(path.name) and path.name not in named:
                shutil.rmtree(path, ignore_errors=True)

    def stamp(self, name: str, text: str) -> None:
        """Puts a stamp in the place of the last one, durably; takes the lock."""
        with self.locked():
            version = self.open(name)
            with self.told("writing a stamp"):
                changed = version.manifest.model_copy(update={"stamp": text})
                self._write_manifest(version.path, changed)
                sync([version.path])

    def drop(self, name: str) -> None:
        """Removes a collection, and readers' name if it points at it; takes the lock."""
        with self.locked(), self.told(f"removing collection {name}"):
            if self.serving() == name:
                self._readers.unlink()
                sync([self.path])
            if self._target(name) is not None:
                self._link(name).unlink()
            self.clean()
            sync([self._link(name).parent])

    def serving(self) -> str | None:
        """The collection that readers find."""
        if not self._readers.is_symlink():
            return None
        target = self._readers.readlink()
        is_ours = target.parent == Path(COLLECTIONS) and self._target(target.name) is not None
        return target.name if is_ours else None

    def serve(self, name: str) -> None:
        """Points readers' name at a collection, atomically and durably; takes the lock."""
        with self.locked():
            self.open(name)
            with self.told("pointing readers at a collection"):
                here = self._readers
                foreign = here.exists() and not here.is_symlink()
                if foreign or (here.is_symlink() and here.readlink().parent != Path(COLLECTIONS)):
                    raise SinkError(
                        f"{here} is not ours: remove it, or give readers another `link`"
                    )
                self._point(here, f"{COLLECTIONS}/{name}")

    def _link(self, name: str) -> Path:
        return self.path / COLLECTIONS / name

    def _target(self, name: str) -> str | None:
        link = self._link(name)
        if link.is_symlink():
            return str(link.readlink())
        if link.exists():
            raise SinkError(f"{link} is not ours: remove it, or take another folder")
        return None

    def _point(self, link: Path, target: str) -> None:
        draft = link.with_name(f".{link.name}.new")
        draft.unlink(missing_ok=True)  # a killed writer's; this one has the lock
        draft.symlink_to(target)
        draft.replace(link)
        sync([link.parent])

    def _write_manifest(self, folder: Path, manifest: Manifest) -> None:
        draft = folder / f"{MANIFEST}.new"
        draft.write_text(manifest.sealed().model_dump_json(indent=1))
        sync([draft])
        draft.replace(folder / MANIFEST)

    def _take(self, descriptor: int) -> None:
        until = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= until:
                    owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "?"
                    raise SinkUnavailable(
                        f"process {owner} writes into {self.path}: wait until it has ended"
                    ) from error
                time.sleep(POLL_S)
            else:
                with self.told("taking the lock"):
                    os.pwrite(descriptor, f"{os.getpid():<32}".encode(), 0)
                return


def prove(folder: Path, files: Iterable[File]) -> None:
    """Reads files of a version; SinkError for those that are not as they were written."""
    damaged = [one.path for one in files if f"{checksum_of(folder / one.path):08x}" != one.crc32]
    if damaged:
        more = f" and {len(damaged) - TOLD} more" if len(damaged) > TOLD else ""
        raise SinkError(
            f"{folder}: not as written: {', '.join(damaged[:TOLD])}{more}: publish with --repair"
        )


def checksum_of(path: Path) -> int:
    """The CRC-32 of a file."""
    checksum, room = 0, memoryview(bytearray(READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while n_bytes := file.readinto(room):
            checksum = zlib.crc32(room[:n_bytes], checksum)
    return checksum


def sync(paths: Iterable[Path]) -> None:
    """Brings files, and names in folders, to the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _parts(folder: Path, files: Iterable[File]) -> list[Part]:
    found: dict[int, list[File]] = {}
    for one in files:
        if one.part is not None:
            found.setdefault(one.part, []).append(one)
    return [Part(folder, number, tuple(found[number])) for number in sorted(found)]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _shape_of(shape: Shape) -> dict[str, int | str | dict[str, str]]:
    return {
        "dim": shape.dim,
        "element": str(shape.element),
        "metric": str(shape.metric),
        "full_dim": shape.full_dim,
        "columns": {one.name: str(one.type) for one in shape.columns},
    }
