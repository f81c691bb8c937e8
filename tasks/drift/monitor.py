"""Watching a space look after look, with a bound on any false alarm in a year of looks.

Each look compares what came in windows of the last 1, 4, 16, 64 and 256 looks with the reference,
a window only where the one before it has ended, and alpha is shared out over the tests of a year.
Looks have the reference in common, so their p-values depend on each other: the bound is the sum of
the levels (Bonferroni), which holds however they do. Betting (Shekhar and Ramdas 2024, IEEE Trans.
Inf. Theory 70(2)) would need rows of the reference that no other look has seen, or to compare with
all rows before: it finds a change much later or never, and spending on all rows since the reference
finds none that comes late (docs/drift_watching.md).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from tasks.drift.value import DriftValue
from tasks.errors import DriftError

YEAR = 365  # looks over which the bound is taken
SHARES = {1: 0.3, 4: 0.075, 16: 0.075, 64: 0.075, 256: 0.075}  # of alpha, by looks in a window
# They sum to 0.6: the bound is nearly tight, and a rate at alpha itself could not be shown. Single
# looks, the most tests by far, have half, or they would need more permutations than can be paid.
CAME, WENT = 0.7, 0.3  # of that, for rows that came and for those that went
LONGEST = max(SHARES)
TIES = 2  # arrangements that may be as far apart as what was seen, itself one of them
STAGES = (199, 9_999)  # permutations that most looks end with
DOUBT = 10  # arrangements as far apart, below or at which more are looked at


@dataclass(frozen=True, slots=True)
class Window:
    """Rows that one look compares with the reference.

    Attributes:
        looks: How many looks they came in.
        since: The version after which they were added or changed.
        tests: For how many tests of a year this one stands: its p-value is held against alpha
            divided by it.
    """

    looks: int
    since: int
    tests: float

    def adjusted(self, p_value: float) -> float:
        """The p-value as it is for a year of looks: an alarm where it is alpha or less."""
        return min(1.0, p_value * self.tests)

    def part(self, share: float) -> "Window":
        """The same with a part of its level alone."""
        return replace(self, tests=self.tests / share)

    def permutations(self, alpha: float) -> int:
        """How many are needed for an alarm to be possible; raises DriftError as `check_alpha`."""
        return math.ceil(TIES * self.tests / check_alpha(alpha)) - 1


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered from look to look; the same looks give the same value.

    Attributes:
        reference: The version that all looks compare with. Another one starts a new watch.
        n_looks: How many looks there were.
        recent: The versions of the last looks, oldest first, as many as the longest window needs.
        year: Over how many looks in a row the bound is taken.
    """

    reference: int
    n_looks: int = 0
    recent: tuple[int, ...] = ()
    year: int = YEAR

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in pairwise((self.reference, *self.recent)))
        if self.year < 1 or not ascending or len(self.recent) != min(self.n_looks, LONGEST + 1):
            raise DriftError(f"{self} cannot be: versions ascend from the reference on")

    def look(self, version: int) -> tuple["Watch", tuple[Window, ...]]:
        """What is to be remembered after a look at this version, and its windows, shortest first.

        The chance that any window of any `year` looks in a row has an adjusted p-value of alpha or
        less where nothing drifts is at most 0.6 alpha. The version of the last look gets the same
        windows again, and nothing is spent anew; the reference has none. A missed look costs
        nothing: its rows are in the next one's. Raises DriftError for an earlier version.
        """
        last = self.recent[-1] if self.recent else self.reference
        if version < last:
            raise DriftError(
                f"version {version} is before version {last}, which was looked at: look at a later "
                "one, or take another reference"
            )
        if version == last:
            return self, self._windows()
        recent = (*self.recent, version)[-LONGEST - 1 :]
        after = Watch(self.reference, self.n_looks + 1, recent, self.year)
        return after, after._windows()

    def _windows(self) -> tuple[Window, ...]:
        """Of the last look."""
        versions = (self.reference, *self.recent)  # the reference is used where recent holds all
        return tuple(
            Window(looks, versions[-1 - looks], math.ceil(self.year / looks) / share)
            for looks, share in SHARES.items()
            if self.n_looks and self.n_looks % looks == 0 and looks <= self.year
        )


def compared(
    window: Window, test: Callable[[int], DriftValue], *, alpha: float = 0.05
) -> DriftValue:
    """What a test finds in a window, with as many permutations as its level needs, or 199.

    As `in_stages`; raises DriftError as the test and `check_alpha`.
    """
    return in_stages(test, max(STAGES[0], window.permutations(alpha)))


def in_stages(test: Callable[[int], DriftValue], permutations: int) -> DriftValue:
    """What a test finds with so many permutations, or with fewer where those leave no doubt.

    `test` runs it with the number given: 199 first and, as long as at most 10 of 200 and then of
    10,000 arrangements are as far apart, itself among them, anew with more; the last run counts.
    Its p-value is valid: where one of at most t comes out, the run with the first number that does
    not go on at t gave one of at most t (as of Besag and Clifford 1991, Biometrika 78(2)).
    """
    for few in STAGES:
        found = test(min(few, permutations))
        if few >= permutations or found.p_value > DOUBT / (few + 1):
            return found
    return test(permutations)


def check_alpha(alpha: float) -> float:
    """The same; raises DriftError where it is not between 0 and 1."""
    if not 0 < alpha < 1:
        raise DriftError(f"alpha = {alpha}: expected more than 0 and less than 1")
    return alpha
