"""Records from tar files in the layout of webdataset: members of one name are one record.

`a/b.jpg`, `a/b.json` and `a/b.txt`, which stand one after the other, are the record `a/b`.
"""

import json
import re
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import IO, Self, cast

from schemas.quarantine import Reason
from tasks.errors import ConfigError
from tasks.sources.access import MAX_RECORD_BYTES, decompressed, passing_over_broken
from tasks.sources.base import File, Problem, Record, Shard, Value, too_large
from tasks.sources.fields import Fields, Inline, there
from tasks.sources.files import FileSet

MAX_HEADER_BYTES = 2**20  # of long names; tarfile holds them whole
HEADERS = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
MAX_DETAIL = 200
SAMPLE_RECORDS = 100
NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)
META = re.compile(r"__[^/]*__(/|$)")
ENDS = 16  # times that the end of a file is read before it is one
CONTENT = ""


@dataclass(slots=True)
class Sample:
    """The members of one key by extension: the bytes of those that are wanted."""

    key: str
    members: dict[str, bytes | Problem] = field(default_factory=dict)
    problem: Problem | None = None


class WebdatasetSource:
    """A shard is a tar file, read in one pass; the key of its members is a record's id.

    Members without an extension, hidden ones and folders are no part of any record. A file
    without the marks that end a tar is truncated, and cannot be read.
    """

    max_content_bytes = MAX_RECORD_BYTES

    def __init__(
        self,
        *,
        path: str | list[str],
        image: str | list[str] | None = None,
        audio: str | list[str] | None = None,
        metadata: Sequence[str] = (),
        rename: dict[str, str] | None = None,
        storage_options: dict[str, object] | None = None,
    ) -> None:
        """`image` or `audio` are extensions: the first that a record has is its content.

        Metadata are the text of the member with that extension, else that key of the json member.
        """
        if (image is None) == (audio is None):
            raise ConfigError("image or audio, one of them, names the extension of the contents")
        self.modality = "audio" if image is None else "image"
        extensions = audio if image is None else image
        self._extensions = [extensions] if isinstance(extensions, str) else list(extensions or [])
        self._extensions = [one.removeprefix(".").lower() for one in self._extensions]
        endings = (".tar", ".tar.gz", ".tgz", ".tar.zst")
        patterns = [f"**/*{ending}" for ending in endings]
        self._files = FileSet(path, patterns=patterns, storage_options=storage_options)
        content = Inline(self.modality, CONTENT)
        self._fields = Fields(id="", content=content, metadata=metadata, rename=rename)

    def files(self) -> list[File]:
        """What is there now, ordered by uri."""
        return self._files.listed()

    def owns(self, source_uri: str) -> bool:
        """Whether this uri is one of a file that `path` names."""
        return self._files.owns(source_uri)

    def shards(self, files: Sequence[File]) -> list[Shard]:
        """One for each file; raises ConfigError where no record looked at has a content."""
        if not self._has_content(files):
            self._has_content(self.files(), refuse=True)
        return [Shard((file,), 0, file.size_bytes, file.size_bytes) for file in files]

    def schema(self, files: Sequence[File]) -> None:
        """None: JSON declares no types."""

    def read(self, shard: Shard) -> Iterator[Record]:
        """One record for each key, in the order of the file."""
        (file,) = shard.files
        with self._samples(file) as samples:
            for sample in samples:
                yield self._record(sample, file.uri)

    def _has_content(self, files: Sequence[File], *, refuse: bool = False) -> bool:
        """Whether some of the first records have a content, or there is none at all."""
        seen: dict[str, None] = {}
        for file in files:
            with passing_over_broken(), self._samples(file) as samples:
                for sample in islice(samples, SAMPLE_RECORDS):
                    if sample.problem or not set(self._extensions).isdisjoint(sample.members):
                        return True
                    seen |= dict.fromkeys(sample.members)
        if refuse and seen:
            raise ConfigError(
                f"no record that was looked at has a member {' or '.join(self._extensions)}; "
                f"{there(seen)}"
            )
        return not seen

    def _record(self, sample: Sample, uri: str) -> Record:
        members = sample.members
        content: Value = next((members[e] for e in self._extensions if e in members), None)
        if content is None:
            detail = f"no member {' or '.join(self._extensions)}; {there(members)}"
            content = Problem(Reason.NOT_FOUND, detail)
        keys = _object(members.get("json", b"{}"))
        metadata = (_metadata(name, members, keys) for name in self._fields.metadata)
        return self._fields.record([sample.key, sample.problem or content, *metadata], uri)

    @contextmanager
    def _samples(self, file: File) -> Iterator[Iterator[Sample]]:
        metadata = self._fields.metadata
        wanted = {*self._extensions, *metadata, *(["json"] if metadata else [])}
        with (
            self._files.reading(file) as stream,
            decompressed(stream, file.uri) as plain,
            tarfile.open(
                fileobj=cast("IO[bytes]", _Ending(plain)),
                mode="r|",
                tarinfo=_Header,
                encoding="utf-8",
            ) as archive,
        ):
            yield samples(archive, wanted, self.max_content_bytes)


