"""What a sink lacks and has too much of, beside the version that it is to hold."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.publication import How
from tasks.compression import Short
from tasks.digests import digest_text, stack, to_array
from tasks.outgoing import Outgoing
from tasks.sinks.base import ID, VECTOR, Sink
from tasks.space import Space
from tasks.store.diff import Finder, Indices, Mask
from tasks.store.rows import to_matrix

RECORD = "record_id"
ALLOWED = {"float32": 1e-5, "float16": 2e-3, "int8": 0.02}  # of a row's largest component


@dataclass(frozen=True)
class Difference:
    """What must be pushed.

    Attributes:
        how: By what it was found.
        places: Rows of the version that are to be put, by their places in its table, ascending.
        gone: Ids that are to be removed.
        before: How many rows the sink had.
    """

    how: How
    places: Indices
    gone: tuple[str, ...]
    before: int

    @property
    def n_rows(self) -> int:
        """How many rows there are to be pushed or removed."""
        return len(self.places) + len(self.gone)


def of_all(outgoing: Outgoing) -> Difference:
    """Into a collection that is empty."""
    return Difference("all rows", np.arange(len(outgoing.row_ids)), (), 0)


def between(old: Outgoing, outgoing: Outgoing) -> Difference:
    """Of two versions of one table: rows whose content is the same have the same id of Lance.

    In those, columns that were made of rows are compared by value.
    """
    came = np.flatnonzero(~np.isin(outgoing.row_ids, old.row_ids))
    went = np.flatnonzero(~np.isin(old.row_ids, outgoing.row_ids))
    came = np.union1d(came, _marked_anew(old, outgoing))
    replaced = {*outgoing.ids(came)}
    gone = tuple(id_ for id_ in old.ids(went) if id_ not in replaced)
    return Difference("changes", came, gone, len(old.row_ids))


def _marked_anew(old: Outgoing, new: Outgoing) -> Indices:
    """Places of the rows that stay with another value in a column that was made of rows."""
    names = sorted({*old.made, *new.made})
    if not names:
        return np.empty(0, np.int64)
    _, before, after = np.intersect1d(old.row_ids, new.row_ids, return_indices=True)
    sides = ((old, before), (new, after))
    rows = [side.space.dataset.to_table(columns=names).take(places) for side, places in sides]
    return np.asarray(after[_differ(*rows)])


def beside(sink: Sink, name: str, outgoing: Outgoing) -> Difference:
    """By what a collection says of its rows: their ids and hashes."""
    ids, hashes = outgoing.digests()
    finder = Finder(ids)
    there = np.zeros(len(ids), np.bool_)
    gone: list[str] = []
    n_held = 0
    for part in sink.held(name):
        n_held += len(part)
        at = finder.find(to_array(digest_text(one.id) for one in part))
        gone += [one.id for one, place in zip(part, at.tolist(), strict=True) if place < 0]
        known = np.flatnonzero(at >= 0)
        own = to_array(part[row].hash for row in known.tolist())
        same = (own == hashes[at[known]]).all(axis=1)
        there[at[known[same]]] = True
    return Difference("by comparison", np.flatnonzero(~there), tuple(gone), n_held)


def absent(sink: Sink, name: str, outgoing: Outgoing) -> tuple[int, int]:
    """How many rows a collection has, and how many of them the version has not."""
    finder = Finder(stack(to_array(map(digest_text, part)) for part in outgoing.all_ids()))
    n_held = n_gone = 0
    for part in sink.held(name):
        n_held += len(part)
        at = finder.find(to_array(digest_text(one.id) for one in part))
        n_gone += int(np.count_nonzero(at < 0))
    return n_held, n_gone


def records_gone(before: Space, after: Space) -> int:
    """How many rows of a version are of records that another one has not."""
    old, new = (side.to_arrow([RECORD])[RECORD] for side in (before, after))
    return len(old) - (pc.sum(pc.is_in(old, pc.unique(new))).as_py() or 0)


def wrong(sink: Sink, name: str, outgoing: Outgoing, places: Indices) -> Indices:
    """Places of those rows that a collection lacks or has with another vector or metadata."""
    found = [np.empty(0, np.int64)]
    row_bytes = 4 * (outgoing.shape.dim + outgoing.shape.full_dim)
    n_rows = max(1, min(sink.limits.batch_rows, sink.limits.batch_bytes // row_bytes))
    for start in range(0, len(places), n_rows):
        part = places[start : start + n_rows]
        wanted = outgoing.rows(part)
        ids = wanted[ID].to_pylist()
        there = sink.fetch(name, outgoing.shape, ids)
        at = {id_: row for row, id_ in enumerate(there[ID].to_pylist())}
        rows = np.array([at.get(id_, -1) for id_ in ids])
        known = np.flatnonzero(rows >= 0)
        differ = rows < 0
        mine, theirs = wanted.take(known), there.take(rows[known])
        if outgoing.compression.directions is not None:
            differ[known] = _far(*(to_matrix(side[VECTOR]) for side in (mine, theirs)))
            mine, theirs = (side.drop_columns([VECTOR]) for side in (mine, theirs))
        differ[known] |= _differ(mine, theirs)
        found.append(part[differ])
    return np.concatenate(found)


def _far(one: Short, other: Short) -> Mask:
    """Whether vectors differ by more than the last bit of a sum of products.

    BLAS sums in another order where a row comes in a batch of another size.
    """
    allowed = ALLOWED.get(one.dtype.name, 0.0)
    if one.dtype == np.uint8:
        bits = (np.unpackbits(some.view(np.uint8), axis=1) for some in (one, other))
        return np.asarray(np.not_equal(*bits).sum(axis=1) > 1)
    one, other = (some.astype(np.float32) for some in (one, other))
    near = np.abs(one - other).max(axis=1) <= allowed * np.abs(one).max(axis=1)
    return np.asarray(~near)  # also of NaN


def _differ(one: pa.Table, other: pa.Table) -> Mask:
    """Whether rows differ in any column; numbers are the same where their bits are."""
    differ = np.zeros(len(one), np.bool_)
    for name in one.column_names if len(one) else ():
        differ |= _columns_differ(*(side[name].combine_chunks() for side in (one, other)))
    return differ


def _columns_differ(one: pa.Array, other: pa.Array) -> Mask:
    kind = one.type
    if pa.types.is_null(kind):
        return np.zeros(len(one), np.bool_)
    if pa.types.is_fixed_size_list(kind):
        rows = (to_matrix(side).view(np.uint8) for side in (one, other))
        return np.asarray(np.not_equal(*rows).any(axis=1))
    if pa.types.is_list(kind):
        pairs = zip(one.to_pylist(), other.to_pylist(), strict=True)
        return np.array([repr(mine) != repr(theirs) for mine, theirs in pairs])
    if pa.types.is_floating(kind):
        bits = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[kind.bit_width]
        one, other = one.view(bits), other.view(bits)
    unequal = pc.fill_null(pc.not_equal(one, other), False)
    mask: Mask = pc.or_(unequal, pc.xor(pc.is_null(one), pc.is_null(other))).to_numpy(False)
    return mask
