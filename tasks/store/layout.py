"""Where everything of a store is: absolute paths on a local disk, URLs on an object store.

<space>.<fingerprint[:12]>.lance          one LanceDB table for each (space, fingerprint)
_catalog/log.lance                        versions, serving, configs
_state/<table>.<name>.lance               snapshots that belong to a table
_leases/<table or space>.lock             on a local disk
_leases/<table or space>.lease/<token>.json   on an object store
runs/<table>/receipts/<run>.<session>.<job>.<attempt>.json
runs/<table>/files/<run, or a random name>.json
runs/<table>/<run>/manifest.json
runs/<table>/evaluations/<evaluation>.json|html|png
runs/<table>/evaluations/projection-<method>.npz
runs/<table>/drift/<report>.json|html
runs/<table>/sketches/<version>.npz
runs/<table>/publications/<publication>.json
runs/<table>/compressions/<settings>.npz
runs/<table>/sketches/basis.npz          what all of these have in common
models/<name or table>/<digest>/          weights that were fitted here
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.errors import ConfigError

DEFAULT_STORE = "./vectors"
SCHEMES = ("s3", "gs")
SPECIAL = "%?#"  # Lance and the client of `object_files` read them differently


def root(store_uri: str) -> str:
    """The place of a store, without a slash at its end.

    Raises ConfigError for what can be no store.
    """
    parts = urlsplit(store_uri)
    if "://" not in store_uri or parts.scheme == "file":
        return _folder(unquote(parts.path) if parts.scheme == "file" else store_uri)
    if parts.scheme not in SCHEMES or not parts.netloc or set(SPECIAL) & set(store_uri):
        raise ConfigError(
            f"store {store_uri!r} is neither a folder nor on an object store: give --store (or "
            "VECTORLINE_STORE) a path such as ./vectors, or a URL such as s3://bucket/vectors, "
            f"without any of {' '.join(SPECIAL)}"
        )
    path = "/".join(part for part in parts.path.split("/") if part)
    return f"{bucket_of(store_uri)}/{path}".rstrip("/")


def is_local(location: str) -> bool:
    """Whether it is on a local disk."""
    return "://" not in location


def bucket_of(url: str) -> str:
    """The bucket that a URL is in: itself a URL, without a path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _folder(path: str) -> str:
    folder = Path(path).absolute()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"store {path!r} is a file, and a store is a folder: see --store")
    return str(folder)


def table_name(space: str, fingerprint: str) -> str:
    """The name of the table of a space for one encoder."""
    return f"{space}.{fingerprint[:12]}"


def space_of(table: str) -> str:
    """The space of a table, by its name: its settings say the same, but may be gone."""
    return table.rpartition(".")[0]


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
    """The lock file of a table, on a local disk."""
    return f"{root(store_uri)}/_leases/{table}.lock"


def lease_folder(store_uri: str, table: str) -> str:
    """The folder of a table's leases, on an object store."""
    return f"{root(store_uri)}/_leases/{table}.lease"


def runs_folder(store_uri: str) -> str:
    """The folder with one for each table: what runs leave behind."""
    return f"{root(store_uri)}/runs"


def models_folder(store_uri: str, name: str) -> str:
    """The folder of all fits of a name."""
    return f"{root(store_uri)}/models/{name}"


def model_folder(store_uri: str, name: str, digest: str) -> str:
    """The folder of one fit."""
    return f"{models_folder(store_uri, name)}/{digest}"


def table_runs_folder(store_uri: str, table: str) -> str:
    """The folder of what runs leave behind of one table."""
    return f"{runs_folder(store_uri)}/{table}"


def receipts_folder(store_uri: str, table: str) -> str:
    """The folder of a table's receipts."""
    return f"{table_runs_folder(store_uri, table)}/receipts"


def files_folder(store_uri: str, table: str) -> str:
    """The folder of the lists of a table's data files."""
    return f"{table_runs_folder(store_uri, table)}/files"


def manifest_path(store_uri: str, table: str, run_id: str) -> str:
    """The file of a run's manifest."""
    return f"{table_runs_folder(store_uri, table)}/{run_id}/manifest.json"


def evaluation_path(store_uri: str, table: str, evaluation_id: str, ending: str) -> str:
    """The file of an evaluation of a version of a table: its record, its page, or its map."""
    return f"{table_runs_folder(store_uri, table)}/evaluations/{evaluation_id}.{ending}"


def drift_path(store_uri: str, table: str, report_id: str, ending: str) -> str:
    """The file of a drift report of a version of a table: its record, or its page."""
    return f"{table_runs_folder(store_uri, table)}/drift/{report_id}.{ending}"


def publication_path(store_uri: str, table: str, publication_id: str) -> str:
    """The record of a publication of a version of a table."""
    return f"{table_runs_folder(store_uri, table)}/publications/{publication_id}.json"


def compression_path(store_uri: str, table: str, name: str) -> str:
    """How vectors of a table are made shorter for stores downstream."""
    return f"{table_runs_folder(store_uri, table)}/compressions/{name}.npz"


def sketches_folder(store_uri: str, table: str) -> str:
    """The folder of the sketches of a table's versions."""
    return f"{table_runs_folder(store_uri, table)}/sketches"


def sketch_path(store_uri: str, table: str, version: int) -> str:
    """The sketch of a version of a table."""
    return f"{sketches_folder(store_uri, table)}/{version}.npz"


def basis_path(store_uri: str, table: str) -> str:
    """The basis of all sketches of a table."""
    return f"{sketches_folder(store_uri, table)}/basis.npz"
