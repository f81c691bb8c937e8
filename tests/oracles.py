"""What numbers must be, by loops that anyone can check."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Adjacency = Mapping[int, Mapping[int, float]]
"""node -> neighbour -> weight"""
Reals = npt.NDArray[np.float64]


def adjacency(
    edges: Sequence[tuple[int, int, float]], n_nodes: int, *, directed: bool, weighted: bool
) -> dict[int, dict[int, float]]:
    """The rows of a graph: equal edges are one, with the sum of their weights."""
    rows: dict[int, dict[int, float]] = {node: {} for node in range(n_nodes)}
    for source, target, weight in edges:
        ends = {(source, target)} if directed else {(source, target), (target, source)}
        for one, other in ends:
            rows[one][other] = rows[one].get(other, 0.0) + weight if weighted else 1.0
    return rows


def second_order_law(
    rows: Adjacency, *, p: float, q: float, extend: bool = False
) -> dict[tuple[int, int], dict[int, float]]:
    """(t, v) -> x -> the probability that a walk that went from t to v goes on to x."""
    law = {}
    for t in rows:
        for v in rows[t]:
            weights = {}
            for x, weight in rows[v].items():
                if x == t:
                    factor = 1 / p
                elif extend:
                    factor = _extended_factor(rows, t, v, x, q)
                else:
                    factor = 1.0 if x in rows[t] else 1 / q
                weights[x] = weight * factor
            law[t, v] = {x: weight / sum(weights.values()) for x, weight in weights.items()}
    return law


def _extended_factor(rows: Adjacency, t: int, v: int, x: int, q: float) -> float:
    """Of Node2Vec+, where an edge is loose that weighs less than the mean of its node's."""
    mean = {node: sum(rows[node].values()) / len(rows[node]) for node in (v, x) if rows[node]}
    if x in rows[t] and rows[t][x] >= mean.get(x, 0.0):
        return 1.0
    if rows[v][x] < mean[v]:
        return min(1.0, 1 / q)
    return 1 / q + (1 - 1 / q) * rows[t].get(x, 0.0) / mean.get(x, 1.0)


def skipgram(
    table_in: Reals,
    table_out: Reals,
    pairs: Iterable[tuple[int, int, list[int], float]],
    *,
    at_once: bool = False,
) -> tuple[Reals, Reals, float]:
    """Both tables after a step for each pair, and the mean loss.

    A pair is centre, context, negatives and learning rate. Steps follow one another, or, `at_once`,
    are all taken from the tables as they were.
    """
    new_in, new_out = table_in.copy(), table_out.copy()
    losses = []
    for centre, context, negatives, rate in pairs:
        old_in, old_out = (table_in, table_out) if at_once else (new_in.copy(), new_out.copy())
        loss = 0.0
        for target, label in [(centre, 1), *((negative, 0) for negative in negatives)]:
            chance = 1 / (1 + math.exp(-float(old_in[context] @ old_out[target])))
            loss -= math.log(chance if label else 1 - chance)
            new_in[context] += rate * (label - chance) * old_out[target]
            new_out[target] += rate * (label - chance) * old_in[context]
        losses.append(loss)
    return new_in, new_out, float(np.mean(losses))


def cooccurrences(texts: Iterable[Sequence[int]], window: int) -> dict[tuple[int, int], float]:
    """(word, context) -> the sum of 1 / distance, over contexts on both sides."""
    found: dict[tuple[int, int], float] = {}
    for text in texts:
        for i, word in enumerate(text):
            for j in range(max(0, i - window), min(len(text), i + window + 1)):
                if i != j:
                    pair = word, text[j]
                    found[pair] = found.get(pair, 0.0) + 1 / abs(i - j)
    return found


def glove(
    words: Reals,
    contexts: Reals,
    pairs: Iterable[tuple[int, int, float]],
    *,
    x_max: float,
    exponent: float,
    rate: float,
    bias_rate: float,
) -> tuple[Reals, Reals, float]:
    """Both tables, biases last, after a step of AdaGrad for each (word, context, count) in turn.

    And the mean of f(x) (w c + b + b - log x)^2; sums of squares begin at 1 and are of steps.
    """
    tables, squares = [words.copy(), contexts.copy()], [np.ones_like(words), np.ones_like(words)]
    losses = []
    for word, context, count in pairs:
        own = [tables[0][word], tables[1][context]]
        weight = min(1.0, (count / x_max) ** exponent)
        error = float(own[0][:-1] @ own[1][:-1] + own[0][-1] + own[1][-1] - math.log(count))
        losses.append(weight * error**2)
        steps = [
            weight * error * np.append(rate * other[:-1], bias_rate) for other in (own[1], own[0])
        ]
        for table, square, step, item in zip(tables, squares, steps, (word, context), strict=True):
            table[item] -= step / np.sqrt(square[item])
            square[item] += step**2
    return tables[0], tables[1], float(np.mean(losses))


