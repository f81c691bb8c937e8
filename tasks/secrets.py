"""Secrets: a config says where they are kept, and never has them.

A reference is `{env: NAME}`, or in a sink `{block: secret/NAME}`: a Secret block of Prefect's.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias
from urllib.parse import quote, unquote, urlsplit

from pydantic import JsonValue

from tasks.errors import ConfigError
from tasks.mistakes import Mistake, Path

Blocks: TypeAlias = Callable[[str, str], str]
"""What a Secret block holds, by its name and the key that wants it; ConfigError where it cannot."""

_SECRET_KEY = re.compile(
    r"(^|[_-])(password|passwd|passphrase|secret|token|credentials?|connection_string"
    r"|(api|access|account|private)[_-]?key)([_-]|$)",
    re.IGNORECASE,
)
_PASSWORD_IN_URL = re.compile(r"^[a-z][a-z0-9+.-]*://[^/@\s]*:[^/@\s]+@", re.IGNORECASE)
_BLOCK = re.compile(r"secret/[a-z0-9][a-z0-9-]*")
_SHORTEST = 4  # characters of a secret that is looked for in texts
_STORAGE_OPTIONS = "storage_options"
_MEND = "write {env: NAME} and keep the secret in the environment variable NAME"
_MEND_IN_SINKS = f"{_MEND}, or {{block: secret/NAME}} and keep it in that block of Prefect's"


def is_reference(value: object) -> bool:
    """Whether a value is `{env: NAME}` or `{block: secret/NAME}`."""
    return _is_of("env", value) or _is_of("block", value)


def blocks_in(arguments: Mapping[str, JsonValue]) -> list[tuple[Path, str]]:
    """The blocks of Prefect's that a plugin's arguments name, with the keys that want them."""
    return [
        (path, str(value["block"]))
        for path, value in _leaves(dict(arguments), ())
        if isinstance(value, dict) and _is_of("block", value)
    ]


def find_blocks(arguments: Mapping[str, JsonValue], *, allowed: bool) -> Iterator[Mistake]:
    """What is wrong with references to blocks: where they are not allowed, or no Secret block."""
    for path, name in blocks_in(arguments):
        if not allowed:
            yield Mistake(path, ": only sinks take secrets from Prefect blocks: write {env: NAME}")
        elif not _BLOCK.fullmatch(name):
            yield Mistake(
                (*path, "block"),
                f" = {name!r}: expected secret/NAME, a Secret block of Prefect's, whose name has "
                "lower-case letters, digits and dashes",
            )


def find_secrets(arguments: dict[str, JsonValue], *, blocks: bool = False) -> list[Mistake]:
    """The secrets that stand literally in a plugin's arguments; their values are not repeated.

    `blocks` says that they may be in blocks of Prefect's, too.
    """
    mend = _MEND_IN_SINKS if blocks else _MEND
    return [
        Mistake(path, f": a secret must not stand in a config: {mend}")
        for path, value in _values(arguments, ())
        if _is_secret(path, value)
    ]


def no_blocks(name: str, key: str) -> str:
    """Of plugins that take none."""
    raise ConfigError(f"{key} takes a secret from Prefect block {name!r}, which only sinks can")


def resolve_secrets(
    arguments: Mapping[str, JsonValue], blocks: Blocks = no_blocks
) -> dict[str, JsonValue]:
    """A plugin's arguments with what references stand for.

    Raises:
        ConfigError: A variable is not set, or a block cannot be had.
    """
    return {key: _resolve(value, (key,), blocks) for key, value in arguments.items()}


def hidden_in(arguments: Mapping[str, JsonValue], resolved: Mapping[str, JsonValue]) -> "Hidden":
    """The secrets among arguments that were resolved, so that nobody gets to read them."""
    names: dict[str, str] = {}
    for path, reference in _leaves(dict(arguments), ()):
        if isinstance(reference, dict) and is_reference(reference):
            value: object = resolved
            for step in path:
                value = value[step]  # type: ignore[index]
            ((kind, name),) = reference.items()
            for one in _forms(str(value)):
                names[one] = f"{{{kind}: {name}}}"
    return Hidden(names)


@dataclass(frozen=True)
class Hidden:
    """Secrets, and how a config names them; as a context, it keeps them out of what is raised."""

    names: Mapping[str, str]

    def hide(self, text: str) -> str:
        """The same text with the names of secrets in their places."""
        for secret in sorted(self.names, key=len, reverse=True):
            text = text.replace(secret, self.names[secret])
        return text

    def __enter__(self) -> "Hidden":
        """Nothing is opened."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Changes an exception, and those that led to it; what cannot be changed is cut off."""
        seen: set[int] = set()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            error.args = tuple(
                self.hide(one) if isinstance(one, str) else one for one in error.args
            )
            if notes := getattr(error, "__notes__", None):
                notes[:] = map(self.hide, notes)
            before = error.__cause__ or error.__context__
            if before is not None and not self._can_hide(before):
                error.__cause__ = error.__context__ = None
            error = error.__cause__ or error.__context__

    def _can_hide(self, error: BaseException) -> bool:
        """Whether all that an exception tells is in texts among its arguments."""
        told = str(error) + repr(error)
        if self.hide(told) == told:
            return True
        error.args = tuple(self.hide(one) if isinstance(one, str) else one for one in error.args)
        told = str(error) + repr(error)
        return self.hide(told) == told


def _forms(secret: str) -> Iterator[str]:
    """A secret as it may stand in a text, also the password of a URL."""
    found = [secret]
    if "://" in secret:
        with contextlib.suppress(ValueError):
            found.append(urlsplit(secret).password or "")
    for one in found:
        yield from (form for form in {one, quote(one, safe=""), unquote(one)} if _is_long(form))


def _is_long(text: str) -> bool:
    return len(text) >= _SHORTEST


def _is_of(kind: str, value: object) -> bool:
    return isinstance(value, dict) and list(value) == [kind] and isinstance(value[kind], str)


def _resolve(value: JsonValue, path: Path, blocks: Blocks) -> JsonValue:
    if isinstance(value, list):
        return [_resolve(inner, (*path, n), blocks) for n, inner in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if _is_of("block", value):
        return blocks(str(value["block"]), str(Mistake(path, "")))
    if not _is_of("env", value):
        return {key: _resolve(inner, (*path, key), blocks) for key, inner in value.items()}
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
    """What is written in arguments, but for references."""
    return (one for one in _leaves(value, path) if not is_reference(one[1]))


def _leaves(value: JsonValue, path: Path) -> Iterator[tuple[Path, JsonValue]]:
    """What is written in arguments, references as a whole."""
    if isinstance(value, dict) and not is_reference(value):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*path, number))
    else:
        yield path, value
