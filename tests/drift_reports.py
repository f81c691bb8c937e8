"""Drift reports to be shown: made up, the same at each call."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa

from schemas.drift import (
    Compared,
    Density,
    DriftRecord,
    Effect,
    Encoders,
    Example,
    Found,
    Quality,
    Segment,
)
from tasks.store.drifts import LOOKS
from tests.reports import MADE, RUNS_IF_IT_CAN

SECTIONS = ["verdict", "evidence", "timeline", "where", "segments", "quality", "provenance"]
LIMITS = {"auc": 0.6, "share": 0.05, "shift_sd": 0.5}


def drift() -> DriftRecord:
    """Version 9 has a new topic since version 4."""
    return DriftRecord(
        id="9-since-4-0123456789ab",
        space="papers",
        candidate=side(9),
        baseline=side(4),
        watched=True,
        verdict="drift",
        reason="rows added or changed since version 8 (not in version 4) differ (p = 0.012 for a "
        "year of looks): at least 14% of the rows are of another kind",
        tests=(
            found("rows added or changed since version 8 (not in version 4)", 1e-5, 8.4),
            found("rows removed or changed since version 8", 0.4, 0.2).model_copy(
                update={"sides": ("stayed", "went")}
            ),
        ),
        effect=Effect(auc=0.63, auc_low=0.59, auc_high=0.67, shift_sd=0.71, share=0.14),
        limits=LIMITS,
        segments=(
            segment("new topic 1", "new topic", ("quantum", "qubits")),
            segment("cluster 3", "cluster", ("survey",)),
            segment("venue=ICML", "value", ()),
        ),
        quality={
            "baseline": Quality(quarantined=0.001, duplicate=0.0, length=812.0, norm=1.0),
            "candidate": Quality(quarantined=0.02, truncated=0.4, empty=0.0, length=1430.0),
        },
        density=density(),
        alpha=0.05,
        seed=0,
        seconds=12.3,
        created_at=MADE,
        command="vectorline drift papers --candidate 9 --baseline 4 --store /srv/vectors",
        libraries={"numpy": "2.4.6"},
    )


def quiet() -> DriftRecord:
    """No drift, and what could have been missed."""
    return drift().model_copy(
        update={
            "verdict": "no drift",
            "reason": "rows added or changed since version 4 do not differ beyond chance (p = 0.4)",
            "watched": False,
            "detectable": Effect(auc=0.58, shift_sd=0.29, share=0.11),
        }
    )


def went() -> DriftRecord:
    """Rows that went, of a topic of which none stayed."""
    sides = ("stayed", "went")
    one = drift()
    what = "rows removed or changed since version 4"
    return one.model_copy(
        update={
            "reason": f"{what} differ (p = 0.012 for a year of looks): at least 14% of the rows "
            "that went are of another kind",
            "tests": (found(what, 1e-5, 8.4).model_copy(update={"sides": sides}),),
            "segments": (segment("vanished topic 1", "vanished topic", ("quantum",)),),
            "quality": dict(zip(sides, one.quality.values(), strict=True)),
        }
    )


def changed() -> DriftRecord:
    """Another encoder: nothing else was looked at."""
    return drift().model_copy(
        update={
            "verdict": "encoder changed",
            "reason": "of 16 canaries 16 have other vectors",
            "tests": (),
            "effect": None,
            "segments": (),
            "quality": {},
            "density": None,
            "encoders": Encoders(records=812, neighbour_overlap=0.31, linear_cka=0.722),
        }
    )


def hostile(texts: Sequence[str] = RUNS_IF_IT_CAN) -> DriftRecord:
    """All that others write is one of these texts, in turn."""

    def text(number: int) -> str:
        return texts[number % len(texts)]

    one = drift().segments[0]
    segments = tuple(
        one.model_copy(
            update={
                "name": text(number),
                "terms": (text(number), text(number + 1)),
                "before": tuple(Example(id=text(n), text=text(n + 1)) for n in range(5)),
                "now": tuple(
                    Example(id=text(n), text=text(n + 1), image=None) for n in range(5, 10)
                ),
            }
        )
        for number in range(len(texts))
    )
    tests = tuple(
        found(text(number), 0.3, 1.0).model_copy(update={"warnings": (text(number),)})
        for number in range(len(texts))
    )
    return drift().model_copy(
        update={
            "space": text(0),
            "reason": text(1),
            "command": text(2),
            "notes": tuple(texts),
            "segments": segments,
            "tests": tests,
            "libraries": {text(3): text(4)},
        }
    )


def largest(text: str) -> DriftRecord:
    """More of everything than any look has."""
    one, start = drift().segments[0], text[:400]
    segments = tuple(
        one.model_copy(
            update={
                "name": f"{number}{start}",
                "terms": (text,) * 50,
                "before": (Example(id=text, text=text),) * 50,
                "now": (Example(id=text, image="data:image/jpeg;base64," + "A" * 7_900),) * 50,
            }
        )
        for number in range(200)
    )
    notes = tuple(f"{number}{text}" for number in range(500))
    return drift().model_copy(
        update={"segments": segments, "notes": notes, "reason": text, "command": text}
    )


def looks(record: DriftRecord, n: int = 5) -> pa.Table:
    """Of the versions before, beside the same baseline; the last one was an alarm."""
    rows = [
        {
            "report": f"{version}",
            "space": record.space,
            "version": version,
            "fingerprint": "f" * 64,
            "baseline": 4,
            "watched": True,
            "verdict": "drift" if version == record.candidate.version else "no drift",
            "p_value": 0.3,
            "adjusted": 1.0,
            "statistic": 8.4 if version == record.candidate.version else 0.1 * version,
            "null_low": -1.0,
            "null_high": 1.6,
            "n_baseline": 2000,
            "n_candidate": 300,
            "created_at": MADE + timedelta(days=version),
        }
        for version in range(record.candidate.version - n + 1, record.candidate.version + 1)
    ]
    return pa.Table.from_pylist(rows, LOOKS)


def side(version: int) -> Compared:
    return Compared(
        version=version,
        table="papers.0123456789ab",
        fingerprint="f" * 64,
        precision="float32",
        rows=12_000 + version,
        records=4_000,
        created_at=MADE,
    )


def found(what: str, p_value: float, statistic: float) -> Found:
    return Found(
        what=what,
        since=8,
        looks=1,
        p_value=p_value,
        adjusted=min(1.0, 1217 * p_value),
        statistic=statistic,
        null=tuple(np.linspace(-2, 3, 101).tolist()),
        n_baseline=2000,
        n_candidate=300,
        units=(2000, 300),
        total=300,
        permutations=48_666,
        warnings=("2,000 of the baseline's 10,000 rows were drawn and compared",),
    )


def segment(name: str, kind: str, terms: tuple[str, ...]) -> Segment:
    return Segment.model_validate(
        {
            "kind": kind,
            "name": name,
            "n_baseline": 3,
            "n_candidate": 44,
            "baseline_share": 0.001,
            "candidate_share": 0.147,
            "p_value": 0.0004,
            "growth_p": 1e-12,
            "shift_p": None,
            "drift_share": 0.8,
            "terms": terms,
            "before": (Example(id="p001", text="Trees in forests"),),
            "now": (Example(id="p812", text="Qubits that stay"), Example(id="p813", text=None)),
        }
    )


def density() -> Density:
    rng = np.random.default_rng(0)
    counts = [rng.poisson(3, (36, 36)).tolist() for _ in range(2)]
    nested = [tuple(tuple(row) for row in of) for of in counts]
    return Density(low=(-1, -1), high=(1, 1), baseline=nested[0], candidate=nested[1])
