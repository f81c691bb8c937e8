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
    """Reads all files of these versions, each once."""
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
    mark = fragment.deletion_file
    places = [f"data/{file.path}" for file in fragment.files]
    for place in [*places, *([mark.path(fragment.id)] if mark else [])]:
        name = place.rpartition("/")[2]
        if place in damage.versions:
            yield place, None
            continue
        if name not in listed:
            damage.unlisted.append(name)
        n_rows = fragment.physical_rows if place in places else None
        yield place, _fault(f"{uri}/{place}", n_rows, listed.get(name))


def _fault(location: str, n_rows: int | None, written: WrittenFile | None) -> str | None:
    """What is wrong with a data file of so many rows, or with marks of removed ones."""
    if files.of(location).size_bytes(location) is None:
        return "is missing"
    found = checksums.look_at(location)
    if written is not None and found.size_bytes != written.size_bytes:
        return f"has {found.size_bytes:,} bytes, and {written.size_bytes:,} were written"
    if written is not None and found != written:
        return "has other bytes than were written"
    if n_rows is None:
        return None
    try:
        with lance_errors("reading it"):
            held = LanceFileReader(location).num_rows()
    except StoreError as error:
        return str(error)
    return None if held == n_rows else f"has {held:,} rows, and its fragment {n_rows:,}"
