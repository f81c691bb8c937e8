"""Secrets: a config holds references to environment variables, and never the secrets themselves."""

import os
import re
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from tasks.errors import ConfigError
from tasks.mistakes import Mistake, Path

_SECRET_KEY = re.compile(
    r"(^|[_-])(password|passwd|passphrase|secret|token|credentials?|connection_string"
    r"|(api|access|account|private)[_-]?key)([_-]|$)",
    re.IGNORECASE,
)
_PASSWORD_IN_URL = re.compile(r"^[a-z][a-z0-9+.-]*://[^/@\s]*:[^/@\s]+@", re.IGNORECASE)
_STORAGE_OPTIONS = "storage_options"
_MEND = "write {env: NAME} and keep the secret in the environment variable NAME"


def is_reference(value: object) -> bool:
    """Whether a value is `{env: NAME}`."""
    return isinstance(value, dict) and list(value) == ["env"] and isinstance(value["env"], str)


def find_secrets(arguments: dict[str, JsonValue]) -> list[Mistake]:
    """The secrets that stand literally in a plugin's arguments; their values are not repeated."""
    return [
        Mistake(path, f": a secret must not stand in a config: {_MEND}")
        for path, value in _values(arguments, ())
        if _is_secret(path, value)
    ]


def resolve_secrets(arguments: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A plugin's arguments with every `{env: NAME}` replaced by what the variable holds.

    Raises:
        ConfigError: A variable is not set.
    """
    return {key: _resolve(value) for key, value in arguments.items()}


def _resolve(value: JsonValue) -> JsonValue:
    if isinstance(value, list):
        return [_resolve(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if not is_reference(value):
        return {key: _resolve(inner) for key, inner in value.items()}
    name = str(value["env"])
    if name not in os.environ:
        raise ConfigError(f"the config takes a secret from environment variable {name}: set it")
    return os.environ[name]


def _is_secret(path: Path, value: JsonValue) -> bool:
    if isinstance(value, str) and _PASSWORD_IN_URL.match(value):
        return True
    if value is None or isinstance(value, bool):
        return False
    if path[0] == _STORAGE_OPTIONS:
        return path[-1] == "key" or bool(_SECRET_KEY.search(str(path[-1])))
    # Deeper keys elsewhere are a user's own names, such as those of columns.
    return len(path) == 1 and bool(_SECRET_KEY.search(str(path[0])))


def _values(value: JsonValue, path: Path) -> Iterator[tuple[Path, JsonValue]]:
    if is_reference(value):
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _values(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _values(inner, (*path, number))
    else:
        yield path, value
