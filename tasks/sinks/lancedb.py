"""Tables of LanceDB elsewhere, on a disk or in a bucket, which change in one commit.

All collections are in the one table that readers open. That which serves is its head. Each other
one is a version that a tag names: one that was the head before, or one that was made beside, a
detached version, which never becomes the head by itself. To serve it is to restore it: one commit,
in which no row is copied. Each commit says which collection and stamp it has.
"""

import contextlib
import errno
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks import failpoints
from tasks.errors import ConfigError, SinkError, SinkUnavailable
from tasks.sinks import exact
from tasks.sinks.base import (
    FULL,
    HASH,
    ID,
    VECTOR,
    Element,
    Held,
    Limits,
    Metric,
    Mode,
    Near,
    Originals,
    Queries,
    Shape,
    Writer,
)
from tasks.sinks.changes import Changes
from tasks.sinks.folder import sync
from tasks.sinks.lance_tags import Tags

if TYPE_CHECKING:
    import lancedb
    from lance import LanceDataset, LanceOperation
    from lance.fragment import FragmentMetadata
    from lancedb.query import LanceVectorQueryBuilder

COLLECTION, STAMP, METRIC, COMMIT = "collection", "stamp", "metric", "commit"
DETACHED = 2**63  # of a detached version this bit is set
PARTS = 16
ROWS_A_BATCH = 65_536
REBASES = 20  # over what does not conflict: an index that was built meanwhile
CANDIDATES = 4  # times k, where the original decides
UNINDEXED = 0.1  # of the rows, and the index is built anew: adding to it costs recall
KEPT = timedelta(days=1)
CLOCK_S = 5.0  # by which a disk's clock may lag
PASSING = (
    "HTTP error",
    "Generic S3",
    "Generic GCS",
    "Generic MicrosoftAzure",
    "timed out",
    "RetryError",
)
DISK_FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))
PUBLIC = ("endpoint", "region", "allow_http")  # options that are no secrets
METRICS = {Metric.COSINE: "cosine", Metric.DOT: "dot", Metric.EUCLIDEAN: "l2"}
INDEXES = {
    "IVF_FLAT": "IvfFlat",
    "IVF_SQ": "IvfSq",
    "IVF_RQ": "IvfRq",
    "IVF_PQ": "IvfPq",
    "IVF_HNSW_SQ": "HnswSq",
}
ELEMENTS = frozenset({Element.FLOAT32, Element.FLOAT16, Element.BINARY})

Addresses: TypeAlias = npt.NDArray[np.uint64]
"""Shape (n,): fragment << 32 | offset."""


@dataclass(frozen=True, slots=True)
class _State:
    """A version with a collection, and what the commit that made it says."""

    dataset: "LanceDataset"
    properties: Mapping[str, str]
    is_head: bool


