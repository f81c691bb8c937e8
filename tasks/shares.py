"""Which records of a plan must be written, and where each one's vector comes from."""

from dataclasses import dataclass

import numpy as np

from tasks.compare import Compared, Head
from tasks.store.diff import Indices, Outcome, find, first_of_each


@dataclass(frozen=True, slots=True)
class Shares:
    """The records of a plan that must be written, by where their vectors come from.

    `encode` are new contents, each once; `copy` have a content that the head holds already;
    `repeat` have the content of a record in `encode`, `leader[i]` for `repeat[i]`. All are numbers
    of records of the comparison, ascending.
    """

    encode: Indices
    copy: Indices
    repeat: Indices
    leader: Indices

    @property
    def n_records(self) -> int:
        """How many records must be written."""
        return len(self.encode) + len(self.copy) + len(self.repeat)


def share(compared: Compared, head: Head) -> Shares:
    """Splits the records that must be written."""
    present, outcomes = compared.present, compared.diff.outcomes
    if compared.anew:
        none = np.empty(0, np.int64)
        return Shares(np.flatnonzero(outcomes <= Outcome.UNCHANGED), none, none, none)
    fresh = np.flatnonzero(outcomes <= Outcome.CHANGED)
    known = head.rows.contents
    # An empty table has none: a first run's memory has its peak here, so nothing is copied for it.
    held = find(present.contents[fresh], known) >= 0 if len(known) else np.zeros(len(fresh), bool)
    copy = np.sort(
        np.concatenate([np.flatnonzero(outcomes == Outcome.METADATA_CHANGED), fresh[held]])
    )
    fresh = fresh[~held]
    all_fresh = len(fresh) == len(outcomes)
    first = fresh[first_of_each(present.contents if all_fresh else present.contents[fresh])]
    leads = first == fresh
    return Shares(fresh[leads], copy, fresh[~leads], first[~leads])
