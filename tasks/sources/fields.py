"""How the id, the content and the metadata of a record come out of a row."""

import datetime
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from string import Formatter
from typing import TypeAlias

from schemas.quarantine import Reason
from schemas.table import RESERVED
from tasks.content import TEXT, Media
from tasks.errors import ConfigError
from tasks.mistakes import did_you_mean
from tasks.sources.base import Problem, Record, Value

SCALARS = (type(None), bool, int, float, str, datetime.date, datetime.datetime)
INT64 = range(-(2**63), 2**63)
FALSE_WORDS = frozenset(("", "0", "f", "false", "n", "no"))

Columns: TypeAlias = Iterable[tuple[str, Sequence[str]]]
"""Pairs of a file's uri and the names of its columns."""


class Template:
    """A text that is put together of columns, as in "{title}. {abstract}"; a bare name is one."""

    binary = False
    kind = TEXT

    def __init__(self, text: str, key: str = "text") -> None:
        """Raises ConfigError, which names the `key` of the config, for what cannot be meant."""
        self._literals, columns = _parse(text, key)
        self.columns = tuple(columns)

    def content(self, row: Sequence[Value]) -> tuple[str, Problem | None]:
        """The text of a row with the columns' values; empty where all of them are blank."""
        content = self._literals[0]
        blank = True
        for column, value, literal in zip(self.columns, row, self._literals[1:], strict=True):
            words = value if type(value) is str else _render(value, column)
            if isinstance(words, Problem):
                return "", words
            blank = blank and (not words or words.isspace())
            content = content + words + literal
        if blank:
            return "", None
        if not content.isascii() and not _is_unicode(content):
            return "", Problem(
                Reason.INVALID_UTF8, f"{' or '.join(map(repr, self.columns))} is not UTF-8"
            )
        return content, None


class Inline:
    """A column that holds the bytes of files; no bytes where it is null."""

    binary = True

    def __init__(self, modality: str, column: str) -> None:
        self.kind = modality
        self.columns = (column,)

    def content(self, row: Sequence[Value]) -> tuple[Media, Problem | None]:
        """The content of a row with the column's value."""
        (value,) = row
        problem = value if isinstance(value, Problem) else None
        return Media(self.kind, value if isinstance(value, bytes) else b""), problem


class Fields:
    """The columns that a config names, and what is made of their values.

    `slots` names the column of each value that `record` takes: id, then those of the content, then
    the metadata, then the tombstone; a column that serves twice stands there twice.
    """

    def __init__(
        self,
        *,
        id: str,
        content: Template | Inline,
        metadata: Sequence[str] = (),
        rename: Mapping[str, str] | None = None,
        tombstone: str | None = None,
    ) -> None:
        """Raises ConfigError for a metadata name or a renaming that cannot be meant."""
        columns = content.columns
        self.id = id
        self.content = content
        self.metadata = metadata_names(metadata, rename or {})
        self.tombstone = tombstone
        self.slots = (id, *columns, *metadata, *([tombstone] if tombstone else []))
        self.required = frozenset((id, *columns))
        self.columns = tuple(dict.fromkeys(self.slots))
        self.metadata_at = 1 + len(columns)

    def record(self, row: Sequence[Value], uri: str) -> Record:
        """The record of a row with one value for each slot; a Problem may stand for a value.

        A removed record has no content and no metadata.
        """
        record_id, problem = read_id(row[0])
        if self.tombstone and _is_true(row[-1]):
            return Record(record_id, "", uri, problem=problem, tombstone=True)
        content, wrong_content = self.content.content(row[1 : self.metadata_at])
        metadata, wrong_metadata = self._metadata(row)
        return Record(record_id, content, uri, metadata, problem or wrong_content or wrong_metadata)

    def _metadata(self, row: Sequence[Value]) -> tuple[dict[str, Value], Problem | None]:
        values = row[self.metadata_at : self.metadata_at + len(self.metadata)]
        for column, value in zip(self.metadata, values, strict=True):
            if type(value) is str and value.isascii():
                continue
            problem = _check(value, column)
            if problem is not None:
                return {}, problem
        return dict(zip(self.metadata.values(), values, strict=True)), None

    def check_columns(self, given: Columns, others: Callable[[], Columns]) -> None:
        """Raises ConfigError for a column that no file, or the files given, should lack.

        Each file must have the columns of id and text; one of metadata or the tombstone may be
        missing from some files, not from all: `others` gives the rest, and is called if need be.
        """
        absent = set(self.columns) - self.required
        seen: dict[str, None] = {}
        uri = ""
        for uri, columns in given:
            for column in self.columns:
                n_found = columns.count(column)
                if n_found > 1 or (not n_found and column in self.required):
                    found = "several columns" if n_found else "no column"
                    near = "" if n_found else did_you_mean(column, columns)
                    raise ConfigError(f"{uri} has {found} {column!r}{near or ';'} {there(columns)}")
            absent -= set(columns)
            seen |= dict.fromkeys(columns)
        if not absent or not seen:
            return
        for _, columns in others():
            absent -= set(columns)
            if not absent:
                return
        name, near = min(absent), did_you_mean(min(absent), seen)
        raise ConfigError(
            f"no file, such as {uri}, has a column {name!r}{near or ';'} {there(seen)}"
        )


