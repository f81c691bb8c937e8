"""The digests of a table's data files: Lance does not notice most flipped bytes.

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


def keep(store_uri: str, table: str, name: str, written: Iterable[WrittenFile]) -> None:
    """Keeps a list, durably; one of the same name is replaced."""
    location = f"{layout.files_folder(store_uri, table)}/{name}.json"
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
    missing = sorted(names(dataset) - listed.keys())
    if missing:
        written = [look_at(f"{dataset.uri}/data/{name}") for name in missing]
        keep(store_uri, table, uuid.uuid4().hex, written)


def tidy(store_uri: str, table: str, table_uri: str) -> None:
    """Puts all lists into one, without files that are gone from the table."""
    lists, listed = _lists(store_uri, table), known(store_uri, table)
    there = set(files.of(table_uri).names(f"{table_uri}/data"))
    if len(lists) > 1 or not there.issuperset(listed):
        kept = [file for name, file in listed.items() if name in there]
        keep(store_uri, table, uuid.uuid4().hex, kept)
        files.of(table_uri).remove(lists)


def names(dataset: LanceDataset) -> set[str]:
    """The data files that a Lance version rests on."""
    return {file.path for fragment in dataset.get_fragments() for file in fragment.metadata.files}


def _lists(store_uri: str, table: str) -> list[str]:
    folder = layout.files_folder(store_uri, table)
    found = files.of(folder).names(folder)
    return [f"{folder}/{name}" for name in found if name.endswith(".json")]


def _read(location: str) -> FileList | None:
    text = files.of(location).read(location)
    return None if text is None else parse(FILE_LIST, text, f"list of files {location}")
