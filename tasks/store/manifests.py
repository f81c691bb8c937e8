"""The manifest of a run on disk: what it meant to do and did."""

from typing import TypeVar

from pydantic import BaseModel, TypeAdapter

from tasks.store import layout
from tasks.store.durable import write_text
from tasks.store.formats import parse

M = TypeVar("M", bound=BaseModel)


def write(store_uri: str, table: str, run_id: str, manifest: BaseModel) -> None:
    """Makes or replaces it, durably and whole."""
    path = layout.manifest_path(store_uri, table, run_id)
    write_text(path, manifest.model_dump_json(indent=1))


def read(store_uri: str, table: str, run_id: str, model: type[M]) -> M | None:
    """The manifest of a run, None if it has none; StoreError if it is of a newer format."""
    path = layout.manifest_path(store_uri, table, run_id)
    if not path.exists():
        return None
    return parse(TypeAdapter(model), path.read_bytes(), f"manifest {path}")