def there(columns: Collection[str]) -> str:
    """The columns that there are, for a message."""
    return f"it has: {', '.join(map(repr, list(columns)[:30])) or 'none'}"


def read_id(value: Value) -> tuple[str | None, Problem | None]:
    """An id as a string; None with the problem where there is none that can be used."""
    if type(value) is str and value:
        if value.isascii() or _is_unicode(value):
            return value, None
        return None, Problem(Reason.INVALID_UTF8, "the id is not UTF-8")
    if value is None or value == "":
        return None, Problem(
            Reason.NULL_ID, "the id is null" if value is None else "the id is empty"
        )
    if type(value) is int:
        return str(value), None
    if isinstance(value, Problem):
        return None, value
    return None, Problem(
        Reason.WRONG_TYPE, f"the id is a {_kind(value)}, not a string or an integer"
    )


def _parse(text: str, key: str) -> tuple[tuple[str, ...], list[str]]:
    """Literals and columns in turn, one literal more than columns; a bare name is a column."""
    if "{" not in text and "}" not in text and text:
        return ("", ""), [text]
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise ConfigError(f"{key} = {text!r}: {error}; write {{{{ and }}}} for braces") from error
    literals, columns = [""], []
    for literal, name, form, conversion in parts:
        literals[-1] += literal
        if name is None:
            continue
        if not name or form or conversion or set(name) & set(".[]"):
            raise ConfigError(
                f"{key} = {text!r}: {name!r} must be a plain column name, as in {{title}}"
            )
        columns.append(name)
        literals.append("")
    if not columns:
        raise ConfigError(f"{key} = {text!r} names no column")
    return tuple(literals), columns


def metadata_names(metadata: Sequence[str], rename: Mapping[str, str]) -> dict[str, str]:
    """Metadata columns and what they are called in rows."""
    for column in rename:
        if column not in metadata:
            raise ConfigError(f"rename: {column!r} is not one of metadata = {list(metadata)}")
    names: dict[str, str] = {}
    for column in metadata:
        name = rename.get(column, column)
        if column in names or name in names.values():
            raise ConfigError(f"metadata = {list(metadata)}: {name!r} is there twice")
        if not name or name in RESERVED or name.startswith("_"):
            raise ConfigError(
                f"metadata: {name!r} is a reserved name; add rename: {{{column}: ANOTHER_NAME}}"
            )
        names[column] = name
    return names


def _render(value: Value, column: str) -> str | Problem:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, int | float | datetime.date) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Problem):
        return value
    return Problem(Reason.WRONG_TYPE, f"{column!r} is a {_kind(value)}, not a text or a number")


def _check(value: Value, column: str) -> Problem | None:
    if isinstance(value, Problem):
        return value
    elements = value if isinstance(value, list) else [value]
    kinds = {type(element) for element in elements} - {type(None)}
    if not kinds.issubset(SCALARS) or (len(kinds) > 1 and kinds != {int, float}):
        words = "a list of several types" if len(kinds) > 1 else f"a {_kind(value)}"
        return Problem(
            Reason.WRONG_TYPE, f"metadata {column!r} is {words}, not a scalar or a list of one kind"
        )
    if str in kinds and not all(map(_is_unicode, filter(None, elements))):
        return Problem(Reason.INVALID_UTF8, f"metadata {column!r} is not UTF-8")
    if int in kinds and any(type(element) is int and element not in INT64 for element in elements):
        return Problem(Reason.WRONG_TYPE, f"metadata {column!r} is an integer beyond 64 bits")
    return None


def _is_unicode(text: str) -> bool:
    """False for what has lone surrogates: no UTF-8 holds them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_true(value: Value) -> bool:
    if isinstance(value, str):
        return value.strip().lower() not in FALSE_WORDS
    return bool(value) and not isinstance(value, Problem)


def _kind(value: Value) -> str:
    return {dict: "mapping", bool: "boolean"}.get(type(value), type(value).__name__)
