"""What is wrong with data that a user wrote: which key, which value, what is allowed.

pydantic finds the mistakes; its messages name types and library pages, so the words are made here,
from the JSON Schema of the model.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError

Path: TypeAlias = tuple[str | int, ...]
Schema: TypeAlias = dict[str, Any]

_TYPES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_BOUNDS = {
    "minimum": ">=",
    "exclusiveMinimum": ">",
    "maximum": "<=",
    "exclusiveMaximum": "<",
}
_MANY = {"a string": "strings", "a mapping": "mappings"}
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something that cannot work; `text` follows the key's name in a sentence."""

    path: Path
    text: str

    def __str__(self) -> str:
        """The key's name and what is wrong with it."""
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return f"{name.removeprefix('.')}{self.text}".removeprefix(": ")

    def under(self, *path: str | int) -> "Mistake":
        """The same, in data that lies at `path`."""
        return replace(self, path=(*path, *self.path))


def find_mistakes(model: type[BaseModel], data: Mapping[str, object]) -> list[Mistake]:
    """What keeps `data`, which is plain JSON data, from being a `model`; none if it is one."""
    try:
        model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        schema = model.model_json_schema()
        found: dict[Path, Mistake] = {}
        for one in error.errors():
            path = _path(one["loc"], data, missing=one["type"] == "missing")
            text = _text(one["type"], one["msg"], path, data, schema)
            found.setdefault(path, Mistake(path, text))
        # pydantic counts a list with a wrong part as too short, too.
        above = {path[:length] for path in found for length in range(len(path))}
        return [mistake for path, mistake in found.items() if path not in above]
    return []


def wrong(value: object, expected: str) -> str:
    """The text of a mistake: the value, and what is allowed."""
    shown = repr(value) if isinstance(value, str) else json.dumps(value)
    if len(shown) > _SHOWN:
        shown = shown[:_SHOWN] + "..."
    return f" = {shown}: expected {expected}"


def unknown(key: object, allowed: Iterable[str]) -> str:
    """The text of a mistake: a key that nobody knows."""
    return f": unknown key{did_you_mean(key, allowed)} (allowed: {', '.join(sorted(allowed))})"


def did_you_mean(word: object, words: Iterable[str]) -> str:
    """`, did you mean ...?` if one of `words` is close, else nothing."""
    close = difflib.get_close_matches(str(word), list(words), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _text(kind: str, message: str, path: Path, data: Mapping[str, object], schema: Schema) -> str:
    if kind == "extra_forbidden":
        above = _branches(_part(schema, path[:-1]), schema)
        return unknown(path[-1], next(one["properties"] for one in above if "properties" in one))
    expected = _describe(_part(schema, path), schema)
    if kind == "missing":
        return f" is missing: expected {expected}"
    value: Any = data
    for step in path:
        value = value[step]
    own_words = kind == "value_error"
    return wrong(value, message.removeprefix("Value error, ") if own_words else expected)


def _path(location: Path, data: Any, *, missing: bool) -> Path:  # noqa: ANN401
    """The part of pydantic's location that is in the data: it also names branches of unions."""
    if missing:
        return location
    found: list[str | int] = []
    for step in location:
        in_list = isinstance(step, int) and isinstance(data, list)
        if in_list or (isinstance(data, dict) and step in data):
            found.append(step)
            data = data[step]
    return tuple(found)


def _part(schema: Schema, path: Path) -> Schema:
    """The schema of what lies at `path`."""
    part = schema
    for step in path:
        inside = (_inside(branch, step) for branch in _branches(part, schema))
        part = next((one for one in inside if isinstance(one, dict)), {})
    return part


def _inside(branch: Schema, step: str | int) -> object:
    """The schema of one step into a list, or into a mapping of known keys or of any."""
    if isinstance(step, int):
        return branch.get("items")
    return branch.get("properties", {}).get(step, branch.get("additionalProperties"))


def _branches(part: Schema, schema: Schema) -> list[Schema]:
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in part:
        return [one for branch in part["anyOf"] for one in _branches(branch, schema)]
    return [part]


def _describe(part: Schema, schema: Schema) -> str:
    """What is allowed, in words."""
    return " or ".join(_describe_one(branch, schema) for branch in _branches(part, schema))


def _describe_one(part: Schema, schema: Schema) -> str:
    if "const" in part or "enum" in part:
        values = [repr(value) for value in part.get("enum", [part.get("const")])]
        return " or ".join(filter(None, [", ".join(values[:-1]), values[-1]]))
    words = _TYPES.get(part.get("type", ""), "another value")
    if words == _TYPES["array"] and part.get("items"):
        each = _describe(part["items"], schema)
        words = f"a list of {_MANY.get(each, each)}"
    bounds = [f"{sign} {part[key]}" for key, sign in _BOUNDS.items() if key in part]
    return " ".join([words, " and ".join(bounds)]).strip()


def of_sink(label: str, said: str) -> str:
    """What is said of a sink, with its name at the beginning."""
    named = f"sink {label!r}"
    return said if said.startswith(named) else f"{named}: {said}"
