"""How often a year of daily looks raises any false alarm, and when drift raises one.

Each year has a reference of 2,000 rows, of which 5 go each day, and 50 new rows a day, with 64
independent components, each normal with a standard deviation of 1. Tests compare means by their
squared distance, whose law is known (chi-squared), so that exact p-values come of daily sums: what
a permutation test finds is the share of its arrangements that are as far apart, drawn from the
binomial law. `python -m benchmarks.drift_watching` prints the table and writes it to
docs/drift_watching.md, in two minutes.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from tasks.drift.monitor import CAME, DOUBT, STAGES, WENT, Watch, Window

Reals = npt.NDArray[np.float64]
Days = npt.NDArray[np.int64]
ALPHA = 0.05
DAYS = 365
NEVER = 10 * DAYS
REFERENCE = 2_000
ROWS = 50
GONE = 5  # rows of the reference that go each day
DIM = 64
CHUNK = 250  # years at once
YEARS, DRIFTING = 2_000, 500
FRESH = 5  # rows of the reference for each day, of which no other day takes one
KAPPAS = np.linspace(0.1, 0.9, 9)
WRITTEN = Path(__file__).parent.parent / "docs" / "drift_watching.md"


class Years:
    """Rows of many years, as sums: what a mean can be had from."""

    def __init__(self, rng: np.random.Generator, n: int, shift: Reals) -> None:
        """Draws them; `shift` is that of the first component on each day."""
        self.rng = rng
        went = rng.normal(size=(n, DAYS, DIM)) * np.sqrt(GONE)
        self.gone = np.concatenate([np.zeros((n, 1, DIM)), went.cumsum(axis=1)], axis=1)
        self.stays = rng.normal(size=(n, DIM)) * np.sqrt(REFERENCE - GONE * DAYS)
        self.reference = (self.stays + self.gone[:, -1]) / REFERENCE
        days = rng.normal(size=(n, DAYS, DIM)) * np.sqrt(ROWS)
        days[:, :, 0] += ROWS * shift
        self.until = np.concatenate([np.zeros((n, 1, DIM)), days.cumsum(axis=1)], axis=1)

    def __len__(self) -> int:
        return len(self.reference)

    def p_values(self, start: int, end: int) -> Reals:
        """Of the rows that came after day `start` up to day `end`, against the reference."""
        n = (end - start) * ROWS
        means = (self.until[:, end] - self.until[:, start]) / n
        return _p(means - self.reference, n, REFERENCE)

    def p_gone(self, start: int, end: int) -> Reals:
        """Of the reference's rows that went after day `start` up to day `end`, against the rest."""
        n, m = (end - start) * GONE, REFERENCE - end * GONE
        went = (self.gone[:, end] - self.gone[:, start]) / n
        stayed = (self.stays + self.gone[:, -1] - self.gone[:, end]) / m
        return _p(went - stayed, n, m)

    def among_all(self, day: int) -> Reals:
        """Of one day's rows, against the reference and all days before it, taken together."""
        before = REFERENCE + (day - 1) * ROWS
        mean = (self.reference * REFERENCE + self.until[:, day - 1]) / before
        return _p((self.until[:, day] - self.until[:, day - 1]) / ROWS - mean, ROWS, before)

    def against_fresh(self, day: int) -> Reals:
        """Of one day's rows, against rows of the reference that no other day takes."""
        fresh = self.rng.normal(size=self.reference.shape) / np.sqrt(FRESH)
        return _p((self.until[:, day] - self.until[:, day - 1]) / ROWS - fresh, ROWS, FRESH)

    def permuted(self, p: Reals, permutations: int) -> Reals:
        """What so many permutations find where all of them would find p."""
        return (self.rng.binomial(permutations, p) + 1) / (permutations + 1)

    def compared(self, window: Window, p: Reals) -> Reals:
        """As `monitor.compared`, of many years at once."""
        many = window.permutations(ALPHA)
        found = self.permuted(p, many)
        for permutations in reversed([few for few in STAGES if few < many]):
            first = self.permuted(p, permutations)
            found = np.where(first > DOUBT / (permutations + 1), first, found)
        return found


