"""Which tables and views of a database in a file are ours: for stores that are such files.

Stamps are rows of a table in the same file, so that they change in the transaction of what they
are about. What is not named there was made by somebody else.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from tasks.errors import SinkError

Run: TypeAlias = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]
"""Executes a statement in the transaction at hand; gives its rows."""

MORE_ROOM = "its disk is full; readers have what they had: free some space and publish again"
DAMAGED = "the file is damaged: move it away, and publish anew"
KNOWN = '"_vectorline"'
READERS = ""  # the view's name there, whose stamp is the collection that it shows


class FileTables:
    """Those of one user's collection in one file."""

    def __init__(self, place: str, collection: str, relations: str) -> None:
        """`relations` lists tables and views, and the statements that made them."""
        self._place, self._collection, self._relations = place, collection, relations

    def of(self, name: str) -> str:
        """The table of a collection, in a statement."""
        return quoted(self._of(name))

    @property
    def view(self) -> str:
        """Readers' view, in a statement."""
        return quoted(self._collection)

    def prepare(self, run: Run) -> None:
        """Makes the table of stamps where it is missing."""
        run(f"CREATE TABLE IF NOT EXISTS {KNOWN} (owner TEXT, name TEXT, stamp TEXT)", ())

    def stamps(self, run: Run) -> dict[str, str]:
        """Of the collections that are there, by name."""
        made = self._made(run)
        return {
            name: stamp
            for name, stamp in self._known(run).items()
            if name != READERS and self._of(name).lower() in made
        }

    def check_names(self, names: Sequence[str]) -> None:
        """Raises SinkError for columns that are one but for upper and lower case."""
        for place, name in enumerate(names):
            same = next((one for one in names[:place] if one.lower() == name.lower()), None)
            if same is not None:
                raise SinkError(
                    f"{self._place} cannot tell columns {same!r} and {name!r} apart: rename one, "
                    "or leave it out"
                )

    def put(self, run: Run, name: str, stamp: str) -> None:
        """Keeps a stamp instead of the last one."""
        self._forget(run, name)
        run(f"INSERT INTO {KNOWN} VALUES (?, ?, ?)", (self._collection, name, stamp))  # noqa: S608

    def remove(self, run: Run, name: str) -> None:
        """Drops a collection; SinkError for what readers see or somebody else made."""
        if self._known(run).get(READERS) == name and self._collection.lower() in self._made(run):
            raise SinkError(
                f"{self._place} {self._of(name)} is what readers see: let another serve first"
            )
        if self._is_there(run, name):
            run(f"DROP TABLE {self.of(name)}", ())
        self._forget(run, name)

    def check_there(self, run: Run, name: str) -> None:
        """Raises SinkError for a collection that is gone, or not ours."""
        if not self._is_there(run, name):
            raise SinkError(
                f"{self._place} {self._of(name)} is gone: somebody else removed it; publish it anew"
            )

    def served(self, run: Run) -> str | None:
        """The collection that readers' view shows; SinkError if their name is somebody else's."""
        made = self._made(run).get(self._collection.lower())
        if made is None:
            return None
        name = self._known(run).get(READERS)
        words = made.replace('"', "")  # some quote only what has to be
        is_ours = name is not None and self._of(name).replace('"', "") in words
        if not (is_ours and words.startswith("CREATE VIEW")):
            raise self._not_ours(self._collection)
        return name

    def _forget(self, run: Run, name: str) -> None:
        run(f"DELETE FROM {KNOWN} WHERE owner = ? AND name = ?", (self._collection, name))  # noqa: S608

    def _known(self, run: Run) -> dict[str, str]:
        rows = run(f"SELECT name, stamp FROM {KNOWN} WHERE owner = ?", (self._collection,))  # noqa: S608
        return {name: stamp for name, stamp in rows}

    def _made(self, run: Run) -> dict[str, str]:
        """Names have no case in these databases."""
        return {name.lower(): words for name, words in run(self._relations, ())}

    def _is_there(self, run: Run, name: str) -> bool:
        is_there = self._of(name).lower() in self._made(run)
        if is_there and name not in self._known(run):
            raise self._not_ours(self._of(name))
        return is_there

    def _not_ours(self, relation: str) -> SinkError:
        return SinkError(
            f"{self._place} {relation} was not made by vectorline: rename it, or choose another "
            "collection or path"
        )

    def _of(self, name: str) -> str:
        return f"{self._collection}__{name}"


def quoted(name: str) -> str:
    """A name in a statement, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
