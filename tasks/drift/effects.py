"""How large a drift is, in sizes that people understand, and how small one could have been found.

Each size is taken from rows that whatever measures them has not seen: without drift they lie around
0.5, 0 and 0, and with one they are rather too small than too large.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from tasks.drift.classifier import Scores, auc, best_scores
from tasks.drift.permutations import PermutationTest, p_of
from tasks.drift.pool import ROWS, Pool, arrangements, pooled, principal, unit_sums
from tasks.drift.value import Blocks, DriftValue
from tasks.errors import DriftError

DRAWS = 80  # of planted drift
SMALL = 200  # rows a side, about, among which it is planted
FEW = 20  # units a side, at least, where there are so many
SPREAD = 0.9  # of the variance lies in the components along which it is planted


@dataclass(frozen=True, slots=True)
class Effects:
    """How far two sets of rows are apart.

    Attributes:
        auc: How often a candidate's row looks more like the candidate than a baseline's row does,
            to a classifier that has seen neither; 0.5 is chance.
        auc_low: The lower end of its interval.
        auc_high: The upper end.
        level: Of the interval.
        shift_sd: How far the mean has moved along the classifier's scores, in the standard
            deviations that they have within a side. Of two equal normal laws auc is
            Phi(shift_sd / sqrt(2)).
        share: The share of each side's rows that has to be removed, at least, to make the rest
            alike: a lower bound of the total variation distance.
    """

    auc: float
    auc_low: float
    auc_high: float
    level: float
    shift_sd: float
    share: float


@dataclass(frozen=True, slots=True)
class Detectable:
    """The smallest drift that a test would have found, of means along one principal component.

    The sizes are those of the law, in the units of `Effects`: what is measured of so small a drift
    is smaller, as the classifier must learn it first.

    Attributes:
        shift_sd: In standard deviations along the component.
        auc: Of a classifier that knows it: Phi(shift_sd / sqrt(2)).
        share: The total variation distance: 2 Phi(shift_sd / 2) - 1.
        power: The chance of an alarm.
        alpha: The p-value up to which there is one.
    """

    shift_sd: float
    auc: float
    share: float
    power: float
    alpha: float

    def scaled(self, factor: float) -> "Detectable":
        """The same for a shift that is so many times as large."""
        return _of_shift(self.shift_sd * factor, self.power, self.alpha)


def effects(
    baseline: npt.ArrayLike,
    candidate: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    blocks: Blocks | None = None,
    level: float = 0.95,
    rows: int = ROWS,
) -> Effects:
    """The sizes of a drift, cross-fitted by units, on as many rows as a test compares.

    The interval is that of DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44(3), with units for
    rows as Obuchowski 1997, Biometrics 53(2), on the logit scale; it does not know how another
    sample would have trained the classifier. The share is the difference between the sides' shares
    of rows that it takes for the candidate's. Equal rows: 0.5, 0 and 0. Raises DriftError as
    DriftTest, and for a level that is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise DriftError(f"level = {level}: expected a number between 0 and 1")
    pool = pooled(baseline, candidate, rng, blocks=blocks, permutations=1, rows=rows).given
    if not pool.rows.shape[1]:
        return Effects(0.5, 0.5, 0.5, level, 0.0, 0.0)
    scores = best_scores(pool, rng)
    value = float(auc(pool, scores)[0])
    low, high = _interval(pool, scores, value, level)
    return Effects(value, low, high, level, _shift(pool, scores), _share(pool, scores))


