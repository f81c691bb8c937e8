"""Files of word vectors: word2vec's text and binary format, and GloVe's, exact to the bit.

A line of text is a word and the shortest decimals that give back each float32. word2vec's files
begin with a line of their number of words and dimension, GloVe's do not.
"""

import mmap
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.errors import ConfigError, SourceError

Vectors: TypeAlias = npt.NDArray[np.float32]

BLOCK_WORDS = 4_096
LONGEST_HEADER = 64
COMPRESSED = (".gz", ".zst", ".bz2", ".xz", ".zip")
FLOAT = np.dtype("<f4")
_UNFIT = re.compile(r"[ \t\n\v\f\r]|^$")


class Format(StrEnum):
    """What other programs read and write."""

    WORD2VEC = "word2vec"
    WORD2VEC_BINARY = "word2vec-binary"
    GLOVE = "glove"


def write(path: Path, words: Sequence[str], vectors: Vectors, form: Format) -> None:
    """Writes vector i for word i, whole or not at all.

    Raises ConfigError for a word with white space, which the formats cannot hold.
    """
    for word in words:
        if _UNFIT.search(word):
            raise ConfigError(
                f"{word!r} has white space, or is empty: files of word vectors cannot hold it"
            )
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as file:
            if form != Format.GLOVE:
                file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
            for start, end in pairwise([*range(0, len(words), BLOCK_WORDS), len(words)]):
                file.writelines(_entries(words[start:end], vectors[start:end], form))
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path, form: Format) -> tuple[list[str], Vectors]:
    """The words of a file, and vector i of word i.

    Raises ConfigError for a file that is not there or is compressed, SourceError for one that is
    not of this format, names a word twice, or has a number that is not finite.
    """
    _check_plain(path)
    try:
        with path.open("rb") as file:
            found = (
                _binary(file, path) if form == Format.WORD2VEC_BINARY else _text(file, path, form)
            )
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    words, vectors = found
    seen: set[str] = set()
    for number, word in enumerate(words, 1):
        if word in seen:
            raise SourceError(f"{path}: {word!r}, word {number}, stands there before")
        seen.add(word)
    good = np.isfinite(vectors).all(axis=1)
    if not good.all():
        word = words[int(np.argmin(good))]
        raise SourceError(f"{path}: the vector of {word!r} is not finite")
    return words, vectors


def read_counts(path: Path) -> dict[str, int]:
    """How often each word occurs: a word and a number in each line.

    Raises ConfigError for a file that is not there or is compressed, SourceError for a line that is
    none of these.
    """
    _check_plain(path)
    counts: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                word, _, count = line.strip().rpartition(b" ")
                if not word or not count.isdigit():
                    raise SourceError(
                        f"{path} line {number}: a word and a number were expected: {line[:40]!r}"
                    )
                counts[_decoded(word, path, number)] = int(count)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    return counts


def _check_plain(path: Path) -> None:
    if path.suffix in COMPRESSED:
        raise ConfigError(f"{path} is compressed: unpack it, and name what comes out")


def _entries(words: Sequence[str], vectors: Vectors, form: Format) -> Iterator[bytes]:
    if form == Format.WORD2VEC_BINARY:
        for word, vector in zip(words, vectors.astype(FLOAT), strict=True):
            yield word.encode() + b" " + vector.tobytes() + b"\n"
        return
    for word, numbers in zip(words, vectors.astype("U32").tolist(), strict=True):
        yield f"{word} {' '.join(numbers)}\n".encode()


def _header(file: BinaryIO, path: Path) -> tuple[int, int]:
    """Number of words, and dimension."""
    line = file.readline(LONGEST_HEADER)
    numbers = line.split()
    if len(numbers) != 2 or not all(number.isdigit() for number in numbers) or int(numbers[1]) < 1:
        raise SourceError(
            f"{path} line 1: {line[:40]!r} is no number of words and dimension, with which "
            f"word2vec's files begin; files without are of format {Format.GLOVE}"
        )
    return int(numbers[0]), int(numbers[1])


def _text(file: BinaryIO, path: Path, form: Format) -> tuple[list[str], Vectors]:
    header = _header(file, path) if form == Format.WORD2VEC else None
    dim = header[1] if header else None
    words: list[str] = []
    rows: list[Vectors] = []
    for number, line in enumerate(file, 2 if header else 1):
        word, *numbers = line.rstrip(b" \r\n").split(b" ")
        dim = dim or len(numbers)
        if len(numbers) != dim or not dim:
            swapped = number == 2 and dim == 1 and words[0].isdigit()
            why = (
                f"line 1 looks like one of format {Format.WORD2VEC}"
                if swapped and form == Format.GLOVE
                else "a word cannot have a space"
            )
            raise SourceError(
                f"{path} line {number}: a word and {dim or 'some'} numbers were expected, and "
                f"there are {len(numbers)}: {line[:40]!r}; {why}"
            )
        try:
            rows.append(np.array([float(one) for one in numbers], np.float32))
        except ValueError as error:
            raise SourceError(f"{path} line {number}: {error}") from error
        words.append(_decoded(word, path, number))
    if header and header[0] != len(words):
        raise SourceError(f"{path}: line 1 speaks of {header[0]:,} words, there are {len(words):,}")
    return words, np.stack(rows) if rows else np.empty((0, dim or 0), np.float32)


def _binary(file: BinaryIO, path: Path) -> tuple[list[str], Vectors]:
    n_words, dim = _header(file, path)
    size, at = dim * FLOAT.itemsize, file.tell()
    words: list[str] = []
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if len(data) - at < n_words * (size + 1):
            raise SourceError(f"{path} is too short for {n_words:,} words of {dim} numbers")
        vectors = np.empty((n_words, dim), np.float32)
        for number in range(n_words):
            space = data.find(b" ", at)
            start = space + 1
            if space < 0 or start + size > len(data):
                raise SourceError(f"{path} ends within word {number + 1:,} of {n_words:,}")
            words.append(_decoded(data[at:space].lstrip(b"\n"), path, number + 1))
            vectors[number] = np.frombuffer(data[start : start + size], FLOAT)
            at = start + size
        if data[at:].strip(b"\n"):
            raise SourceError(f"{path} goes on after its {n_words:,} words of {dim} numbers")
    return words, vectors


def _decoded(word: bytes, path: Path, number: int) -> str:
    try:
        return word.decode()
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: word {number} is not UTF-8: {word[:40]!r}") from error
