"""One writer for each table.

A lease saves work; that no row is written twice is the commit's business.
"""

import threading
from contextlib import AbstractContextManager

from tasks.store import epochs, flock, layout
from tasks.store.holder import Held


def lease(
    store_uri: str, table: str, wait_s: float = 0.0, *, lost: threading.Event | None = None
) -> AbstractContextManager[Held]:
    """Holds a table for writing; waits for it up to `wait_s`, then LeaseHeld names the holder.

    On an object store it can be lost: `lost` is set then, to end the work.
    """
    if layout.is_local(layout.root(store_uri)):
        return flock.hold(layout.lock_path(store_uri, table), table, wait_s)
    return epochs.hold(layout.lease_folder(store_uri, table), table, wait_s, lost)
