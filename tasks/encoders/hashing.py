"""Signed feature hashing of word n-grams: vectors without a model, the same on every machine.

Weinberger et al. 2009, arXiv:0902.2206, equation 2: component i is the sum of the signs of the
n-grams that hash to i. A baseline that finds shared words, and the honest fake of the tests. Our
own because it needs numpy alone and has a seed; scikit-learn's is as fast (100,000 texts/s a core).
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from tasks.encoders.base import Precision, Prepared, Vectors
from tasks.errors import ConfigError, EncoderError

_WORD = re.compile(r"\w+")
_REMEMBERED_WORDS = 1 << 15
_LONGEST_REMEMBERED = 64
_BATCH_WORDS = 1 << 13
_BLOCK_WORDS = 1 << 20
_LONG_TEXT = 1 << 16

Hashes = npt.NDArray[np.uint64]


class HashingEncoder:
    """Hashed counts of words and word n-grams, of unit norm; bit-equal whatever the batch.

    A text without words ("!!!") counts its characters. Should the signs cancel out, the first word
    stands alone: only blank text has a zero vector.
    """

    modalities: tuple[str, ...] = ("text",)
    normalized = True

    def __init__(self, dim: int = 384, ngrams: int = 2, seed: int = 0) -> None:
        """`ngrams` is the longest run of words that counts; `seed` picks the hash function."""
        for name, value in (("dim", dim), ("ngrams", ngrams)):
            if value < 1:
                raise ConfigError(f"encoder.{name} is {value}, but must be 1 or more")
        self._dim = dim
        self._ngrams = ngrams
        self._seed = seed
        self._hashes = _WordHashes(seed)

    def __repr__(self) -> str:
        """As it is constructed."""
        name = type(self).__name__
        return f"{name}(dim={self._dim}, ngrams={self._ngrams}, seed={self._seed})"

    @property
    def dim(self) -> int:
        """Number of components."""
        return self._dim

    @property
    def batch_cost(self) -> int:
        """Words of a good batch."""
        return _BATCH_WORDS

    def fingerprint(self) -> dict[str, object]:
        """Its arguments, and a number that changes with the method."""
        return {
            "encoder": "hashing",
            "method": 1,
            "dim": self._dim,
            "ngrams": self._ngrams,
            "seed": self._seed,
        }

    def precision(self, wanted: str, device: str | None = None) -> Precision:
        """Always float32."""
        if wanted not in ("auto", Precision.FLOAT32):
            raise EncoderError(f"precision {wanted!r}: hashing computes in float32 only")
        return Precision.FLOAT32

    def load(
        self, precision: Precision, device: str | None = None, threads: int | None = None
    ) -> None:
        """Nothing to load."""

    def tokenizer(self) -> "WordTokenizer":
        """Counts words."""
        return WordTokenizer()

    def prepare(self, contents: Sequence[str]) -> list[Prepared]:
        """Hashes of each text's words; never truncated."""
        return [self._prepare(text) for text in contents]

    def prepare_query(self, contents: Sequence[str]) -> list[Prepared]:
        """The same as `prepare`."""
        return self.prepare(contents)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """Row i for item i; signs sum to whole numbers, so that their order changes nothing."""
        texts = [_hashes_of(item) for item in items]
        sums = np.zeros(len(items) * self._dim)
        words = np.concatenate([*texts, np.empty(0, np.uint64)])
        rows = np.repeat(np.arange(len(items)), [len(text) for text in texts])
        for start in range(0, len(words), _BLOCK_WORDS):
            block = slice(start, start + _BLOCK_WORDS + self._ngrams - 1)
            self._add(sums, words[block], rows[block])
        vectors = sums.reshape(len(items), self._dim)
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        for row in np.flatnonzero(norms == 0):
            if len(texts[row]):
                first = texts[row][:1]
                vectors[row, first % self._dim] = _signs(first)
                norms[row] = 1
        unit: Vectors = (vectors / np.maximum(norms, 1)[:, None]).astype(np.float32)
        return unit

    def _prepare(self, text: str) -> Prepared:
        hashes = np.fromiter(map(self._hashes.__getitem__, _words(text)), np.uint64)
        return Prepared(cost=max(1, len(hashes)), truncated=False, payload=hashes)

    def _add(
        self, sums: npt.NDArray[np.float64], words: Hashes, rows: npt.NDArray[np.intp]
    ) -> None:
        grams = words
        for length in range(1, self._ngrams + 1):
            if length > 1:
                grams = _mix(grams[: len(words) - length + 1] * _ODD + words[length - 1 :])
            n_starts = min(len(grams), _BLOCK_WORDS)
            same_text = rows[:n_starts] == rows[length - 1 : length - 1 + n_starts]
            counted = grams[:n_starts][same_text]
            at = rows[:n_starts][same_text] * self._dim + (counted % self._dim).astype(np.intp)
            sums += np.bincount(at, _signs(counted), len(sums))


class WordTokenizer:
    """Counts the words that hashing sees."""

    name = "words-1"
    limit: int | None = None

    def count(self, text: str) -> int:
        """Number of words, or of characters if there is none."""
        return sum(1 for _ in _words(text))


class _WordHashes(dict[str, int]):
    """64-bit hashes of words, each computed once; forgotten when there are too many."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._salt = seed.to_bytes(16, "little", signed=True)

    def __missing__(self, word: str) -> int:
        data = word.encode("utf-8", "surrogatepass")
        value = int.from_bytes(blake2b(data, digest_size=8, salt=self._salt).digest(), "little")
        if len(self) >= _REMEMBERED_WORDS:
            self.clear()
        if len(word) <= _LONGEST_REMEMBERED:
            self[word] = value
        return value


_ODD = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): spreads each bit over all 64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _signs(grams: Hashes) -> npt.NDArray[np.float64]:
    return 1.0 - 2.0 * (grams >> np.uint64(63)).astype(np.float64)


def _words(text: str) -> Iterable[str]:
    lower = text.lower()
    if len(lower) > _LONG_TEXT and _WORD.search(lower):
        # A list of all words of a 50 MB text would be ten times its size.
        return (match.group() for match in _WORD.finditer(lower))
    return _WORD.findall(lower) or [c for c in lower if not c.isspace()]


def _hashes_of(item: Prepared) -> Hashes:
    if not isinstance(item.payload, np.ndarray):
        raise TypeError(f"not prepared by this encoder: {item!r}")
    return item.payload