class LancedbSink:
    """Readers use `lancedb.connect(uri).open_table(table)`."""

    modes: tuple[Mode, ...] = (Mode.ATOMIC, Mode.SWITCH)
    limits = Limits(batch_rows=65_536, batch_bytes=64 * 2**20, elements=ELEMENTS)

    def __init__(
        self,
        *,
        uri: str,
        table: str,
        storage_options: dict[str, str] | None = None,
        index: str | None = None,
        refine: int = 10,
    ) -> None:
        """`uri` is that of the database, `storage_options` are Lance's.

        `index` is a kind of LanceDB's, such as IVF_RQ; without it searches compare with all rows.
        Searches ask an index for `refine` times as many rows, and compare these by their vectors:
        readers write `.refine_factor(10)`, or find one in eight of the nearest with IVF_RQ and PQ.
        """
        if index is not None and index not in INDEXES:
            raise ConfigError(f"index = {index!r} is none of {', '.join(INDEXES)}")
        self._uri = uri.removeprefix("file://").rstrip("/")
        self._table, self._options, self._index = table, storage_options, index
        self._refine = refine if index else None
        self._path = f"{self._uri}/{table}.lance"
        self._database: lancedb.DBConnection | None = None

    def connect(self) -> None:
        """Looks whether the place can be reached."""
        try:
            import lance  # noqa: F401
            import lancedb
        except ImportError as error:
            raise ConfigError(
                f"lancedb cannot be imported ({error}): pip install lancedb pylance"
            ) from error
        with self._told("opening the database"):
            self._database = lancedb.connect(self._uri, storage_options=self._options)
            self._head()

    def close(self) -> None:
        """Forgets the database."""
        self._database = None

    def collections(self) -> dict[str, str]:
        """By the tags."""
        with self._told("listing collections"):
            head = self._head()
            names = set() if head is None else {*self._tags(head).collections()}
            if head is not None and (served := self._served(head)):
                names.add(served)  # whose tag somebody may have removed
        return {name: self._state(name).properties[STAMP] for name in sorted(names)}

    def create(self, name: str, shape: Shape) -> None:
        """A detached version; readers see it when it is to serve, or does."""
        import lance

        binary = shape.element is Element.BINARY
        metric = "hamming" if binary else METRICS[shape.metric]
        properties = {COLLECTION: name, STAMP: "", METRIC: metric}
        with self._told(f"making collection {name}"):
            head = self._head()
            if head is None:
                empty = shape.row_schema.empty_table()
                head = lance.write_dataset(empty, self._path, storage_options=self._options)
            elif not self._is_ours(head):
                raise SinkError(f"{self._path} is not ours: remove it, or take another `table`")
            operation = lance.LanceOperation.Overwrite(shape.row_schema, [])
            made = self._commit(head, operation, properties, detached=True)
            if self._served(head) == name:
                made = self._restore(head, made.version, properties)
            self._tags(made).put(name, made.version)

    def stamp(self, name: str, text: str) -> None:
        """By a commit that changes no row."""
        state = self._state(name)
        with self._told("writing a stamp"):
            self._put(state, [], np.empty(0, np.uint64), text)

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """One commit: new fragments, and marks on the rows that go."""
        state = self._state(name)
        held = [(one.name, one.type) for one in state.dataset.schema]
        if held != [(one.name, one.type) for one in shape.row_schema]:
            raise SinkError(f"{self._path}: rows of collection {name} are not of this shape")
        with tempfile.TemporaryDirectory(prefix="vectorline-") as folder:
            aside = Path(folder) / "aside"
            with Changes(aside, shape.row_schema, PARTS, self._told) as changes:
                yield changes
                with self._told("writing rows"):
                    begun = time.time() - CLOCK_S
                    new, touched = self._write(state.dataset, shape.row_schema, changes)
                    gone = _addresses(state.dataset, touched)
                    failpoints.reach("sink-file")
                    self._put(state, new, gone, stamp, begun)

    def finish(self, name: str, shape: Shape) -> None:
        """Builds the index of what serves, and lets go of versions older than a day."""
        state = self._state(name)
        if state.is_head:
            self._finish(state)

    def count(self, name: str) -> int:
        """By the fragments."""
        dataset = self._state(name).dataset
        with self._told("counting rows"):
            return int(dataset.count_rows())

    def held(self, name: str) -> Iterator[list[Held]]:
        """By a scan of two columns."""
        dataset = self._state(name).dataset
        with self._told("listing rows"):
            for batch in dataset.to_batches(columns=[ID, HASH], batch_size=ROWS_A_BATCH):
                pairs = zip(batch[ID].to_pylist(), batch[HASH].to_pylist(), strict=True)
                yield [Held(id_, hash_) for id_, hash_ in pairs]

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """By a scan of the ids."""
        dataset = self._state(name).dataset
        with self._told("reading rows"):
            places, at = [np.empty(0, np.int64)], 0
            wanted = pa.array(ids, pa.string())
            for batch in dataset.to_batches(columns=[ID], batch_size=ROWS_A_BATCH):
                places.append(at + np.flatnonzero(pc.is_in(batch[ID], wanted)))
                at += len(batch)
            found = dataset.take(np.concatenate(places).tolist(), shape.row_schema.names)
            return found.cast(shape.row_schema).combine_chunks()

    def search(
        self, name: str, shape: Shape, queries: Queries, k: int, originals: Originals | None = None
    ) -> list[list[Near]]:
        """As LanceDB's own search finds them."""
        state = self._state(name)
        decides = bool(shape.full_dim) and originals is not None
        wanted = k * CANDIDATES if decides else k
        with self._told("searching"):
            table = self._open_table()
            if not state.is_head:
                table.checkout(state.dataset.version)
            found = [_near(table, shape, query, wanted, self._refine) for query in queries]
        if originals is None or not decides:
            return found
        rows = self.fetch(name, shape, sorted({one.id for part in found for one in part}))
        return exact.reordered(found, originals, rows, FULL, shape.metric, k)

    def drop(self, name: str) -> None:
        """Takes its tag away; what serves is emptied."""
        import lance

        with self._told(f"removing collection {name}"):
            head = self._head()
            if head is None:
                return
            if self._served(head) == name:
                none = {COLLECTION: "", STAMP: ""}
                empty = lance.LanceOperation.Overwrite(head.schema, [])
                made = self._commit(head, empty, none, detached=True)
                self._restore(head, made.version, none)
            self._tags(head).remove(name)

    def serving(self) -> str | None:
        """By the last commit of ours to the head."""
        with self._told("looking who serves"):
            head = self._head()
            return None if head is None else self._served(head)

    def serve(self, name: str) -> None:
        """Restores it, at once; then builds its index, and lets go of old versions."""
        state = self._state(name)
        if state.is_head:
            return
        with self._told("pointing readers at a collection"):
            head = self._head()
            if head is None:
                raise SinkError(f"{self._path} is gone: publish with --repair")
            if before := self._served(head):
                self._tags(head).put(before, head.version)
            made = self._restore(head, state.dataset.version, state.properties)
            self._tags(made).put(name, made.version)
        self._finish(self._state(name))

    def _head(self) -> "LanceDataset | None":
        return self._version(None)

    def _version(self, version: int | None) -> "LanceDataset | None":
        import lance

        try:
            return lance.dataset(self._path, version=version, storage_options=self._options)
        except ValueError as error:
            if "was not found" not in str(error):
                raise
            return None

    def _is_ours(self, head: "LanceDataset") -> bool:
        """Whether nobody else made the table: one of ours has our tags, or is empty."""
        is_new = head.count_rows() == 0 and HASH in head.schema.names
        return is_new or bool(self._tags(head).collections()) or bool(self._said(head))

    def _served(self, head: "LanceDataset") -> str | None:
        return self._said(head).get(COLLECTION) or None

    def _said(self, head: "LanceDataset") -> Mapping[str, str]:
        """What our last commit to the head says."""
        for version in range(head.version, 0, -1):
            try:
                transaction = head.read_transaction(version)
            except (TypeError, OSError, ValueError):
                continue  # a compaction that pylance cannot read, or a version that was cleaned up
            properties = transaction.transaction_properties if transaction else None
            if properties and COLLECTION in properties:
                found: Mapping[str, str] = properties
                return found
        return {}

    def _state(self, name: str) -> _State:
        """A collection as it is now."""
        with self._told(f"opening collection {name}"):
            head = self._head()
            if head is not None:
                said = self._said(head)
                if said.get(COLLECTION) == name:
                    return _State(head, said, True)
                if (version := self._tags(head).collections().get(name)) is not None:
                    dataset = self._version(version)
                    if dataset is not None:
                        transaction = dataset.read_transaction(version)
                        own = (transaction and transaction.transaction_properties) or {}
                        # A head that was tagged may be a commit of others, upon one of ours.
                        said = own if COLLECTION in own else self._said(dataset)
                        return _State(dataset, said, False)
        raise SinkError(f"{self._path} has no collection {name} (any more): publish with --repair")

    def _write(
        self, base: "LanceDataset", schema: pa.Schema, changes: Changes
    ) -> tuple[list["FragmentMetadata"], list[pa.Array]]:
        """Fragments that no version names yet, and the ids of rows that go."""
        from lance.fragment import write_fragments

        touched = []

        def batches() -> Iterator[pa.RecordBatch]:
            for bucket in changes.touched():
                change = changes.of(bucket)
                touched.append(change.touched)
                yield from change.rows.cast(schema).to_batches()

        rows = pa.RecordBatchReader.from_batches(schema, batches())
        new = write_fragments(rows, base, mode="append", storage_options=self._options)
        return [one for one in new if one.physical_rows], touched

    def _put(
        self,
        state: _State,
        new: Sequence["FragmentMetadata"],
        gone: Addresses,
        stamp: str,
        begun: float | None = None,
    ) -> None:
        """Commits new rows without those that go, with a stamp; durably."""
        base, properties = state.dataset, {**state.properties, STAMP: stamp}
        name = properties[COLLECTION]
        begun = time.time() - CLOCK_S if begun is None else begun
        operation = _operation(base, new, gone)
        self._sync(begun)
        failpoints.reach("sink-before-switch")
        if not state.is_head and self._state(name).dataset.version != base.version:
            raise SinkUnavailable(f"{self._path}: another process wrote collection {name}: again")
        made = self._commit(base, operation, properties, detached=not state.is_head)
        self._sync(begun)
        failpoints.reach("sink-after-switch")
        self._tags(made).put(name, made.version)
        self._sync(begun)

    def _commit(
        self,
        base: "LanceDataset",
        operation: "LanceOperation.BaseOperation",
        properties: Mapping[str, str],
        *,
        detached: bool = False,
    ) -> "LanceDataset":
        """One transaction on top of `base`, once: one that came between makes it fail."""
        from lance import LanceDataset, LanceOperation, Transaction
        from lance.commit import CommitConflictError

        commit = uuid.uuid4().hex
        is_first = isinstance(operation, LanceOperation.Overwrite) and not detached
        transaction = Transaction(
            read_version=base.version,
            operation=operation,
            transaction_properties={**properties, COMMIT: commit},
        )
        try:
            return LanceDataset.commit(
                base if detached else self._path,
                transaction,
                detached=detached,
                storage_options=self._options,
                max_retries=0 if is_first else REBASES,
            )
        except (OSError, ValueError) as error:
            head = None if detached else self._head()
            if head is not None and self._said(head).get(COMMIT) == commit:
                return head  # it had landed
            if isinstance(error, CommitConflictError):
                raise SinkUnavailable(
                    f"{self._path}: another process wrote meanwhile: publish again"
                ) from error
            raise

    def _restore(
        self, head: "LanceDataset", version: int, properties: Mapping[str, str]
    ) -> "LanceDataset":
        import lance

        begun = time.time() - CLOCK_S
        made = self._commit(head, lance.LanceOperation.Restore(version), properties)
        self._sync(begun)
        return made

    def _tags(self, dataset: "LanceDataset") -> Tags:
        return Tags(self._path, dataset)

    def _finish(self, state: _State) -> None:
        with self._told("building an index"):
            self._build(state)
        with self._told("letting go of old versions"):
            # Lance takes files that only detached versions name for those of dead writers.
            if all(one < DETACHED for one in self._tags(state.dataset).versions().values()):
                state.dataset.cleanup_old_versions(
                    older_than=KEPT, error_if_tagged_old_versions=False
                )

    def _build(self, state: _State) -> None:
        """The index, if one is wanted, and it has not nearly all rows."""
        n_rows = state.dataset.count_rows()
        if self._index is None or not n_rows:
            return
        import lancedb.index

        table = self._open_table()
        for one in table.list_indices():
            stats = table.index_stats(one.name)
            if stats is not None and stats.num_unindexed_rows <= UNINDEXED * n_rows:
                return
        kind = getattr(lancedb.index, INDEXES[self._index])
        begun = time.time() - CLOCK_S
        table.create_index(VECTOR, config=kind(distance_type=state.properties[METRIC]))
        self._sync(begun)

    def _open_table(self) -> "lancedb.table.Table":
        if self._database is None:
            raise SinkError(f"{self._uri} is not open: call connect")
        return self._database.open_table(self._table)

    def _sync(self, begun: float) -> None:
        """Brings to a local disk what was written since: Lance does it for none of its files."""
        root = Path(self._path)
        if not root.is_dir():
            return
        for path in root.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime >= begun:
                    sync([path])
        sync([root, root.parent])

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        """Lance raises these for all that goes wrong; only the words tell it apart."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            words = str(error).replace("\n", " ")[:300]
            for key, value in (self._options or {}).items():
                words = words if key.endswith(PUBLIC) else words.replace(value, "***")
            if any(sign in words for sign in DISK_FULL):
                raise SinkError(
                    f"{self._path}: no space left on the disk while {doing}; readers have what "
                    "they had: free some space and publish again"
                ) from None
            if any(sign in words for sign in PASSING):
                raise SinkUnavailable(f"{self._path} did not answer, {doing}: {words}") from None
            raise SinkError(f"{self._path}: {doing} failed: {words}") from None


def _addresses(dataset: "LanceDataset", touched: Sequence[pa.Array]) -> Addresses:
    """Where rows with these ids are."""
    found = [np.empty(0, np.uint64)]
    wanted = pa.concat_arrays([pa.array([], pa.string()), *touched])
    if len(wanted) and dataset.count_rows():
        scanner = dataset.scanner(columns=[ID], with_row_address=True, batch_size=ROWS_A_BATCH)
        for batch in scanner.to_batches():
            here = pc.is_in(batch[ID], wanted)
            found.append(batch["_rowaddr"].filter(here).to_numpy(zero_copy_only=False))
    return np.concatenate(found)


def _operation(
    base: "LanceDataset", new: Sequence["FragmentMetadata"], gone: Addresses
) -> "LanceOperation.BaseOperation":
    """One that conflicts with any other from the same base: the lowest fragment is in it."""
    from lance import LanceOperation

    fragments = {one.fragment_id: one for one in base.get_fragments()}
    present = [one.metadata for one in fragments.values()]
    updated, removed = [], []
    for number in np.unique(gone >> np.uint64(32)).tolist():
        offsets = gone[gone >> np.uint64(32) == number] & np.uint64(0xFFFFFFFF)
        left = fragments[number].delete_rows(offsets.tolist())
        removed += [number] if left is None else []
        updated += [] if left is None else [left]
    if len(removed) == len(present):
        return LanceOperation.Overwrite(base.schema, list(new))
    lowest = min(present, key=lambda fragment: fragment.id)
    named = {fragment.id for fragment in updated} | set(removed)
    return LanceOperation.Update(
        removed_fragment_ids=removed,
        updated_fragments=[*updated, *([] if lowest.id in named else [lowest])],
        new_fragments=list(new),
        update_mode="rewrite_rows",
        # Left empty, every index would go silently wrong: filters would miss updated rows.
        fields_for_preserving_frag_bitmap=_field_ids(base.lance_schema.fields()),
    )


def _field_ids(fields: Sequence[object]) -> list[int]:
    found: list[int] = []
    for field in fields:
        found += [field.id(), *_field_ids(field.children())]  # type: ignore[attr-defined]
    return found


def _near(
    table: "lancedb.table.Table",
    shape: Shape,
    query: npt.NDArray[np.generic],
    k: int,
    refine: int | None,
) -> list[Near]:
    binary = shape.element is Element.BINARY
    by = "hamming" if binary else METRICS[shape.metric]
    asked = cast("LanceVectorQueryBuilder", table.search(query, vector_column_name=VECTOR))
    by_its_name = cast("Literal['l2', 'cosine', 'dot']", by)  # hamming works too
    asked = asked.distance_type(by_its_name).limit(k).select([ID, "_distance"])
    found = (asked.refine_factor(refine) if refine else asked).to_arrow()
    distances = found["_distance"].to_numpy().astype(np.float64)
    if binary:
        scores = shape.dim - distances
    elif shape.metric is Metric.EUCLIDEAN:
        scores = -np.sqrt(np.maximum(distances, 0))
    else:
        scores = 1 - distances
    pairs = zip(found[ID].to_pylist(), scores.tolist(), strict=True)
    return [Near(id_, score) for id_, score in pairs]
