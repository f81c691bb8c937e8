"""Names of a table's Lance versions; one with a name of its own is held by retention."""

from tasks.store import files
from tasks.store.files import store_error
from tasks.store.table import Table


def put(table: Table, name: str, lance_version: int) -> None:
    """Makes or moves a tag, durably."""
    tags = table.open().tags
    try:
        if name in table.tags():
            tags.update(name, lance_version)
        else:
            tags.create(name, lance_version)
    except (OSError, ValueError) as error:
        if table.tags().get(name) != lance_version:  # else an answer was lost
            raise store_error(error, f"tagging table {table.name!r}") from error
    files.of(table.uri).sync([path(table, name)])


def path(table: Table, name: str) -> str:
    """Where Lance keeps a tag."""
    return f"{table.uri}/_refs/tags/{name}.json"


def remove(table: Table, name: str) -> None:
    """Removes a tag; one that is not there is none of its business."""
    try:
        table.open().tags.delete(name)
    except (OSError, ValueError) as error:
        if name in table.tags():
            raise store_error(error, f"untagging table {table.name!r}") from error
