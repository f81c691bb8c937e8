"""The manifest of a run on disk: what it meant to do and did."""

from typing import TypeVar

from pydantic import BaseModel, TypeAdapter

from tasks.store import files, layout
from tasks.store.formats import parse

M = TypeVar("M", bound=BaseModel)


def write(store_uri: str, table: str, run_id: str, manifest: BaseModel) -> None:
    """Makes or replaces it, durably and whole."""
    path = layout.manifest_path(store_uri, table, run_id)
    files.of(path).write(path, manifest.model_dump_json(indent=1))


def read(store_uri: str, table: str, run_id: str, model: type[M]) -> M | None:
    """The manifest of a run, None if it has none; StoreError if it is of a newer format."""
    path = layout.manifest_path(store_uri, table, run_id)
    text = files.of(path).read(path)
    return None if text is None else parse(TypeAdapter(model), text, f"manifest {path}")
