"""Where everything of a store is: absolute paths.

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


def root(store_uri: str) -> str:
    """The folder of a store on a local disk; ConfigError for any other scheme."""
    parts = urlsplit(store_uri)
    if parts.scheme == "file":
        return str(Path(unquote(parts.path)).absolute())
    if "://" in store_uri:
        raise ConfigError(
            f"store {store_uri!r} is on {parts.scheme}://, and a store must be a folder "
            "on a local disk: give --store (or VECTORLINE_STORE) a path such as ./vectors"
        )
    folder = Path(store_uri).absolute()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"store {store_uri!r} is a file, and a store is a folder: see --store")
    return str(folder)


def table_name(space: str, fingerprint: str) -> str:
    """The name of the table of a space for one encoder."""
    return f"{space}.{fingerprint[:12]}"


def table_uri(store_uri: str, table: str) -> str:
    """The Lance dataset of a table."""
    return f"{root(store_uri)}/{table}.lance"


def log_uri(store_uri: str) -> str:
    """The Lance dataset of the catalog's log."""
    return f"{root(store_uri)}/_catalog/log.lance"


def states_folder(store_uri: str) -> str:
    """The folder of all snapshots, `<table>.<name>.lance`."""
    return f"{root(store_uri)}/_state"


def state_uri(store_uri: str, table: str, name: str) -> str:
    """The Lance dataset of a snapshot that belongs to a table."""
    return f"{states_folder(store_uri)}/{table}.{name}.lance"


def lock_path(store_uri: str, table: str) -> str:
    """The lock file of a table."""
    return f"{root(store_uri)}/_leases/{table}.lock"


def receipts_folder(store_uri: str, table: str) -> str:
    """The folder of a table's receipts."""
    return f"{root(store_uri)}/runs/{table}/receipts"


def manifest_path(store_uri: str, table: str, run_id: str) -> str:
    """The file of a run's manifest."""
    return f"{root(store_uri)}/runs/{table}/{run_id}/manifest.json"
