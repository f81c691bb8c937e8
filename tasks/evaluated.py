"""A version as evaluations see it: vectors in a mapped file, in the order of record ids."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.digests import digest_json, digest_text
from tasks.encoders.base import Vectors
from tasks.encoders.remembered import cache_folder
from tasks.errors import ConfigError, StoreError
from tasks.evaluations.base import Rows
from tasks.space import Space
from tasks.store.indexes import vector_index
from tasks.store.rows import HASH, to_matrix, unit


class EvaluatedVersion:
    """Reads what is asked for once, and keeps it; its files go with `folder`."""

    def __init__(
        self,
        space: Space,
        seed: int,
        folder: Path,
        only: Sequence[str] | None = None,
        told_by: "EvaluatedVersion | None" = None,
    ) -> None:
        """Reads nothing yet; `only` are the ids of the records that it shall have.

        Metadata are those of `told_by`, a version with the same records, if it is given.
        """
        self.space = space
        self._seed = seed
        self._folder = folder
        self._only = only
        self._told_by = told_by

    @property
    def rng(self) -> np.random.Generator:
        """A new generator at each call, always with the seed of the evaluation."""
        return np.random.default_rng(self._seed)

    @cached_property
    def record_ids(self) -> Sequence[str]:
        """Of each record, ascending."""
        ids: list[str] = self._keys["record_id"].filter(self._first).to_pylist()
        return ids

    @cached_property
    def owners(self) -> Rows:
        """The number of its record for each row."""
        firsts = self._first.to_numpy(zero_copy_only=False)
        return np.cumsum(firsts, dtype=np.int64) - 1

    @cached_property
    def rows(self) -> Vectors:
        """Vectors of all rows, in the order of `owners`."""
        n, dim = len(self._order), self.space.settings.dim
        if not n:
            raise ConfigError(
                f"version {self.space.version} of space {self.space.entry.space!r} has no rows: "
                "there is nothing to measure"
            )
        path, vectors = self._mapped("rows", n, dim)
        places = np.full(self.space.rows, -1, np.int64)
        places[self._order] = np.arange(n)
        start = 0
        for batch in self.space.batches(["vector"]):
            place = places[start : start + batch.num_rows]
            vectors[place[place >= 0]] = to_matrix(batch["vector"])[place >= 0]
            start += batch.num_rows
        return _read_only(path, vectors)

    @cached_property
    def records(self) -> Vectors:
        """Vectors of records: of one in chunks the mean of their directions."""
        if len(self.record_ids) == len(self.rows):
            return self.rows
        path, vectors = self._mapped("records", len(self.record_ids), self.space.settings.dim)
        starts = np.flatnonzero(np.diff(self.owners, prepend=-1))
        ends = np.append(starts[1:], len(self.rows))
        for record, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            vectors[record] = unit(self.rows[start:end]).mean(axis=0, dtype=np.float64)
        return _read_only(path, vectors)

    def column(self, name: str) -> list[object]:
        """A metadata column, a value for each record."""
        if self._told_by is not None:
            return self._told_by.column(name)
        self.space.check_column(name)
        values = self.space.to_arrow([name])[name].take(pa.array(self._order))
        found: list[object] = values.filter(self._first).to_pylist()
        return found

    def texts(self, record_ids: Sequence[str]) -> list[str | None]:
        """The texts of records, None where the store has none."""
        if not self.space.settings.store_content:
            return [None] * len(record_ids)
        wanted = pa.array([*record_ids], pa.string())
        rows = self.space.dataset.to_table(
            ["record_id", "text"],
            filter=pc.field("record_id").isin(wanted) & (pc.field("chunk") == 0),
        )
        texts = dict(zip(rows["record_id"].to_pylist(), rows["text"].to_pylist(), strict=True))
        return [texts.get(id_) for id_ in record_ids]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries, encoded once for each encoder and kept in the user's cache."""
        return self._kept("queries", texts, self.space.embed)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts as records have them: of rows that say the same, else encoded once."""
        hashes = pa.array([digest_text(text) for text in texts], HASH)
        places = pc.index_in(hashes, value_set=self._hashes)
        known = places.is_valid().to_numpy(zero_copy_only=False)
        if not known.all():
            return self._kept("contents", texts, partial(self._encode, places=places, known=known))
        return self._taken(places)

    def _encode(
        self, texts: Sequence[str], places: pa.Array, known: npt.NDArray[np.bool_]
    ) -> Vectors:
        """The same of texts whose rows are at `places` where they are `known`."""
        vectors = np.empty((len(texts), self.space.settings.dim), np.float32)
        vectors[known] = self._taken(places.drop_null())
        new = np.flatnonzero(~known).tolist()
        number = {text: number for number, text in enumerate(dict.fromkeys(texts[i] for i in new))}
        made = self.space.encode([*number])
        vectors[new] = made[[number[texts[i]] for i in new]]
        return vectors

    def _taken(self, places: pa.Array) -> Vectors:
        """Vectors of the rows at these places in the table, in their order."""
        rows, order = np.unique(places.to_numpy(), return_inverse=True)
        found = self.space.dataset.take(rows.tolist(), columns=["vector"])
        return to_matrix(found["vector"])[order]

    def _kept(
        self, kind: str, texts: Sequence[str], make: Callable[[Sequence[str]], Vectors]
    ) -> Vectors:
        key = digest_json([self.space.settings.precision, *texts]).hex()
        kept = cache_folder() / kind / self.space.entry.fingerprint / f"{key}.npy"
        if kept.is_file():
            try:
                found: Vectors = np.load(kept)
            except (OSError, ValueError, EOFError):
                kept.unlink(missing_ok=True)  # cut off or damaged: it is made anew
            else:
                return found
        made = make(texts)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, suffix=".tmp", delete=False) as draft:
            np.save(draft, made)
        Path(draft.name).replace(kept)
        return made

    def near(self, queries: Vectors, k: int) -> list[list[str]] | None:
        """Records that a search finds by the version's own index; None where it has none."""
        if vector_index(self.space.dataset) is None:
            return None
        return [
            [hit.record_id for hit in self.space.nearest(query, k, columns=())] for query in queries
        ]

    @cached_property
    def _keys(self) -> pa.Table:
        return self._unsorted.take(pa.array(self._order))

    @cached_property
    def _first(self) -> pa.Array:
        """Whether a row is the first one of its record."""
        return pc.equal(self._keys["chunk"], 0).combine_chunks()

    @cached_property
    def _unsorted(self) -> pa.Table:
        return self.space.to_arrow(["record_id", "chunk"])

    @cached_property
    def _hashes(self) -> pa.Array:
        """Digests of what was encoded for each row of the table, also of those not looked at."""
        return self.space.to_arrow(["chunk_hash"])["chunk_hash"].combine_chunks()

    @cached_property
    def _order(self) -> Rows:
        """Places in the table of the rows that count, sorted by record and chunk."""
        keys = [("record_id", "ascending"), ("chunk", "ascending")]
        order = pc.sort_indices(self._unsorted, keys)
        if self._only is not None:
            ids = self._unsorted["record_id"].take(order)
            order = order.filter(pc.is_in(ids, pa.array([*self._only], pa.string())))
        places: Rows = order.to_numpy().astype(np.int64)
        return places

    def _mapped(self, name: str, n: int, dim: int) -> tuple[Path, Vectors]:
        path = self._folder / f"{name}.f4"
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, 4 * n * dim)  # a full disk is told here only
            return path, np.memmap(path, np.float32, "r+", shape=(n, dim))
        except OSError as error:
            raise StoreError(
                f"no room for {4 * n * dim / 2**20:,.0f} MiB of vectors in {self._folder}: "
                f"{error.strerror}; TMPDIR names another folder"
            ) from error


def _read_only(path: Path, vectors: Vectors) -> Vectors:
    """What was written, so that metrics may let its pages go from memory.

    The file has no name any more: it is gone with the process, however that ends.
    """
    mapped = np.memmap(path, np.float32, "r", shape=vectors.shape)
    path.unlink()
    return mapped


@contextmanager
def evaluated(
    space: Space,
    seed: int,
    only: Sequence[str] | None = None,
    told_by: EvaluatedVersion | None = None,
) -> Iterator[EvaluatedVersion]:
    """A version to be measured; its vectors are in a temporary file meanwhile."""
    with tempfile.TemporaryDirectory(prefix="vectorline-") as folder:
        yield EvaluatedVersion(space, seed, Path(folder), only, told_by)
