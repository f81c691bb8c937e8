"""What a store downstream lets its readers find: asked as they ask it, and checked."""

from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from schemas.config import SinkConfig
from schemas.publication import Stamp
from tasks import differing
from tasks.check import Check
from tasks.encoders.base import Vectors
from tasks.errors import ConfigError, SinkError, SinkUnavailable
from tasks.opening import opened
from tasks.outgoing import Outgoing
from tasks.search import ID, Query, among, condition, question
from tasks.secrets import Blocks, no_blocks
from tasks.shapes import from_plain, key_of, shape_of
from tasks.shortening import held_compression
from tasks.sinks.base import Near, Sink
from tasks.space import SPARE, Hit, Space, first_of_each_record, open_space
from tasks.store import publications
from tasks.store.catalog import Catalog
from tasks.store.rows import to_matrix

QUERIES = 100  # rows that are looked for, to say how many of the nearest are found
NEAREST = 10
ROUNDING = 1e-6  # scores that are this near are equal: rows stand for each other
TOLD = 5


@dataclass(frozen=True)
class Downstream:
    """The collection that readers of a sink see.

    Attributes:
        config: The sink as the user wrote it.
        sink: It, opened.
        name: The collection.
        stamp: What it says of itself.
        outgoing: The rows that it should have: those of the version in its stamp.
    """

    config: SinkConfig
    sink: Sink
    name: str
    stamp: Stamp
    outgoing: Outgoing

    @property
    def label(self) -> str:
        """What the sink is called."""
        return self.config.label

    @property
    def refused(self) -> list[str]:
        """The ids that the store would not take; none where nobody knows."""
        store_uri = self.space.store_uri
        return [one.id for one in publications.refused(store_uri, self.stamp) or ()]

    @property
    def space(self) -> Space:
        """The version that it holds."""
        return self.outgoing.space

    @property
    def behind(self) -> str:
        """What to tell where it has not what serves; "" where it has."""
        entry = self.space.entry
        serving = Catalog(self.space.store_uri).serving(entry.space)
        if self.stamp.moving is None and serving is not None and serving.version == entry.version:
            return ""
        wanted = None if serving is None else serving.version
        return (
            f"version {entry.version} in collection {self.name}, and version {wanted} serves: "
            f"`vectorline publish {entry.space}` brings it there"
        )

    def near(self, vectors: Vectors, k: int) -> list[list[Near]]:
        """The k nearest rows of each of these vectors, as the store finds them."""
        compression = self.outgoing.compression
        originals = vectors if compression.keeps_original else None
        shape = self.outgoing.shape
        return self.sink.search(self.name, shape, compression.apply(vectors), k, originals)


@contextmanager
def downstream(
    store_uri: str, space: str, config: SinkConfig, blocks: Blocks = no_blocks
) -> Iterator[Downstream]:
    """What readers of a sink see of a space; ConfigError where that is nothing of this store's."""
    with opened(config, blocks) as (sink, _):
        name = sink.serving()
        text = sink.collections().get(name or "", "")
        if name is None or not text:
            last = Catalog(store_uri).published(space).get(config.label)
            if last is not None:
                raise SinkError(
                    f"sink {config.label!r} had version {last.version}, and nothing is there now: "
                    f"was it removed, or is it elsewhere? `vectorline publish {space}` fills it"
                )
            raise ConfigError(
                f"sink {config.label!r} has nothing yet: `vectorline publish {space}` fills it"
            )
        stamp = publications.stamp_of(text, f"the stamp of sink {config.label!r}")
        held = stamp.holds
        entry = next(
            (
                one
                for one in Catalog(store_uri).versions(space)
                if stamp.space == space and publications.published_of(one) == held
            ),
            None,
        )
        if entry is None:
            what = "no whole version" if held is None else f"version {held.version}"
            raise ConfigError(
                f"sink {config.label!r} has {what} of space {stamp.space!r}, which this store "
                f"cannot look into: `vectorline publish {space}` brings it to what serves"
            )
        version, shape = open_space(space, store_uri, entry.version), from_plain(stamp.shape)
        compression = held_compression(version, config.compress)
        if compression is None or key_of(version, shape, compression) != stamp.key:
            raise ConfigError(
                f"sink {config.label!r} has vectors that were made with another `compress` than "
                f"the config's: `vectorline publish {space}` brings it to this one"
            )
        outgoing = Outgoing(version, shape, compression)
        yield Downstream(config, sink, name, stamp, outgoing)


