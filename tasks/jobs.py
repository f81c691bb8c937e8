"""What workers are asked to do: plain data that pickles."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import JsonValue

from tasks.digests import Digests
from tasks.encoders.base import Conversion
from tasks.sources.base import File, Shard

Offsets: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ScanJob:
    """Read a shard once and tell its records' digests and problems; gives a ShardScan."""

    number: int
    source: int
    shard: Shard
    attempt: int = 0

    def again(self) -> "ScanJob":
        """The same job once more."""
        return replace(self, attempt=self.attempt + 1)


@dataclass(frozen=True, slots=True)
class NameJob:
    """Read the records at these offsets; gives a list of (id, source uri)."""

    number: int
    source: int
    shard: Shard
    offsets: Offsets
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class CanaryJob:
    """Load the encoder and encode the canaries in float32; gives a Canaries."""

    wanted: str
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class RateJob:
    """Encode the records at these offsets and throw the vectors away; gives a Rate."""

    source: int
    shard: Shard
    offsets: Offsets
    wanted: str
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run writes: the same for all of its jobs.

    With `fit`, the digest of a model, vectors are not computed but taken from there.
    """

    store_uri: str
    table: str
    run_id: str
    session: str
    precision: str
    schema: pa.Schema
    fit: str | None = None


@dataclass(frozen=True, slots=True)
class FitJob:
    """Fit the encoder to all of these files of the one source; gives a FitBook.

    `changed[i]` says that item i is new, or has another content than in the last version, whose
    model is `previous`. `key` is the same for the same corpus, encoder and `previous`. `encoder`,
    `sources` and `corpus_digest` are what the model says of itself.
    """

    target: Target
    files: tuple[File, ...]
    changed: npt.NDArray[np.bool_]
    previous: str | None
    key: str
    encoder: Mapping[str, JsonValue]
    sources: tuple[Mapping[str, JsonValue], ...]
    corpus_digest: str
    attempt: int = 0

    def again(self) -> "FitJob":
        """The same job once more: it goes on where the last one was killed."""
        return replace(self, attempt=self.attempt + 1)


@dataclass(frozen=True, slots=True)
class CostJob:
    """Measure what fitting the encoder to these files would take; gives a Cost."""

    files: tuple[File, ...]
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class VectorFile:
    """A data file with vectors; with `conversion` they are another encoder's."""

    path: str
    conversion: Conversion | None = None


@dataclass(frozen=True, slots=True)
class Donors:
    """Where vectors of known texts are: rows of the base, and data files of any table."""

    lance_version: int | None = None
    addresses: npt.NDArray[np.uint64] | None = None
    files: tuple[VectorFile, ...] = ()


@dataclass(frozen=True, slots=True)
class WriteJob:
    """Turn the records at these offsets of one shard into rows; gives the published Receipt.

    `expected` joins the digests of id, content and metadata that the plan saw, by exclusive or: a
    record with others is a sign that the file changed. Texts that `donors` have are copied, and the
    encoder is loaded for others only.
    """

    number: int
    source: int
    shard: Shard
    offsets: Offsets
    expected: Digests
    target: Target
    donors: Donors = Donors()
    attempt: int = 0

    def again(self) -> "WriteJob":
        """The same job once more."""
        return replace(self, attempt=self.attempt + 1)
