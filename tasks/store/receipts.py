"""Receipts on disk: what a killed run had done already."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter

from schemas.receipt import Receipt
from tasks import failpoints
from tasks.errors import StoreError
from tasks.store import layout
from tasks.store.durable import write_text
from tasks.store.formats import parse

RECEIPT = TypeAdapter(Receipt)


def publish(store_uri: str, receipt: Receipt) -> None:
    """Makes a receipt, durably and whole; the fragments that it names are durable before it."""
    failpoints.reach("before-receipt")
    write_text(_path(store_uri, receipt), receipt.model_dump_json())
    failpoints.reach("after-receipt")


def list(store_uri: str, table: str) -> tuple[tuple[Receipt, ...], tuple[str, ...]]:
    """The receipts of a table by file name, and a sentence for each that cannot be read."""
    receipts, warnings = [], []
    for path in sorted(layout.receipts_path(store_uri, table).glob("*.json")):
        try:
            receipts.append(parse(RECEIPT, path.read_bytes(), f"receipt {path}"))
        except StoreError as error:
            warnings.append(f"{error}; its shard is done again")
    return tuple(receipts), tuple(warnings)


def drop(store_uri: str, receipts: Iterable[Receipt]) -> None:
    """Removes receipts that have served; one that is gone already is no error."""
    for receipt in receipts:
        _path(store_uri, receipt).unlink(missing_ok=True)


def clear(store_uri: str, table: str) -> None:
    """Removes all receipts of a table, after a commit: each has served or was not wanted."""
    for path in layout.receipts_path(store_uri, table).glob("*.json"):
        path.unlink(missing_ok=True)


def _path(store_uri: str, receipt: Receipt) -> Path:
    name = f"{receipt.run_id}.{receipt.session}.{receipt.job}.{receipt.attempt}.json"
    return layout.receipts_path(store_uri, receipt.table) / name
