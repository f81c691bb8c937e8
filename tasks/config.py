"""Reads the config that a user wrote, and builds what it names.

Every mistake is told with its line:

    stdlib.yaml line 12: compute.workers = 'many': expected 'auto' or an integer >= 1

Secrets stay references in a `Config`, so that it can be kept in the catalog; they are resolved when
a plugin is built.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import cast

import yaml
from pydantic import JsonValue

from schemas.config import Config
from tasks import plugins
from tasks.config_mistakes import Data, find_mistakes, find_refusals
from tasks.errors import ConfigError
from tasks.mistakes import Mistake
from tasks.secrets import resolve_secrets
from tasks.sources.base import Source
from tasks.yaml_lines import Document, parse

ENCODER_PATHS = ("model", "pretrained", "checkpoint")
SOURCE_PATHS = ("path", "root", "sidecar", "cache")
SOURCE_TABLES = ("nodes",)  # with a path of their own
TRAIN_PATHS = ("path", "counts")
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[/:]", re.IGNORECASE)


def read_config(path: str | Path) -> Config:
    """The config of a YAML file; relative paths in it start at the file's folder.

    Raises:
        ConfigError: All mistakes that were found, one a line.
    """
    document = _read(path)
    written = document.data
    if not isinstance(written, dict):
        found = "it is empty" if written is None else "it is no mapping of keys to values"
        raise ConfigError(f"{path} line 1: {found}; `vectorline init` writes one to start from")

    def refuse(mistakes: Iterable[Mistake]) -> None:
        named = [_as_written(one, written) for one in mistakes]
        placed = sorted((document.line(one.path), str(one)) for one in named)
        _refuse(f"{path} line {line}: {text}" for line, text in placed)

    data = _with_absolute_paths(_with_source_list(written), Path(path).absolute().parent)
    refuse([*document.mistakes, *find_mistakes(data)])
    refuse(find_refusals(data))
    return _config(data)


def from_dict(data: Mapping[str, object], origin: str) -> Config:
    """The config of plain data, such as the catalog keeps; `origin` says where it comes from.

    Raises:
        ConfigError: All mistakes that were found, one a line.
    """
    written = cast("Data", data)
    listed = _with_source_list(written)
    _refuse(f"{origin}: {_as_written(one, written)}" for one in find_mistakes(listed))
    return _config(listed)


def build_sources(config: Config) -> list[Source]:
    """The sources, in the order of the config, with their secrets and the limit of contents."""
    sources = [
        plugins.build("sources", one.use, resolve_secrets(one.arguments)) for one in config.source
    ]
    for source in sources:
        source.max_content_bytes = config.limits.max_content_bytes
    return sources


def chunker_plugin(config: Config) -> tuple[str, dict[str, object]] | None:
    """The chunker's name and arguments, but for the tokenizer; None where records are not cut."""
    if config.chunk is None:
        return None
    return config.chunk.use, config.chunk.model_dump(exclude={"use"})


def _read(path: str | Path) -> Document:
    try:
        return parse(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config {path}: byte {error.start} is not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error


def _refuse(sentences: Iterable[str]) -> None:
    if found := "\n".join(sentences):
        raise ConfigError(found)


def _config(data: Data) -> Config:
    return Config.model_validate_json(json.dumps(data))


def _with_source_list(data: Data) -> Data:
    source = data.get("source")
    return {**data, "source": [source]} if isinstance(source, dict) else dict(data)


def _as_written(mistake: Mistake, data: Data) -> Mistake:
    """The mistake as it is named where a single source is no list."""
    if isinstance(data.get("source"), dict) and mistake.path[:2] == ("source", 0):
        return Mistake(("source", *mistake.path[2:]), mistake.text)
    return mistake


def _with_absolute_paths(data: Data, folder: Path) -> Data:
    """Paths of sources and trainer, and of an encoder if they are there, absolute from `folder`."""
    path = partial(_absolute, folder)
    placed = dict(data)
    if isinstance(sources := data.get("source"), list):
        sources = _each_changed(sources, SOURCE_PATHS, path)
        placed["source"] = _each_changed(
            sources, SOURCE_TABLES, lambda table: _changed(table, "path", path)
        )
    if "train" in data:
        (placed["train"],) = _each_changed([data["train"]], TRAIN_PATHS, path)
    if "encoder" in data:
        there = partial(_absolute_if_there, folder)
        (placed["encoder"],) = _each_changed([data["encoder"]], ENCODER_PATHS, there)
    return placed


def _absolute(folder: Path, value: JsonValue) -> JsonValue:
    if isinstance(value, list):
        return [_absolute(folder, one) for one in value]
    if not isinstance(value, str) or _URI.match(value):
        return value
    return Path(os.path.normpath(folder / Path(value).expanduser())).as_posix()


def _absolute_if_there(folder: Path, value: JsonValue) -> JsonValue:
    is_there = isinstance(value, str) and (folder / Path(value).expanduser()).exists()
    return _absolute(folder, value) if is_there else value


def _each_changed(
    parts: list[JsonValue], keys: Iterable[str], change: Callable[[JsonValue], JsonValue]
) -> list[JsonValue]:
    for key in keys:
        parts = [_changed(part, key, change) for part in parts]
    return parts


def _changed(part: JsonValue, key: str, change: Callable[[JsonValue], JsonValue]) -> JsonValue:
    return {**part, key: change(part[key])} if isinstance(part, dict) and key in part else part
