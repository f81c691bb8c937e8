"""What a page shows beside the metrics: what changed most, neighbours, labels, the spectrum."""

from collections.abc import Mapping, Sequence

import numpy as np

from schemas.evaluation import Confusion, Details, ItemChange, Neighbour, Neighbourhood
from tasks.errors import MetricError
from tasks.evaluated import EvaluatedVersion
from tasks.evaluations.base import Measurement
from tasks.judge import Pair, common
from tasks.metrics import geometry
from tasks.metrics.neighbours import nearest

CHANGES = 10  # winners, and as many losers
RECORDS = 12  # whose neighbours are shown
NEIGHBOURS = 5
LABELS = 20  # of a table of confusions: more cannot be read
TEXT_CHARACTERS = 300


def alone(version: EvaluatedVersion, measured: Mapping[str, Measurement]) -> Details:
    """Of a version without a baseline."""
    return Details(
        neighbourhoods=_neighbourhoods(version, None),
        confusions=_confusions(measured),
        spectrum=_spectrum(version),
    )


def beside(
    candidate: EvaluatedVersion,
    baseline: EvaluatedVersion,
    pairs: Mapping[str, Pair],
    asked: Sequence[str],
) -> Details:
    """Of two versions with the same records: changes are those of the metrics that are asked."""
    shown = [name for name in asked if name in pairs]
    changes = [one for name in shown for one in _changes(name, pairs[name], candidate)]
    changes.sort(key=lambda one: (one.candidate - one.baseline, one.metric, one.item))
    return Details(
        winners=tuple(one for one in reversed(changes) if one.candidate > one.baseline)[:CHANGES],
        losers=tuple(one for one in changes if one.candidate < one.baseline)[:CHANGES],
        neighbourhoods=_neighbourhoods(candidate, baseline),
        confusions=_confusions({name: pair.candidate for name, pair in pairs.items()}),
        spectrum=_spectrum(candidate),
        baseline_spectrum=_spectrum(baseline),
    )


def _changes(name: str, pair: Pair, version: EvaluatedVersion) -> list[ItemChange]:
    """The items of a mean that changed, those that changed most of each sign."""
    one, other = pair.candidate.values(), pair.baseline.values()
    if one is None or other is None or not pair.candidate.higher_is_better:
        return []
    ours, theirs = common(pair.candidate, pair.baseline)
    differences = one[ours] - other[theirs]
    order = np.argsort(differences, kind="stable")
    chosen = [place for place in dict.fromkeys([*order[:CHANGES], *order[-CHANGES:]])]
    items = [pair.candidate.items[ours[place]] for place in chosen]
    texts: Sequence[str | None] = (
        [pair.candidate.texts[ours[place]] for place in chosen]
        if pair.candidate.texts
        else version.texts(items)
    )
    return [
        ItemChange(
            metric=name,
            item=item,
            text=_short(text),
            baseline=float(other[theirs[place]]),
            candidate=float(one[ours[place]]),
        )
        for place, item, text in zip(chosen, items, texts, strict=True)
    ]


def _neighbourhoods(
    candidate: EvaluatedVersion, baseline: EvaluatedVersion | None
) -> tuple[Neighbourhood, ...]:
    """Of some records at random, the same for the same seed and ids."""
    k = min(NEIGHBOURS, len(candidate.record_ids) - 1)
    if k < 1:
        return ()
    n = min(RECORDS, len(candidate.record_ids))
    asked = np.sort(candidate.rng.choice(len(candidate.record_ids), n, replace=False))
    sides = [_near(version, asked, k) for version in (candidate, baseline) if version is not None]
    named = {id_ for side in sides for near in side for id_, _ in near}
    named |= {candidate.record_ids[record] for record in asked.tolist()}
    ids = sorted(named)
    texts = dict(zip(ids, map(_short, candidate.texts(ids)), strict=True))
    shown = [
        [tuple(Neighbour(id=id_, score=s, text=texts[id_]) for id_, s in near) for near in side]
        for side in sides
    ]
    return tuple(
        Neighbourhood(
            id=candidate.record_ids[record],
            text=texts[candidate.record_ids[record]],
            candidate=shown[0][place],
            baseline=shown[1][place] if baseline is not None else (),
        )
        for place, record in enumerate(asked.tolist())
    )


def _near(
    version: EvaluatedVersion, asked: np.ndarray[tuple[int], np.dtype[np.int64]], k: int
) -> list[list[tuple[str, float]]]:
    found = nearest(version.records[asked], version.records, k, own_rows=asked)
    return [
        [(version.record_ids[row], score) for row, score in zip(rows, scores, strict=True)]
        for rows, scores in zip(found.rows.tolist(), found.scores.tolist(), strict=True)
    ]


def _confusions(measured: Mapping[str, Measurement]) -> tuple[Confusion, ...]:
    return tuple(
        Confusion(
            name=name,
            labels=one.confusion.labels,
            counts=tuple(map(tuple, one.confusion.counts.tolist())),
            columns=one.confusion.columns,
        )
        for name, one in measured.items()
        if one.confusion is not None and len(one.confusion.labels) <= LABELS
    )


def _spectrum(version: EvaluatedVersion) -> tuple[float, ...]:
    """The eigenvalues of the vectors' covariance, the largest first."""
    try:
        return tuple(geometry.spectrum(version.records).tolist())
    except MetricError:  # equal vectors have none
        return ()


def _short(text: str | None) -> str | None:
    if text is None or len(text) <= TEXT_CHARACTERS:
        return text
    return text[:TEXT_CHARACTERS] + "..."