def search_downstream(there: Downstream, query: Query) -> list[Hit]:
    """The same question as of the space: the `k` best hits, best first.

    The store gives the nearest rows, more and more of them until `k` fulfil the question's filter,
    or it gives no more: some give 10,000 at most. Raises ConfigError as `search`, and for `exact`.
    """
    if query.exact:
        raise ConfigError("--exact with --sink: how a store downstream searches is its own affair")
    if query.k < 1:
        raise ConfigError(f"-k = {query.k}: expected 1 or more")
    where = condition(there.space, query)
    vector = question(there.space, query.terms)[None]
    limit = query.k + SPARE
    while True:
        near = there.near(vector, limit)[0]
        hits = _hits(there, _that_fulfil(there.space, near, where))
        best = hits if query.chunks else first_of_each_record(hits)
        if len(best) >= query.k or len(near) < limit:
            return best[: query.k]
        limit *= 4


def _that_fulfil(space: Space, near: list[Near], where: str | None) -> list[Near]:
    """Those of rows that fulfil a condition, in their order."""
    if where is None or not near:
        return near
    wanted = f"({where}) AND {among(ID, (one.id for one in near))}"
    found = {*space.dataset.to_table(columns=[ID], filter=wanted)[ID].to_pylist()}
    return [one for one in near if one.id in found]


def _hits(there: Downstream, near: list[Near]) -> list[Hit]:
    shape = there.outgoing.shape
    rows = there.sink.fetch(there.name, shape, [one.id for one in near])
    by_id = {row["id"]: row for row in rows.select(["id", *shape.columns.names]).to_pylist()}
    hits = []
    for one in near:
        row = by_id.get(one.id)
        if row is not None:  # else somebody removed it meanwhile
            own = ("record_id", "chunk", "id", "modality", "source_uri")
            columns = {name: value for name, value in row.items() if name not in own}
            hits.append(Hit(one.id, row["record_id"], row["chunk"], one.score, columns))
    return hits


def verify_downstream(there: Downstream, *, all_rows: bool = False) -> list[Check]:
    """Which version it has, ids and hashes in both directions, rows, and what is found.

    `all_rows` are read back instead of a sample, which is another one each time.
    """
    version = _version(there)
    try:
        return [version, _ids(there), _rows(there, all_rows=all_rows), _recall(there)]
    except SinkUnavailable:
        raise
    except SinkError as error:
        return [version, Check(f"{there.label} rows", False, str(error))]


def _version(there: Downstream) -> Check:
    if there.behind:
        return Check(f"{there.label} version", False, there.behind)
    entry = there.space.entry
    detail, wrong = f"version {entry.version} in collection {there.name}", ""
    if there.outgoing.shape != shape_of(there.space, there.config, there.outgoing.compression):
        wrong = ", with other columns than the config's"
    elif not there.stamp.finished:
        wrong = ", whose index was not made"
    mend = f": `vectorline publish {entry.space}` brings it there" if wrong else ""
    return Check(f"{there.label} version", not wrong, detail + wrong + mend)