def nearest_by_loop(
    queries: npt.NDArray[np.floating], vectors: npt.NDArray[np.floating], k: int, likeness: str
) -> tuple[list[list[int]], list[list[float]]]:
    """Rows of the k most alike, ties by row, and how alike they are."""

    def alike(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
        if likeness == "euclidean":
            return -math.dist(one, other)
        dot = sum(float(a) * float(b) for a, b in zip(one, other, strict=True))
        norms = math.hypot(*one) * math.hypot(*other)
        return dot if likeness == "dot" else dot / norms

    scored = np.array([[alike(one, other) for other in vectors] for one in queries])
    rows = [sorted(range(len(vectors)), key=(-line).__getitem__)[:k] for line in scored]
    return rows, [line[best].tolist() for line, best in zip(scored, rows, strict=True)]


def flipped_p(differences: Sequence[float], alternative: str) -> float:
    """The share of all ways to flip signs whose sum is as far as that of none flipped."""

    def far(total: float) -> float:
        return {"greater": total, "less": -total, "two-sided": abs(total)}[alternative]

    seen = far(math.fsum(differences))
    sums = [
        far(math.fsum(sign * one for sign, one in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(total >= seen for total in sums) / len(sums)


def holm_by_steps(p_values: Mapping[str, float], alpha: float) -> set[str]:
    """What is claimed at alpha: from the smallest up, until one is too large for what is left."""
    claimed: set[str] = set()
    for name, p in sorted(p_values.items(), key=lambda pair: pair[1]):
        if p > alpha / (len(p_values) - len(claimed)):
            break
        claimed.add(name)
    return claimed


def average_precision_by_loop(scores: npt.NDArray[np.generic], truth: Sequence[bool]) -> float:
    """The sum over thresholds, from the highest, of precision times what recall gains."""
    found, last = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        taken = [
            bool(flag) for score, flag in zip(scores, truth, strict=True) if score >= threshold
        ]
        recall = sum(taken) / sum(map(bool, truth))
        found += (recall - last) * sum(taken) / len(taken)
        last = recall
    return found


def weat_by_loop(x: Reals, y: Reals, a: Reals, b: Reals) -> tuple[float, float, int]:
    """The effect size, the share of splits as far as these sets, and how many there are."""

    def cosine(one: Reals, other: Reals) -> float:
        return float(one @ other) / math.hypot(*one) / math.hypot(*other)

    def bound(word: Reals) -> float:
        nearer = sum(cosine(word, one) for one in a) / len(a)
        return nearer - sum(cosine(word, one) for one in b) / len(b)

    scores = [bound(word) for word in [*x, *y]]

    def difference(chosen: Sequence[int]) -> float:
        ours = [scores[i] for i in chosen]
        theirs = [score for i, score in enumerate(scores) if i not in chosen]
        return sum(ours) / len(ours) - sum(theirs) / len(theirs)

    seen = difference(range(len(x)))
    splits = [difference(chosen) for chosen in itertools.combinations(range(len(scores)), len(x))]
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((score - mean) ** 2 for score in scores) / (len(scores) - 1))
    as_far = sum(one >= seen - 1e-12 for one in splits)
    return seen / deviation, as_far / len(splits), len(splits)


def skew_by_loop(
    rows: Sequence[Sequence[int]], groups: Sequence[str], wanted: Mapping[str, float] | None
) -> tuple[list[float], float, dict[str, float]]:
    """MaxSkew of each query, the mean NDKL, and the skew of each group over all that was shown."""
    shares = wanted or {name: groups.count(name) / len(groups) for name in set(groups)}

    def skews(shown: Sequence[int]) -> dict[str, float]:
        names = [groups[row] for row in shown]
        return {
            name: math.log(names.count(name) / len(names) / share)
            for name, share in shares.items()
            if name in names
        }

    def divergence(shown: Sequence[int]) -> float:
        names = [groups[row] for row in shown]
        return sum(names.count(name) / len(names) * skew for name, skew in skews(shown).items())

    ndkl = []
    for row in rows:
        discounts = [1 / math.log2(i + 1) for i in range(1, len(row) + 1)]
        terms = [discounts[i] * divergence(row[: i + 1]) for i in range(len(row))]
        ndkl.append(sum(terms) / sum(discounts))
    everything = [shown for row in rows for shown in row]
    return [max(skews(row).values()) for row in rows], sum(ndkl) / len(ndkl), skews(everything)
