"""JSON of ours that was read back: newer formats are refused by name."""

import json
from typing import TypeVar

from pydantic import TypeAdapter

from tasks.errors import StoreError

NEWEST_FORMAT = 1


T = TypeVar("T")


def parse(adapter: TypeAdapter[T], text: str | bytes, where: str) -> T:
    """The value that `text` holds; `where` names it in errors."""
    try:
        found = json.loads(text).get("format")
        if isinstance(found, int) and found > NEWEST_FORMAT:
            raise StoreError(
                f"{where}: format {found} is of a newer vectorline, "
                f"this one reads formats up to {NEWEST_FORMAT}: upgrade vectorline"
            )
        return adapter.validate_json(text)
    except (ValueError, AttributeError) as error:
        raise StoreError(f"{where} cannot be read: {error}") from error
