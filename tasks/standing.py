"""What a sink has beside what it is to have: which collection is brought to a version, by what.

What a sink has is what its stamps say. Where that is a version which this store still has, the
difference of row ids is what is pushed; where a publication was cut off, or the version is gone,
ids and hashes are compared. So that nobody ever reads two encoders, another table or another shape
of rows goes into another collection.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from schemas.catalog import VersionEntry
from schemas.config import SinkConfig
from schemas.publication import Published, Refused, Stamp
from tasks import differing
from tasks.differing import Difference
from tasks.errors import ConfigError, SinkError, SinkUnavailable, StoreError
from tasks.outgoing import Outgoing
from tasks.pushing import Patience
from tasks.shapes import key_of, shape_of
from tasks.shortening import compression_of
from tasks.sink_checks import mode_of
from tasks.sinks.base import Mode, Sink
from tasks.space import Space, open_space
from tasks.store import publications
from tasks.store.catalog import Catalog
from tasks.store.publications import published_of

SLOTS = ("a", "b")  # collections of one key: rows of one table in one shape


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
class Standing:
    """An opened sink, and what is wished for it; nothing here changes rows."""

    wish: Wish
    sink: Sink

    @property
    def entry(self) -> VersionEntry:
        """The version that is to be there."""
        return self.wish.space.entry

    @property
    def label(self) -> str:
        """What the user calls the sink."""
        return self.wish.config.label

    @cached_property
    def outgoing(self) -> Outgoing:
        """The version's rows as the sink gets them."""
        space, config = self.wish.space, self.wish.config
        compression = compression_of(space, config.compress)
        return Outgoing(space, shape_of(space, config, compression), compression)

    @cached_property
    def mode(self) -> Mode:
        """What was asked for, else the best that the sink can do; ConfigError for another one."""
        return mode_of(self.wish.config, self.sink)

    @cached_property
    def catalog(self) -> Catalog:
        """Of the store."""
        return Catalog(self.wish.space.store_uri)

    @cached_property
    def key(self) -> str:
        """What collections of one table in one shape are called by."""
        return key_of(self.wish.space, self.outgoing.shape, self.outgoing.compression)

    @cached_property
    def target(self) -> Published:
        """The version, as stamps have it."""
        return published_of(self.entry)

    def checked(self) -> dict[str, Stamp]:
        """The stamps of what the sink has of this space; ConfigError where it has something else.

        A collection without a stamp was being made when somebody was cut off: it is removed.
        """
        for name, text in self.sink.collections().items():
            if not text:
                self.sink.drop(name)
        stamps = self.stamps()
        for name, stamp in stamps.items():
            if stamp.space != self.entry.space:
                raise ConfigError(
                    f"sink {self.label!r} holds space {stamp.space!r} (collection {name!r}), and "
                    f"{self.entry.space!r} cannot go there: give it another place"
                )
            if self.is_strange(stamp) and not self.wish.repair:
                raise ConfigError(
                    f"sink {self.label!r} holds a version of space {stamp.space!r} that this "
                    f"store does not know (collection {name!r}): another store publishes there, or "
                    "the space was made anew. `vectorline publish --repair` takes it over"
                )
        return stamps

    def stamps(self) -> dict[str, Stamp]:
        """What the collections that have a stamp say of themselves now."""
        found = {}
        for name, text in self.sink.collections().items():
            where = f"the stamp of collection {name!r} in sink {self.label!r}"
            try:
                if text:
                    found[name] = publications.stamp_of(text, where)
            except StoreError as error:
                raise SinkError(
                    f"{error}. If nobody needs that collection, drop it in the store, and publish "
                    "again"
                ) from error
        return found

    def collection(self, stamps: dict[str, Stamp], serving: str | None) -> str:
        """Which one is brought to the version: in mode `switch` never the one that serves."""
        there = [one for one in self.slots if one in stamps]
        whole = [one for one in there if self._is_there(stamps[one])]
        if self.mode is Mode.SWITCH and not whole:
            return self.other(serving) if serving in self.slots else self.slots[0]
        fit = whole or there
        return serving if serving in fit else next(iter(fit), self.slots[0])

    @property
    def slots(self) -> tuple[str, str]:
        """The collections of this key; where both are there, they take turns."""
        first, second = SLOTS
        return f"c{self.key}_{first}", f"c{self.key}_{second}"

    def other(self, name: str) -> str:
        """The one that takes turns with a collection of this key."""
        first, second = self.slots
        return second if name == first else first

    def way(
        self, stamps: dict[str, Stamp], serving: str | None
    ) -> tuple[str, Difference, str | None]:
        """The collection that is brought to the version, by what; and one that is beyond repair.

        Where the one that serves cannot be read, `repair` loads all rows into the other slot.
        """
        name = self.collection(stamps, serving)
        if name != serving:
            return name, self.difference_of_idle(name, stamps), None
        try:
            return name, self.difference(name, stamps.get(name)), None
        except SinkUnavailable:
            raise
        except SinkError:
            if not self.wish.repair:
                raise
        other = self.other(name)
        self.sink.drop(other)
        stamps.pop(other, None)
        return other, differing.of_all(self.outgoing), name

    def difference_of_idle(self, name: str, stamps: dict[str, Stamp]) -> Difference:
        """As `difference`, of a collection that nobody reads: one that cannot be, goes."""
        try:
            return self.difference(name, stamps.get(name))
        except SinkUnavailable:
            raise
        except SinkError:
            self.sink.drop(name)
            stamps.pop(name, None)
            return differing.of_all(self.outgoing)

    def difference(self, name: str, stamp: Stamp | None) -> Difference:
        """What a collection lacks of the version, and has beside it; its stamp is None for none."""
        self.wish.report("compare", 0, 0)
        if stamp is None:
            return differing.of_all(self.outgoing)
        if self.wish.repair or not (stamp.holds or stamp.moving):
            return self._repair(name)
        refused = self.refused(stamp)
        if refused is None or stamp.moving is not None or stamp.holds is None:
            return self._beside(name)
        if self._is_there(stamp):
            n_rows = len(self.outgoing.row_ids) - len(refused)
            if self.sink.count(name) == n_rows:
                return Difference("nothing", np.empty(0, np.int64), (), n_rows)
            return self._beside(name)
        before = self._readable(stamp.holds)
        if before is None or before.entry.table != self.entry.table:
            return self._beside(name)
        if self._as_sent(before).marks != stamp.marks:
            return self._beside(name)
        found = differing.between(self._as_sent(before), self.outgoing)
        again = np.union1d(found.places, self.outgoing.places_of([one.id for one in refused]))
        return replace(found, places=again, before=found.before - len(refused))

    def refused(self, stamp: Stamp | None) -> tuple[Refused, ...] | None:
        """Rows that are not in a collection, since the store does not take them; None: unknown."""
        return () if stamp is None else publications.refused(self.wish.space.store_uri, stamp)

    def guard_removals(
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
                f"publishing version {self.entry.version} would take {gone:,} of {before:,} rows "
                f"out of sink {self.label!r}, and max_removed is {share:g}: look at "
                "`vectorline diff`, and publish with --allow-removals if that is meant"
            )

    def is_strange(self, stamp: Stamp) -> bool:
        """Whether a collection has, or was to have, a version that this store did not make."""
        return bool({stamp.holds, stamp.moving} - {None} - self._made)

    @cached_property
    def _made(self) -> set[Published | None]:
        return {published_of(one) for one in self.catalog.made(self.entry.space)}

    def _is_there(self, stamp: Stamp) -> bool:
        there = stamp.holds == self.target and stamp.moving is None
        return there and stamp.marks == self.outgoing.marks

    def _as_sent(self, before: Space) -> Outgoing:
        """An earlier version's rows in the same shape."""
        return Outgoing(before, self.outgoing.shape, self.outgoing.compression)

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
        return self._opened(lambda one: published_of(one) == held)

    def _lost(self, serving: str, stamp: Stamp) -> tuple[int, int]:
        """How many rows the collection has that serves, and of how many no record is left.

        A record may be cut into other chunks. Where the store has not that version any more, rows
        are counted by their ids; where these cannot be read, by the version that the catalog says
        was there last.
        """
        self.wish.report("compare", 0, 0)
        held = None if stamp.holds is None or stamp.moving is not None else stamp.holds
        before = None if held is None else self._readable(held)
        if before is None:
            try:
                return self.wish.patience.again(
                    lambda: differing.absent(self.sink, serving, self.outgoing)
                )
            except SinkUnavailable:
                raise
            except SinkError as error:
                before = self._published_last()
                if before is None:
                    error.add_note("with --allow-removals nothing is counted")
                    raise
        return before.rows, differing.records_gone(before, self.wish.space)

    def _published_last(self) -> Space | None:
        """The version that the catalog says the sink has; None where retention took it."""
        last = self.catalog.published(self.entry.space).get(self.label)
        if last is None:
            return None
        return self._opened(lambda one: (one.version, one.table) == (last.version, last.table))

    def _opened(self, is_it: Callable[[VersionEntry], bool]) -> Space | None:
        for one in self.catalog.versions(self.entry.space):
            if is_it(one):
                return open_space(one.space, self.wish.space.store_uri, one.version)
        return None
