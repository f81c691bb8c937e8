"""The words of a corpus on this machine's disk, as its workers map them: words, counts, texts.

Below the user's cache folder, by a digest of what was configured and of the files as they were
listed. Made once for each machine; it can be deleted at any time. Making it takes memory for each
distinct word, and eight bytes for each text.
"""

import json
from array import array
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.quarantine import Reason
from tasks.encoders.remembered import cache_folder
from tasks.errors import ConfigError
from tasks.scan import examine
from tasks.sources.base import Problem, Record, by_row
from tasks.sources.cached_folder import written_whole
from tasks.words.sentences import BLOCK_TOKENS, Places, Sentences
from tasks.words.vocabulary import Vocabulary

FORMAT = 1
WORDS, TOKENS, ENDS, PROBLEMS = "words.arrow", "tokens.i4", "ends.i8", "problems.json"
TOKEN, END = np.dtype("<i4"), np.dtype("<i8")


def fresh_folder(key: str, state: str) -> Path:
    """Where the words of sources stand, by their digest and the state of their files."""
    return cache_folder() / "words" / f"{FORMAT}-{key}" / state


def build(folder: Path, records: Iterable[Record], vocabulary: Vocabulary, max_bytes: int) -> None:
    """Counts the words of all texts; what is no text for another encoder is none here."""
    numbers: dict[str, int] = {}
    problems: list[list[str]] = []
    ends, end = array("q"), 0
    with written_whole(folder, "corpus") as draft:
        with (draft / TOKENS).open("wb") as file:
            for row, record in by_row(records):
                if (problem := examine(record, b"", max_bytes).problem) is not None:
                    uri = record.source_uri
                    name = row if record.id is None else f"{uri}#{record.id}"
                    problems.append([name, problem.reason, problem.detail, uri])
                elif isinstance(record.content, str) and not record.tombstone:
                    words = vocabulary.words(record.content)
                    found = [numbers.setdefault(word, len(numbers)) for word in words]
                    np.array(found, TOKEN).tofile(file)
                    end += len(found)
                    ends.append(end)
        np.frombuffer(ends, END).tofile(draft / ENDS)
        names, counts = _ranked(_mapped(draft / TOKENS, TOKEN, "r+"), list(numbers))
        table = pa.table({"id": pa.array(names, pa.large_string()), "count": pa.array(counts)})
        with (
            pa.OSFile(str(draft / WORDS), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)
        (draft / PROBLEMS).write_text(json.dumps(problems), encoding="utf-8")


def _ranked(tokens: npt.NDArray[Any], names: list[str]) -> tuple[list[str], Places]:
    """The words and their counts, the most frequent first, ties by name; `tokens` are renumbered.

    `names[i]` is the word that has number i in `tokens`.
    """
    starts = range(0, len(tokens), BLOCK_TOKENS)
    counts = np.zeros(len(names), np.int64)
    for start in starts:
        counts += np.bincount(tokens[start : start + BLOCK_TOKENS], minlength=len(names))
    order = sorted(range(len(names)), key=lambda number: (-counts[number], names[number]))
    ranks = np.empty(len(names), TOKEN)
    ranks[order] = np.arange(len(names))
    for start in starts:
        block = slice(start, start + BLOCK_TOKENS)
        tokens[block] = ranks[tokens[block]]
    return [names[number] for number in order], counts[order]


def _mapped(path: Path, dtype: np.dtype[Any], mode: Literal["r", "r+"] = "r") -> npt.NDArray[Any]:
    """A file's numbers; one of no bytes cannot be mapped."""
    return np.memmap(path, dtype, mode) if path.stat().st_size else np.empty(0, dtype)


class WordFiles:
    """The words of a corpus that was counted."""

    def __init__(self, folder: Path, vocabulary: Vocabulary) -> None:
        """Opens its files when they are asked for."""
        self._folder = folder
        self._vocabulary = vocabulary

    @cached_property
    def _all(self) -> pa.Table:
        with pa.memory_map(str(self._folder / WORDS)) as file:
            return pa.ipc.open_file(file).read_all()

    @cached_property
    def _table(self) -> pa.Table:
        """The words that have a vector."""
        return self._all.slice(0, self._vocabulary.size(self._all["count"].to_numpy()))

    def check(self) -> None:
        """Raises ConfigError for texts that have no word, or none that occurs often enough."""
        n_good = len(self.sentences.ends)
        if n_good and not self._all.num_rows:
            raise ConfigError(
                f"encoder.word_pattern = {self._vocabulary.word_pattern!r} finds no word in "
                f"{n_good:,} texts: is `text` the right column of the source?"
            )
        if self._all.num_rows and not self.n_words:
            most, least = self._all["count"][0].as_py(), self._vocabulary.min_count
            raise ConfigError(
                f"encoder.min_count = {least}: the texts have {self._all.num_rows:,} words; the "
                f"most frequent one, {self._all['id'][0].as_py()!r}, occurs {most:,} times"
            )

    @cached_property
    def n_texts(self) -> int:
        """How many were read, those that cannot be used too."""
        return len(self.sentences.ends) + len([*self.problems()])

    @property
    def n_words(self) -> int:
        """How many have a vector."""
        return int(self._table.num_rows)

    def ids(self) -> pa.Array:
        """The words, the most frequent first."""
        return self._table["id"].combine_chunks()

    @cached_property
    def sentences(self) -> Sentences:
        """The texts."""
        return Sentences(
            _mapped(self._folder / TOKENS, TOKEN),
            _mapped(self._folder / ENDS, END),
            self._table["count"].to_numpy(),
        )

    def words(self, start: int, end: int) -> Iterator[tuple[str, int, bool]]:
        """Words from `start` to before `end`: word, count, and whether it stands alone."""
        part = self._table.slice(start, end - start)
        joined = self.sentences.joined[start:end].tolist()
        yield from zip(
            part["id"].to_pylist(),
            part["count"].to_pylist(),
            [not one for one in joined],
            strict=True,
        )

    def problems(self) -> Iterator[tuple[str, Problem]]:
        """The texts that cannot be used: what each is called, and why.

        No name is a word, since a word may be called like a text.
        """
        told = json.loads((self._folder / PROBLEMS).read_text(encoding="utf-8"))
        for name, reason, detail, uri in told:
            yield name, Problem(Reason(reason), detail, uri)
