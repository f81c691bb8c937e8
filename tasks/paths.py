"""Paths in files that users write: relative ones start at the folder of the file."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import JsonValue

_URI = re.compile(r"[a-z][a-z0-9+.-]*:[/:]", re.IGNORECASE)


def absolute(folder: Path, value: JsonValue) -> JsonValue:
    """A path, or a list of them, that starts at `folder`; a URL stays."""
    if isinstance(value, list):
        return [absolute(folder, one) for one in value]
    if not isinstance(value, str) or _URI.match(value):
        return value
    return Path(os.path.normpath(folder / Path(value).expanduser())).as_posix()


def absolute_if_there(folder: Path, value: JsonValue) -> JsonValue:
    """The same where something is there; else the value stays what it may be: a name."""
    is_there = isinstance(value, str) and (folder / Path(value).expanduser()).exists()
    return absolute(folder, value) if is_there else value


def each_changed(
    parts: list[JsonValue], keys: Iterable[str], change: Callable[[JsonValue], JsonValue]
) -> list[JsonValue]:
    """Plain data, in each of which `change` was made to what stands under some keys."""
    for key in keys:
        parts = [changed(part, key, change) for part in parts]
    return parts


def changed(part: JsonValue, key: str, change: Callable[[JsonValue], JsonValue]) -> JsonValue:
    """A mapping with `change` made to what stands under a key, if it does."""
    return {**part, key: change(part[key])} if isinstance(part, dict) and key in part else part
