"""Rows that tell of the versions of a space over time, in a Lance table beside each of its tables.

They belong to a table and go with it. Written without its lease: appending needs none, and what is
told again of the same version replaces what was told before, when it is read.
"""

from collections.abc import Iterator, Mapping, Sequence

import lance
import pyarrow as pa

from tasks.store import files, layout
from tasks.store.files import lance_errors
from tasks.store.swap import settle
from tasks.store.table import create, exists


def add(
    store_uri: str,
    table: str,
    name: str,
    schema: pa.Schema,
    rows: Sequence[Mapping[str, object]],
) -> None:
    """Adds rows to what is told of a table under a name, durably."""
    uri = layout.state_uri(store_uri, table, name)
    with lance_errors(f"writing {name} to {uri}"):
        if not exists(uri):
            create(uri, schema)
        added = pa.Table.from_pylist([*rows], schema)
        settle(uri, lance.write_dataset(added, uri, mode="append").version)


def read(store_uri: str, space: str, name: str, schema: pa.Schema, keys: Sequence[str]) -> pa.Table:
    """What is told of all tables of a space, by `created_at`; the last one of equal `keys`."""
    found = pa.concat_tables([schema.empty_table(), *_tables(store_uri, space, name)])
    found = found.sort_by("created_at")
    values = (found[key].to_pylist() for key in keys)
    last = {key: number for number, key in enumerate(zip(*values, strict=True))}
    return found.take(pa.array(sorted(last.values()), pa.int64()))


def _tables(store_uri: str, space: str, name: str) -> Iterator[pa.Table]:
    folder, ending = layout.states_folder(store_uri), f".{name}.lance"
    for found in sorted(files.of(folder).names(folder)):
        table = found.removesuffix(ending)
        if found.endswith(ending) and layout.space_of(table) == space:
            with lance_errors(f"reading the {name} of table {table!r}"):
                yield lance.dataset(f"{folder}/{found}").to_table()
