"""What runs in a worker: source -> chunker -> encoder -> fragment -> receipt.

No Prefect and no Ray here: a pool drives it. A pool gives it two jobs at once in two threads; each
stage has a lock, so one job is read and tokenised while the other is encoded or written.
"""

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TypeAlias

import numpy as np
from pydantic import JsonValue

from schemas.manifest import FitBook
from schemas.receipt import Receipt
from tasks import plugins
from tasks.chunking.base import Chunker
from tasks.compute.base import Progress
from tasks.content import Content, Media, Unusable
from tasks.copying import known_vectors
from tasks.digests import digest_text, to_array
from tasks.encoders import canaries
from tasks.encoders.base import Encoder, Precision, Prepared, Vectors
from tasks.encoders.batching import Batcher
from tasks.encoders.devices import keep_large_blocks
from tasks.encoders.fitted import Cost, FittedEncoder
from tasks.encoders.running import to_unit
from tasks.errors import (
    EncoderError,
    Interrupted,
    SourceChanged,
    VectorlineError,
    WorkerLost,
)
from tasks.fitting import FittedVectors, fit, fitted_vectors
from tasks.jobs import (
    CanaryJob,
    CostJob,
    FitJob,
    NameJob,
    Offsets,
    RateJob,
    ScanJob,
    Target,
    WriteJob,
)
from tasks.rows import Row, checksum, split_bad, to_arrow
from tasks.scan import Examined, at_offsets, examine, scan
from tasks.sources.base import Fittable, Record, Shard, Source
from tasks.store import canaries as stored_canaries
from tasks.store import fragments, receipts
from tasks.store.table import Table
from tasks.trained import build_encoder

Span: TypeAlias = tuple[int, int]

PREPARE_CONTENTS = 512  # tokenised in one call: enough for the tokenizer, little for the memory
PROGRESS_S = 1.0  # a record may come from a slow server
WARM_UP = 16  # the first batches of a process are slow


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """All that a worker is built from; pickled once for each process."""

    sources: tuple[Source, ...]
    encoder: tuple[str, Mapping[str, JsonValue]]
    chunker: tuple[str, dict[str, object]] | None
    salt: bytes
    store_uri: str
    max_content_bytes: int
    device: str | None = None
    early: str | None = None
    """The precision to load the encoder in at once, where it is known that it will be needed."""


