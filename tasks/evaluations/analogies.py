"""Analogies between words, or between whatever the records of a space are."""

from collections.abc import Iterator

from tasks.errors import ConfigError
from tasks.evaluations.base import Measurement, Version
from tasks.evaluations.files import lines_of
from tasks.metrics import analogies
from tasks.metrics.analogies import Analogy

CATEGORY = ":"
MEASURES = {
    "three_cos_add": analogies.three_cos_add,
    "three_cos_mul": analogies.three_cos_mul,
    "pair_direction": analogies.pair_direction,
}


class Analogies:
    """a is to b as c is to d: how often the best answer of all records is d, by category."""

    metrics = tuple(MEASURES)

    def __init__(self, *, path: str) -> None:
        """`path` has four ids of records in a line, and `: name` before each category."""
        self._questions = [*_questions(path)]
        if not self._questions:
            raise ConfigError(f"{path} has no question")

    def measure(self, version: Version) -> list[Measurement]:
        """By the three formulas; an item is a question, those with unknown words are left out."""
        found = []
        for name, measure in MEASURES.items():
            score = measure(version.records, version.record_ids, self._questions)
            found.append(Measurement(name, score, "question", score.items, texts=score.items))
        return found


def _questions(path: str) -> Iterator[Analogy]:
    category = ""
    for number, fields in lines_of(path):
        words = fields if len(fields) > 1 else fields[0].split()
        if words[0].startswith(CATEGORY):
            category = " ".join(words).removeprefix(CATEGORY).strip()
        elif len(words) != 4:
            raise ConfigError(f"{path} line {number}: expected four words, there are {len(words)}")
        else:
            a, b, c, expected = words
            yield Analogy(a, b, c, expected, category)
