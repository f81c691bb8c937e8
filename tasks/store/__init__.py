"""The store: LanceDB tables with versions, the catalog, and what a run leaves beside them."""

import os

os.environ.setdefault(
    "LANCE_LOG", "error"
)  # read when lance is imported; it warns of each new table
