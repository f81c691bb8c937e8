"""Vectors that need no encoder: those of contents that stand somewhere in the store already.

In receipts of runs that never came to a commit, in retained versions, in other spaces with the same
encoder, and in tables of one whose vectors can be converted. Neither vectors nor an index of them
are kept twice: columns of hashes are read when there is something to encode, and what a data file
does not give after all, the worker encodes.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from schemas.table import TableSettings
from tasks.digests import Digests, stack
from tasks.encoders import canaries
from tasks.encoders.base import Conversion, Converter
from tasks.errors import ConfigError, EncoderError, StoreError
from tasks.jobs import VectorFile
from tasks.plan import Work
from tasks.run import Run
from tasks.shares import Shares
from tasks.store import canaries as stored_canaries
from tasks.store import fragments
from tasks.store.diff import Indices, find
from tasks.store.table import Table
from tasks.table_encoder import encoder_of


@dataclass(frozen=True)
class Donor:
    """Data files that belong together, and the contents of records whose rows they hold."""

    files: tuple[VectorFile, ...]
    contents: Digests


@dataclass(frozen=True)
class Borrowed:
    """Records, ascending, with a donor each: `donors[donor[i]]` has the content of `records[i]`.

    `shares` is what is left to do.
    """

    shares: Shares
    records: Indices
    donor: Indices
    donors: Sequence[Donor]


def borrow(work: Work, shares: Shares, donors: Sequence[Donor]) -> Borrowed:
    """Gives each content that would be encoded to the first donor that has it."""
    fresh = np.concatenate([shares.encode, shares.repeat])
    if not donors:
        return Borrowed(shares, fresh[:0], fresh[:0], ())
    place = find(work.compared.present.contents[fresh], stack(one.contents for one in donors))
    of_row = np.repeat(np.arange(len(donors)), [len(one.contents) for one in donors])
    known = place >= 0
    order = np.argsort(fresh[known])
    stays = ~known[len(shares.encode) :]
    left = replace(
        shares,
        encode=shares.encode[~known[: len(shares.encode)]],
        repeat=shares.repeat[stays],
        leader=shares.leader[stays],
    )
    return Borrowed(left, fresh[known][order], of_row[place[known]][order], donors)


def elsewhere(run: Run, precision: str, work: Work, shares: Shares) -> Iterator[Donor]:
    """The data files of the store that hold vectors of contents in `shares.encode`.

    Those of this very encoder first. `precision` is what the run's workers compute in, "auto" where
    that is not known yet.
    """
    if not len(shares.encode):
        return
    left = work.compared.present.contents[shares.encode, 0]
    for table, versions, conversion in _tables(run, precision):
        with contextlib.suppress(StoreError):  # damaged, or removed just now: it costs time only
            for path in fragments.vector_files(table, versions):
                if not len(left):
                    return
                if len(contents := fragments.contents(path, left)):
                    left = np.setdiff1d(left, contents[:, 0])
                    yield Donor((VectorFile(path, conversion),), contents)


def _tables(run: Run, precision: str) -> Iterator[tuple[Table, list[int], Conversion | None]]:
    """Tables that may give, each with the Lance versions that are retained.

    Those of this encoder, then those that give for the longest texts.
    """
    same: list[tuple[Table, list[int], Conversion | None]] = []
    others = same.copy()
    for name, entries in run.catalog.tables().items():
        table, versions = Table(run.store_uri, name), [entry.lance_version for entry in entries]
        try:
            settings = table.settings()
            if precision not in ("auto", settings.precision):
                continue
            own = settings.fingerprint == run.fingerprint
            conversion = None if own else _conversion(run, settings)
            if (own or conversion is not None) and _alike(run, table, conversion):
                (same if own else others).append((table, versions, conversion))
        except (ConfigError, EncoderError, StoreError):
            continue  # of an encoder that is not here any more, or damaged: it costs time only
    others.sort(key=lambda one: -_longest(one[2]))
    yield from (*same, *others)


def _longest(conversion: Conversion | None) -> float:
    limit = None if conversion is None else conversion.longest
    return math.inf if limit is None else limit


def _conversion(run: Run, settings: TableSettings) -> Conversion | None:
    if not isinstance(run.encoder, Converter):
        return None
    return run.encoder.conversion(encoder_of(settings, run.store_uri).fingerprint())


def _alike(run: Run, table: Table, conversion: Conversion | None) -> bool:
    """Whether a table's canaries are this run's: libraries and machines differ, fingerprints not.

    Where this run's table is not made yet there is nothing to compare: it has none for `plan` only.
    """
    if table == run.table or not run.table.exists():
        return True
    theirs, fits = (
        stored_canaries.read(run.store_uri, table.name),
        [True] * len(canaries.contents(run.encoder)),
    )
    if conversion is not None and isinstance(run.encoder, Converter):
        theirs = run.encoder.convert(theirs)
        fits = [
            conversion.holds(text, run.encoder.tokenizer())
            for text in canaries.contents(run.encoder)
        ]
    mine = stored_canaries.read(run.store_uri, run.table.name)
    return bool((canaries.cosines(mine, theirs)[fits] >= canaries.FLOOR).all())
