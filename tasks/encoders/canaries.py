"""Sixteen fixed texts by which a worker proves that it encodes as its table was encoded."""

import numpy as np
import numpy.typing as npt

from tasks.encoders.base import Encoder, Vectors
from tasks.encoders.batching import encode_all
from tasks.errors import EncoderError

FLOOR = 0.999
"""The lowest cosine of two vectors that count as one encoder's for the same text."""

TEXTS = (
    "a",
    "The cat sat on the mat.",
    "the cat sat on the mat",
    "Is water wet? Nobody knows!",
    "3.14159 2,718,281 0xFF 1e-9 -42 50%",
    "2024-02-29T23:59:60Z, +49 (0)30 1234-5678",
    "def f(x: int) -> int:\n    return x ** 2 if x > 0 else -x\n",
    "SELECT name, COUNT(*) FROM people WHERE age >= 18 GROUP BY name;",
    '<p class="x">Tom &amp; Jerry</p> https://example.org/a?b=c#d',
    "Grüße aus München: Straße, Übung, naïve façade, coöperate.",
    "今日は良い天気です。我们去公园吧。안녕하세요",
    "Привет, мир! Γειά σου Κόσμε. مرحبا بالعالم שלום עולם",  # noqa: RUF001
    "😀 👩‍👩‍👧 🇩🇪 ✓ → ∑ ∞ №",
    "Heteroskedasticity-robust antidisestablishmentarianism; pneumonoultramicroscopic.",
    " ".join(f"Sentence {n} of a paragraph that goes on for a while." for n in range(1, 13)),
    "Long texts are cut where the model stops reading. " * 60,
)
"""Short, long, beyond what most models read, numbers, code, markup, scripts, symbols."""


def canary_vectors(encoder: Encoder) -> Vectors:
    """Vectors of the canaries; EncoderError if one is not finite or has no direction."""
    vectors, _ = encode_all(encoder, TEXTS)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if bad.size:
        text = TEXTS[bad[0]][:40]
        raise EncoderError(
            f"{encoder!r}: vectors of {bad.size} of {len(TEXTS)} canaries are NaN, infinite or"
            f" zero, first {text!r}; the weights are damaged, or overflow in this precision:"
            " fetch them again, or try precision float32"
        )
    return vectors


def check(encoder: Encoder, stored: Vectors, floor: float = FLOOR) -> None:
    """Raises EncoderError unless the encoder gives the stored vectors, to a cosine of `floor`."""
    now = canary_vectors(encoder)
    if now.shape != stored.shape:
        raise EncoderError(
            f"{encoder!r}: canaries have shape {now.shape}, the table's {stored.shape}"
        )
    similar = cosines(now, stored)
    worst = int(np.argmin(similar))
    if not similar[worst] >= floor:
        raise EncoderError(
            f"{encoder!r} does not give what the table holds: canary {TEXTS[worst][:40]!r} has"
            f" a cosine of {similar[worst]:.6f}, allowed is {floor} or more; weights, libraries or"
            " precision differ from those that made the table"
        )


def cosines(one: Vectors, other: Vectors) -> npt.NDArray[np.float64]:
    """Cosine of row i with row i, shape (n,); NaN where one has no direction."""
    one64, other64 = one.astype(np.float64), other.astype(np.float64)
    norms = np.linalg.norm(one64, axis=1) * np.linalg.norm(other64, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: npt.NDArray[np.float64] = np.einsum("ij,ij->i", one64, other64) / norms
    return found