def samples(archive: tarfile.TarFile, wanted: Collection[str], max_bytes: int) -> Iterator[Sample]:
    """The members of a tar file by their keys; those of one key stand together."""
    for key, members in groupby(_named(archive), key=lambda named: named[0]):
        sample = Sample(key)
        for _, extension, member in members:
            if extension is None:
                sample.problem = Problem(Reason.UNSAFE_NAME, f"the member {member.name!r}")
            elif extension in sample.members:
                sample.problem = Problem(Reason.ID_CONFLICT, f"two members {member.name!r}")
            elif extension in wanted:
                sample.members[extension] = _read(archive, member, max_bytes)
            else:
                sample.members[extension] = b""
        yield sample


def _named(archive: tarfile.TarFile) -> Iterator[tuple[str, str | None, tarfile.TarInfo]]:
    """Key and extension of the members that are part of a record; None where it is unsafe."""
    for member in archive:
        archive.members = []  # type: ignore[attr-defined]  # it would keep them all
        name = member.name.removeprefix("./")
        named = NAME.fullmatch(name)
        if name.startswith("/") or ".." in name.split("/"):
            yield named[1] if named else name, None, member
        elif named is not None and not META.match(name) and not member.isdir():
            yield named[1], named[2].lower(), member


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, max_bytes: int) -> bytes | Problem:
    if member.size > max_bytes:
        return too_large(member.size, max_bytes)
    stream = archive.extractfile(member) if member.isreg() else None
    if stream is None:
        return Problem(Reason.UNSAFE_NAME, f"the member {member.name!r} is a link or a device")
    return stream.read()


def _metadata(name: str, members: Mapping[str, bytes | Problem], keys: Value) -> Value:
    found = members.get(name)
    if found is None:
        return keys.get(name) if isinstance(keys, dict) else keys
    if isinstance(found, Problem):
        return found
    try:
        return found.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        return Problem(Reason.INVALID_UTF8, f"the member {name}: byte {error.start} is not UTF-8")


def _object(member: bytes | Problem) -> Value:
    """The object of a json member, or why there is none."""
    if isinstance(member, Problem):
        return member
    try:
        value = json.loads(member.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        return Problem(Reason.INVALID_JSON, str(error)[:MAX_DETAIL])
    if not isinstance(value, dict):
        return Problem(Reason.INVALID_JSON, f"a {type(value).__name__}, not an object")
    return value


class _Ending:
    """A stream that ends: tarfile reads on for as many blocks as a damaged header promises."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._ends = stream, 0

    def read(self, size: int) -> bytes:
        """Raises ReadError where the end was read many times."""
        data = self._stream.read(size)
        self._ends += not data
        if self._ends > ENDS:
            raise tarfile.ReadError("truncated: a member is longer than what is left of the file")
        return data


class _Header(tarfile.TarInfo):
    """A header of a member; one that is damaged is an error, where tarfile takes it as the end."""

    def _proc_member(self, archive: tarfile.TarFile) -> Self:
        try:
            return super()._proc_member(archive)  # type: ignore[misc,no-any-return]
        except ValueError as error:
            raise tarfile.ReadError(f"damaged attributes: {error}") from error

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Raises ReadError for all but a sound header, and EOFHeaderError for the mark of the end.

        Headers that hold names and attributes are read whole, so large ones are refused.
        """
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"truncated or damaged: {error}") from error
        if header.size < 0 or (header.type in HEADERS and header.size > MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header
