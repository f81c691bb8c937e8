"""One file, local or wherever fsspec reaches: resolved, stamped, opened, its errors made ours.

A file's uri is its absolute path on a local disk and the full URI elsewhere.
"""

import errno
import io
import os
import stat
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, TypeAlias

import fsspec
import pyarrow as pa

from tasks.errors import ConfigError, SourceError, SourceUnavailable, Transient
from tasks.sources.base import File

YOUNG_S = 2.0
BUFFER_BYTES = 2**20
REMOTE_BLOCK_BYTES = 8 * 2**20  # a request each, and S3 takes some 30 ms to answer one of any size
MAX_RECORD_BYTES = 256 * 2**20
"""What a record may take of a file to be held whole; a larger one has the problem TOO_LARGE."""
CODECS = {".gz": "gzip", ".tgz": "gzip", ".zst": "zstd"}
PASSING = {"EAGAIN", "EBUSY", "EHOSTUNREACH", "EIO", "ENETUNREACH", "EPIPE", "EREMOTEIO"}
"""What s3fs and others make of a 5xx or a lost connection, by the names in `errno`."""
CREDENTIALS = "check the file's mode, or the credentials in storage_options"
BROKEN = "write it again, or leave it out with on_unreadable: quarantine"

FileSystem: TypeAlias = fsspec.AbstractFileSystem


def resolve(path: str, options: Mapping[str, object]) -> tuple[FileSystem, str]:
    """The file system of a path or URI, and the path's name in it; `options` are fsspec's.

    Raises ConfigError for a protocol that is unknown or not installed.
    """
    try:
        fs, name = fsspec.core.url_to_fs(path, **options)
    except ImportError as error:
        hint = (
            "pip install 'vectorline[s3]'" if path.startswith("s3") else "install what it asks for"
        )
        raise ConfigError(f"path = {path!r}: {error}; {hint}") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"path = {path!r} with these storage_options: {error}") from error
    return fs, name


def uri_of(fs: FileSystem, name: str) -> str:
    """What a file of this name is called in rows, plans and messages."""
    return name if _is_local(fs) else str(fs.unstrip_protocol(name))


def look(fs: FileSystem, name: str, info: Mapping[str, object] | None = None) -> File | None:
    """The file as it is now, or None where there is none; `info` is fsspec's of a moment ago."""
    if _is_local(fs):
        return _look_local(name)
    if info is None:
        fs.invalidate_cache()
        try:
            info = fs.info(name)
        except FileNotFoundError:
            return None
    if info is None or info["type"] != "file":
        return None
    size = int(str(info.get("size") or 0))
    state, settled = _remote_state(info, size)
    return File(uri_of(fs, name), size, state if settled else "", state)


def _look_local(name: str) -> File | None:
    try:
        found = os.stat(name)  # noqa: PTH116  (Path.stat takes twice the time, and there may be millions)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return File(name, 0, "")  # links in a circle are a file that cannot be read
    if not stat.S_ISREG(found.st_mode):
        return None
    state = f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"
    settled = time.time() - found.st_mtime >= YOUNG_S
    return File(name, found.st_size, state if settled else "", state)


def _remote_state(info: Mapping[str, object], size: int) -> tuple[str, bool]:
    etag = info.get("ETag") or info.get("etag")
    if etag:
        return str(etag).strip('"'), True
    times = ("LastModified", "last_modified", "mtime", "modified", "updated", "created")
    changed = next((info[key] for key in times if info.get(key)), None)
    if isinstance(changed, datetime):
        changed = changed.timestamp()
    settled = isinstance(changed, float | int) and time.time() - changed >= YOUNG_S
    return f"{size}-{changed}", settled


@contextmanager
def opened(fs: FileSystem, name: str, *, cache: str) -> Iterator[IO[bytes]]:
    """The file as bytes; `cache` is fsspec's `cache_type`, for remote ones."""
    if _is_local(fs):
        stream: IO[bytes] = Path(name).open("rb", buffering=BUFFER_BYTES)  # noqa: SIM115
    else:
        stream = fs.open(name, "rb", block_size=REMOTE_BLOCK_BYTES, cache_type=cache)
        if cache != "none":  # fsspec's own readline takes no limit
            stream = io.BufferedReader(stream, BUFFER_BYTES)  # type: ignore[type-var]
    with stream:
        yield stream


@contextmanager
def decompressed(stream: IO[bytes], uri: str) -> Iterator[IO[bytes]]:
    """The bytes of a .gz or .zst file while they are read, of any other file as they stand.

    A truncated file and a wrong checksum are noticed; concatenated parts are one file.
    """
    codec = CODECS.get(Path(uri).suffix)
    if codec is None:
        yield stream
        return
    with io.BufferedReader(pa.CompressedInputStream(stream, codec), BUFFER_BYTES) as plain:
        yield plain


def is_compressed(uri: str) -> bool:
    """Whether the file can only be read from its start."""
    return Path(uri).suffix in CODECS


@contextmanager
def errors_of(uri: str) -> Iterator[None]:
    """Raises what goes wrong as SourceUnavailable if it may pass, else as SourceError."""
    try:
        yield
    except (OSError, EOFError, tarfile.TarError, pa.ArrowException, *_client_errors()) as error:
        if isinstance(error, MemoryError):
            raise
        words = f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
        if _may_pass(error, remote="://" in uri):
            raise SourceUnavailable(f"{uri} did not answer: {words}") from error
        denied = (
            isinstance(error, PermissionError) or type(error).__module__ == "botocore.exceptions"
        )
        mend = CREDENTIALS if denied else BROKEN
        raise SourceError(f"{uri} cannot be read: {words}; {mend}") from error


@contextmanager
def passing_over_broken() -> Iterator[None]:
    """Lets a file that cannot be read be as good as not there: whoever needs it reports it."""
    try:
        yield
    except SourceError as error:
        if isinstance(error, Transient):
            raise


def _client_errors() -> tuple[type[Exception], ...]:
    """Errors of clients in use that are no OSError; a client that is not loaded raises none."""
    known = {"botocore.exceptions": "BotoCoreError", "aiohttp": "ClientError"}
    found = (getattr(sys.modules.get(m), name, None) for m, name in known.items())
    return tuple(one for one in found if one is not None)  # it may be half imported


def _may_pass(error: Exception, *, remote: bool) -> bool:
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if isinstance(error, OSError):
        return remote and errno.errorcode.get(error.errno or 0) in PASSING
    status = getattr(error, "status", None)  # of an aiohttp error that is an answer
    if status is not None:
        return int(status) >= 500
    names = {base.__name__ for base in type(error).__mro__}
    return bool(names & {"HTTPClientError", "ConnectionError", "ClientError"})


def _is_local(fs: FileSystem) -> bool:
    return "file" in fs.protocol