@dataclass(frozen=True, slots=True)
class Canaries:
    """What the encoder gives for the canaries in float32, and the precision it will work in."""

    vectors: Vectors
    precision: Precision
    encoder_loads: int


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast this worker is: tokens in each byte of a record's content, tokens a second."""

    tokens_per_byte: float
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the encoder saw of some rows."""

    contents: int = 0
    tokens: int = 0
    truncated: int = 0
    unusable: Mapping[bytes, Unusable] = field(default_factory=dict)


class Worker:
    """Reads, encodes and writes; loads its encoder when the first job needs it."""

    def __init__(self, spec: WorkerSpec, threads: int) -> None:
        """Builds nothing that is heavy; loading early is done in the background."""
        self._spec = spec
        self._threads = threads
        self._encoder: Encoder = build_encoder(*spec.encoder, spec.store_uri)
        self._loaded: Precision | None = None
        self._batcher: Batcher | None = None
        self._fitted: tuple[str, FittedVectors] | None = None
        self._reading, self._encoding, self._writing = (threading.Lock() for _ in range(3))
        self._open: tuple[int, Shard, Iterator[Record], int] | None = None
        self._stopping = threading.Event()
        self._done = Progress()
        self._fitting = Progress()
        self._loads = 0
        if spec.early is not None:
            threading.Thread(target=self._load_early, args=(spec.early,), daemon=True).start()

    def _load_early(self, wanted: str) -> None:
        with self._encoding, contextlib.suppress(VectorlineError):  # the first job will meet it too
            self._load(self._encoder.precision(wanted, self._spec.device))

    def do(self, job: object) -> object:
        """Does one job of `tasks.jobs` and gives what its docstring says.

        Raises VectorlineError alone: this is the border where what plugins raise becomes ours.
        """
        try:
            return self._do(job)
        except VectorlineError:
            raise
        except MemoryError as error:
            raise WorkerLost("one content alone does not fit into memory") from error
        except Exception as error:
            step = type(job).__name__.removesuffix("Job").lower()
            what = f"{step} failed with {type(error).__name__}: {error}"
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise VectorlineError(f"{what} ({place.filename} line {place.lineno})") from error

    def _do(self, job: object) -> object:
        if isinstance(job, ScanJob):
            records = self._counted(iter(self._spec.sources[job.source].read(job.shard)))
            return scan(records, self._spec.salt, self._spec.max_content_bytes)
        if isinstance(job, NameJob):
            with self._reading:
                records = self._records(job.source, job.shard, job.offsets)
                return [(record.id or "", record.source_uri) for record in records]
        if isinstance(job, CanaryJob):
            return self._make_canaries(job.wanted)
        if isinstance(job, RateJob):
            return self._measure(job)
        if isinstance(job, FitJob | CostJob):
            return self._fit(job)
        if isinstance(job, WriteJob):
            return self._write_rows(job)
        raise TypeError(f"a worker cannot do {type(job).__name__}")

    def progress(self) -> Progress:
        """What was done so far."""
        return self._done

    def stop(self) -> None:
        """Ends the work under way after the batch in hand."""
        self._stopping.set()

    def _counted(self, records: Iterator[Record]) -> Iterator[Record]:
        told = 0.0
        for number, record in enumerate(records):
            now = time.monotonic()
            if number % PREPARE_CONTENTS == 0 or now - told > PROGRESS_S:
                told = now
                self._check_stop()
                self._done += Progress(steps=1)
            yield record

    def _check_stop(self) -> None:
        if self._stopping.is_set():
            raise Interrupted("stopped after the batch in hand; finished shards are kept")

    # -- reading ------------------------------------------------------------------------------

    def _records(self, source: int, shard: Shard, offsets: Offsets) -> Iterator[Record]:
        """The records at these offsets.

        The open shard is read on from where it stands, if it can be.
        """
        opened, self._open = self._open, None
        if opened and opened[:2] == (source, shard) and opened[3] <= offsets[0]:
            records, position = opened[2:]
        else:
            records, position = self._counted(iter(self._spec.sources[source].read(shard))), 0
        found = 0
        for record in at_offsets(records, offsets, position):
            found += 1
            yield record
        if found < len(offsets):
            raise SourceChanged(f"{shard.files[0].uri} has fewer records than when it was planned")
        self._open = (source, shard, records, int(offsets[-1]) + 1)

    def _read(self, job: WriteJob) -> list[Row]:
        records, examined = [], []
        for record in self._records(job.source, job.shard, job.offsets):
            records.append(record)
            examined.append(examine(record, self._spec.salt, self._spec.max_content_bytes))
        self._check_planned(job, records, examined)
        rows = []
        for record, found in zip(records, examined, strict=True):
            for chunk, (span, key) in enumerate(self._parts(record.content, found.content)):
                rows.append(Row(record, found.content, found.metadata, chunk, span, key))
            self._done += Progress(steps=1)
        return rows

    def _check_planned(
        self, job: WriteJob, records: Sequence[Record], examined: Sequence[Examined]
    ) -> None:
        seen = to_array(digest_text(record.id or "") for record in records)
        seen = seen ^ to_array(one.content for one in examined)
        seen = seen ^ to_array(one.metadata for one in examined)
        for number in np.flatnonzero((seen != job.expected).any(axis=1)).tolist():
            raise SourceChanged(
                f"{records[number].source_uri}: record {records[number].id!r} is not the one that "
                "was planned; the file changed while it was read"
            )

    @cached_property
    def _chunker(self) -> Chunker:
        use, arguments = self._spec.chunker or ("", {})
        tokenizer = self._encoder.tokenizer()
        chunker: Chunker = plugins.build("chunking", use, {**arguments, "count": tokenizer.count})
        return chunker

    def _parts(self, content: Content, whole: bytes) -> Iterator[tuple[Span | None, bytes]]:
        """The span of each chunk and the digest of what is encoded of it; texts alone are cut."""
        if self._spec.chunker is None or isinstance(content, Media):
            yield None, whole
            return
        for span in self._chunker.chunks(content) or [(0, len(content))]:
            yield span, digest_text(content[slice(*span)])

    # -- encoding -----------------------------------------------------------------------------

    def _make_canaries(self, wanted: str) -> Canaries:
        """In float32, whatever the precision of the work: the work is checked against them."""
        with self._encoding:
            precision = self._encoder.precision(wanted, self._spec.device)
            self._load(Precision.FLOAT32)
            vectors = canaries.canary_vectors(self._encoder)
            try:
                self._load(precision)
                canaries.check(self._encoder, vectors)
            except EncoderError:
                if wanted != "auto" or precision == Precision.FLOAT32:
                    raise
                precision = Precision.FLOAT32
                self._load(precision)
            self._batcher = Batcher(self._encoder)
            return Canaries(vectors, precision, self._take_loads())

    def _load(self, precision: Precision) -> None:
        """Loads the encoder unless it is there in this precision."""
        if self._loaded != precision:
            self._batcher = None
            self._encoder.load(precision, self._spec.device, self._threads)
            if "torch" in sys.modules:
                keep_large_blocks()
            self._loaded = precision
            self._loads += 1
            self._done += Progress(steps=1)

    def _take_loads(self) -> int:
        """The loads that nobody was told of yet."""
        loads, self._loads = self._loads, 0
        return loads

    def _ready(self, target: Target) -> Batcher:
        """The encoder of a table, checked on the table's canaries."""
        precision, batcher = Precision(target.precision), self._batcher
        if batcher is not None and self._loaded == precision:
            return batcher  # without waiting for another job's batches
        with self._encoding:
            if self._batcher is None or self._loaded != precision:
                self._load(precision)
                canaries.check(self._encoder, stored_canaries.read(target.store_uri, target.table))
                self._batcher = Batcher(self._encoder)
            return self._batcher

    def _measure(self, job: RateJob) -> Rate:
        with self._reading, self._encoding:
            records, size_bytes, contents = self._records(job.source, job.shard, job.offsets), 0, []
            for record in records:
                found = examine(record, self._spec.salt, self._spec.max_content_bytes)
                size_bytes += found.size_bytes
                parts = self._parts(record.content, found.content) if found.size_bytes else ()
                contents += [Row(record, b"", b"", 0, span, key).encoded for span, key in parts]
            self._load(self._encoder.precision(job.wanted, self._spec.device))
            batcher = Batcher(self._encoder)
            batcher.encode(_good(self._encoder.prepare(contents[:WARM_UP])))
            started = time.monotonic()
            prepared = _good(self._encoder.prepare(contents))
            batcher.encode(prepared)
            seconds = time.monotonic() - started
        tokens = sum(item.cost for item in prepared)
        return Rate(tokens / max(1, size_bytes), tokens / max(1e-6, seconds))

    def _prepare(self, rows: Sequence[Row]) -> tuple[list[Prepared], Offsets]:
        """The distinct contents of the rows, made ready, and for each row the number of its own.

        The encoder must be loaded.
        """
        places: dict[bytes, int] = {}
        firsts: list[Row] = []
        of_row = np.empty(len(rows), np.int64)
        for number, row in enumerate(rows):
            of_row[number] = places.setdefault(row.hash, len(firsts))
            if len(places) > len(firsts):
                firsts.append(row)
        prepared: list[Prepared] = []
        for start in range(0, len(firsts), PREPARE_CONTENTS):
            self._check_stop()
            contents = [row.encoded for row in firsts[start : start + PREPARE_CONTENTS]]
            prepared += self._encoder.prepare(contents)
            self._done += Progress(steps=1)
        return prepared, of_row

    def _on_batch(self, contents: int, tokens: int) -> None:
        self._done += Progress(steps=1, contents=contents, tokens=tokens)
        self._check_stop()

    def _fit(self, job: FitJob | CostJob) -> FitBook | Cost:
        (source,) = self._spec.sources
        if not isinstance(self._encoder, FittedEncoder) or not isinstance(source, Fittable):
            raise TypeError(f"{self._encoder!r} is not fitted, or not to {source!r}")
        with self._encoding:  # the other workers wait: all cores are free
            threads = len(os.sched_getaffinity(0))
            corpus = partial(source.corpus, job.files)
            if isinstance(job, CostJob):
                return self._encoder.cost(corpus().data, threads=threads)
            return fit(self._encoder, corpus, job, threads, self._on_fit)

    def _on_fit(self, words: int, total: int, loss: float) -> None:
        last, self._fitting = self._fitting, Progress(tokens=words, expected=total, loss=loss)
        self._done += Progress(
            steps=1,
            tokens=words - last.tokens,
            expected=total - last.expected,
            loss=loss - last.loss,
        )
        self._check_stop()

    def _vectors(self, rows: Sequence[Row], job: WriteJob) -> tuple[Vectors, _Seen]:
        """Vectors, row i for row i, copied where a donor has the text; and what was encoded."""
        if job.target.fit is not None:
            if self._fitted is None or self._fitted[0] != job.target.fit:
                self._fitted = (
                    job.target.fit,
                    fitted_vectors(job.target.store_uri, job.target.table, job.target.fit),
                )
            found = self._fitted[1]([row.record_id for row in rows])
            return to_unit(found) if self._encoder.normalized else found, _Seen(len(rows))
        vectors, known = known_vectors(rows, job.donors, job.target, self._encoder)
        fresh = [row for row, has_one in zip(rows, known, strict=True) if not has_one]
        if not fresh:
            return vectors, _Seen()
        batcher = self._ready(job.target)
        with self._reading:
            prepared, of_row = self._prepare(fresh)
        usable = _good(prepared)
        good = [one.problem is None for one in prepared]
        made = np.full((len(prepared), self._encoder.dim), np.nan, np.float32)
        with self._encoding:
            made[good] = batcher.encode(usable, self._on_batch)
        vectors[~known] = made[of_row]
        unusable = {
            row.hash: problem
            for row, number in zip(fresh, of_row.tolist(), strict=True)
            if (problem := prepared[number].problem) is not None
        }
        tokens = sum(one.cost for one in usable)
        truncated = sum(one.truncated for one in usable)
        return vectors, _Seen(len(usable), tokens, truncated, unusable)

    # -- writing ------------------------------------------------------------------------------

    def _write_rows(self, job: WriteJob) -> Receipt:
        started = time.monotonic()
        with self._reading:
            rows = self._read(job)
        read = time.monotonic()
        vectors, seen = self._vectors(rows, job)
        rows, vectors, quarantined = split_bad(
            rows, vectors, normalized=self._encoder.normalized, unusable=seen.unusable
        )
        given = time.monotonic()
        with self._writing:
            target = job.target
            uri = Table(target.store_uri, target.table).uri
            table = to_arrow(rows, vectors, target.schema, target.run_id)
            receipt = Receipt(
                table=target.table,
                run_id=target.run_id,
                session=target.session,
                job=job.number,
                attempt=job.attempt,
                fragments=tuple(fragments.write(uri, table)),
                rows=len(rows),
                records=len(job.offsets),
                encoded=seen.contents,
                encoder_loads=self._take_loads(),
                tokens=seen.tokens,
                truncated=seen.truncated,
                checksum=checksum(rows, vectors),
                quarantined=tuple(quarantined),
                seconds={"read": read - started, "encode": given - read},
            )
            receipts.publish(target.store_uri, receipt)
        self._done += Progress(steps=1, records=len(job.offsets))
        return receipt


def _good(prepared: Sequence[Prepared]) -> list[Prepared]:
    return [item for item in prepared if item.problem is None]
