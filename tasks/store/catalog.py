"""What a store knows of its spaces: versions, what serves, configs.

An append-only log, read whole and folded here. Every append is a compare-and-swap: when another
process was first, the log is read again and what is to be appended is decided anew.
"""

import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import TypeVar

import lance
import pyarrow as pa
from lance.fragment import FragmentMetadata
from pydantic import TypeAdapter

from schemas.catalog import (
    ConfigEntry,
    DroppedEntry,
    Entry,
    PublishedEntry,
    RetiredEntry,
    ServingEntry,
    VersionEntry,
)
from tasks import failpoints
from tasks.errors import CommitConflict, ConfigError, StoreError
from tasks.store import fragments, layout
from tasks.store.files import lance_errors, store_error
from tasks.store.formats import parse
from tasks.store.swap import DATA_DIGEST, RUN_ID, runs, settle, swap
from tasks.store.table import Table, create, exists

E = TypeVar("E", bound=Entry)

ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)
SERVED = 3  # versions that served last, and can be rolled back to
APPEND_ATTEMPTS = 50
PAUSE_S = 0.1
_READ: dict[str, dict[str, list[tuple[int, Entry]]]] = {}
"""What was read of logs: by log and data file, entries with their places."""
LOG = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("kind", pa.string()),
        pa.field("space", pa.string()),
        pa.field("created_at", pa.timestamp("us", "UTC")),
        pa.field("payload", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The catalog of a store; each call reads the log as it is now."""

    store_uri: str

    def spaces(self) -> list[str]:
        """Names of all spaces that have a version, sorted."""
        entries = self._entries()
        return sorted(space for space in {one.space for one in entries} if _made(entries, space))

    def versions(self, space: str) -> list[VersionEntry]:
        """Versions of a space by number, those that retention left."""
        return _versions(self._entries(), space)

    def known(self, space: str) -> list[VersionEntry]:
        """The same; ConfigError, with the spaces that there are, if it has none."""
        versions = self.versions(space)
        if not versions:
            known = ", ".join(self.spaces()) or "none yet"
            drops = _drops(self._entries(), space)
            file = space.endswith((".yaml", ".yml"))
            raise ConfigError(
                f"store {layout.root(self.store_uri)!r} has no space {space!r}"
                + (f", which {_told(drops[-1])}" if drops else "")
                + f"; it has: {known}; --store or VECTORLINE_STORE names another"
                + ("; a space is called what `space:` says in its config" if file else "")
            )
        return versions

    def tables(self) -> dict[str, list[VersionEntry]]:
        """The versions of all spaces that retention left, by table."""
        entries, found = self._entries(), dict[str, list[VersionEntry]]()
        for space in sorted({entry.space for entry in entries if entry.kind == "version"}):
            for version in _versions(entries, space):
                found.setdefault(version.table, []).append(version)
        return found

    def made(self, space: str) -> list[VersionEntry]:
        """All versions that a space ever had, but for those of dropped tables, by number."""
        return _made(self._entries(), space)

    def latest(self, space: str) -> VersionEntry | None:
        """The version with the highest number."""
        return next(reversed(self.versions(space)), None)

    def tags(self, entry: VersionEntry) -> list[str]:
        """The tags of a version's table that point at it, in order."""
        tags = Table(self.store_uri, entry.table).tags()
        return sorted(name for name, tagged in tags.items() if tagged == entry.lance_version)

    def serving(self, space: str) -> VersionEntry | None:
        """The version that readers get."""
        entries = self._entries()
        moves = _serving(entries, space)
        return _find(entries, space, moves[-1].to_version) if moves else None

    def serving_history(self, space: str) -> list[ServingEntry]:
        """All moves of the serving version, oldest first."""
        return _serving(self._entries(), space)

    def moved_since(self, version: VersionEntry) -> bool:
        """Whether someone let another version serve after this one was made."""
        later = False
        for entry in self._entries():
            if entry.space != version.space:
                continue
            if entry.kind == "version" and entry.version == version.version:
                later = True
            elif later and entry.kind == "serving":
                return True
        return False

    def hold(self, space: str) -> bool:
        """Whether a rollback holds the serving version until someone promotes."""
        moves = self.serving_history(space)
        return bool(moves) and moves[-1].hold

    def config(self, space: str, fingerprint: str | None = None) -> ConfigEntry | None:
        """The last config in force, if asked the last one of an encoder."""
        entries = self._entries()
        return next(
            (
                entry
                for entry in reversed(_configs(entries, space))
                if fingerprint in (None, entry.fingerprint) and _in_force(entry, entries)
            ),
            None,
        )

    def configs(self, space: str) -> list[ConfigEntry]:
        """All configs, oldest first, also those of runs that never came to a version."""
        return _configs(self._entries(), space)

    def put_config(
        self, space: str, fingerprint: str, config: dict[str, object], run_id: str = ""
    ) -> None:
        """Keeps a config: in force with the version of its run, or at once without a run id.

        Called before the commit, so that no kill can separate a version from its config. Nothing is
        written if the last one says the same.
        """
        wanted = ConfigEntry(space=space, fingerprint=fingerprint, run_id=run_id, config=config)

        def decide(entries: Sequence[Entry]) -> ConfigEntry:
            last = next(reversed(_configs(entries, space)), None)
            same = last is not None and last.model_copy(update={"run_id": run_id}) == wanted
            if last is None or not same or not (last.run_id == run_id or _in_force(last, entries)):
                return wanted
            return last

        self._append(decide)

    def resolve(self, space: str, version: str) -> VersionEntry:
        """The version that a number, `serving`, `latest`, a time or a tag means.

        A time means the newest version by then; without a zone it is local. Raises ConfigError,
        with what there is, if nothing fits.
        """
        entries, versions = self._entries(), self.known(space)
        if version == "latest":
            return versions[-1]
        if version == "serving":
            return self._resolve_serving(space, versions[-1])
        if version.isdecimal():
            return _find(entries, space, int(version))
        try:
            moment = datetime.fromisoformat(version).astimezone()
        except ValueError:
            return _tagged(self.store_uri, versions, version)
        ever = _made(entries, space)
        made = [entry for entry in ever if entry.created_at <= moment]
        if not made:
            raise ConfigError(
                f"space {space!r} had no version at {version}; "
                f"the first is of {ever[0].created_at.isoformat()}"
            )
        return _find(entries, space, made[-1].version)

    def add_version(self, table: Table, lance_version: int) -> VersionEntry:
        """The catalog's row of a run's commit, made unless it is there.

        All that it says stands in the table: in the properties of the commit's transaction and in
        the settings.
        """
        properties = dict(runs(table.uri, lance_version - 1)).get(lance_version)
        if properties is None:
            raise StoreError(f"no run made Lance version {lance_version} of table {table.name!r}")
        settings = table.settings()

        def decide(entries: Sequence[Entry]) -> VersionEntry:
            for known in _versions(entries, settings.space):
                if (known.table, known.run_id) == (table.name, properties[RUN_ID]):
                    return known
            return VersionEntry(
                space=settings.space,
                version=_highest(entries, settings.space) + 1,
                table=table.name,
                fingerprint=settings.fingerprint,
                lance_version=lance_version,
                run_id=properties[RUN_ID],
                rows=int(properties["rows"]),
                data_digest=properties.get(DATA_DIGEST, ""),
                created_at=datetime.fromisoformat(properties["created_at"]),
            )

        return self._append(decide)

    def move(self, version: VersionEntry, lance_version: int) -> VersionEntry:
        """Lets a version be another Lance version of its table, one with the same rows."""
        moved = version.model_copy(update={"lance_version": lance_version})

        def decide(entries: Sequence[Entry]) -> VersionEntry:
            held = _find(entries, version.space, version.version)
            return held if held == moved else moved

        return self._append(decide)

    def put_published(self, entry: PublishedEntry) -> None:
        """Keeps what a sink has; nothing is written where the last entry about it says the same."""

        def decide(entries: Sequence[Entry]) -> PublishedEntry:
            last = _published(entries, entry.space).get(entry.sink)
            same = last is not None and last.model_copy(update={"when": entry.when}) == entry
            return last if last is not None and same else entry

        self._append(decide)

    def published(self, space: str) -> dict[str, PublishedEntry]:
        """What each sink was last said to have, by its name."""
        return _published(self._entries(), space)

    def retire(self, version: VersionEntry) -> bool:
        """Takes a version, never the newest, out of what can be read; False if it served lately."""
        wanted = RetiredEntry(space=version.space, version=version.version, when=datetime.now(UTC))

        def decide(entries: Sequence[Entry]) -> RetiredEntry | VersionEntry:
            held = _find(entries, version.space, version.version)
            return held if held.version in _served(entries, version.space) else wanted

        return self._append(decide) is wanted

    def retired(self, space: str) -> dict[int, datetime]:
        """When retention let go which versions, by number."""
        return {entry.version: entry.when for entry in _retired(self._entries(), space)}

    def served(self, space: str) -> list[int]:
        """The versions that served last and are kept for a rollback, newest first."""
        return _served(self._entries(), space)

    def drop(self, space: str, table: str, who: str) -> None:
        """Takes all that stands here about a table out of what can be read.

        Raises ConfigError if it serves while another table of the space has versions.
        """
        wanted = DroppedEntry(space=space, table=table, who=who, when=datetime.now(UTC))

        def decide(entries: Sequence[Entry]) -> DroppedEntry:
            if (begun := _begun(entries, space, table)) is not None:
                return begun
            moves, versions = _serving(entries, space), _versions(entries, space)
            tables = {entry.version: entry.table for entry in versions}
            serves = bool(moves) and tables.get(moves[-1].to_version) == table
            if serves and set(tables.values()) != {table}:
                raise ConfigError(
                    f"version {moves[-1].to_version} of space {space!r} serves, and is in table "
                    f"{table!r}: promote a version of another table, or drop the whole space"
                )
            return wanted

        self._append(decide)

    def finish_drop(self, space: str, table: str) -> None:
        """Says that nothing of a dropped table is left."""

        def decide(entries: Sequence[Entry]) -> DroppedEntry:
            begun = _begun(entries, space, table)
            if begun is None:
                return _drops(entries, space)[-1]
            return begun.model_copy(update={"finished": True})

        self._append(decide)

    def dropping(self, space: str) -> list[str]:
        """The dropped tables of which something may be left."""
        entries = self._entries()
        names = {entry.table for entry in _drops(entries, space)}
        return sorted(name for name in names if _begun(entries, space, name))

    def promote(
        self, space: str, to: int, *, who: str, why: str, expected_from: int | None
    ) -> ServingEntry:
        """Makes a version the serving one, and ends a hold.

        `expected_from` is the serving version that the decision rests on, None for none. Raises
        StoreError if another one serves by now.
        """

        def decide(entries: Sequence[Entry]) -> ServingEntry:
            last = next(reversed(_serving(entries, space)), None)
            current = last.to_version if last else None
            if current != expected_from:
                raise StoreError(
                    f"the serving version of {space!r} is {_name(current)} by now, "
                    f"not {_name(expected_from)}: version {to} was not promoted; "
                    "look at what serves and promote again"
                )
            _find(entries, space, to)
            if last is not None and current == to and not last.hold:
                return last
            return _move(space, current, to, who, why, hold=False)

        failpoints.reach("promote")
        return self._append(decide)

    def rollback(self, space: str, *, who: str, why: str = "rollback") -> ServingEntry:
        """Goes back to the version that served before, and holds it until someone promotes.

        Again, it goes back further. Raises ConfigError if no other one served before.
        """

        def decide(entries: Sequence[Entry]) -> ServingEntry:
            served = _not_gone_back_from(entries, space)
            there = {entry.version for entry in _versions(entries, space)}
            before = [version for version in served if version in there - {served[-1]}]
            if not before:
                raise ConfigError(f"space {space!r} has no earlier serving version to roll back to")
            return _move(space, served[-1], before[-1], who, why, hold=True)

        return self._append(decide)

    def tidy(self, keep: timedelta) -> None:
        """Removes the log's versions older than `keep`, then gathers its fragments.

        In this order, since another process may be about to append to what is the head now; where
        it does so while fragments are gathered, it goes first, and the next time will do. So it
        will where nothing is there yet: a schedule may be due before the first run.
        """
        uri = layout.log_uri(self.store_uri)
        if not exists(uri):
            return
        try:
            lance.dataset(uri).cleanup_old_versions(keep)
            lance.dataset(uri).optimize.compact_files()
            settle(uri, lance.dataset(uri).version)
        except (OSError, ValueError) as error:
            if "commit conflict" not in str(error):  # Lance has no type for it here
                raise store_error(error, f"tidying the catalog {uri}") from error

    def _resolve_serving(self, space: str, latest: VersionEntry) -> VersionEntry:
        entry = self.serving(space)
        if entry is None:
            raise ConfigError(
                f"no version of space {space!r} serves yet: "
                f"run `vectorline promote {space} {latest.version}`, "
                "or read the newest with `--version latest`"
            )
        return entry

    def _entries(self) -> list[Entry]:
        uri = layout.log_uri(self.store_uri)
        try:
            return _read(_open(uri))
        except StoreError:
            if exists(uri):
                raise
            return []

    def _append(self, decide: Callable[[Sequence[Entry]], E]) -> E:
        """Appends what `decide` makes of the log; nothing if it gives an entry that is there."""
        uri = layout.log_uri(self.store_uri)
        if not exists(uri):
            create(uri, LOG)
        for _ in range(APPEND_ATTEMPTS):
            log = _open(uri)
            entries = _read(log)
            entry = decide(entries)
            if any(entry is known for known in entries):
                return entry
            written = fragments.write(log.uri, _row(len(entries), entry))
            new = [FragmentMetadata.from_json(fragment.metadata) for fragment in written]
            try:
                swap(log, new, {RUN_ID: uuid.uuid4().hex})
            except CommitConflict:
                time.sleep(random.uniform(0, PAUSE_S))  # noqa: S311 (spreads writers, hides nothing)
            else:
                return entry
        raise CommitConflict(
            f"the catalog of {self.store_uri!r} is written by too many at once: run again"
        )


def _open(uri: str) -> lance.LanceDataset:
    mended = "after a power cut a run or `vectorline maintain` mends it"
    with lance_errors(f"opening the catalog {uri} ({mended})"):
        return lance.dataset(uri)


def _read(log: lance.LanceDataset) -> list[Entry]:
    """All entries in order; those of a data file, which never changes, are read once."""
    before = _READ.get(log.uri, {})
    read = {one.metadata.files[0].path: one for one in log.get_fragments()}
    _READ[log.uri] = {path: before.get(path) or _rows(one) for path, one in read.items()}
    rows = sorted(chain.from_iterable(_READ[log.uri].values()), key=itemgetter(0))
    return [entry for _, entry in rows]


def _rows(fragment: lance.LanceFragment) -> list[tuple[int, Entry]]:
    """The entries of a fragment with their places in the log."""
    with lance_errors("reading the catalog"):
        rows = fragment.to_table(["seq", "payload"]).to_pylist()
    return [
        (row["seq"], parse(ENTRY, row["payload"], f"row {row['seq']} of the catalog"))
        for row in rows
    ]


def _row(seq: int, entry: Entry) -> pa.Table:
    row = {
        "seq": seq,
        "kind": entry.kind,
        "space": entry.space,
        "created_at": datetime.now(UTC),
        "payload": entry.model_dump_json(),
    }
    return pa.Table.from_pylist([row], LOG)


def _left(entries: Sequence[Entry], space: str) -> list[Entry]:
    """What is said about a space, without what a drop took: a table's versions and configs.

    With the table that serves, the history of what served goes too.
    """
    left: list[Entry] = []
    for entry in entries:
        if entry.space != space:
            continue
        if entry.kind == "dropped":
            moves = [one for one in left if one.kind == "serving"]
            left = [one for one in left if _table_of(one) != entry.table]
            there = {one.version for one in left if one.kind == "version"}
            if moves and moves[-1].to_version not in there:
                left = [one for one in left if one.kind != "serving"]
        left.append(entry)
    return left


def _table_of(entry: Entry) -> str | None:
    if entry.kind == "config":
        return layout.table_name(entry.space, entry.fingerprint)
    return entry.table if entry.kind in ("version", "published") else None


def _drops(entries: Sequence[Entry], space: str) -> list[DroppedEntry]:
    return [entry for entry in entries if entry.kind == "dropped" and entry.space == space]


def _begun(entries: Sequence[Entry], space: str, table: str) -> DroppedEntry | None:
    """The last drop of a table, unless it was finished."""
    own = [entry for entry in _drops(entries, space) if entry.table == table]
    return own[-1] if own and not own[-1].finished else None


def _told(drop: DroppedEntry) -> str:
    return f"was dropped on {drop.when:%Y-%m-%d} by {drop.who}"


def _highest(entries: Sequence[Entry], space: str) -> int:
    """The highest number that a version ever had."""
    ever = (one.version for one in entries if one.kind == "version" and one.space == space)
    return max(ever, default=0)


def _versions(entries: Sequence[Entry], space: str) -> list[VersionEntry]:
    gone = {entry.version for entry in _retired(entries, space)}
    return [entry for entry in _made(entries, space) if entry.version not in gone]


def _published(entries: Sequence[Entry], space: str) -> dict[str, PublishedEntry]:
    left = _left(entries, space)
    return {entry.sink: entry for entry in left if entry.kind == "published"}


def _retired(entries: Sequence[Entry], space: str) -> list[RetiredEntry]:
    return [entry for entry in entries if entry.kind == "retired" and entry.space == space]


def _not_gone_back_from(entries: Sequence[Entry], space: str) -> list[int]:
    """The versions that served, as they were promoted, up to the one that serves now."""
    served: list[int] = []
    for move in _serving(entries, space):
        if move.hold:  # a rollback
            while served[-1] != move.to_version:
                served.pop()
        else:
            served.append(move.to_version)
    return served


def _served(entries: Sequence[Entry], space: str) -> list[int]:
    """The last SERVED versions that served and are there, newest first."""
    there = {entry.version for entry in _versions(entries, space)}
    moves = [one.to_version for one in reversed(_serving(entries, space))]
    return [version for version in dict.fromkeys(moves) if version in there][:SERVED]


def _made(entries: Sequence[Entry], space: str) -> list[VersionEntry]:
    own = {entry.version: entry for entry in _left(entries, space) if entry.kind == "version"}
    return [own[number] for number in sorted(own)]


def _serving(entries: Sequence[Entry], space: str) -> list[ServingEntry]:
    return [entry for entry in _left(entries, space) if entry.kind == "serving"]


def _configs(entries: Sequence[Entry], space: str) -> list[ConfigEntry]:
    return [entry for entry in _left(entries, space) if entry.kind == "config"]


def _in_force(config: ConfigEntry, entries: Sequence[Entry]) -> bool:
    versions = _made(entries, config.space)
    return not config.run_id or any(entry.run_id == config.run_id for entry in versions)


def _find(entries: Sequence[Entry], space: str, version: int) -> VersionEntry:
    versions = _versions(entries, space)
    for entry in versions:
        if entry.version == version:
            return entry
    for gone in _retired(entries, space):
        if gone.version == version:
            raise ConfigError(
                f"version {version} of space {space!r} was let go by its retention policy "
                f"on {gone.when:%Y-%m-%d}"
            )
    for drop in _drops(entries, space):
        if version in {one.version for one in _made(entries[: entries.index(drop)], space)}:
            raise ConfigError(f"version {version} of space {space!r} {_told(drop)}")
    known = ", ".join(str(entry.version) for entry in versions) or "none"
    raise ConfigError(f"space {space!r} has no version {version}; it has: {known}")


def _tagged(store_uri: str, versions: Sequence[VersionEntry], tag: str) -> VersionEntry:
    for name in sorted({entry.table for entry in versions}):
        tags = Table(store_uri, name).tags()
        for entry in versions:
            if tag in tags and (entry.table, entry.lance_version) == (name, tags[tag]):
                return entry
    raise ConfigError(
        f"{tag!r} is no version of space {versions[0].space!r}: "
        f"give a number up to {versions[-1].version}, `serving`, `latest`, "
        "a time such as 2025-06-30T12:00, or a tag"
    )


def _move(
    space: str, current: int | None, to: int, who: str, why: str, *, hold: bool
) -> ServingEntry:
    return ServingEntry(
        space=space,
        from_version=current,
        to_version=to,
        who=who,
        when=datetime.now(UTC),
        why=why,
        hold=hold,
    )


def _name(version: int | None) -> str:
    return "none" if version is None else str(version)
