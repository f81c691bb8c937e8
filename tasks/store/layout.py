"""Where everything of a store is.

<space>.<fingerprint[:12]>.lance          one LanceDB table for each (space, fingerprint)
_catalog/log.lance                        versions, serving, configs
_state/<table>.<name>.lance               snapshots that belong to a table
_leases/<table>.lock
runs/<table>/receipts/<run>.<session>.<job>.<attempt>.json
runs/<table>/<run>/manifest.json
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.errors import ConfigError

DEFAULT_STORE = "./vectors"


def root(store_uri: str) -> Path:
    """The folder of a store on a local disk; ConfigError for any other scheme."""
    parts = urlsplit(store_uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).absolute()
    if "://" in store_uri:
        raise ConfigError(
            f"store {store_uri!r} is on {parts.scheme}://, and a store must be a folder "
            "on a local disk: give --store (or VECTORLINE_STORE) a path such as ./vectors"
        )
    folder = Path(store_uri).absolute()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"store {store_uri!r} is a file, and a store is a folder: see --store")
    return folder


def table_name(space: str, fingerprint: str) -> str:
    """The name of the table of a space for one encoder."""
    return f"{space}.{fingerprint[:12]}"


def table_path(store_uri: str, table: str) -> Path:
    """The folder of a table's Lance dataset."""
    return root(store_uri) / f"{table}.lance"


def log_path(store_uri: str) -> Path:
    """The folder of the catalog's log."""
    return root(store_uri) / "_catalog" / "log.lance"


def state_path(store_uri: str, table: str, name: str) -> Path:
    """The folder of a snapshot that belongs to a table."""
    return root(store_uri) / "_state" / f"{table}.{name}.lance"


def lease_path(store_uri: str, table: str) -> Path:
    """The lock file of a table."""
    return root(store_uri) / "_leases" / f"{table}.lock"


def receipts_path(store_uri: str, table: str) -> Path:
    """The folder of a table's receipts."""
    return root(store_uri) / "runs" / table / "receipts"


def manifest_path(store_uri: str, table: str, run_id: str) -> Path:
    """The file of a run's manifest."""
    return root(store_uri) / "runs" / table / run_id / "manifest.json"
