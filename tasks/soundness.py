"""Whether the rows of a version are what they say: ids, digests, vectors.

Rows are streamed in batches; what is held of each are some sixty bytes of digests.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.content import TEXT
from tasks.digests import digest_text
from tasks.encoders import canaries
from tasks.encoders.base import Encoder
from tasks.encoders.batching import encode_all
from tasks.rows import sound
from tasks.scan import digest_metadata
from tasks.space import Space
from tasks.store.diff import data_digest
from tasks.store.rows import to_matrix
from tasks.store.table import BaseRows, Table

BATCH_ROWS = 8192
SAMPLE_ROWS = 1_000
NAMED = 5  # ids in a sentence
NO_TEXT = "not checked: no row has a text; other contents stay where they are"
WHOLE_FLOATS = 6  # in one record: more could have been written in too many ways
ENCODED = ("id", "modality", "text", "vector")
EXACT = 2**53  # beyond it a float is not just the integer that was given

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and each thing that is wrong with it."""

    looked: str
    faults: Sequence[str] = ()


class Rows:
    """The rows of one version, to be looked at."""

    def __init__(self, space: Space) -> None:
        """Reads nothing yet."""
        self._space = space

    @cached_property
    def _base(self) -> BaseRows:
        return Table(self._space.store_uri, self._space.entry.table).base(
            self._space.entry.lance_version
        )

    def ids(self) -> Finding:
        """No id twice, each as its record and chunk say; all chunks of a record, from 0."""
        base = self._base
        named = _Named()
        for batch in self._batches("id", "record_id", "chunk", "span"):
            numbered = pc.binary_join_element_wise(
                batch["record_id"], pc.cast(batch["chunk"], pa.string()), "#"
            )
            wanted = pc.if_else(pc.is_null(batch["span"]), batch["record_id"], numbered)
            same = pc.fill_null(pc.equal(batch["id"], wanted), False)
            named.add(batch["id"], ~np.asarray(same))
        order = np.lexsort((base.chunks, base.record_ids[:, 1], base.record_ids[:, 0]))
        ids = base.record_ids[order]
        new = np.append(True, (ids[1:] != ids[:-1]).any(axis=1))[: len(order)]
        first = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
        wrong = base.chunks[order] != np.arange(len(order)) - first
        for digests in (base.contents, base.metadata):
            wrong |= (digests[order] != digests[order[first]]).any(axis=1)
        torn = np.zeros(len(order), np.bool_)
        torn[order] = wrong
        faults = [
            *named.sentence("with another id than the record and chunk make"),
            *self._name(torn).sentence(
                "there twice, or out of step with the other chunks of the record"
            ),
        ]
        if len(order) != self._space.entry.rows:
            faults.append(f"it has {len(order):,} rows, the catalog {self._space.entry.rows:,}")
        return Finding(f"{len(order):,} rows", faults)

    def data(self) -> Finding:
        """The digest that the catalog has of all records."""
        base, said = self._base, self._space.entry.data_digest
        first = base.chunks == 0
        found = data_digest(base.record_ids[first], base.contents[first], base.metadata[first])
        if found == said:
            return Finding(f"{np.count_nonzero(first):,} records")
        what = f"its records have the digest {found[:12]}, the catalog {said[:12]}"
        return Finding("", [f"{what}: they are not those that its run committed"])

    def texts(self) -> Finding:
        """The digests of the texts that stand beside them."""
        if not self._space.settings.store_content:
            return Finding("not checked: the table keeps no text (`store_content: false`)")
        named, n_rows = _Named(), 0
        columns = ("id", "modality", "text", "span", "content_hash", "chunk_hash")
        for batch in map(_texts, self._batches(*columns)):
            texts = batch["text"].to_pylist()
            found = [None if text is None else digest_text(text) for text in texts]
            wrong = _differ(found, batch["chunk_hash"])
            whole = np.asarray(pc.is_null(batch["span"]))
            named.add(batch["id"], wrong | (whole & _differ(found, batch["content_hash"])))
            n_rows += batch.num_rows
        return Finding(
            f"{n_rows:,} texts" if n_rows or not self._space.rows else NO_TEXT,
            named.sentence("with a text of another digest"),
        )

    def metadata(self, names: Sequence[Sequence[str]] | None) -> Finding:
        """The digests of the metadata; `names` are the columns that sources may have given.

        None where that is not known.
        """
        if names is None:
            return Finding("not checked: a source of your own may give any metadata")
        named, n_open, n_rows = _Named(), 0, 0
        columns = [*dict.fromkeys(itertools.chain(*names))]
        columns = [name for name in columns if name in self._space.dataset.schema.names]
        for batch in self._batches("id", "source_uri", "metadata_hash", *columns):
            wrong = np.zeros(batch.num_rows, np.bool_)
            for place, row in enumerate(batch.to_pylist()):
                agrees = _metadata_agrees(row, names)
                wrong[place] = agrees is False
                n_open += agrees is None
            named.add(batch["id"], wrong)
            n_rows += batch.num_rows
        faults = named.sentence("with metadata of another digest")
        left = f"; not checked: {n_open:,} whose floats may have been integers" if n_open else ""
        return Finding(f"{n_rows - n_open:,} rows{left}", faults)

    def vectors(self) -> Finding:
        """Finite, not zero, and of unit length where the encoder normalises."""
        named, n_rows = _Named(), 0
        unit = self._space.settings.normalized
        for batch in self._batches("id", "vector"):
            there = np.asarray(pc.is_valid(batch["vector"]))
            good = there.copy()
            good[there] = sound(to_matrix(batch["vector"].drop_null()), normalized=unit)
            named.add(batch["id"], ~good)
            n_rows += batch.num_rows
        what = "with a vector that is zero, not finite" + (" or not of unit length" * unit)
        return Finding(f"{n_rows:,} vectors", named.sentence(what))

    def encoded(self, encoder: Encoder, rng: np.random.Generator, *, all_rows: bool) -> Finding:
        """Encodes a sample of the texts again, or all of them, and compares the vectors."""
        if not self._space.settings.store_content:
            return Finding(
                "not checked: the table keeps no text to encode (`store_content: false`); a space "
                "of the same sources that keeps it can be checked"
            )
        named, n_rows = _Named(), 0
        batches = self._batches(*ENCODED) if all_rows else self._sample(rng)
        for batch in map(_texts, batches):
            again, _ = encode_all(encoder, [text or "" for text in batch["text"].to_pylist()])
            named.add(
                batch["id"],
                ~(canaries.cosines(again, to_matrix(batch["vector"])) >= canaries.FLOOR),
            )
            n_rows += batch.num_rows
        below = f"cosine below {canaries.FLOOR}"
        what = f"with another vector than the encoder gives for the text ({below})"
        looked = f"{n_rows:,} rows encoded again" if n_rows or not self._space.rows else NO_TEXT
        return Finding(looked, named.sentence(what))

    def _sample(self, rng: np.random.Generator) -> Iterator[pa.RecordBatch]:
        n_rows = self._space.rows
        places = np.sort(rng.choice(n_rows, min(n_rows, SAMPLE_ROWS), replace=False)).tolist()
        yield from self._space.dataset.take(places, [*ENCODED]).to_batches()

    def _batches(self, *columns: str) -> Iterable[pa.RecordBatch]:
        batches: Iterable[pa.RecordBatch] = self._space.dataset.to_batches(
            columns=[*columns], batch_size=BATCH_ROWS
        )
        return batches

    def _name(self, rows: Mask) -> "_Named":
        named, start = _Named(), 0
        for batch in self._batches("id") if rows.any() else ():
            named.add(batch["id"], rows[start : start + batch.num_rows])
            start += batch.num_rows
        return named


