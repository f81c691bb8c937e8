"""What a source gives: files to list, shards to plan, records to read.

A source is told apart by what it reads, never by what is done with it. Its constructor takes plain
keyword arguments, exactly the keys that a user may write under `source:`; it opens nothing.
Instances are pickled to workers, so what they open they open in `read`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol, TypeAlias, runtime_checkable

import pyarrow as pa

from schemas.quarantine import Reason
from tasks.content import Content

Value: TypeAlias = object
"""A metadata value: None, bool, int, float, str, a date or time, or a list of one of them."""


@dataclass(frozen=True, slots=True)
class File:
    """One thing that is listed, and what changes when it changes.

    `stamp` covers size, modification time in nanoseconds and inode of a local file, the ETag of a
    remote one, the version of a table. An empty stamp never equals another: the file counts as
    changed (used for files younger than two seconds, whose times cannot be trusted). `state` is
    what was seen when listing, also of a young file: whoever reads the file compares it.
    """

    uri: str
    size_bytes: int
    stamp: str
    state: str = ""


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the source that is read in one go.

    Usually one file; folders of small files put many into one shard. `start` and `end` are the
    source's own: bytes, a row group's number, fragments. `size_bytes` estimates what reading costs.
    """

    files: tuple[File, ...]
    start: int = 0
    end: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a record cannot be used.

    `uri` is the file where that is seen, if it is not the record's `source_uri`.
    """

    reason: Reason
    detail: str
    uri: str | None = None


def too_large(size_bytes: int, max_bytes: int) -> Problem:
    """The problem of a content that takes so much, or more, where `max_bytes` are allowed."""
    return Problem(Reason.TOO_LARGE, f"{size_bytes} bytes, limits.max_content_bytes is {max_bytes}")


@dataclass(slots=True)
class Record:
    """One thing of the corpus as its source gives it.

    `id` is None where the source has none (the planner names such a record `<uri>#row=N`, and it
    can only go to quarantine). `content` is the rendered text, or the bytes of a file.
    `tombstone` marks a record that an append-mode source removes. An `isolated` one is a node
    without a neighbour: it is there, and has no row.
    """

    id: str | None
    content: Content
    source_uri: str
    metadata: Mapping[str, Value] = field(default_factory=dict)
    problem: Problem | None = None
    tombstone: bool = False
    isolated: bool = False


def by_row(records: Iterable[Record]) -> Iterator[tuple[str, Record]]:
    """Each record after what it is called without an id: `<file>#row=N`, from 0."""
    for uri, own in groupby(records, key=lambda record: record.source_uri):
        for number, record in enumerate(own):
            yield f"{uri}#row={number}", record


@dataclass(frozen=True, slots=True)
class Described(File):
    """A file of which a table says what its records are.

    Their contents are yet to be read, but for those that have a problem or are tombstones.
    """

    records: tuple[Record, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Corpus:
    """All of a source at once: `ids` are those of its records, in their order.

    `data` is what encoders of its modality are fitted to: of nodes a `tasks.graphs.csr.Graph` whose
    node i is record i.
    """

    ids: pa.Array
    data: object


class Source(Protocol):
    """Where records come from.

    Errors: `ConfigError` for what the user wrote (no such file, a glob that matches nothing, a
    column that is missing), `SourceError` for a container that cannot be read, before any work is
    done. A bad row is no error: it is a `Record` with a `problem`.
    """

    modality: str
    """The kind of its contents: `text`, `image`, `audio`."""

    max_content_bytes: int
    """What a content may take, by the config's limits; set before anything is read.

    What is longer need not be read: the record has the problem TOO_LARGE.
    """

    def files(self) -> list[File]:
        """What is there now, ordered by uri; cheap: nothing is opened but what listing needs."""

    def shards(self, files: Sequence[File]) -> list[Shard]:
        """These files cut into shards, ordered by uri and position, each file's shards complete.

        May read footers and headers; raises ConfigError for a missing column.
        """

    def read(self, shard: Shard) -> Iterator[Record]:
        """One record for each row of the shard, also for a bad one, in the order of the file.

        Reading the same shard twice gives the same records in the same order; memory is bounded by
        a batch of rows, not by the shard. Raises SourceChanged if a file is not the planned one.
        """

    def schema(self, files: Sequence[File]) -> pa.Schema | None:
        """Arrow types of the metadata columns where the files declare them.

        None where they do not: then types are seen while reading.
        """

    def owns(self, source_uri: str) -> bool:
        """Whether a record with this uri came from this source, also if its file is gone by now."""


@runtime_checkable
class Fittable(Protocol):
    """What a source has besides, if encoders can be fitted to it."""

    def corpus(self, files: Sequence[File]) -> Corpus:
        """All of these files; raises SourceChanged if they are not as they were listed."""

    def forget(self) -> None:
        """Lets go of what was kept of the files, though they look as they did."""