def detectable_effect(
    baseline: npt.ArrayLike,
    candidate: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    test: PermutationTest,
    found: DriftValue,
    blocks: Blocks | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Detectable | None:
    """The smallest shift that `test` would have found with this power; None where there is none.

    `found` is what the test said of these rows. In each of 80 draws two samples are taken from the
    units of both sides, the mean of one is moved along a principal component of all of them (any of
    those that make 90 % of the variance), and the test looks; the next shift is smaller after an
    alarm and larger without one (Robbins and Monro 1951, Annals of Mathematical Statistics 22(3)),
    and the answer the mean of the later logarithms (Polyak and Juditsky 1992, SIAM J. Control
    Optim. 30(4)): uncertain by about 8 %. A sample has half of a side's units, but at least 20 and
    at most about 200 rows; for all, the size falls with the square root of n m / (n + m) units.
    Raises DriftError as DriftTest, and for alpha and power that are not between 0 and 1.
    """
    if not (0 < alpha < 1 and 0 < power < 1):
        raise DriftError(f"alpha = {alpha}, power = {power}: expected numbers between 0 and 1")
    pool = pooled(baseline, candidate, rng, blocks=blocks, permutations=1, rows=test.rows)
    if found.least_p > alpha or not pool.rows.shape[1]:
        return None
    most = SMALL * sum(pool.n_units) // len(pool.units)
    n, m = (min(units, max(FEW, min(units // 2, most))) for units in pool.n_units)
    tried = [math.log2(START / math.sqrt(_effective(n, m)))]
    for draw in range(DRAWS):
        step = STEP * (draw + 1) ** -0.7
        moved = _planted(pool, (n, m), test.permutations, 2 ** tried[-1], rng)
        if p_of(test.statistic(moved, rng)) <= alpha:
            step *= power - 1
        else:
            step *= power
        tried.append(tried[-1] + step)
        if tried[-1] > LARGEST:
            return None
    size = 2 ** float(np.mean(tried[DRAWS // 4 :]))
    size *= math.sqrt(_effective(n, m) / _effective(found.units_baseline, found.units_candidate))
    return _of_shift(size, power, alpha)


def _of_shift(shift_sd: float, power: float, alpha: float) -> Detectable:
    normal = stats.norm.cdf([shift_sd / math.sqrt(2), shift_sd / 2])
    return Detectable(shift_sd, float(normal[0]), float(2 * normal[1] - 1), power, alpha)


def _interval(pool: Pool, scores: Scores, value: float, level: float) -> tuple[float, float]:
    """The ends of the AUC's interval."""
    counts = np.zeros(len(pool.units))  # of each row the pairs it wins, beyond those due to it
    candidate = pool.sides[0]
    n_pairs = 0
    for fold in range(int(scores.folds.max()) + 1):
        asked = scores.folds == fold
        mine, theirs = np.flatnonzero(asked & candidate), np.flatnonzero(asked & ~candidate)
        every = stats.rankdata(scores.values[0, asked])
        place = np.empty(len(pool.units))
        place[asked] = every
        for one, other in ((mine, theirs), (theirs, mine)):
            below = place[one] - stats.rankdata(scores.values[0, one])
            due = value if one is mine else 1 - value
            counts[one] = below - due * len(other)
        n_pairs += len(mine) * len(theirs)
    if not n_pairs:
        return 0.0, 1.0
    of_units = unit_sums(pool, counts[:, None])[:, 0] / n_pairs
    sides = np.zeros(len(of_units), np.bool_)
    sides[pool.units] = candidate
    variance = sum(
        np.square(some).sum() * len(some) / (len(some) - 1)
        for some in (of_units[sides], of_units[~sides])
    )
    if not 0 < value < 1:  # all pairs won: the rule of three, for units of the smaller side
        rare = 1 - ((1 - level) / 2) ** (1 / min(pool.n_units))
        return (1 - rare, 1.0) if value == 1 else (0.0, rare)
    error = math.sqrt(variance) / (value * (1 - value)) * stats.norm.ppf((1 + level) / 2)
    return tuple(special.expit(special.logit(value) + np.array([-error, error])).tolist())


def _shift(pool: Pool, scores: Scores) -> float:
    """The mean over folds of the difference of mean scores over their deviation within sides."""
    moved = []
    for fold in range(int(scores.folds.max()) + 1):
        asked = scores.folds == fold
        sides = [scores.values[0, asked & (pool.sides[0] == side)] for side in (False, True)]
        if min(map(len, sides)) < 1:
            continue
        n = len(sides[0]) + len(sides[1])
        within = sum(float(np.square(side - side.mean()).sum()) for side in sides) / max(n - 2, 1)
        if within > 0:
            moved.append((n, (sides[1].mean() - sides[0].mean()) / math.sqrt(within)))
    if not moved:
        return 0.0
    weights, values = np.array(moved).T
    return max(0.0, float(np.average(values, weights=weights)))


def _share(pool: Pool, scores: Scores) -> float:
    """The difference between the shares of rows that are taken for the candidate's."""
    candidate, taken = pool.sides[0], scores.values[0] > 0
    return max(0.0, float(taken[candidate].mean() - taken[~candidate].mean()))


def _planted(
    pool: Pool,
    n_units: tuple[int, int],
    permutations: int,
    size: float,
    rng: np.random.Generator,
) -> Pool:
    """Two samples of the pool's units, one of them moved by so many standard deviations."""
    by_unit = np.split(np.argsort(pool.units, kind="stable"), np.cumsum(np.bincount(pool.units)))
    chosen = rng.permutation(sum(pool.n_units))[: sum(n_units)]
    drawn = [by_unit[unit] for unit in chosen]
    units = np.repeat(np.arange(len(drawn)), [len(rows) for rows in drawn])
    sides = arrangements(*n_units, permutations, rng)[:, rng.permutation(len(drawn))[units]]
    likely = int((np.cumsum(pool.variances) < SPREAD).sum()) + 1
    component = rng.integers(0, likely)
    rows = pool.rows[np.concatenate(drawn)]
    rows[:, component] += size * math.sqrt(pool.variances[component]) * sides[0]
    return replace(pool, rows=principal(rows), units=units, sides=sides, n_units=n_units)


def _effective(n: int, m: int) -> float:
    return n * m / (n + m)


START = 3.5  # standard errors
STEP = 1.5  # of the logarithm of sizes, to base 2
LARGEST = 6.0  # such logarithm that is tried
