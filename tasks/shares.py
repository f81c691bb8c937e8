"""Which records of a plan must be written, and where each one's vector comes from."""

from dataclasses import dataclass

import numpy as np

from tasks.compare import Compared, Head
from tasks.digests import Digests
from tasks.store.diff import Indices, Mask, Outcome, find, first_of_each


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
    fresh = np.flatnonzero(outcomes <= Outcome.CHANGED)
    held = _held(present.contents[fresh], head.rows.contents)
    copy = np.sort(
        np.concatenate([np.flatnonzero(outcomes == Outcome.METADATA_CHANGED), fresh[held]])
    )
    fresh = fresh[~held]
    all_fresh = len(fresh) == len(outcomes)  # no copy then: here a first run's memory has its peak
    first = fresh[first_of_each(present.contents if all_fresh else present.contents[fresh])]
    leads = first == fresh
    return Shares(fresh[leads], copy, fresh[~leads], first[~leads])


def _held(contents: Digests, head: Digests) -> Mask:
    """Which contents a table has; an empty one has none, and costs no memory for the answer."""
    return find(contents, head) >= 0 if len(head) else np.zeros(len(contents), np.bool_)
