"""Whether the files that versions rest on are there, as they were written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lance import LanceDataset
from lance.file import LanceFileReader
from lance.fragment import FragmentMetadata

from schemas.receipt import WrittenFile
from tasks.errors import StoreError
from tasks.store import checksums, files
from tasks.store.files import lance_errors
from tasks.store.fragments import data_path


@dataclass(slots=True)
class Damage:
    """What is wrong with the files of some versions of a table, by their names in its folder.

    `versions` has all files, with those that rest on each. `unlisted` ones have no digest that they
    could be compared with.
    """

    faults: dict[str, str] = field(default_factory=dict)
    versions: dict[str, list[int]] = field(default_factory=dict)
    unlisted: list[str] = field(default_factory=list)


def find_damage(store_uri: str, table: str, versions: Mapping[int, LanceDataset]) -> Damage:
    """Reads all data files of these versions, each once, and looks for their deletion files."""
    listed, damage = checksums.known(store_uri, table), Damage()
    for version, dataset in versions.items():
        for fragment in dataset.get_fragments():
            for name, fault in _faults(dataset.uri, fragment.metadata, listed, damage):
                damage.versions.setdefault(name, []).append(version)
                if fault is not None:
                    damage.faults[name] = fault
    return damage


def _faults(
    uri: str, fragment: FragmentMetadata, listed: Mapping[str, WrittenFile], damage: Damage
) -> Iterator[tuple[str, str | None]]:
    """Each file of a fragment, and what is wrong with it unless that was said already."""
    if (mark := fragment.deletion_file) is not None:
        name = mark.path(fragment.id)
        there = files.of(uri).size_bytes(f"{uri}/{name}") is not None
        yield name, None if there else "is missing"
    for file in fragment.files:
        name = f"data/{file.path}"
        if name in damage.versions:
            yield name, None
        else:
            if file.path not in listed:
                damage.unlisted.append(file.path)
            location = data_path(uri, file.path)
            yield name, _fault(location, fragment.physical_rows, listed.get(file.path))


def _fault(location: str, n_rows: int, written: WrittenFile | None) -> str | None:
    if files.of(location).size_bytes(location) is None:
        return "is missing"
    found = checksums.look_at(location)
    if written is not None and found.size_bytes != written.size_bytes:
        return f"has {found.size_bytes:,} bytes, and {written.size_bytes:,} were written"
    if written is not None and found != written:
        return "has other bytes than were written"
    try:
        with lance_errors("reading it"):
            held = LanceFileReader(location).num_rows()
    except StoreError as error:
        return str(error)
    return None if held == n_rows else f"has {held:,} rows, and its fragment {n_rows:,}"
