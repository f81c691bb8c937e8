"""Evaluations to be shown: made up, the same at each call."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from schemas.evaluation import (
    Compared,
    Confusion,
    Details,
    Estimate,
    EvaluationRecord,
    Gate,
    ItemChange,
    Judged,
    Metric,
    Neighbour,
    Neighbourhood,
    Verdict,
)
from tasks.store.evaluations import SCORES

MADE = datetime(2026, 11, 21, 21, 0, tzinfo=UTC)
RUNS_IF_IT_CAN = (
    "<script>alert(1)</script>",
    "</style><script src=http://evil.invalid/x.js></script>",
    "</title></bdi></p></section><h1 onclick=alert(1)>broken out",
    "<img src=http://evil.invalid/x.png onerror=alert(1)>",
    "\"'><svg onload=alert(1)><iframe src=//evil.invalid></iframe>",
    "{{ 7 * 7 }}{% raw %}{# gone #}",
    "<!-- <![CDATA[ --!> ]]> &lt;script&gt; &amp;amp; &#60;",
    "a\0b\x1b[31mc\x7fd\x85e\r\nf\tg",
    "\u202egnp.exe \u2066right\u2069 \u200f\u05de\u05d9\u05de\u05d9\u05df \u061cعربى",
    "👩\u200d👩\u200d👧 e\u0301 z̷̢̛a̶l̵g̸o ﷽ \ufffe\uffff \U0001fffe",
    "$x_{1}$ \\frac{1}{2} \\\\ %s %d {0} ${HOME} `id`",
    "javascript:alert(1)//" + "x" * 300,
)
MAIN = (("ndcg@10", 0.612), ("recall@10", 0.781))
OTHERS = (
    ("mrr@10", 0.553, "query"),
    ("index_recall@10", 0.987, "query"),
    ("trustworthiness", 0.942, "record"),
    ("probe_accuracy", 0.871, "record"),
)
SHIFT: dict[Verdict, float] = {
    "better": 0.043,
    "not worse": 0.004,
    "worse": -0.061,
    "cannot tell": -0.008,
}
TEXTS = (
    "lru_cache: Least-recently-used cache decorator. If *maxsize* is set to None, the LRU features "
    "are disabled and the cache can grow without bound.",
    "cmp_to_key: Convert a cmp= function into a key= function.",
    "reduce: Apply a function of two arguments cumulatively to the items of an iterable.",
    "singledispatch: Single-dispatch generic function decorator.",
    "partial: Create a new function with partial application of the given arguments and keywords.",
)


SECTIONS = [
    "verdict",
    "metrics",
    "changes",
    "history",
    "labels",
    "spectrum",
    "map",
    "neighbourhoods",
    "cost",
    "provenance",
]
"""Ids of all parts of a page, in their order."""


def judged(version: int, use: str, dim: int) -> Judged:
    return Judged(
        version=version,
        table=f"stdlib.{version}b276e0bb0e8",
        fingerprint=f"{version}" * 16,
        encoder=use,
        precision="float32",
        rows=7683,
        records=7640,
        dim=dim,
        size_bytes=4 * dim * 7683,
        encode_seconds=35.7 * dim / 384,
        encoded=7640,
    )


def alone(**changed: object) -> EvaluationRecord:
    """Of version 4, beside no other one."""
    metrics = {
        name: Metric(
            estimate=Estimate(
                value=value, low=value - 0.031, high=value + 0.028, n=320, method="bca"
            ),
            of=of,
        )
        for name, value, of in [*((name, value, "query") for name, value in MAIN), *OTHERS]
    }
    metrics["intrinsic_dimension"] = Metric(
        estimate=Estimate(
            value=14.21, n=7640, warnings=("8 equal vectors are left out of 7,640.",)
        ),
        of="record",
        higher_is_better=None,
        parts={"nearest": 1.0, "discarded": 0.1},
    )
    record = EvaluationRecord(
        id="4-alone-0123456789ab",
        space="stdlib",
        suite="suites/stdlib.yaml",
        suite_digest="5" * 32,
        candidate=judged(4, "sentence-transformers", 384),
        metrics=metrics,
        details=Details(
            neighbourhoods=tuple(_neighbourhood(number, beside=False) for number in range(12)),
            confusions=(_confusion(),),
            spectrum=_spectrum(384, 1.0),
        ),
        alpha=0.05,
        seed=0,
        seconds=73.2,
        created_at=MADE,
        command="vectorline evaluate stdlib 4 --config examples/stdlib.yaml --store vectors",
        libraries={"numpy": "2.4.6", "scipy": "1.17.0", "scikit-learn": "1.7.2"},
    )
    return record.model_copy(update=changed)


def beside(verdict: Verdict, **changed: object) -> EvaluationRecord:
    """Of version 4 beside version 3."""
    record, shift = alone(), SHIFT[verdict]
    metrics = dict(record.metrics)
    for number, (name, value, _) in enumerate([*((*one, "query") for one in MAIN), *OTHERS]):
        drop = shift if number < 3 else 0.002 * number - 0.006
        metrics[name] = metrics[name].model_copy(
            update={
                "compared": Compared(
                    baseline=value - drop,
                    candidate=value,
                    difference=Estimate(value=drop, low=drop - 0.013, high=drop + 0.012, n=320),
                    margin=0.01 if number < 2 else None,
                    verdict=verdict if number < 3 else "not worse",
                )
            }
        )
    passed = verdict in ("better", "not worse")
    details = record.details.model_copy(
        update={
            "winners": tuple(_change(number, 1.0) for number in range(10)),
            "losers": tuple(_change(number, -1.0) for number in range(10)),
            "neighbourhoods": tuple(_neighbourhood(number, beside=True) for number in range(12)),
            "baseline_spectrum": _spectrum(256, 1.4),
        }
    )
    return record.model_copy(
        update={
            "id": "4-beside-3-0123456789ab",
            "baseline": judged(3, "hashing", 256),
            "metrics": metrics,
            "verdict": verdict,
            "reason": f"ndcg@10: the difference is {shift:+.4f}, its 95% interval "
            f"{shift - 0.013:+.4f} to {shift + 0.012:+.4f} (n = 320)",
            "gate": Gate(passed=passed, failed=() if passed else ("ndcg@10",)),
            "neighbour_overlap": 0.637,
            "common_records": 7640,
            "details": details,
            **changed,
        }
    )


def hostile(texts: Sequence[str] = RUNS_IF_IT_CAN) -> EvaluationRecord:
    """All that others write is one of these texts, in turn."""
    record = beside("cannot tell")

    def text(number: int) -> str:
        return texts[number % len(texts)]

    whole = next(iter(record.metrics.values()))
    metrics = {
        text(number): whole.model_copy(
            update={
                "of": text(number),
                "parts": {text(number + part): 0.5 for part in range(4)},
                "estimate": Estimate(value=0.5, n=9, warnings=(text(number),)),
            }
        )
        for number in range(len(texts))
    }
    change = ItemChange(metric=text(0), item=text(1), text=text(2), baseline=0.1, candidate=0.9)
    near = tuple(Neighbour(id=text(one), score=0.5, text=text(one)) for one in range(len(texts)))
    labels = tuple(text(one) for one in range(5))
    changes = tuple(
        change.model_copy(update={"item": text(one), "text": text(one)})
        for one in range(len(texts))
    )
    details = Details(
        winners=changes,
        losers=changes,
        neighbourhoods=tuple(
            Neighbourhood(id=text(one), text=text(one), candidate=near, baseline=near[:2])
            for one in range(len(texts))
        ),
        confusions=(
            Confusion(name=text(0), columns=text(1), labels=labels, counts=((3,) * 5,) * 5),
        ),
        spectrum=_spectrum(9, 1.0),
    )
    one = record.candidate.model_copy(
        update={"table": text(0), "fingerprint": text(1), "encoder": text(2), "precision": text(3)}
    )
    return record.model_copy(
        update={
            "id": text(0),
            "space": text(1),
            "suite": text(2),
            "suite_digest": text(3),
            "candidate": one,
            "baseline": one.model_copy(update={"version": 3}),
            "metrics": metrics,
            "reason": " ".join(texts),
            "gate": Gate(passed=False, failed=tuple(texts)),
            "details": details,
            "command": " ".join(texts),
            "libraries": {one: one for one in texts},
        }
    )


def largest(text: str, n_metrics: int = 1000) -> EvaluationRecord:
    """More of everything than any evaluation has; texts that must differ are numbered."""
    record, start = beside("worse"), text[:400]
    whole = next(iter(record.metrics.values()))
    warnings = tuple(f"{number}{start}" for number in range(50))
    metrics = {
        f"{number}{start}": whole.model_copy(
            update={
                "of": text,
                "parts": {f"{part}{start}": 0.123456 for part in range(20)},
                "estimate": whole.estimate.model_copy(update={"warnings": warnings}),
            }
        )
        for number in range(n_metrics)
    }
    changes = tuple(
        ItemChange(metric=text, item=text, text=text, baseline=0.1, candidate=0.9)
        for _ in range(500)
    )
    near = tuple(Neighbour(id=f"{one}{start}", score=0.5, text=text) for one in range(100))
    other = tuple(Neighbour(id=f"{one}{start}", score=0.5, text=text) for one in range(100, 200))
    labels = tuple(f"{one}{start}" for one in range(60))
    details = Details(
        winners=changes,
        losers=changes,
        neighbourhoods=(Neighbourhood(id=text, text=text, candidate=near, baseline=other),) * 100,
        confusions=(
            Confusion(name=text, columns=text, labels=labels, counts=((10**9,) * 60,) * 60),
        )
        * 30,
        spectrum=_spectrum(20_000, 0.5),
        baseline_spectrum=_spectrum(20_000, 0.7),
    )
    return record.model_copy(
        update={
            "id": text,
            "space": start,
            "suite": text,
            "suite_digest": start,
            "metrics": metrics,
            "reason": text,
            "gate": Gate(passed=False, failed=tuple(metrics)),
            "details": details,
            "command": text,
            "libraries": {f"{one}{start}": text for one in range(200)},
        }
    )


def history(record: EvaluationRecord, versions: Sequence[int] = (1, 2, 3)) -> pa.Table:
    """Scores of earlier versions by the suite of an evaluation; the encoder changes at 3."""
    rng = np.random.default_rng(0)
    rows = []
    for version in versions:
        for name, metric in record.metrics.items():
            found = metric.estimate
            value = found.value * (1 + 0.05 * rng.normal())
            low = None if found.low is None else value - 0.03
            high = None if found.high is None else value + 0.03
            rows.append(
                {
                    "evaluation": f"{version}-alone",
                    "space": record.space,
                    "version": version,
                    "fingerprint": "old" if version < 3 else "new",
                    "suite_digest": record.suite_digest,
                    "metric": name,
                    "value": value,
                    "low": low,
                    "high": high,
                    "n": found.n,
                    "created_at": MADE + timedelta(hours=version),
                }
            )
    return pa.Table.from_pylist(rows, SCORES)


def _change(number: int, sign: float) -> ItemChange:
    low, high = 0.1 + 0.01 * number, 1.0 - 0.05 * number
    query = ("cache of the least recently used results", "sort by a comparison function")[
        number % 2
    ]
    return ItemChange(
        metric=MAIN[number % 2][0],
        item=f"q{17 * number + 3}",
        text=query,
        baseline=low if sign > 0 else high,
        candidate=high if sign > 0 else low,
    )


def _neighbourhood(number: int, *, beside: bool) -> Neighbourhood:
    near = [
        Neighbour(
            id=f"functools:{TEXTS[one % 5].split(':')[0]}_{one}",
            score=0.71 - 0.03 * one,
            text=TEXTS[one % 5],
        )
        for one in range(number, number + 7)
    ]
    return Neighbourhood(
        id=f"functools:record_{number}",
        text=TEXTS[number % 5],
        candidate=tuple(near[:5]),
        baseline=tuple(near[2:]) if beside else (),
    )


def _confusion() -> Confusion:
    counts = np.random.default_rng(0).poisson(4, (6, 6)) + 90 * np.eye(6, dtype=np.int64)
    return Confusion(
        name="probe_accuracy",
        columns="clusters by name",
        labels=("class", "function", "method", "module", "property", "exception"),
        counts=tuple(map(tuple, counts.astype(int).tolist())),
    )


def _spectrum(dim: int, power: float) -> tuple[float, ...]:
    return tuple((1.0 / np.arange(1, dim + 1) ** power).tolist())
