"""Which version of a Lance table each collection is: kept in tags, so that no cleaning takes it.

On a full disk Lance puts an empty file in a tag's place, and says nothing; then no tag of the table
can be read (pylance 14). So a tag is never changed: a new one, of a higher number, takes its place.
"""

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lance import LanceDataset

TAG = "vectorline-"  # then the collection, "-", and a number; names of collections have no dash
FOLDER = Path("_refs", "tags")


class Tags:
    """Those of one table."""

    def __init__(self, path: str, dataset: "LanceDataset") -> None:
        """`path` is the table's, `dataset` any version of it."""
        self._folder, self._dataset = Path(path) / FOLDER, dataset

    def collections(self) -> dict[str, int]:
        """The version of each collection."""
        versions = self.versions()
        return {name: versions[tags[-1]] for name, tags in self._by_name(versions).items()}

    def versions(self) -> dict[str, int]:
        """Those of all tags, also of others."""
        for file in self._folder.glob(f"{TAG}*.json"):  # on object stores there is none
            if not _is_whole(file):
                file.unlink(missing_ok=True)
        return {name: tag["version"] for name, tag in self._dataset.tags.list().items()}

    def put(self, name: str, version: int) -> None:
        """Says that a collection is a version; OSError if there is no room to keep it."""
        old = self._by_name(self.versions()).get(name, [])
        new = f"{TAG}{name}-{1 + (_number(old[-1]) if old else 0)}"
        self._dataset.tags.create(new, version)
        if new not in self.versions():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), new)
        for one in old:
            self._dataset.tags.delete(one)

    def remove(self, name: str) -> None:
        """Forgets a collection, if it is known."""
        for one in self._by_name(self.versions()).get(name, []):
            self._dataset.tags.delete(one)

    @staticmethod
    def _by_name(versions: dict[str, int]) -> dict[str, list[str]]:
        """Tags of each collection, the one that counts last: there are more after a kill."""
        found: dict[str, list[str]] = {}
        for tag in sorted((one for one in versions if one.startswith(TAG)), key=_number):
            found.setdefault(tag.removeprefix(TAG).partition("-")[0], []).append(tag)
        return found


def _is_whole(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except FileNotFoundError:  # another process follows it by its next
        return True
    except ValueError:
        return False
    return True


def _number(tag: str) -> int:
    return int(tag.removeprefix(TAG).partition("-")[2] or 0)
