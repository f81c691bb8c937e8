"""Reads the config that a user wrote, and builds what it names.

Every mistake is told with its line:

    stdlib.yaml line 12: compute.workers = 'many': expected 'auto' or an integer >= 1

Secrets stay references in a `Config`, so that it can be kept in the catalog; they are resolved when
a plugin is built.
"""

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import cast

from schemas.config import Config, SinkConfig
from tasks import plugins
from tasks.config_mistakes import Data, Wanted, all_parts, find_mistakes, find_refusals
from tasks.documents import read_document, refuse, refuse_at
from tasks.errors import ConfigError
from tasks.mistakes import Mistake
from tasks.paths import absolute, absolute_if_there, changed, each_changed
from tasks.secrets import resolve_secrets
from tasks.sources.base import Source
from tasks.suites import check_suite

ENCODER_PATHS = ("model", "pretrained", "checkpoint")
SOURCE_PATHS = ("path", "root", "sidecar", "cache")
SINK_PATHS = ("path", "uri")
LISTS = ("source", "publish")  # one of them may stand alone
SOURCE_TABLES = ("nodes",)  # with a path of their own
TRAIN_PATHS = ("path", "counts")
EVALUATE_PATHS = ("suite",)


def read_config(path: str | Path, wanted: Wanted = all_parts) -> Config:
    """The config of a YAML file; relative paths in it start at the file's folder.

    Only parts that are wanted need their secrets to be there.

    Raises:
        ConfigError: All mistakes that were found, one a line.
    """
    document = read_document(path, "config")
    written = document.data
    if not isinstance(written, dict):
        found = "it is empty" if written is None else "it is no mapping of keys to values"
        raise ConfigError(f"{path} line 1: {found}; `vectorline init` writes one to start from")

    def check(mistakes: Iterable[Mistake]) -> None:
        refuse_at(path, document, [_as_written(one, written) for one in mistakes])

    data = _with_absolute_paths(_with_lists(written), Path(path).absolute().parent)
    check([*document.mistakes, *find_mistakes(data)])
    check(find_refusals(data, wanted))
    config = _config(data)
    if config.evaluate is not None:
        check_suite(config.evaluate, check)
    return config


def from_dict(data: Mapping[str, object], origin: str) -> Config:
    """The config of plain data, such as the catalog keeps; `origin` says where it comes from.

    Raises:
        ConfigError: All mistakes that were found, one a line.
    """
    written = cast("Data", data)
    listed = _with_lists(written)
    refuse(f"{origin}: {_as_written(one, written)}" for one in find_mistakes(listed))
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


def sinks_of(config: Config, label: str | None) -> list[SinkConfig]:
    """All sinks, or the one that is named; ConfigError where there is none."""
    chosen = [one for one in config.publish if label in (None, one.label)]
    if not chosen:
        names = ", ".join(one.label for one in config.publish)
        raise ConfigError(
            f"the config has no sink {label!r}, but {names}"
            if names
            else "the config has no `publish:`, which says where to"
        )
    return chosen


def _config(data: Data) -> Config:
    return Config.model_validate_json(json.dumps(data))


def _with_lists(data: Data) -> Data:
    alone = {key: [data[key]] for key in LISTS if isinstance(data.get(key), dict)}
    return {**data, **alone}


def _as_written(mistake: Mistake, data: Data) -> Mistake:
    """The mistake as it is named where a single source or sink is no list."""
    key = mistake.path[0] if mistake.path else None
    if key in LISTS and isinstance(data.get(key), dict) and mistake.path[1:2] == (0,):
        return Mistake((key, *mistake.path[2:]), mistake.text)
    return mistake


def _with_absolute_paths(data: Data, folder: Path) -> Data:
    """Paths absolute from `folder`: of sources, trainer, suite, and an encoder's that are there."""
    path = partial(absolute, folder)
    placed = dict(data)
    if isinstance(sources := data.get("source"), list):
        sources = each_changed(sources, SOURCE_PATHS, path)
        placed["source"] = each_changed(
            sources, SOURCE_TABLES, lambda table: changed(table, "path", path)
        )
    if isinstance(sinks := data.get("publish"), list):
        placed["publish"] = each_changed(sinks, SINK_PATHS, path)
    for part, keys in (("train", TRAIN_PATHS), ("evaluate", EVALUATE_PATHS)):
        if part in data:
            (placed[part],) = each_changed([data[part]], keys, path)
    if "encoder" in data:
        there = partial(absolute_if_there, folder)
        (placed["encoder"],) = each_changed([data["encoder"]], ENCODER_PATHS, there)
    return placed
