"""A corpus of topics that can drift: what drift reports are tested with."""

from typing import Any

import numpy as np

WORDS = 12  # of a text
VOCABULARY = {
    topic: [f"{topic}{number}" for number in range(40)] for topic in ("sea", "law", "food", "bees")
}
KNOWN = ("sea", "law", "food")


def texts(n: int, topics: tuple[str, ...], rng: np.random.Generator) -> list[str]:
    chosen = rng.choice(topics, n)
    return [" ".join(rng.choice(VOCABULARY[topic], WORDS)) for topic in chosen]


def notes(
    first: int, n: int, topics: tuple[str, ...] = KNOWN, *, seed: int = 0
) -> list[dict[str, Any]]:
    """Records `d00000` on, of random words of random topics."""
    rng = np.random.default_rng([seed, first])
    return [
        {"id": f"d{first + number:05d}", "text": text, "year": number % 4}
        for number, text in enumerate(texts(n, topics, rng))
    ]
