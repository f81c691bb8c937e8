"""Resume: what runs that never came to a commit have done already, and this one still wants.

The fragment itself is asked, not the plan that it was written for: in between the source, the size
of shards and the number of workers may have changed. A receipt whose rows are all wanted as they
are is taken over whole. Of any other one the vectors are copied, which needs no encoder: Lance
numbers fragments when they are committed, so rows of one cannot be marked as deleted before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from schemas.quarantine import QuarantineEntry
from schemas.receipt import Receipt, WrittenFragment
from tasks.digests import Digests, digest_text, stack, to_array
from tasks.plan import Work
from tasks.shares import Shares
from tasks.store import fragments, receipts
from tasks.store.diff import Indices, find
from tasks.store.table import Table


@dataclass(frozen=True)
class Resumed:
    """What is done already.

    `adopted` are receipts that stand for this run's own work, `shares` is what is left to do. In
    between are `reuse`, ascending: records whose vectors are copied from `donors[donor[i]]`.
    """

    shares: Shares
    adopted: Sequence[Receipt] = ()
    reuse: Indices = field(default_factory=lambda: np.empty(0, np.int64))
    donor: Indices = field(default_factory=lambda: np.empty(0, np.int64))
    donors: Sequence[tuple[WrittenFragment, ...]] = ()
    warnings: Sequence[str] = ()

    @property
    def records(self) -> int:
        """How many records need no encoder since another run had one for them."""
        return sum(receipt.records for receipt in self.adopted) + len(self.reuse)


def resume(table: Table, work: Work, lance_version: int, *, replay: bool = False) -> Resumed:
    """Looks at all receipts of a table; to be called under its lease, and after healing.

    With `replay` what another run found to be bad is tried again.
    """
    listed, warnings = receipts.list(table.store_uri, table.name)
    if not listed:
        return Resumed(work.shares, warnings=warnings)
    wanted, columns = _Wanted(work), fragments.columns_of(table, lance_version)
    adopted: list[Receipt] = []
    donors: list[tuple[WrittenFragment, ...]] = []
    contents: list[Digests] = []
    for receipt in listed:
        keys = fragments.read_keys(table.uri, receipt.fragments)
        if keys is None:
            continue
        if fragments.have(columns, receipt.fragments) and wanted.claim(keys):
            bad = () if replay else wanted.claim_bad(receipt.quarantined)
            adopted.append(_taken_over(receipt, keys, bad))
        donors.append(receipt.fragments)
        contents.append(_digests(keys["content_hash"]))
    left = wanted.left(work.shares)
    fresh = np.concatenate([left.encode, left.repeat])
    place = find(work.compared.present.contents[fresh], stack(contents))
    of_row = np.repeat(np.arange(len(contents)), [len(part) for part in contents])
    known = place >= 0
    order = np.argsort(fresh[known])
    stays = ~known[len(left.encode) :]
    return Resumed(
        shares=replace(
            left,
            encode=left.encode[~known[: len(left.encode)]],
            repeat=left.repeat[stays],
            leader=left.leader[stays],
        ),
        adopted=adopted,
        reuse=fresh[known][order],
        donor=of_row[place[known]][order],
        donors=donors,
        warnings=warnings,
    )


class _Wanted:
    """The records that a run must write, each given away once."""

    def __init__(self, work: Work) -> None:
        shares, self._present = work.shares, work.compared.present
        self._records = np.sort(np.concatenate([shares.encode, shares.copy, shares.repeat]))
        self._ids = self._present.ids[self._records]
        self._free = np.ones(len(self._records), np.bool_)

    def claim(self, keys: pa.Table) -> bool:
        """Gives the records of these rows away, if each is wanted just so; else none."""
        places = self._places([(one or "") for one in keys["record_id"].to_pylist()])
        if (places < 0).any() or not self._free[places].all():
            return False
        records = self._records[places]
        contents, metadata = _digests(keys["content_hash"]), _digests(keys["metadata_hash"])
        same = (self._present.contents[records] == contents).all(axis=1)
        if not (same & (self._present.metadata[records] == metadata).all(axis=1)).all():
            return False
        self._free[places] = False
        return True

    def claim_bad(self, entries: Sequence[QuarantineEntry]) -> tuple[QuarantineEntry, ...]:
        """Those entries whose record is wanted with the content that was found to be bad."""
        taken = []
        places = self._places([one.id for one in entries]).tolist()
        for entry, place in zip(entries, places, strict=True):
            if place < 0 or not self._free[place] or entry.transient:
                continue
            content = self._present.contents[self._records[place]].tobytes().hex()
            if content == entry.content_hash:
                self._free[place] = False
                taken.append(entry)
        return tuple(taken)

    def left(self, shares: Shares) -> Shares:
        """What nobody has claimed."""
        gone = self._records[~self._free]
        stays = ~np.isin(shares.repeat, gone)
        return Shares(
            encode=shares.encode[~np.isin(shares.encode, gone)],
            copy=shares.copy[~np.isin(shares.copy, gone)],
            repeat=shares.repeat[stays],
            leader=shares.leader[stays],
        )

    def _places(self, ids: Sequence[str]) -> Indices:
        return find(to_array(digest_text(one) for one in ids), self._ids)


def _taken_over(receipt: Receipt, keys: pa.Table, bad: tuple[QuarantineEntry, ...]) -> Receipt:
    """The receipt as one of this run: the work was another's, what it found bad is still `bad`."""
    nothing = {"encoded": 0, "encoder_loads": 0, "tokens": 0, "seconds": {}}
    records = len(keys["record_id"].unique()) + len(bad)
    return receipt.model_copy(update={**nothing, "records": records, "quarantined": bad})


def _digests(column: pa.ChunkedArray) -> Digests:
    return to_array(column.to_pylist())
