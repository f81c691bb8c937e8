"""Bringing a sink to a version, whatever it had before: push what differs, prove it, let it serve.

What a sink has is what its stamp says. Where that is a version which this store still has, the
difference of row ids is pushed; where a publication was cut off, or the version is gone, ids and
hashes are compared. So that nobody ever reads two encoders, another table or another shape of rows
goes into another collection, to which readers' name is moved when all is there.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property

import numpy as np

from schemas.catalog import PublishedEntry, VersionEntry
from schemas.config import SinkConfig
from schemas.publication import Proof, PublicationRecord, Published, Recall, Refused, Stamp
from tasks import differing, failpoints
from tasks.differing import Difference
from tasks.errors import ConfigError, SinkError
from tasks.outgoing import Outgoing
from tasks.patient import PatientSink
from tasks.pushing import Patience, Pushed, Pusher
from tasks.shapes import check_fits, key_of, shape_of, to_plain
from tasks.shortening import check_recall, compression_of, measured
from tasks.sinks.base import Mode, Sink
from tasks.space import Space, open_space
from tasks.store import publications
from tasks.store.catalog import Catalog
from tasks.store.diff import Indices
from tasks.store.publications import published_of

SLOTS = ("a", "b")
MEASURED_AGAIN = 0.2  # of the rows
TOLD = 5  # ids in a message


@dataclass(frozen=True)
class Wish:
    """What a sink is to hold.

    Attributes:
        space: The version.
        config: The sink as the user wrote it.
        allow_removals: Whether more rows than `max_removed` may vanish.
        repair: Whether every row is compared, and a collection of another store taken over.
        patience: With a store that does not answer.
        rng: Chooses the rows that are read back, others each time.
        hide: Keeps secrets out of what a store says of rows.
        report: Told what is being done, and how many of how many rows are done.
    """

    space: Space
    config: SinkConfig
    allow_removals: bool = False
    repair: bool = False
    patience: Patience = field(default_factory=Patience)
    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    hide: Callable[[str], str] = str
    report: Callable[[str, int, int], None] = lambda stage, done, total: None


@dataclass(frozen=True)
class Publication:
    """One publication into an opened sink; `run` does it."""

    wish: Wish
    opened: Sink

    @cached_property
    def sink(self) -> Sink:
        """The opened one, with patience."""
        return PatientSink(self.opened, self.wish.patience)

    def run(self) -> PublicationRecord:
        """Brings the sink to the version, and keeps what was done.

        Raises ConfigError for what the sink holds or cannot take, SinkError where more would vanish
        than may, and where it does not do as it should, LosesTooMuch as `compress` says, StoreError
        as the store; after any of them the next one goes on where it stands.
        """
        started, now = time.monotonic(), datetime.now(UTC)
        check_fits(self.outgoing.shape, self.sink, self._label)
        stamps = self._checked()
        serving = self.sink.serving()
        name = self._collection(stamps, serving)
        stamp = stamps.get(name)
        difference = self._difference(name, stamp)
        self._guard_removals(name, difference, serving, stamps)
        recall = self._recall(stamp, difference)
        record = PublicationRecord(
            id=f"{self._entry.version}-{self._label}-{uuid.uuid4().hex[:8]}",
            space=self._entry.space,
            sink=self._label,
            use=self.wish.config.use,
            mode=self.mode.value,
            collection=name,
            table=self._entry.table,
            from_version=_version_of(stamps.get(serving or "")),
            to_version=self._entry.version,
            how=difference.how,
            upserted=0,
            deleted=0,
            recall=recall,
            seconds=0.0,
            created_at=now,
        )
        pushed = Pushed()
        if difference.how == "nothing":
            pushed.refused += self._refused(name, stamp) or ()
        else:
            publications.write(self.wish.space.store_uri, record)
            pushed = self._push(name, stamp, difference, recall)
        if stamp is None or difference.how != "nothing" or not stamp.finished:
            self._finish(name, pushed, recall)
        self._guard_refusals(pushed)
        proof = self._prove(name, difference, pushed, recall)
        if serving != name:
            self.sink.serve(name)
        failpoints.reach("publish-served")
        self._forget(name, serving)
        done = {
            "upserted": pushed.upserted,
            "deleted": pushed.deleted,
            "refused": tuple(pushed.refused),
            "n_refused": len(pushed.refused),
            "proof": proof,
            "seconds": round(time.monotonic() - started, 3),
        }
        record = record.model_copy(update=done)
        self._keep(record, proof)
        return record

    @cached_property
    def outgoing(self) -> Outgoing:
        """The version's rows as the sink gets them."""
        space, config = self.wish.space, self.wish.config
        compression = compression_of(space, config.compress)
        return Outgoing(space, shape_of(space, config, compression), compression)

    def _as_sent(self, before: Space) -> Outgoing:
        """An earlier version's rows in the same shape."""
        return Outgoing(before, self.outgoing.shape, self.outgoing.compression)

    @cached_property
    def mode(self) -> Mode:
        """What was asked for, else the best that the sink can do; ConfigError for another one."""
        asked = self.wish.config.mode
        if asked is None:
            return self.sink.modes[0]
        if asked not in self.sink.modes:
            raise ConfigError(
                f"sink {self._label!r} cannot publish in mode {asked!r}, but "
                f"{' or '.join(self.sink.modes)}"
            )
        return Mode(asked)

    @cached_property
    def _catalog(self) -> Catalog:
        return Catalog(self.wish.space.store_uri)

    @property
    def _entry(self) -> VersionEntry:
        return self.wish.space.entry

    @property
    def _label(self) -> str:
        return self.wish.config.label

    @cached_property
    def _key(self) -> str:
        return key_of(self.wish.space, self.outgoing.shape, self.outgoing.compression)

    @cached_property
    def _target(self) -> Published:
        return published_of(self._entry)

    def _checked(self) -> dict[str, Stamp]:
        """The stamps of what the sink has of this space; ConfigError where it has something else.

        A collection without a stamp was being made when somebody was cut off: it is removed.
        """
        for name, text in self.sink.collections().items():
            if not text:
                self.sink.drop(name)
        stamps = self._stamps()
        for name, stamp in stamps.items():
            if stamp.space != self._entry.space:
                raise ConfigError(
                    f"sink {self._label!r} holds space {stamp.space!r} (collection {name!r}), and "
                    f"{self._entry.space!r} cannot go there: give it another place"
                )
            if self._is_strange(stamp) and not self.wish.repair:
                raise ConfigError(
                    f"sink {self._label!r} holds a version of space {stamp.space!r} that this "
                    f"store does not know (collection {name!r}): another store publishes there, or "
                    "the space was made anew. `vectorline publish --repair` takes it over"
                )
        return stamps

    def _stamps(self) -> dict[str, Stamp]:
        """What the collections that have a stamp say of themselves now."""
        return {
            name: publications.stamp_of(
                text, f"the stamp of collection {name!r} in sink {self._label!r}"
            )
            for name, text in self.sink.collections().items()
            if text
        }

    @cached_property
    def _made(self) -> set[Published | None]:
        return {published_of(one) for one in self._catalog.made(self._entry.space)}

    def _is_strange(self, stamp: Stamp) -> bool:
        """Whether a collection has, or was to have, a version that this store did not make."""
        return bool({stamp.holds, stamp.moving} - {None} - self._made)

    def _collection(self, stamps: dict[str, Stamp], serving: str | None) -> str:
        """Which one is brought to the version: in mode `switch` never the one that serves."""
        own = [name for name in (f"c{self._key}_{slot}" for slot in SLOTS)]
        for name in own:
            if name in stamps and self._is_there(stamps[name]):
                return name
        if self.mode is Mode.SWITCH:
            return own[1] if serving == own[0] else own[0]
        there = [name for name in own if name in stamps]
        return serving if serving in there else next(iter(there), own[0])

    def _is_there(self, stamp: Stamp) -> bool:
        there = stamp.holds == self._target and stamp.moving is None
        return there and stamp.marks == self.outgoing.marks

    def _difference(self, name: str, stamp: Stamp | None) -> Difference:
        self.wish.report("compare", 0, 0)
        if stamp is None:
            return differing.of_all(self.outgoing)
        if self.wish.repair:
            return self._repair(name)
        refused = self._refused(name, stamp)
        if refused is None or stamp.moving is not None or stamp.holds is None:
            return self._beside(name)
        if self._is_there(stamp):
            n_rows = len(self.outgoing.row_ids) - len(refused)
            if self.sink.count(name) == n_rows:
                return Difference("nothing", np.empty(0, np.int64), (), n_rows)
            return self._beside(name)
        before = self._readable(stamp.holds)
        if before is None or before.entry.table != self._entry.table:
            return self._beside(name)
        if self._as_sent(before).marks != stamp.marks:
            return self._beside(name)
        found = differing.between(self._as_sent(before), self.outgoing)
        again = np.union1d(found.places, self.outgoing.places_of([one.id for one in refused]))
        return replace(found, places=again, before=found.before - len(refused))

    def _refused(self, name: str, stamp: Stamp | None) -> tuple[Refused, ...] | None:
        """Rows that are not in a collection, since the store does not take them; None: unknown."""
        if stamp is None:
            return ()
        return publications.refused(self.wish.space.store_uri, self._label, name, stamp)

    def _beside(self, name: str) -> Difference:
        return self.wish.patience.again(lambda: differing.beside(self.sink, name, self.outgoing))

    def _repair(self, name: str) -> Difference:
        """By ids and hashes, then by all that the others hold."""
        found = self._beside(name)
        others = np.setdiff1d(np.arange(len(self.outgoing.row_ids)), found.places)
        wrong = differing.wrong(self.sink, name, self.outgoing, others)
        return replace(found, how="repair", places=np.union1d(found.places, wrong))

    def _readable(self, held: Published) -> Space | None:
        """The version that a collection has; None where retention took it."""
        for one in self._catalog.versions(self._entry.space):
            if published_of(one) == held:
                return open_space(one.space, self.wish.space.store_uri, one.version)
        return None

    def _guard_removals(
        self, name: str, difference: Difference, serving: str | None, stamps: dict[str, Stamp]
    ) -> None:
        """Raises SinkError where readers would lose more than they may."""
        if self.wish.allow_removals or serving not in stamps:
            return
        before, gone, share = difference.before, len(difference.gone), self.wish.config.max_removed
        if serving != name or gone > share * before:
            before, gone = self._lost(serving, stamps[serving])
        if gone > share * before:
            raise SinkError(
                f"publishing version {self._entry.version} would take {gone:,} of {before:,} rows "
                f"out of sink {self._label!r}, and max_removed is {share:g}: look at "
                "`vectorline diff`, and publish with --allow-removals if that is meant"
            )

    def _lost(self, serving: str, stamp: Stamp) -> tuple[int, int]:
        """How many rows the collection has that serves, and of how many no record is left.

        A record may be cut into other chunks. Where the store has not that version any more, rows
        are counted by their ids.
        """
        self.wish.report("compare", 0, 0)
        held = None if stamp.holds is None or stamp.moving is not None else stamp.holds
        before = None if held is None else self._readable(held)
        if before is not None:
            return before.rows, differing.records_gone(before, self.wish.space)
        return self.wish.patience.again(lambda: differing.absent(self.sink, serving, self.outgoing))

    def _recall(self, stamp: Stamp | None, difference: Difference) -> Recall | None:
        """What the compression costs; LosesTooMuch where that is more than the config allows.

        It is measured anew where a fifth of the rows came since: it was fitted to earlier ones.
        """
        config, n_rows = self.wish.config.compress, len(difference.places)
        if config is None:
            return None
        found = None if stamp is None else stamp.recall
        if found is None or found.since + n_rows > MEASURED_AGAIN * len(self.outgoing.row_ids):
            self.wish.report("measure", 0, 0)
            found = measured(self.wish.space, self.outgoing.compression)
        else:
            found = found.model_copy(update={"since": found.since + n_rows})
        check_recall(found, config, self._label)
        return found

    def _push(
        self, name: str, stamp: Stamp | None, difference: Difference, recall: Recall | None
    ) -> Pushed:
        shape, pushed = self.outgoing.shape, Pushed()
        moving = self._stamp(stamp.holds if stamp else None, self._target, recall)
        if stamp is None:
            self.sink.create(name, shape)
        if stamp is None or self.mode is not Mode.ATOMIC:
            self.sink.stamp(name, moving.model_dump_json())
            stamp = moving
        failpoints.reach("publish-begun")
        written = self._stamp(self._target, None, recall, finished=False)
        stage = f"publish to {self._label}"
        with self.sink.writing(name, shape, written.model_dump_json()) as writer:
            pusher = Pusher(
                writer,
                self.sink.limits,
                self.wish.patience,
                lambda done: self.wish.report(stage, done, difference.n_rows),
                self.wish.hide,
            )
            batches = self.outgoing.batches(difference.places, self.sink.limits)
            pusher.push(batches, difference.gone, pushed)
            failpoints.reach("publish-pushed")
            overtaken = self._stamps().get(name) != stamp
            if overtaken and self.mode is Mode.ATOMIC:
                raise self._overtaken(name)
        if overtaken:
            self.sink.stamp(name, self._stamp(None, self._target, recall).model_dump_json())
            raise self._overtaken(name)
        failpoints.reach("publish-written")
        return pushed

    def _overtaken(self, name: str) -> SinkError:
        return SinkError(
            f"sink {self._label!r}: somebody else published into collection {name!r} meanwhile, "
            "such as a copy of this store on another machine: let one of them publish, and run "
            f"`vectorline publish {self._entry.space}` there, which compares all rows"
        )

    def _finish(self, name: str, pushed: Pushed, recall: Recall | None) -> None:
        """Makes what searches need, and says so in the stamp, with the rows that were refused."""
        self.wish.report(f"index {self._label}", 0, 0)
        self.sink.finish(name, self.outgoing.shape)
        whole = self._stamp(self._target, None, recall)
        refused = whole.model_copy(update={"refused": len(pushed.refused)})
        self.sink.stamp(name, refused.model_dump_json())

    def _guard_refusals(self, pushed: Pushed) -> None:
        n_rows, n_refused = len(self.outgoing.row_ids), len(pushed.refused)
        if n_refused > self.wish.config.max_refused * n_rows:
            told = "; ".join(f"{one.id!r}: {one.reason}" for one in pushed.refused[:TOLD])
            raise SinkError(
                f"sink {self._label!r} refuses {n_refused:,} of {n_rows:,} rows, and max_refused "
                f"is {self.wish.config.max_refused:g}. The others are there. {told}"
            )

    def _prove(
        self, name: str, difference: Difference, pushed: Pushed, recall: Recall | None
    ) -> Proof:
        """Counts the rows and reads some of them back; SinkError where that does not agree.

        The sample is of those that were pushed, as far as there are so many, and of the others.
        """
        self.wish.report("verify", 0, 0)
        rng = self.wish.rng
        refused = self.outgoing.places_of([one.id for one in pushed.refused])
        every = np.setdiff1d(np.arange(len(self.outgoing.row_ids)), refused)
        ours = np.setdiff1d(difference.places, refused)
        sample = self.wish.config.sample
        places = np.union1d(_some(ours, sample, rng), _some(every, sample, rng))
        wrong = differing.wrong(self.sink, name, self.outgoing, places)
        proof = Proof(
            count=self.sink.count(name),
            expected=len(every),
            sampled=len(places),
            differ=tuple(self.outgoing.ids(wrong)),
        )
        if not proof.verified:
            moving = self._stamp(None, self._target, recall)
            self.sink.stamp(name, moving.model_dump_json())
            raise SinkError(
                f"sink {self._label!r} does not hold what was pushed: collection {name!r} has "
                f"{proof.count:,} rows of {proof.expected:,}, and {len(proof.differ)} of "
                f"{proof.sampled} that were read back differ"
                f"{': ' if proof.differ else ''}{', '.join(map(repr, proof.differ[:TOLD]))}. "
                "Somebody else writes there, or the store lost rows: `vectorline publish` compares "
                "all of them next time"
            )
        return proof

    def _forget(self, name: str, before: str | None) -> None:
        """Removes collections of other stores, tables and shapes, but for this store's latest.

        Of the two that take turns in mode `switch`, the other one counts as such in other modes.
        """
        stamps = self._stamps()
        own = {name}
        if self.mode is Mode.SWITCH:
            own |= {f"c{self._key}_{slot}" for slot in SLOTS}
        strange = [one for one, stamp in stamps.items() if one != name and self._is_strange(stamp)]
        others = [one for one in stamps if one not in own and one not in strange]
        others.sort(key=lambda one: (one == before, stamps[one].stamped_at), reverse=True)
        for one in [*strange, *others[self.wish.config.keep :]]:
            self.sink.drop(one)

    def _keep(self, record: PublicationRecord, proof: Proof) -> None:
        """In the store: the record, tags that hold what the sink has, and the catalog's row.

        Of a publication that changed nothing there is none, where the last one says the same.
        """
        uri = self.wish.space.store_uri
        held = {
            name: entry
            for name, stamp in self._stamps().items()
            for entry in self._catalog.versions(self._entry.space)
            if published_of(entry) == stamp.holds
        }
        publications.hold(uri, self._label, held, self._catalog.tables())
        last = self._catalog.published(record.space).get(record.sink)
        known = last and (last.version, last.table, last.collection, last.rows)
        if record.how == "nothing" and known == (
            record.to_version,
            record.table,
            record.collection,
            proof.count,
        ):
            return
        publications.write(uri, record)
        self._catalog.put_published(
            PublishedEntry(
                space=record.space,
                sink=record.sink,
                version=record.to_version,
                table=record.table,
                collection=record.collection,
                publication=record.id,
                rows=proof.count,
                when=record.created_at,
            )
        )

    def _stamp(
        self,
        holds: Published | None,
        moving: Published | None,
        recall: Recall | None,
        *,
        finished: bool = True,
    ) -> Stamp:
        return Stamp(
            space=self._entry.space,
            table=self._entry.table,
            fingerprint=self._entry.fingerprint,
            key=self._key,
            shape=to_plain(self.outgoing.shape),
            holds=holds,
            moving=moving,
            marks="" if holds is None else self.outgoing.marks,
            finished=finished,
            recall=recall,
            stamped_at=datetime.now(UTC),
        )


def _version_of(stamp: Stamp | None) -> int | None:
    return stamp.holds.version if stamp is not None and stamp.holds is not None else None


def _some(places: Indices, n: int, rng: np.random.Generator) -> Indices:
    return places if len(places) <= n else np.sort(rng.choice(places, n, replace=False))
