"""The digests of a table's files: Lance does not notice most flipped bytes.

A worker digests a file when it has written it, and a run keeps the list of its files before it
commits. Of files that Lance wrote by itself, for gathered fragments and widened columns, the list
is kept before a version rests on them.
"""

import hashlib
import uuid
from collections.abc import Iterable

from lance import LanceDataset
from pydantic import TypeAdapter

from schemas.receipt import FileList, WrittenFile
from tasks.store import files, layout
from tasks.store.formats import parse

FILE_LIST = TypeAdapter(FileList)


def look_at(location: str) -> WrittenFile:
    """What a data file is now; StoreError if it is not there."""
    state, size_bytes = hashlib.blake2b(digest_size=16), 0
    for block in files.of(location).blocks(location):
        state.update(block)
        size_bytes += len(block)
    name = location.rpartition("/")[2]
    return WrittenFile(path=name, size_bytes=size_bytes, digest=state.hexdigest())


def keep(store_uri: str, table: str, written: Iterable[WrittenFile]) -> None:
    """Keeps a list, durably, beside those that are there."""
    location = f"{layout.files_folder(store_uri, table)}/{uuid.uuid4().hex}.json"
    files.of(location).write(location, FileList(files=tuple(written)).model_dump_json())


def known(store_uri: str, table: str) -> dict[str, WrittenFile]:
    """All files that stand in a list, by their names; some may be gone by now."""
    while True:
        lists = _lists(store_uri, table)
        read = [_read(location) for location in lists]
        if None not in read:  # else upkeep has put the lists together just now
            return {file.path: file for one in read if one for file in one.files}


def complete(store_uri: str, table: str, dataset: LanceDataset) -> None:
    """Keeps the digests that files of a Lance version have now, of those that are in no list."""
    listed = known(store_uri, table)
    missing = [place for name, place in sorted(locations(dataset).items()) if name not in listed]
    if missing:
        keep(store_uri, table, [look_at(place) for place in missing])


def tidy(store_uri: str, table: str, table_uri: str) -> None:
    """Puts all lists into one, without files that are gone from the table."""
    lists, listed = _lists(store_uri, table), known(store_uri, table)
    folders = (f"{table_uri}/data", f"{table_uri}/_deletions")
    there = {name for folder in folders for name in files.of(table_uri).names(folder)}
    if len(lists) > 1 or not there.issuperset(listed):
        kept = [file for name, file in listed.items() if name in there]
        keep(store_uri, table, kept)
        files.of(table_uri).remove(lists)


def locations(dataset: LanceDataset) -> dict[str, str]:
    """The data files, and marks of removed rows, that a Lance version rests on, by their names."""
    found: dict[str, str] = {}
    for fragment in (one.metadata for one in dataset.get_fragments()):
        places = [f"data/{file.path}" for file in fragment.files]
        if (mark := fragment.deletion_file) is not None:
            places.append(mark.path(fragment.id))
        found |= {place.rpartition("/")[2]: f"{dataset.uri}/{place}" for place in places}
    return found


def _lists(store_uri: str, table: str) -> list[str]:
    folder = layout.files_folder(store_uri, table)
    found = files.of(folder).names(folder)
    return [f"{folder}/{name}" for name in found if name.endswith(".json")]


def _read(location: str) -> FileList | None:
    text = files.of(location).read(location)
    return None if text is None else parse(FILE_LIST, text, f"list of files {location}")
