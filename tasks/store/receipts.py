"""Receipts on disk: what a killed run had done already."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from pydantic import TypeAdapter

from schemas.receipt import Receipt
from tasks import failpoints
from tasks.errors import StoreError
from tasks.store import files, layout
from tasks.store.formats import parse

RECEIPT = TypeAdapter(Receipt)
READERS = 16  # at once: an object store takes its time for each


def publish(store_uri: str, receipt: Receipt) -> None:
    """Makes a receipt, durably and whole; the fragments that it names are durable before it."""
    failpoints.reach("before-receipt")
    path = _path(store_uri, receipt)
    files.of(path).write(path, receipt.model_dump_json())
    failpoints.reach("after-receipt")


def list(store_uri: str, table: str) -> tuple[tuple[Receipt, ...], tuple[str, ...]]:
    """The receipts of a table by file name, and a sentence for each that cannot be read."""
    receipts, warnings = [], []
    locations, there = paths(store_uri, table), files.of(layout.root(store_uri))
    with ThreadPoolExecutor(READERS) as readers:
        texts = [*readers.map(there.read, locations)]
    for path, text in zip(locations, texts, strict=True):
        if text is None:
            continue  # dropped just now
        try:
            receipts.append(parse(RECEIPT, text, f"receipt {path}"))
        except StoreError as error:
            warnings.append(f"{error}; its shard is done again")
    return tuple(receipts), tuple(warnings)


def drop(store_uri: str, receipts: Iterable[Receipt]) -> None:
    """Removes receipts that have served; one that is gone already is no error."""
    files.of(layout.root(store_uri)).remove(_path(store_uri, receipt) for receipt in receipts)


def clear(store_uri: str, served: Sequence[str]) -> None:
    """Removes what `paths` gave before a commit: each has served or was not wanted.

    Not all: a process that slept since its commit would take those of the next run.
    """
    files.of(layout.root(store_uri)).remove(served)


def paths(store_uri: str, table: str) -> Sequence[str]:
    """Where the receipts of a table are, also those that cannot be read."""
    folder = layout.receipts_folder(store_uri, table)
    names = files.of(folder).names(folder)
    return [f"{folder}/{name}" for name in names if name.endswith(".json")]


def _path(store_uri: str, receipt: Receipt) -> str:
    name = f"{receipt.run_id}.{receipt.session}.{receipt.job}.{receipt.attempt}.json"
    return f"{layout.receipts_folder(store_uri, receipt.table)}/{name}"
