"""Tables of LanceDB elsewhere, on a disk or in a bucket, which change in one commit.

All collections are in the one table that readers open. That which serves is its head. Each other
one is a version that a tag names: one that was the head before, or one that was made beside, a
detached version, which never becomes the head by itself. To serve it is to restore it: one commit,
in which no row is copied. Each commit says which collection and stamp it has.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, cast

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
from tasks.sinks.lance_rows import ROWS_A_BATCH, Addresses, addresses, operation, written
from tasks.sinks.lance_table import (
    CLOCK_S,
    COLLECTION,
    DETACHED,
    METRIC,
    OTHERS,
    STAMP,
    LanceTable,
    State,
)

if TYPE_CHECKING:
    import lancedb
    from lance.fragment import FragmentMetadata
    from lancedb.query import LanceVectorQueryBuilder

PARTS = 64
CANDIDATES = 4  # times k, where the original decides
UNINDEXED = 0.1  # of the rows, and the index is built anew: adding to it costs recall
KEPT = timedelta(days=1)
METRICS = {Metric.COSINE: "cosine", Metric.DOT: "dot", Metric.EUCLIDEAN: "l2"}
INDEXES = {
    "IVF_FLAT": "IvfFlat",
    "IVF_SQ": "IvfSq",
    "IVF_RQ": "IvfRq",
    "IVF_PQ": "IvfPq",
    "IVF_HNSW_SQ": "HnswSq",
}
ELEMENTS = frozenset({Element.FLOAT32, Element.FLOAT16, Element.BINARY})


class LancedbSink:
    """Readers use `lancedb.connect(uri).open_table(table)`."""

    place = ("uri", "table", "storage_options")
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
        self._lance = LanceTable(f"{self._uri}/{table}.lance", storage_options)
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
        with self._lance.told("opening the database"):
            self._database = lancedb.connect(self._uri, storage_options=self._options)
            self._lance.head()

    def close(self) -> None:
        """Forgets the database."""
        self._database = None

    def collections(self) -> dict[str, str]:
        """By the tags."""
        with self._lance.told("listing collections"):
            head = self._lance.head()
            names = set() if head is None else {*self._lance.tags(head).collections()}
            if head is not None and (served := self._lance.served(head)):
                names.add(served)  # whose tag somebody may have removed
        return {name: self._lance.state(name).properties[STAMP] for name in sorted(names)}

    def create(self, name: str, shape: Shape) -> None:
        """A detached version; readers see it when it is to serve, or does."""
        import lance

        binary = shape.element is Element.BINARY
        metric = "hamming" if binary else METRICS[shape.metric]
        properties = {COLLECTION: name, STAMP: "", METRIC: metric}
        with self._lance.told(f"making collection {name}"):
            head = self._lance.head()
            if head is None:
                empty = shape.row_schema.empty_table()
                head = lance.write_dataset(empty, self._lance.path, storage_options=self._options)
            elif not self._lance.is_ours(head):
                raise SinkError(
                    f"{self._lance.path} is not ours: remove it, or take another `table`"
                )
            change = lance.LanceOperation.Overwrite(shape.row_schema, [])
            made = self._lance.commit(head, change, properties, detached=True)
            if self._lance.served(head) == name:
                made = self._lance.restore(head, made.version, properties)
            self._lance.tags(made).put(name, made.version)

    def stamp(self, name: str, text: str) -> None:
        """By a commit that changes no row."""
        state = self._lance.state(name)
        with self._lance.told("writing a stamp"):
            self._put(state, [], np.empty(0, np.uint64), text)

    @contextmanager
    def writing(self, name: str, shape: Shape, stamp: str) -> Iterator[Writer]:
        """One commit: new fragments, and marks on the rows that go."""
        state = self._lance.state(name)
        held = [(one.name, one.type) for one in state.dataset.schema]
        if held != [(one.name, one.type) for one in shape.row_schema]:
            raise SinkError(f"{self._lance.path}: rows of collection {name} are not of this shape")
        with Changes(shape.row_schema, PARTS) as changes:
            yield changes
            with self._lance.told("writing rows"):
                begun = time.time() - CLOCK_S
                new, touched = written(state.dataset, shape.row_schema, changes, self._options)
                gone = addresses(state.dataset, touched)
                failpoints.reach("sink-file")
                self._put(state, new, gone, stamp, begun)

    def finish(self, name: str, shape: Shape) -> None:
        """Builds the index of what serves, and lets go of versions older than a day."""
        state = self._lance.state(name)
        if state.is_head:
            self._finish(state)

    def count(self, name: str) -> int:
        """By the fragments."""
        dataset = self._lance.state(name).dataset
        with self._lance.told("counting rows"):
            return int(dataset.count_rows())

    def held(self, name: str) -> Iterator[list[Held]]:
        """By a scan of two columns."""
        dataset = self._lance.state(name).dataset
        with self._lance.told("listing rows"):
            for batch in dataset.to_batches(columns=[ID, HASH], batch_size=ROWS_A_BATCH):
                pairs = zip(batch[ID].to_pylist(), batch[HASH].to_pylist(), strict=True)
                yield [Held(id_, hash_) for id_, hash_ in pairs]

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """By a scan of the ids."""
        dataset = self._lance.state(name).dataset
        with self._lance.told("reading rows"):
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
        state = self._lance.state(name)
        decides = bool(shape.full_dim) and originals is not None
        wanted = k * CANDIDATES if decides else k
        with self._lance.told("searching"):
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

        with self._lance.told(f"removing collection {name}"):
            head = self._lance.head()
            if head is None:
                return
            if self._lance.served(head) == name:
                none = {COLLECTION: "", STAMP: ""}
                empty = lance.LanceOperation.Overwrite(head.schema, [])
                made = self._lance.commit(head, empty, none, detached=True)
                self._lance.restore(head, made.version, none)
            self._lance.tags(head).remove(name)

    def serving(self) -> str | None:
        """By the last commit of ours to the head."""
        with self._lance.told("looking who serves"):
            head = self._lance.head()
            return None if head is None else self._lance.served(head)

    def serve(self, name: str) -> None:
        """Restores it, at once; then builds its index, and lets go of old versions."""
        state = self._lance.state(name)
        if state.is_head:
            return
        with self._lance.told("pointing readers at a collection"):
            head = self._lance.head()
            if head is None:
                raise SinkError(f"{self._lance.path} is gone: publish with --repair")
            if before := self._lance.served(head):
                self._lance.tags(head).put(before, head.version)
            made = self._lance.restore(head, state.dataset.version, state.properties)
            self._lance.tags(made).put(name, made.version)
        self._finish(self._lance.state(name))

    def _put(
        self,
        state: State,
        new: Sequence["FragmentMetadata"],
        gone: Addresses,
        stamp: str,
        begun: float | None = None,
    ) -> None:
        """Commits new rows without those that go, with a stamp; durably."""
        base, properties = state.dataset, {**state.properties, STAMP: stamp}
        name = properties[COLLECTION]
        begun = time.time() - CLOCK_S if begun is None else begun
        change = operation(base, new, gone)
        self._lance.sync(begun)
        failpoints.reach("sink-before-switch")
        if not state.is_head and self._lance.state(name).dataset.version != base.version:
            raise SinkUnavailable(f"{self._lance.path}: {OTHERS} collection {name}: publish again")
        made = self._lance.commit(base, change, properties, detached=not state.is_head)
        self._lance.sync(begun)
        failpoints.reach("sink-after-switch")
        self._lance.tags(made).put(name, made.version)
        self._lance.sync(begun)

    def _finish(self, state: State) -> None:
        with self._lance.told("building an index"):
            self._build(state)
        with self._lance.told("letting go of old versions"):
            # Lance takes files that only detached versions name for those of dead writers.
            if all(one < DETACHED for one in self._lance.tags(state.dataset).versions().values()):
                state.dataset.cleanup_old_versions(
                    older_than=KEPT, error_if_tagged_old_versions=False
                )

    def _build(self, state: State) -> None:
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
        self._lance.sync(begun)

    def _open_table(self) -> "lancedb.table.Table":
        if self._database is None:
            raise SinkError(f"{self._uri} is not open: call connect")
        return self._database.open_table(self._table)


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
