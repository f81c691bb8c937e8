"""What the verbs of one run share: config, sources, encoder, table, lease and pool."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial

from pydantic import JsonValue

from schemas.config import Config, Mode, SinkConfig
from tasks import config as configs
from tasks import plugins, trained
from tasks.compute.base import Demand, Pool, Progress
from tasks.content import cost_unit
from tasks.digests import digest_json
from tasks.drift_names import check_baseline
from tasks.encoders.base import Encoder
from tasks.encoders.fitted import FittedEncoder
from tasks.encoders.word_encoder import WordEncoder
from tasks.errors import ConfigError, Interrupted, StoreError, noting
from tasks.progress import Report, listener
from tasks.secrets import resolve_secrets
from tasks.sources.base import Fittable, Source
from tasks.sources.words import WordSource
from tasks.store import heal
from tasks.store.catalog import Catalog
from tasks.store.holder import Held
from tasks.store.layout import table_name
from tasks.store.lease import lease
from tasks.store.table import Table
from tasks.worker import Worker, WorkerSpec

TRY_SUFFIX = ".try"
Stop = threading.Event
"""Set when the user asked to stop."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about one run.

    `backfill` lets a new encoder into the space; `rehash` reads files that look unchanged too;
    `replay` tries again what an encoder could not encode.
    """

    backfill: bool = False
    promote: str = "auto"
    wait_s: float = 0.0
    limit: int | None = None
    allow_removals: bool = False
    precision: str | None = None
    rehash: bool = False
    replay: bool = False


@dataclass
class Run:
    """One execution of a config against one table; `open_run` gives it its lease."""

    config: Config
    store_uri: str
    options: Options
    stop: threading.Event = field(default_factory=threading.Event)
    held: Held = field(init=False, repr=False, compare=False)
    notes: list[str] = field(default_factory=list)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.monotonic)
    seconds_to_plan: float = 0.0
    early: str | None = None
    stage: Report = field(default_factory=lambda: Report("start"))

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """In the order of the config; where words are encoded, one of the words of all texts."""
        made = configs.build_sources(self.config)
        if not isinstance(self.encoder, WordEncoder):
            return tuple(made)
        said = [one.model_dump(mode="json") for one in self.config.source]
        return (WordSource(made, said, self.encoder.vocabulary),)

    @property
    def sinks(self) -> tuple[SinkConfig, ...]:
        """What is to hold the version that serves: none where only some records are taken."""
        serving = None if self.options.limit else self.catalog.serving(self.space)
        return self.config.publish if serving is not None else ()

    @cached_property
    def encoder_arguments(self) -> dict[str, JsonValue]:
        """As they were written, but that of a model which was fitted here the very fit is named."""
        return trained.pin(self.config.encoder.arguments, self.store_uri)

    @cached_property
    def encoder(self) -> Encoder:
        """For fingerprint, dimension and tokenizer: its weights are loaded in workers only."""
        return trained.build_encoder(
            self.config.encoder.use, self.encoder_arguments, self.store_uri
        )

    @property
    def fitted(self) -> bool:
        """Whether the encoder is fitted to all records of the sources together."""
        return isinstance(self.encoder, FittedEncoder)

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits over all that decides what a vector means."""
        return digest_json(self.encoder.fingerprint()).hex()

    @property
    def space(self) -> str:
        """The space that is written: `<space>.try` where only some records are taken."""
        return self.config.space + (TRY_SUFFIX if self.options.limit else "")

    @cached_property
    def table(self) -> Table:
        """The table of this space and fingerprint."""
        return Table(self.store_uri, table_name(self.space, self.fingerprint))

    @cached_property
    def catalog(self) -> Catalog:
        """The store's catalog."""
        return Catalog(self.store_uri)

    @cached_property
    def salt(self) -> bytes:
        """What the chunker adds to each content's digest; nothing where records are not chunked."""
        chunk = self.config.chunk
        if chunk is None:
            return b""
        return digest_json([chunk.model_dump(mode="json"), self.encoder.tokenizer().name])

    @cached_property
    def sources_digest(self) -> str:
        """Changes when the same files would give other records."""
        sources = [source.model_dump(mode="json") for source in self.config.source]
        return digest_json([sources, self.salt.hex(), self.config.limits.max_content_bytes]).hex()

    @cached_property
    def pool(self) -> Pool:
        """The workers; they start in the background at the first look."""
        compute = self.config.compute
        demand = Demand(
            workers=None if compute.workers == "auto" else compute.workers,
            gpus=compute.device in ("auto", "cuda"),
            stall_s=compute.stall_s,
            address=compute.address,
        )
        spec = WorkerSpec(
            sources=self.sources,
            encoder=(self.config.encoder.use, resolve_secrets(self.encoder_arguments)),
            store_uri=self.store_uri,
            chunker=configs.chunker_plugin(self.config),
            salt=self.salt,
            max_content_bytes=self.config.limits.max_content_bytes,
            device=None if compute.device == "auto" else compute.device,
            early=self.early,
        )
        pool: Pool = plugins.load("compute", compute.use)(
            partial(Worker, spec), demand, stop=self.stop, on_progress=self._on_progress
        )
        return pool

    @property
    def precision(self) -> str:
        """The precision that is asked for: an option's before the config's."""
        return str(self.options.precision or self.config.precision)

    @property
    def has_versions(self) -> bool:
        """Whether any version stands in this run's table."""
        name = self.table.name
        return any(entry.table == name for entry in self.catalog.versions(self.space))

    def check_config(self) -> None:
        """Raises ConfigError for what the encoder cannot read whole, or a space of another one."""
        for source in self.sources:
            if source.modality not in self.encoder.modalities:
                raise ConfigError(
                    f"the source gives {source.modality}, and encoder "
                    f"{self.config.encoder.use!r} reads {' and '.join(self.encoder.modalities)}"
                )
        check_baseline(self.config.drift, self.catalog, self.space)
        if self.fitted:
            self._check_fittable()
        chunk = self.config.chunk
        limit = None if chunk is None else self.encoder.tokenizer().limit
        if chunk is not None and limit is not None and chunk.tokens > limit:
            raise ConfigError(
                f"chunk.tokens = {chunk.tokens}: the encoder reads {limit} tokens of a text "
                "at most, the rest of each chunk would be lost"
            )
        if self.options.backfill or self.options.limit:
            return
        if self.new_encoder is not None:
            raise ConfigError(self.new_encoder)

    def _check_fittable(self) -> None:
        trained.check_space_name(self.space, self.store_uri)
        if any(one.mode == Mode.APPEND for one in self.config.source):
            raise ConfigError(
                f"source.mode = 'append': encoder {self.config.encoder.use!r} is fitted to what is "
                "there, and what is gone has no vector; leave `mode` out"
            )
        if len(self.sources) != 1 or not isinstance(self.sources[0], Fittable):
            raise ConfigError(
                f"encoder {self.config.encoder.use!r} is fitted to one source, which must be able "
                "to give all of its records at once"
            )
        if self.options.limit is not None:
            raise ConfigError(
                f"--limit {self.options.limit}: encoder {self.config.encoder.use!r} is fitted to "
                "all records; give it a smaller source"
            )

    @property
    def new_encoder(self) -> str | None:
        """What to tell the user where the space has versions, and none of this encoder."""
        versions = self.catalog.versions(self.space)
        if not versions or any(entry.fingerprint == self.fingerprint for entry in versions):
            return None
        last = versions[-1]
        return (
            f"space {self.space!r} is encoded with fingerprint {last.fingerprint[:12]} "
            f"(table {last.table}), and this config's encoder has {self.fingerprint[:12]}"
            f"{self.other_fits}. "
            "`vectorline run` refreshes a space with an encoder that it has, `vectorline backfill` "
            f"brings in a new one. It would make about {last.rows:,} vectors, "
            f"{last.rows * self.encoder.dim * 4 / 2**20:,.1f} MiB of them; "
            "`vectorline plan` says how long that takes"
        )

    @property
    def other_fits(self) -> str:
        """What `trained:NAME` meant in the space's last version, where it means another fit now."""
        table = Table(self.store_uri, self.catalog.versions(self.space)[-1].table)
        with suppress(StoreError):  # a table that cannot be opened keeps no new one from being made
            written, before = self.config.encoder.arguments, table.settings().encoder
            return trained.moved(written, self.encoder_arguments, before, self.store_uri)
        return ""

    def start_early(self) -> None:
        """Starts Ray and the loading of weights at once, if all records are sure to be encoded."""
        self.check_config()
        if not self.table.exists():
            self.early = self.precision
            _ = self.pool

    def check(self) -> None:
        """Raises Interrupted when the user asked to stop, LeaseLost when the table is another's."""
        self.held.check()
        if self.stop.is_set():
            raise Interrupted(f"stopped at step {self.stage.stage!r}; what is committed stays")

    def report(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Tells the listener how far this run is."""
        unit = cost_unit(self.encoder.modalities)
        self.stage = replace(self.stage, stage=stage, done=done, total=total, unit=unit)
        listener.get()(self.stage)

    def _on_progress(self, progress: Progress) -> None:
        self.stage = replace(self.stage, workers=progress)
        listener.get()(self.stage)

    def close(self) -> None:
        """Ends the pool if there is one."""
        if "pool" in self.__dict__:
            self.pool.close()


waiting: ContextVar[Run | None] = ContextVar("waiting", default=None)
"""A run that was made, and maybe began to start its workers, before its flow could begin."""


@contextmanager
def open_run(run: Run, *, write: bool = True) -> Iterator[Run]:
    """A run with its table's lease, healed from what an earlier run left half done.

    Without `write` nothing is locked or healed: for plans. SIGINT and SIGTERM set the run's stop
    event. Raises LeaseHeld, and ConfigError where the space belongs to another encoder.
    """
    with stopped_by_signals(run.stop):
        try:
            run.check_config()
            if not write:
                yield run
                return
            with (
                noting(run.notes),
                lease(run.store_uri, run.table.name, run.options.wait_s, lost=run.stop) as run.held,
            ):
                run.notes += heal.heal(run.table, run.catalog)
                yield run
        finally:
            run.close()


@contextmanager
def stopped_by_signals(stop: Stop) -> Iterator[None]:
    """The first signal asks to stop, the second one ends the process as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: object) -> None:
        del frame
        stop.set()
        signal.alarm(0)  # set where Ray's handler came first: it aborts the process after 3 s
        os.write(2, b"stopping after the batch in hand; once more does not wait for it\n")
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
