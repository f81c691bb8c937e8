"""Contents that are no text: files read whole, and the columns that hold or name them."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace

from schemas.quarantine import Reason
from tasks.content import TEXT, Content, Media
from tasks.errors import ConfigError, SourceError, Transient
from tasks.sources import access
from tasks.sources.base import File, Problem, Record, too_large
from tasks.sources.fields import Inline, Template
from tasks.sources.files import FileSet


def read_file(
    files: FileSet, file: File, modality: str, max_bytes: int
) -> tuple[Media, Problem | None]:
    """The bytes of a file, or why there are none; no more than `max_bytes` are read.

    Raises what is Transient: SourceChanged where it is not as it was listed, SourceUnavailable.
    """
    if file.size_bytes > max_bytes:
        return Media(modality, b""), too_large(file.size_bytes, max_bytes)
    try:
        with files.reading(file) as stream:
            data = stream.read(max_bytes + 1)
    except SourceError as error:
        return Media(modality, b""), unreadable(error)
    if len(data) > max_bytes:  # what is no plain file on disk may say that it has no bytes
        return Media(modality, b""), too_large(len(data), max_bytes)
    return Media(modality, data), None


def unreadable(error: SourceError) -> Problem:
    """The problem of a record whose file cannot be read; raises the error if it may pass."""
    if isinstance(error, Transient):
        raise error
    return Problem(Reason.UNREADABLE, str(error))


class Referenced:
    """Files that records name, all of them below one root."""

    def __init__(
        self, modality: str, root: str | None, options: Mapping[str, object] | None
    ) -> None:
        """Raises ConfigError without a root, and for one whose addresses must be looked at."""
        self._modality = modality
        if not root:
            raise ConfigError(
                f"{modality}_path needs root, the folder or URI that all paths are below"
            )
        if root.startswith(("http:", "https:")):
            raise ConfigError(f"root = {root!r}: {{use: urls}} reads from web servers")
        self._root, self._options = root, options
        self._files = FileSet(root, patterns=["**"], hidden="", storage_options=options)

    def read(self, record: Record, max_bytes: int) -> Record:
        """The record with the content that its text names."""
        content, problem = self._content(str(record.content), max_bytes)
        return replace(record, content=content, problem=problem)

    def _content(self, path: str, max_bytes: int) -> tuple[Content, Problem | None]:
        nothing = Media(self._modality, b"")
        if not path:
            return nothing, Problem(Reason.EMPTY, f"no {self._modality}_path")
        fs, base = access.resolve(self._root, self._options or {})
        below = _below(path, access.uri_of(fs, base).rstrip("/"))
        if below is None:
            detail = f"{path!r} is not below root = {self._root!r}"
            return nothing, Problem(Reason.UNSAFE_NAME, detail)
        name = f"{base.rstrip('/')}/{below}"
        try:
            with access.errors_of(name):
                file = access.look(fs, name)
        except SourceError as error:
            return nothing, unreadable(error)
        if file is None:
            return nothing, Problem(Reason.NOT_FOUND, f"there is no file {path!r}")
        return read_file(self._files, file, self._modality, max_bytes)


def _below(path: str, root: str) -> str | None:
    """The path from the root on, None where it leads elsewhere."""
    path = path.removeprefix("file://")
    if "://" in path or path.startswith("/"):
        if not path.startswith(f"{root}/"):
            return None
        path = path.removeprefix(f"{root}/")
    plain = posixpath.normpath(path)
    unsafe = "\0" in path or plain.startswith(("/", "../")) or plain in ("..", ".")
    return None if unsafe else plain


@dataclass(frozen=True)
class Contents:
    """What the columns of a table give: texts, or media that they hold or name."""

    modality: str
    columns: Template | Inline
    files: Referenced | None = None

    def read(self, record: Record, max_bytes: int) -> Record:
        """The record with its content, which may stand in a file of its own."""
        if self.files is None or record.problem or record.tombstone:
            return record
        return self.files.read(record, max_bytes)


def contents(
    *,
    columns: Mapping[str, str | None],
    paths: Mapping[str, str | None],
    root: str | None,
    root_options: Mapping[str, object] | None,
) -> Contents:
    """What was chosen of columns of contents and of columns of paths, by modality.

    Raises ConfigError unless it is exactly one.
    """
    given = [(kind, kind, name) for kind, name in columns.items() if name is not None]
    given += [(kind, f"{kind}_path", name) for kind, name in paths.items() if name is not None]
    if len(given) != 1:
        found = " and ".join(key for _, key, _ in given) or "none of them"
        keys = [*columns, *(f"{kind}_path" for kind in paths)]
        raise ConfigError(f"one of {', '.join(keys)} says what a record is; there is {found}")
    ((modality, key, column),) = given
    if root is not None and key == modality:
        raise ConfigError(f"root = {root!r} goes with a column of paths; {key} is none")
    if modality == TEXT:
        return Contents(modality, Template(column))
    if key == modality:
        return Contents(modality, Inline(modality, column))
    return Contents(modality, Template(column, key), Referenced(modality, root, root_options))
