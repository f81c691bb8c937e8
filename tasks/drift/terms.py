"""The words of a segment: which texts of it use more often than the others do."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tasks.errors import DriftError

WORD = re.compile(r"[^\W\d_]{2,}")
TERMS = 10
PRIOR = 0.1  # of the words of all texts: one is chosen that 8 texts of a segment have and no other
SEEN = 2.0  # standard errors from which on a word is one of the segment


class Term(NamedTuple):
    """A word with its score, and in how many texts of the segment and of the others it stands."""

    word: str
    z: float
    inside: int
    outside: int


def key_terms(inside: Sequence[str], outside: Sequence[str], n: int = TERMS) -> list[Term]:
    """At most n words that texts of a segment have more often than others, the surest first.

    Weighted log-odds with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008,
    Political Analysis 16(4), eq. 16, 19, 20 and 22): the prior is the words of all texts, at
    a tenth of their number, so that rare words and words of everywhere stay behind. A word counts
    once for each text, so that none is chosen for one text that repeats it; words are letters, two
    or more, in lower case. Those below 2 standard errors are left out; ties go by the alphabet.
    Raises DriftError for n below 1 and without texts inside or outside.
    """
    if n < 1 or not inside or not outside:
        raise DriftError(f"{n} terms of {len(inside)} texts against {len(outside)}: need 1 of each")
    counts = [_words(inside), _words(outside)]
    words = sorted(counts[0])
    if len({*counts[0], *counts[1]}) < 2:
        return []  # one word of all tells no text from another
    y, other = (np.array([side[word] for word in words], np.float64) for side in counts)
    n_inside, n_outside = (float(side.total()) for side in counts)
    prior, whole = PRIOR * (y + other), PRIOR * (n_inside + n_outside)
    odds = [
        np.log(count + prior) - np.log(total + whole - count - prior)
        for count, total in ((y, n_inside), (other, n_outside))
    ]
    z = (odds[0] - odds[1]) / np.sqrt(1 / (y + prior) + 1 / (other + prior))
    best = [int(place) for place in np.argsort(-z, kind="stable")[:n] if z[place] >= SEEN]
    return [Term(words[place], float(z[place]), int(y[place]), int(other[place])) for place in best]


def _words(texts: Sequence[str]) -> Counter[str]:
    return Counter(word for text in texts for word in set(WORD.findall(text.lower())))
