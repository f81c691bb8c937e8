"""The files that a user's `path` names: listed, opened, told apart from those of other sources."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import PurePosixPath
from typing import IO

from fsspec.utils import glob_translate

from tasks.errors import ConfigError, SourceChanged, SourceError
from tasks.sources import access
from tasks.sources.base import File

MAGIC = re.compile(r"[*?\[]")


class FileSet:
    """One file, a folder, a glob, or a list of them.

    Of a folder's files those count whose path below it matches one of `patterns` and has no part
    that starts with one of the characters in `hidden`.
    """

    def __init__(
        self,
        path: str | Sequence[str],
        *,
        patterns: Sequence[str],
        hidden: str = "._",
        any_case: bool = False,
        storage_options: Mapping[str, object] | None = None,
    ) -> None:
        """Opens nothing; `storage_options` are fsspec's, `any_case` is about `patterns`."""
        self._any_case = any_case
        self._paths = (path,) if isinstance(path, str) else tuple(path)
        self._patterns = tuple(patterns)
        self._hidden = hidden
        self._options = dict(storage_options or {})
        if not self._paths or not all(self._paths):
            raise ConfigError(f"path = {path!r}: name a file, a folder, a glob, or a list of them")
        for pattern in (*self._patterns, *self._paths):
            try:
                _matcher(pattern)
            except ValueError as error:
                raise ConfigError(f"{pattern!r}: {error}") from error

    def listed(self) -> list[File]:
        """All files, ordered by uri.

        Raises ConfigError for a path that does not exist, and for a folder or glob without a file.
        """
        found: dict[str, File] = {}
        for path, uri in zip(self._paths, self._uris, strict=True):
            with access.errors_of(path):
                found.update((file.uri, file) for file in self._expand(path, uri))
        return [found[uri] for uri in sorted(found)]

    def owns(self, uri: str) -> bool:
        """Whether a file of this uri would be listed if it were there."""
        return any(self._holds(own, uri) for own in self._uris)

    def relative(self, uri: str) -> str:
        """The POSIX path of an owned file below the folder that was named or its glob starts at."""
        own = next(own for own in self._uris if self._holds(own, uri))
        fixed = own if self._in_folder(own, uri) else _parent(own)
        return uri.removeprefix(fixed.rstrip("/") + "/")

    @contextmanager
    def reading(self, file: File, *, cache: str = "readahead") -> Iterator[IO[bytes]]:
        """Opens a listed file as bytes; what goes wrong meanwhile is raised as an error of ours.

        Raises SourceChanged if it is not as it was listed, before or afterwards; SourceUnavailable
        for what may pass; SourceError for what cannot be read. `cache` is fsspec's `cache_type`.
        """
        self.check(file)
        fs, name = access.resolve(file.uri, self._options)
        try:
            with access.errors_of(file.uri), access.opened(fs, name, cache=cache) as stream:
                yield stream
        except SourceError:
            self.check(file)  # a file that is being replaced looks like a broken one
            raise
        self.check(file)

    def check(self, file: File) -> None:
        """Raises SourceChanged if the file is not as it was listed."""
        with access.errors_of(file.uri):
            now = access.look(*access.resolve(file.uri, self._options))
        if now is None:
            raise SourceChanged(f"{file.uri} is gone since it was listed; run again")
        if now.state != (file.state or file.stamp or now.state):
            raise SourceChanged(
                f"{file.uri} changed since it was listed; run again when it is complete"
            )

    @cached_property
    def _uris(self) -> tuple[str, ...]:
        """The paths as uris of files would start: the same place has one spelling."""
        return tuple(access.uri_of(*access.resolve(path, self._options)) for path in self._paths)

    def _holds(self, own: str, uri: str) -> bool:
        if uri == own or self._in_folder(own, uri):
            return True
        return bool(MAGIC.search(own)) and _matcher(own).match(uri) is not None

    def _in_folder(self, folder: str, uri: str) -> bool:
        prefix = folder.rstrip("/") + "/"
        if not uri.startswith(prefix):
            return False
        below = uri[len(prefix) :]
        if any(part[:1] in self._hidden for part in below.split("/")):
            return False
        return any(_matcher(pattern, self._any_case).match(below) for pattern in self._patterns)

    def _expand(self, path: str, uri: str) -> list[File]:
        fs, root = access.resolve(path, self._options)
        fs.invalidate_cache()
        try:
            info = fs.info(root)
        except (FileNotFoundError, NotADirectoryError):
            if not MAGIC.search(root):
                raise ConfigError(f"path = {path!r} does not exist; {_there(fs, root)}") from None
            found = fs.glob(root, detail=True)
        else:
            found = fs.find(root, detail=True) if info["type"] == "directory" else {root: info}
        names = [name for name in found if self._holds(uri, access.uri_of(fs, name))]
        files = [file for name in names if (file := access.look(fs, name, found[name])) is not None]
        if not files:
            wanted = "" if MAGIC.search(root) else f" like {_shown(self._patterns)}"
            raise ConfigError(f"path = {path!r} has no file{wanted}; {_there(fs, root)}")
        return files


@lru_cache(maxsize=1024)
def _matcher(pattern: str, any_case: bool = False) -> re.Pattern[str]:
    return re.compile(glob_translate(pattern), re.IGNORECASE if any_case else 0)


def _parent(path: str) -> str:
    """The folder above a file, or above the first part of a glob that is not fixed."""
    magic = MAGIC.search(path)
    return path[: magic.start() if magic else None].rpartition("/")[0]


def _shown(patterns: Sequence[str]) -> str:
    """Patterns for a message, those of many endings in short."""
    endings = [one.removeprefix("**/*.") for one in patterns]
    if len(patterns) > 2 and all(map(str.isalnum, endings)):
        return f"**/*.{{{','.join(endings)}}}"
    return " or ".join(patterns)


def _there(fs: access.FileSystem, root: str) -> str:
    """What the nearest folder that exists holds, for a message."""
    folder = _parent(root) if MAGIC.search(root) else root
    while folder.strip("/") and not fs.isdir(folder):
        folder = folder.rpartition("/")[0]
    if not folder.strip("/"):
        return "nothing is there"
    names = sorted(PurePosixPath(name).name for name in fs.ls(folder, detail=False))
    return f"{folder} holds {', '.join(names[:8]) or 'nothing'}{' and more' if names[8:] else ''}"
