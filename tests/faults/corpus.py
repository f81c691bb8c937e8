"""A corpus of JSON lines on the disk, and what is in it."""

import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path

from tests.faults.model import Line

OLD = 1_000_000_000  # files of that time are trusted to be what they were

Lines = tuple[Line, ...]


class Corpus:
    """Files below a folder by their names, in the order in which they are read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Lines | None] = {}
        self._seconds = OLD

    @property
    def places(self) -> list[tuple[str, int]]:
        """Where a line is: its file and its number."""
        return [(name, n) for name, lines in self.files.items() for n in range(len(lines or ()))]

    def lines(self, name: str) -> Lines:
        """Those of a file; none where it is not there or cannot be read."""
        return self.files.get(name) or ()

    def write(self, name: str, lines: Lines | None) -> None:
        """Puts them into a file; with None it is cut off, so that nobody can read it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = "".join(_json(line) + "\n" for line in lines or ()).encode()
        if name.endswith(".gz"):
            packed = gzip.compress(data)
            data = packed if lines is not None else packed[: len(packed) // 2]
        path.write_bytes(data)
        self._seconds += 1
        os.utime(path, (self._seconds, self._seconds))
        self.files = dict(sorted({**self.files, name: lines}.items()))

    def delete(self, name: str) -> None:
        """Removes a file."""
        (self.folder / name).unlink()
        del self.files[name]

    def go_back(self, files: Mapping[str, Lines | None]) -> None:
        """Makes all files what they were."""
        for name in set(self.files) - set(files):
            self.delete(name)
        for name, lines in files.items():
            if name not in self.files or self.files[name] != lines:
                self.write(name, lines)

    def touch(self) -> None:
        """Makes all files young: they are read again whatever they hold."""
        for name in self.files:
            (self.folder / name).touch()


def _json(line: Line) -> str:
    if line.torn:
        return f'{{"id": {json.dumps(line.id)}, "text": '
    columns = ("id", "text", "year", "venue", "gone")
    return json.dumps({column: getattr(line, column) for column in columns})
