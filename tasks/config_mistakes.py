"""What is wrong with a config: with its own keys, with its plugins' arguments, a literal secret.

Configs here are JSON data in which `source` and `publish` are lists.
"""

import inspect
import posixpath
from collections.abc import Callable, Iterator
from typing import TypeAlias, cast

from pydantic import BaseModel, JsonValue

from schemas.config import (
    ChunkConfig,
    ComputeConfig,
    Config,
    EncoderConfig,
    SinkConfig,
    SourceConfig,
    TrainConfig,
)
from tasks import mistakes, plugins
from tasks.errors import ConfigError
from tasks.mistakes import Mistake, Path
from tasks.secrets import (
    blocks_in,
    find_blocks,
    find_secrets,
    hidden_in,
    is_reference,
    resolve_secrets,
)
from tasks.sink_checks import check_offered

Data: TypeAlias = dict[str, JsonValue]
Wanted: TypeAlias = Callable[[plugins.Kind, Data], bool]
"""Whether a part of a config, by its kind, will be used: it is made then, with its secrets."""


def all_parts(kind: plugins.Kind, part: Data) -> bool:
    """Of a run."""
    del kind, part
    return True


def sinks_called(label: str | None) -> Wanted:
    """The sink of this name, or all sinks, and nothing else."""

    def is_wanted(kind: plugins.Kind, part: Data) -> bool:
        if kind != "sinks":
            return False
        return label in (None, SinkConfig.model_validate(part, strict=False).label)

    return is_wanted


def find_mistakes(data: Data) -> list[Mistake]:
    """All mistakes that can be found by looking at the config alone."""
    found: dict[Path, Mistake] = {}
    for path, kind, model, part in _plugin_parts(data):
        for mistake in find_in_part(kind, model, part):
            found.setdefault((*path, *mistake.path), mistake.under(*path))
    for mistake in mistakes.find_mistakes(Config, data):
        found.setdefault(mistake.path, mistake)
    return list(found.values()) or list(_find_at_one_place(data))


def find_refusals(data: Data, wanted: Wanted = all_parts) -> Iterator[Mistake]:
    """What the constructors of sources, sinks and encoder refuse, where nothing else is wrong.

    Also what a sink has not, as far as it can say so itself.
    """
    for path, kind, model, part in _plugin_parts(data):
        if kind in ("sources", "encoders", "trainers", "sinks"):
            arguments = {key: value for key, value in part.items() if key not in model.model_fields}
            if not wanted(kind, part) or blocks_in(arguments):
                continue  # which are looked into when the sink is opened
            try:
                resolved = resolve_secrets(arguments)
                with hidden_in(arguments, resolved):
                    if kind == "sinks":
                        config = SinkConfig.model_validate(part, strict=False)
                        check_offered(config, plugins.build(kind, config.use, resolved))
                    else:
                        plugins.load(kind, _use(model, part))(**resolved)
            except ConfigError as error:
                yield Mistake(path, f": {str(error).removeprefix(f'{path[0]}.')}")


def _find_at_one_place(data: Data) -> Iterator[Mistake]:
    """Sinks that are where one before them is, in a config without other mistakes."""
    known: list[tuple[str, object]] = []
    for path, kind, _, part in _plugin_parts(data):
        if kind == "sinks":
            config = SinkConfig.model_validate(part, strict=False)
            place = _place(config)
            for label, other in known:
                if place == other:
                    told = f"sinks {label!r} and {config.label!r} are at one place"
                    yield Mistake(path, f": {told}: give one of them another")
            known.append((config.label, place))


def _place(config: SinkConfig) -> tuple[object, Data]:
    """What says where a sink is, as it is written, with a folder as it is called.

    A folder is one place whatever kinds of files a sink puts there.
    """
    plugin = plugins.load("sinks", config.use)
    keys: tuple[str, ...] | None = getattr(plugin, "place", None)
    if keys is None:
        return plugin, config.arguments
    known = {name: one.default for name, one in inspect.signature(plugin).parameters.items()}
    said = {key: config.arguments.get(key, known.get(key)) for key in keys}
    if isinstance(path := said.get("path"), str):
        said["path"] = posixpath.normpath(path)
    return None if keys == ("path",) else plugin, said


def _plugin_parts(data: Data) -> Iterator[tuple[Path, plugins.Kind, type[BaseModel], Data]]:
    """Each plugin: where it stands, its kind, the model of the keys that are ours, all its keys."""
    lists: tuple[tuple[str, plugins.Kind, type[BaseModel]], ...] = (
        ("source", "sources", SourceConfig),
        ("publish", "sinks", SinkConfig),
    )
    for key, kind, model in lists:
        several = data.get(key)
        for number, part in enumerate(several if isinstance(several, list) else []):
            if isinstance(part, dict):
                yield (key, number), kind, model, part
    kinds: tuple[tuple[str, plugins.Kind, type[BaseModel]], ...] = (
        ("train", "trainers", TrainConfig),
        ("chunk", "chunking", ChunkConfig),
        ("encoder", "encoders", EncoderConfig),
        ("compute", "compute", ComputeConfig),
    )
    for key, kind, model in kinds:
        part = data.get(key, None if key == "train" else {})
        if isinstance(part, dict):
            yield (key,), kind, model, part


def find_in_part(kind: plugins.Kind, model: type[BaseModel], part: Data) -> Iterator[Mistake]:
    """What is wrong with the part of a plugin: a literal secret, its name, its arguments."""
    yield from find_secrets(part, blocks=kind == "sinks")
    yield from find_blocks(part, allowed=kind == "sinks")
    use = _use(model, part)
    if not isinstance(use, str):
        return
    try:
        plugins.load(kind, use)
    except ConfigError as error:
        yield Mistake(("use",), f": {error}")
        return
    if model.model_config["extra"] == "allow":
        for mistake in plugins.check_arguments(kind, use, part, beside=model):
            if not _in_reference(part, mistake.path):
                yield mistake


def _use(model: type[BaseModel], part: Data) -> str:
    return cast("str", part.get("use", model.model_fields["use"].default))


def _in_reference(value: JsonValue, path: Path) -> bool:
    """Whether a secret stands at `path`, whose type is not known yet."""
    for step in path:
        if is_reference(value):
            return True
        if isinstance(value, dict):
            value = value.get(str(step))
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step]
    return is_reference(value)
