"""Resume: what runs that never came to a commit have done already, and this one still wants.

The fragment itself is asked, not the plan that it was written for: in between the source, the size
of shards and the number of workers may have changed. A receipt whose rows are all wanted as they
are is taken over whole. Of any other one the vectors are copied, which needs no encoder: Lance
numbers fragments when they are committed, so rows of one cannot be marked as deleted before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from schemas.quarantine import QuarantineEntry
from schemas.receipt import Receipt
from tasks.digests import digest_text, to_array
from tasks.donors import Donor
from tasks.jobs import VectorFile
from tasks.plan import Work
from tasks.shares import Shares
from tasks.store import fragments, receipts
from tasks.store.diff import Indices, find
from tasks.store.rows import to_digests
from tasks.store.table import Table


@dataclass(frozen=True)
class Resumed:
    """What is done already.

    `adopted` are receipts that stand for this run's own work, `donors` what all receipts hold, and
    `shares` is what is left to do.
    """

    shares: Shares
    adopted: Sequence[Receipt] = ()
    donors: Sequence[Donor] = ()
    warnings: Sequence[str] = ()


def resume(table: Table, work: Work, lance_version: int, *, replay: bool = False) -> Resumed:
    """Looks at all receipts of a table; to be called under its lease, and after healing.

    With `replay` what another run found to be bad is tried again.
    """
    listed, warnings = receipts.list(table.store_uri, table.name)
    if not listed:
        return Resumed(work.shares, warnings=warnings)
    wanted, columns = _Wanted(work), fragments.columns_of(table, lance_version)
    adopted: list[Receipt] = []
    donors: list[Donor] = []
    for receipt in listed:
        keys = fragments.read_keys(table.uri, receipt.fragments)
        if keys is None:
            continue
        if fragments.have(columns, receipt.fragments) and wanted.claim(keys):
            bad = () if replay else wanted.claim_bad(receipt.quarantined)
            adopted.append(_taken_over(receipt, keys, bad))
        files = fragments.vector_paths(table.uri, receipt.fragments)
        donors.append(Donor(tuple(map(VectorFile, files)), to_digests(keys["content_hash"])))
    return Resumed(wanted.left(work.shares), adopted, donors, warnings)


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
        contents, metadata = to_digests(keys["content_hash"]), to_digests(keys["metadata_hash"])
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
