"""Fixed contents by which a worker proves that it encodes as its table was encoded."""

import io
import struct
import wave
import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import compress

import numpy as np
import numpy.typing as npt

from tasks.content import NO_KNOWN_WORD, TEXT, Content, Media
from tasks.encoders.base import Encoder, Vectors
from tasks.encoders.batching import Batcher, usable
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


@lru_cache
def images() -> tuple[Media, ...]:
    """PNG files of noise, gradients, stripes and plain colours: high, wide, small, grey."""
    rng, made = np.random.default_rng(0), []
    for height, width in ((64, 64), (240, 320), (500, 90), (17, 301)):
        down, across = np.mgrid[:height, :width]
        noise = rng.integers(0, 256, (height, width, 3), np.uint8)
        fade = np.stack([255 * down // height, 255 * across // width, (down + across) % 256], 2)
        stripes = np.where((across // 7 + down // 5) % 2, 230, 20)[:, :, None].repeat(3, 2)
        made += [noise, fade.astype(np.uint8), stripes.astype(np.uint8)]
    made.append(np.full((32, 32, 3), (200, 30, 60), np.uint8))
    made.append(made[1].mean(axis=2).astype(np.uint8))
    return tuple(Media("image", _png(one)) for one in made)


@lru_cache
def sounds() -> tuple[Media, ...]:
    """WAV files of a second or more: tones, a sweep, noise, clicks; two rates, mono and stereo."""
    rng, made = np.random.default_rng(0), []
    for rate in (16_000, 48_000):
        t = np.arange(2 * rate) / rate
        made += [
            (rate, np.sin(2 * np.pi * 440 * t)),
            (rate, np.sin(2 * np.pi * (100 + 900 * t) * t)),
            (rate, rng.uniform(-1, 1, len(t))),
            (rate, (np.arange(len(t)) % (rate // 4) == 0).astype(np.float64)),
        ]
    return tuple(Media("audio", _wav(rate, samples)) for rate, samples in made)


def contents(encoder: Encoder) -> list[Content]:
    """The canaries of an encoder: those of its modalities; what is fitted has none."""
    kinds: dict[str, Sequence[Content]] = {TEXT: TEXTS, "image": images(), "audio": sounds()}
    return [one for modality in encoder.modalities for one in kinds.get(modality, ())]


def canary_vectors(encoder: Encoder) -> Vectors:
    """Vectors of the canaries; EncoderError if one is not finite or has no direction.

    For one without a word that the encoder knows stands a row of ones.
    """
    known = contents(encoder)
    items = encoder.prepare(known)
    told = [item.problem is None or item.problem.reason != NO_KNOWN_WORD for item in items]
    vectors = np.ones((len(known), encoder.dim), np.float32)
    vectors[told] = Batcher(encoder).encode(usable([*compress(items, told)]))
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if bad.size:
        raise EncoderError(
            f"{encoder!r}: vectors of {bad.size} of {len(known)} canaries are NaN, infinite or"
            f" zero, first {_name(known, bad[0])}; the weights are damaged, or overflow in this"
            " precision: fetch them again, or try precision float32"
        )
    return vectors


def check(encoder: Encoder, stored: Vectors, floor: float = FLOOR) -> None:
    """Raises EncoderError unless the encoder gives the stored vectors, to a cosine of `floor`."""
    now = canary_vectors(encoder)
    if now.shape != stored.shape:
        raise EncoderError(
            f"{encoder!r}: canaries have shape {now.shape}, the table's {stored.shape}"
        )
    if not len(now):
        return
    similar = cosines(now, stored)
    worst = int(np.argmin(similar))
    if not similar[worst] >= floor:
        raise EncoderError(
            f"{encoder!r} does not give what the table holds: canary "
            f"{_name(contents(encoder), worst)} has"
            f" a cosine of {similar[worst]:.6f}, allowed is {floor} or more; weights, libraries or"
            " precision differ from those that made the table"
        )


def _name(known: list[Content], place: int) -> str:
    content = known[place]
    return repr(content[:40]) if isinstance(content, str) else f"{content.modality} {place}"


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file, for which no library is needed (ISO/IEC 15948)."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    lines = np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_block(kind, data) for kind, data in parts)


def _block(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _wav(rate: int, samples: npt.NDArray[np.float64]) -> bytes:
    """A WAV file of 16 bits; the second channel of the higher rate is half as loud."""
    whole = (samples * 32_000).astype("<i2")
    channels = np.stack([whole, whole // 2], 1) if rate > 16_000 else whole[:, None]
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels.shape[1])
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(channels.tobytes())
    return file.getvalue()


def cosines(one: Vectors, other: Vectors) -> npt.NDArray[np.float64]:
    """Cosine of row i with row i, shape (n,); NaN where one has no direction."""
    one64, other64 = one.astype(np.float64), other.astype(np.float64)
    norms = np.linalg.norm(one64, axis=1) * np.linalg.norm(other64, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: npt.NDArray[np.float64] = np.einsum("ij,ij->i", one64, other64) / norms
    return found
