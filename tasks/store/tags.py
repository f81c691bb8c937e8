"""Names of a table's Lance versions; one with a name of its own is held by retention.

On a full disk Lance puts an empty file in a tag's place, and says nothing; then no tag of the table
can be read (pylance 14). On a local disk a tag is made beside, therefore, and takes the place of
the last one when it is whole.
"""

import errno
import json
import os

from tasks.store import files, layout
from tasks.store.files import store_error
from tasks.store.table import Table

DRAFT = "vectorline-draft"


def put(table: Table, name: str, lance_version: int) -> None:
    """Makes or moves a tag, durably."""
    if layout.is_local(table.uri):
        _put_whole(table, name, lance_version)
        return
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


def _put_whole(table: Table, name: str, lance_version: int) -> None:
    here, draft = files.of(table.uri), path(table, DRAFT)
    here.remove([draft])  # of a process that was killed
    failed: Exception | None = None
    try:
        table.open().tags.create(DRAFT, lance_version)
    except (OSError, ValueError) as error:
        failed = error
    try:
        is_whole = json.loads(here.read(draft) or b"")["version"] == lance_version
    except ValueError:
        is_whole = False
    if not is_whole:  # else it is there, whatever was said
        here.remove([draft])
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), draft)
        raise store_error(failed or full, f"tagging table {table.name!r}") from failed
    here.sync([draft])
    here.move(draft, path(table, name))


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