def _p(apart: Reals, n: int, m: int) -> Reals:
    return np.asarray(stats.chi2.sf(np.square(apart).sum(axis=1) * n * m / (n + m), DIM))


def first_day(alarms: npt.NDArray[np.bool_]) -> Days:
    """Of alarms (years, days) the first day, from 1; NEVER where there is none."""
    return np.where(alarms.any(axis=1), alarms.argmax(axis=1) + 1, NEVER)


def windows(years: Years) -> Days:
    """The product: tasks.drift.monitor."""
    watch, alarms = Watch(reference=0), np.zeros((len(years), DAYS), np.bool_)
    for day in range(1, DAYS + 1):
        watch, due = watch.look(day)
        for window in due:
            for share, p_values in ((CAME, years.p_values), (WENT, years.p_gone)):
                own = window.part(share)
                p = years.compared(own, p_values(window.since, day))
                alarms[:, day - 1] |= p * own.tests <= ALPHA
    return first_day(alarms)


def spending(years: Years) -> Days:
    """Alpha in equal parts for each day, on all rows since the reference."""
    each = Window(1, 0, DAYS)
    p = [years.compared(each, years.p_values(0, day)) for day in range(1, DAYS + 1)]
    return first_day(np.stack(p, axis=1) * DAYS <= ALPHA)


def betting(p_values: Callable[[int], Reals]) -> Days:
    """An e-process on daily p-values, that begins on any day with equal weight.

    Each p-value gives kappa p^(kappa - 1), mixed over kappa (Vovk and Wang 2021, Annals of
    Statistics 49(3)); products of them are a martingale where p-values are independent.
    """
    alarms, wealth = [], np.zeros(())
    for day in range(1, DAYS + 1):
        bets = KAPPAS * p_values(day)[:, None] ** (KAPPAS - 1)
        wealth = np.minimum(bets * (wealth + 1 / DAYS), 1e9)
        alarms.append(wealth.mean(axis=1) + 1 - day / DAYS >= 1 / ALPHA)
    return first_day(np.stack(alarms, axis=1))


METHODS: dict[str, Callable[[Years], Days]] = {
    "p at most 0.05 on any day (no correction)": lambda years: first_day(
        np.stack([years.p_values(day, day + 1) for day in range(DAYS)], axis=1) <= ALPHA
    ),
    "**windows of 1, 4, 16, 64, 256 looks, of what came and of what went (chosen)**": windows,
    "spending, on all rows since the reference": spending,
    "betting, each day against all rows before it": lambda years: betting(years.among_all),
    "betting, each day against 5 rows of the reference of its own": lambda years: betting(
        years.against_fresh
    ),
    "betting, each day against the same reference (no valid bound)": lambda years: betting(
        lambda day: years.p_values(day - 1, day)
    ),
}
DAY = np.arange(DAYS, dtype=np.float64)
DRIFTS: dict[str, tuple[Reals, int]] = {
    "0.3 sd from day 30": (np.where(DAY >= 30, 0.3, 0.0), 30),
    "0.3 sd from day 200": (np.where(DAY >= 200, 0.3, 0.0), 200),
    "0.5 sd from day 200": (np.where(DAY >= 200, 0.5, 0.0), 200),
    "1 sd from day 200": (np.where(DAY >= 200, 1.0, 0.0), 200),
    "2 sd on day 101 alone": (np.where(DAY == 100, 2.0, 0.0), 100),
    "slowly, to 0.5 sd in a year": (0.5 * DAY / DAYS, 0),
    "slowly, to 1 sd in a year": (1.0 * DAY / DAYS, 0),
}