class _Named:
    """Rows that are wrong: how many, and the ids of the first ones."""

    def __init__(self) -> None:
        self._count = 0
        self._ids: list[str] = []

    def add(self, ids: pa.Array, wrong: Mask) -> None:
        """Adds the rows of a batch that are wrong."""
        self._count += int(np.count_nonzero(wrong))
        for place in np.flatnonzero(wrong)[: NAMED - len(self._ids)].tolist():
            self._ids.append(repr(ids[place].as_py()))

    def sentence(self, what: str) -> list[str]:
        """Rows `what`; no sentence if there are none."""
        if not self._count:
            return []
        more = f" and {self._count - len(self._ids):,} more" if self._count > len(self._ids) else ""
        rows = "row" if self._count == 1 else "rows"
        return [f"{self._count:,} {rows} {what}: {', '.join(self._ids)}{more}"]


def _texts(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows whose content is a text."""
    return batch.filter(pc.equal(batch["modality"], TEXT))


def _differ(found: Sequence[bytes | None], said: pa.Array) -> Mask:
    pairs = zip(found, said.to_pylist(), strict=True)
    return np.array([one is None or one != other for one, other in pairs], np.bool_)


def _metadata_agrees(row: Mapping[str, Any], names: Sequence[Sequence[str]]) -> bool | None:
    """Whether a row has the digest of its metadata; None if that cannot be told.

    A source may have given an integer where a column of floats holds a whole one.
    """
    told = True
    for some in names:
        values: dict[str, Any] = {name: row.get(name) for name in some}
        whole = [name for name, value in values.items() if _is_whole(value)]
        exact = [name for name in whole if abs(values[name]) <= EXACT]
        tried = exact if len(exact) <= WHOLE_FLOATS else []
        for chosen in itertools.product((False, True), repeat=len(tried)):
            integers = {name: int(values[name]) for name in itertools.compress(tried, chosen)}
            if digest_metadata(row["source_uri"], values | integers) == row["metadata_hash"]:
                return True
        listed = any(isinstance(one, list) and any(map(_is_whole, one)) for one in values.values())
        told &= len(tried) == len(whole) and not listed
    return False if told else None


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()