def _ids(there: Downstream) -> Check:
    found = differing.beside(there.sink, there.name, there.outgoing)
    refused = there.refused
    lacking = np.setdiff1d(found.places, there.outgoing.places_of(refused))
    detail = f"{found.before:,} rows, {len(refused):,} refused"
    ok = not len(lacking) and not found.gone
    if not ok:
        first = ", ".join(map(repr, [*there.outgoing.ids(lacking[:TOLD]), *found.gone][:TOLD]))
        detail += (
            f"; {len(lacking):,} are missing or of another version, {len(found.gone):,} too many: "
            f"{first}. `vectorline publish {there.space.entry.space} --repair` mends it"
        )
    return Check(f"{there.label} ids", ok, detail)


def _rows(there: Downstream, *, all_rows: bool) -> Check:
    n_rows = len(there.outgoing.row_ids)
    n_sampled = n_rows if all_rows else there.config.sample
    places = np.random.default_rng().permutation(n_rows)[:n_sampled]
    places = np.setdiff1d(places, there.outgoing.places_of(there.refused))
    wrong = differing.wrong(there.sink, there.name, there.outgoing, places)
    detail = f"vector and metadata of {len(places):,} rows read back"
    if len(wrong):
        first = ", ".join(map(repr, there.outgoing.ids(wrong[:TOLD])))
        detail += (
            f"; {len(wrong):,} differ: {first}. "
            f"`vectorline publish {there.space.entry.space} --repair` mends it"
        )
    return Check(f"{there.label} rows", not len(wrong), detail)


def _recall(there: Downstream) -> Check:
    """How many of the ten nearest rows by exact search in the space the sink finds.

    Of those that it does not take, none is sought, and of those that `compress` was seen to lose,
    which its own limit allowed, none is expected.
    """
    space, n_rows = there.space, there.space.rows
    chosen = np.sort(np.random.default_rng(0).permutation(n_rows)[:QUERIES])
    vectors = to_matrix(space.dataset.take(chosen.tolist(), columns=["vector"])["vector"])
    k = min(NEAREST, n_rows)
    exact = [space.nearest(one, k, columns=(), chunks=True, exact=True) for one in vectors]
    near = [[one.id for one in row] for row in (there.near(vectors, k) if n_rows else [])]
    own = [{one.id for one in row} for row in exact]
    others = {id_ for ids, known in zip(near, own, strict=True) for id_ in ids if id_ not in known}
    held, refused = _vectors_of(space, others), {*there.refused}
    n_found = n_sought = 0
    for vector, ids, known, row in zip(vectors, near, own, exact, strict=True):
        least, sought = row[-1].score - ROUNDING, len(known - refused)
        found = sum(id_ in known or _is_near(vector, held.get(id_), least) for id_ in ids)
        n_found, n_sought = n_found + min(found, sought), n_sought + sought
    share = n_found / max(1, n_sought)
    detail = f"{share:.1%} of the {k} nearest rows are found, of {len(vectors):,} rows"
    left = 1.0 if there.stamp.recall is None else there.stamp.recall.value
    if left < 1:
        detail += f", and {left:.1%} with `compress` alone when it was measured"
    ok = n_rows == 0 or share >= there.config.recall * left
    if not ok:
        detail += (
            f"; `recall` is {there.config.recall:g}{' of that' if left < 1 else ''}: give its "
            f"index more to look at{', or `compress` less' if left < 1 else ''}"
        )
    return Check(f"{there.label} recall", ok, detail)


def _vectors_of(space: Space, ids: Set[str]) -> dict[str, Vectors]:
    """Of those of these rows that there are, by id."""
    if not ids:
        return {}
    found = space.dataset.to_table(columns=[ID, "vector"], filter=pc.field(ID).isin(sorted(ids)))
    return dict(zip(found[ID].to_pylist(), to_matrix(found["vector"]), strict=True))


def _is_near(vector: Vectors, row: Vectors | None, least: float) -> bool:
    """Whether a row is as near as the last of the nearest: it stands for it."""
    if row is None:
        return False
    return bool(row @ vector / (np.linalg.norm(row) * np.linalg.norm(vector)) >= least)