def alarm_days(shift: Reals, n_years: int) -> dict[str, Days]:
    """The first day with an alarm, by method."""
    rng = np.random.default_rng(n_years)
    found: dict[str, list[Days]] = {name: [] for name in METHODS}
    for start in range(0, n_years, CHUNK):
        years = Years(rng, min(CHUNK, n_years - start), shift)
        for name, method in METHODS.items():
            found[name].append(method(years))
    return {name: np.concatenate(days) for name, days in found.items()}


def false_alarms(days: Days) -> str:
    """Their rate, and the upper end of its exact one-sided interval at 99.9 %."""
    n = int((days < NEVER).sum())
    upper = stats.beta.ppf(0.999, n + 1, len(days) - n) if n < len(days) else 1.0
    return f"{n / len(days):.4f} (at most {upper:.4f})"


def delays(days: Days, onset: int) -> str:
    """The share of years with an alarm after the onset, of those without one before, and when."""
    left = days[days > onset] - onset
    share = float((left < NEVER - DAYS).mean()) if len(left) else 0.0
    if share < 0.5:
        return f"{100 * share:.0f} %"
    return f"{100 * share:.0f} %, {np.median(left):.0f} days"


def main() -> None:
    """Prints the tables and writes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=YEARS)
    parser.add_argument("--drifting", type=int, default=DRIFTING, help="years of each drift")
    parser.add_argument("--write", type=Path, default=WRITTEN)
    asked = parser.parse_args()
    still = alarm_days(np.zeros(DAYS), asked.years)
    found = {}
    for name, (shift, onset) in DRIFTS.items():
        found[name] = alarm_days(shift, asked.drifting), onset
        print(name, file=sys.stderr, flush=True)
    lines = [
        "# Watching a space for a year",
        "",
        f"Made by `python -m benchmarks.drift_watching`: {asked.years:,} years without drift, "
        f"{asked.drifting:,} of each drift. A reference of {REFERENCE:,} rows, of which {GONE} go "
        f"each day, {ROWS} new ones a day, {DIM} independent components with a standard deviation "
        f"(sd) of 1, of which drift shifts one; {DAYS} looks, alpha = {ALPHA} for the year. "
        "Each test compares means; its p-value is exact, and permutations are drawn from the law "
        "of what they would count.",
        "",
        "## Years with any alarm where nothing drifts",
        "",
        "In brackets the upper end of the exact one-sided interval at 99.9 %.",
        "",
        "| method | rate |",
        "| --- | --- |",
        *(f"| {name} | {false_alarms(days)} |" for name, days in still.items()),
        "",
        "## Years in which drift is found, and the median of days until then",
        "",
        "Of years without an alarm before it; no median where it is found in less than half.",
        "",
        "| method | " + " | ".join(DRIFTS) + " |",
        "|" + " --- |" * (1 + len(DRIFTS)),
    ]
    for method in list(METHODS)[1:]:
        cells = [delays(days[method], onset) for days, onset in found.values()]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    said = "\n".join([*lines, "", "## What they say", "", *SAID]) + "\n"
    asked.write.write_text(said)
    print(said)


SAID = [
    "- Windows find every one of these drifts, and find it first: a window that lies behind the",
    "  change holds nothing else, and a long one sees what no day shows. The price of five lengths",
    "  beside one is small: a level a few times smaller asks for a few more rows.",
    "- Their bound holds however looks depend on each other, which they do: all have the reference",
    "  in common. It is 0.6 alpha by arithmetic, nearly the rate.",
    "- Spending on all rows since the reference thins a change out by all that came before it.",
    "- Betting multiplies what independent looks win. Rows of the reference that no other look has",
    "  taken are few, and all rows before it hold the drift itself after a while; the same",
    "  reference for all gives no bound (here it happens to stay below alpha), and is slower.",
    "- Shifts are in one component of 64. A day of 50 rows shows 2 sd at once and 0.3 sd never.",
]

if __name__ == "__main__":
    main()
