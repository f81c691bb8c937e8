"""Bringing a sink to a version, whatever it had before: push what differs, prove it, let it serve.

Rows go into the collection that `tasks/standing.py` chose. Its stamp says what it holds, or that
it is on the way; readers' name is moved when all is there, and was proved to be.
"""

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from schemas.catalog import PublishedEntry, VersionEntry
from schemas.publication import Proof, PublicationRecord, Published, Recall, Stamp
from tasks import differing, failpoints
from tasks.differing import Difference
from tasks.errors import SinkError, VectorlineError
from tasks.pushing import Pushed, Pusher
from tasks.shapes import check_fits, to_plain
from tasks.shortening import check_recall, measured
from tasks.sinks.base import Mode, Sink
from tasks.standing import Standing, Wish
from tasks.store import publications
from tasks.store.diff import Indices
from tasks.store.publications import published_of

MEASURED_AGAIN = 0.2  # of the rows
TOLD = 5  # ids in a message


@dataclass(frozen=True)
class Publication:
    """One publication into an opened sink; `run` does it."""

    standing: Standing

    @property
    def wish(self) -> Wish:
        """What is to be there."""
        return self.standing.wish

    @property
    def sink(self) -> Sink:
        """Where."""
        return self.standing.sink

    def run(self) -> PublicationRecord:
        """Brings the sink to the version, and keeps what was done.

        Raises ConfigError for what the sink holds or cannot take, SinkError where more would vanish
        than may, and where it does not do as it should, LosesTooMuch as `compress` says, StoreError
        as the store; after any of them the next one goes on where it stands.
        """
        started, now = time.monotonic(), datetime.now(UTC)
        check_fits(self.standing.outgoing.shape, self.sink, self._label)
        stamps = self.standing.checked()
        serving = self.sink.serving()
        name, difference, damaged = self.standing.way(stamps, serving)
        stamp = stamps.get(name)
        self.standing.guard_removals(name, difference, serving, stamps)
        recall = self._recall(stamp, difference)
        record = PublicationRecord(
            id=f"{self._entry.version}-{self._label}-{uuid.uuid4().hex[:8]}",
            space=self._entry.space,
            sink=self._label,
            use=self.wish.config.use,
            mode=self.standing.mode.value,
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
            pushed.refused += self.standing.refused(stamp) or ()
        else:
            publications.write(self.wish.space.store_uri, record)
            stage = f"publish to {self._label}"
            pushed = self._push(name, stamp, difference, recall, stage)
        if stamp is None or difference.how != "nothing" or not stamp.finished:
            self._finish(name, pushed, record)
        self._guard_refusals(pushed)
        proof = self._prove(name, difference, pushed)
        if serving != name:
            self.sink.serve(name)
        failpoints.reach("publish-served")
        if damaged is not None:
            self.sink.drop(damaged)
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
        if record.how != "nothing" or serving == name:  # else it is one that was kept, and is back
            self._prepare(record)
        return record

    @property
    def _label(self) -> str:
        return self.standing.label

    @property
    def _entry(self) -> VersionEntry:
        return self.standing.entry

    def _recall(self, stamp: Stamp | None, difference: Difference) -> Recall | None:
        """What the compression costs; LosesTooMuch where that is more than the config allows.

        It is measured anew where a fifth of the rows came since: it was fitted to earlier ones.
        """
        config, n_rows = self.wish.config.compress, len(difference.places)
        if config is None:
            return None
        found = None if stamp is None else stamp.recall
        if found is None or found.since + n_rows > MEASURED_AGAIN * len(
            self.standing.outgoing.row_ids
        ):
            self.wish.report("measure", 0, 0)
            found = measured(self.wish.space, self.standing.outgoing.compression)
        else:
            found = found.model_copy(update={"since": found.since + n_rows})
        check_recall(found, config, self._label)
        return found

    def _prepare(self, record: PublicationRecord) -> None:
        """Fills the collection that takes turns with this one, where it has no version yet.

        With that the next change costs its own size, as all later ones do, and not that of all
        rows. A repair brings it to this version, whatever it has.
        """
        if self.standing.mode is not Mode.SWITCH:
            return
        stamps, other = self.standing.stamps(), self.standing.other(record.collection)
        stamp = stamps.get(other)
        if stamp is not None and stamp.holds is not None and not self.wish.repair:
            return
        try:
            difference = self.standing.difference_of_idle(other, stamps)
            stage = f"prepare the next change of {self._label}"
            pushed = self._push(other, stamps.get(other), difference, record.recall, stage)
            self._finish(other, pushed, record)
        except VectorlineError as error:
            less = "; `mode: rowwise` needs none" if Mode.ROWWISE in self.sink.modes else ""
            error.add_note(
                f"Readers have version {self._entry.version}. What is missing is the second "
                f"collection, into which the next change goes: `vectorline publish` fills it{less}"
            )
            raise

    def _push(
        self,
        name: str,
        stamp: Stamp | None,
        difference: Difference,
        recall: Recall | None,
        stage: str,
    ) -> Pushed:
        self.wish.report(stage, 0, difference.n_rows)
        if self.standing.stamps().get(name) != stamp:  # which the difference was found by
            raise self._overtaken(name)
        shape, pushed = self.standing.outgoing.shape, Pushed()
        moving = self._stamp(stamp.holds if stamp else None, self.standing.target, recall)
        if stamp is None:
            self.sink.create(name, shape)
        if stamp is None or self.standing.mode is not Mode.ATOMIC:
            self.sink.stamp(name, moving.model_dump_json())
            stamp = moving
        failpoints.reach("publish-begun")
        written = self._stamp(self.standing.target, None, recall, finished=False)
        with self.sink.writing(name, shape, written.model_dump_json()) as writer:
            pusher = Pusher(
                writer,
                self.sink.limits,
                self.wish.patience,
                lambda done: self.wish.report(stage, done, difference.n_rows),
                self.wish.hide,
            )
            batches = self.standing.outgoing.batches(difference.places, self.sink.limits)
            pusher.push(batches, difference.gone, pushed)
            failpoints.reach("publish-pushed")
            overtaken = self.standing.stamps().get(name) != stamp
            if overtaken and self.standing.mode is Mode.ATOMIC:
                raise self._overtaken(name)
        if overtaken:
            self.sink.stamp(name, self._stamp(None, self.standing.target, recall).model_dump_json())
            raise self._overtaken(name)
        failpoints.reach("publish-written")
        return pushed

    def _overtaken(self, name: str) -> SinkError:
        return SinkError(
            f"sink {self._label!r}: somebody else published into collection {name!r} meanwhile, "
            "such as a copy of this store on another machine: let one of them publish, and run "
            f"`vectorline publish {self._entry.space}` there, which compares all rows"
        )

    def _finish(self, name: str, pushed: Pushed, record: PublicationRecord) -> None:
        """Makes what searches need, and says so in the stamp, with the rows that were refused."""
        self.wish.report(f"index {self._label}", 0, 0)
        self.sink.finish(name, self.standing.outgoing.shape)
        whole = self._stamp(self.standing.target, None, record.recall)
        refused = {"refused": len(pushed.refused), "publication": record.id}
        self.sink.stamp(name, whole.model_copy(update=refused).model_dump_json())

    def _guard_refusals(self, pushed: Pushed) -> None:
        n_rows, n_refused = len(self.standing.outgoing.row_ids), len(pushed.refused)
        if n_refused > self.wish.config.max_refused * n_rows:
            told = "; ".join(f"{one.id!r}: {one.reason}" for one in pushed.refused[:TOLD])
            raise SinkError(
                f"sink {self._label!r} refuses {n_refused:,} of {n_rows:,} rows, and max_refused "
                f"is {self.wish.config.max_refused:g}. The others are there. {told}"
            )

    def _prove(self, name: str, difference: Difference, pushed: Pushed) -> Proof:
        """Counts the rows and reads some of them back; SinkError where that does not agree.

        Then the next publication compares all of them with all that they hold. The sample is of
        those that were pushed, as far as there are so many, and of the others.
        """
        self.wish.report("verify", 0, 0)
        rng = self.wish.rng
        refused = self.standing.outgoing.places_of([one.id for one in pushed.refused])
        every = np.setdiff1d(np.arange(len(self.standing.outgoing.row_ids)), refused)
        ours = np.setdiff1d(difference.places, refused)
        sample = self.wish.config.sample
        places = np.union1d(_some(ours, sample, rng), _some(every, sample, rng))
        wrong = differing.wrong(self.sink, name, self.standing.outgoing, places)
        proof = Proof(
            count=self.sink.count(name),
            expected=len(every),
            sampled=len(places),
            differ=tuple(self.standing.outgoing.ids(wrong)),
        )
        if not proof.verified:
            self.sink.stamp(name, self._stamp(None, None, None).model_dump_json())
            raise SinkError(
                f"sink {self._label!r} does not hold what was pushed: collection {name!r} has "
                f"{proof.count:,} rows of {proof.expected:,}, and {len(proof.differ)} of "
                f"{proof.sampled} that were read back differ"
                f"{': ' if proof.differ else ''}{', '.join(map(repr, proof.differ[:TOLD]))}. "
                "Somebody else writes there, or the store lost rows: `vectorline publish` compares "
                "all of them next time, and pushes what differs"
            )
        return proof

    def _forget(self, name: str, before: str | None) -> None:
        """Removes collections of other stores, tables and shapes, but for this store's latest.

        Of the two that take turns in mode `switch`, the other one counts as such in other modes.
        """
        stamps = self.standing.stamps()
        own = {name}
        if self.standing.mode is Mode.SWITCH:
            own.update(self.standing.slots)
        strange = [
            one for one, stamp in stamps.items() if one != name and self.standing.is_strange(stamp)
        ]
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
            for name, stamp in self.standing.stamps().items()
            for entry in self.standing.catalog.versions(self._entry.space)
            if published_of(entry) == stamp.holds
        }
        publications.hold(uri, self._label, held, self.standing.catalog.tables())
        last = self.standing.catalog.published(record.space).get(record.sink)
        known = last and (last.version, last.table, last.collection, last.rows)
        if record.how == "nothing" and known == (
            record.to_version,
            record.table,
            record.collection,
            proof.count,
        ):
            return
        publications.write(uri, record)
        self.standing.catalog.put_published(
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
            key=self.standing.key,
            shape=to_plain(self.standing.outgoing.shape),
            holds=holds,
            moving=moving,
            marks="" if holds is None else self.standing.outgoing.marks,
            finished=finished,
            recall=recall,
            stamped_at=datetime.now(UTC),
        )


def _version_of(stamp: Stamp | None) -> int | None:
    return stamp.holds.version if stamp is not None and stamp.holds is not None else None


def _some(places: Indices, n: int, rng: np.random.Generator) -> Indices:
    return places if len(places) <= n else np.sort(rng.choice(places, n, replace=False))
