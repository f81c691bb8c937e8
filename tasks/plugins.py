"""Plugins by name: a short name of a built-in one, or "package.module:Attribute".

Imported when used, never before: on a worker nobody else has imported the file. What a user may
write for a plugin is what its constructor takes, by name and by type.
"""

import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, create_model

from tasks.errors import ConfigError
from tasks.mistakes import Mistake, did_you_mean, find_mistakes

if TYPE_CHECKING:
    from tasks.chunking.base import Chunker
    from tasks.encoders.base import Encoder
    from tasks.evaluations.base import Evaluation
    from tasks.sinks.base import Sink
    from tasks.sources.base import Source

Kind: TypeAlias = Literal[
    "sources", "chunking", "encoders", "trainers", "compute", "evaluations", "sinks"
]

PROTOCOLS = {
    "sources": "Source",
    "chunking": "Chunker",
    "encoders": "Encoder",
    "evaluations": "Evaluation",
    "sinks": "Sink",
}


def names(kind: Kind) -> dict[str, str]:
    """The built-in plugins of a kind: short name to "module:attribute"."""
    table: dict[str, str] = importlib.import_module(f"tasks.{kind}").BUILT_IN
    return table


def load(kind: Kind, use: str) -> type:
    """The class that `use` names.

    Raises:
        ConfigError: There is no such name, or it cannot be imported.
    """
    path = names(kind).get(use, use)
    module_name, colon, attribute = path.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigError(
            f"{use!r} is none of {', '.join(names(kind))}{did_you_mean(use, names(kind)) or '.'} "
            "A plugin of your own is named package.module:Attribute"
        )
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError) as error:
        mend = (
            "install what it needs: pip install 'vectorline[text]'"
            if use in names(kind)
            else "its folder must be installed or stand in PYTHONPATH, also on the workers"
        )
        raise ConfigError(f"{use!r} cannot be imported ({error}): {mend}") from error
    plugin = getattr(module, attribute, None)
    if not isinstance(plugin, type):
        found = [name for name, one in vars(module).items() if isinstance(one, type)]
        raise ConfigError(
            f"{use!r}: {module_name} has no class {attribute!r}{did_you_mean(attribute, found)}"
        )
    return plugin


@overload
def build(kind: Literal["sources"], use: str, arguments: Mapping[str, object]) -> "Source": ...
@overload
def build(kind: Literal["chunking"], use: str, arguments: Mapping[str, object]) -> "Chunker": ...
@overload
def build(kind: Literal["encoders"], use: str, arguments: Mapping[str, object]) -> "Encoder": ...
@overload
def build(
    kind: Literal["evaluations"], use: str, arguments: Mapping[str, object]
) -> "Evaluation": ...
@overload
def build(kind: Literal["sinks"], use: str, arguments: Mapping[str, object]) -> "Sink": ...
def build(kind: Kind, use: str, arguments: Mapping[str, object]) -> object:
    """The plugin itself, made from arguments that were checked and whose secrets are resolved.

    Raises:
        ConfigError: There is no such plugin, it refuses its arguments, or lacks what its kind has.
    """
    plugin = load(kind, use)(**arguments)
    module = f"tasks.{kind}.base"
    protocol = getattr(importlib.import_module(module), PROTOCOLS[kind])
    members = {name for name in (*vars(protocol), *protocol.__annotations__) if name[0] != "_"}
    if missing := sorted(members - set(dir(plugin))):
        raise ConfigError(
            f"{use!r} is no {PROTOCOLS[kind].lower()}: it lacks {', '.join(missing)}; "
            f"{module} says what each is"
        )
    return plugin


def arguments_model(kind: Kind, use: str, beside: type[BaseModel] = BaseModel) -> type[BaseModel]:
    """A model of what may be written for a plugin, with the fields of `beside` if given.

    Fields are aliases: plain names could shadow those of pydantic, such as `copy`.
    """
    plugin: Any = load(kind, use)
    hints = get_type_hints(plugin.__init__)
    fields: dict[str, Any] = {}
    open_ended = False
    for name, one in inspect.signature(plugin).parameters.items():
        open_ended |= one.kind is one.VAR_KEYWORD
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
            default = ... if one.default is one.empty else one.default
            fields[f"argument_{name}"] = (hints.get(name, object), Field(default, alias=name))

    class Strict(beside):  # type: ignore[valid-type,misc]
        model_config = ConfigDict(extra="allow" if open_ended else "forbid", strict=True)

    return cast("type[BaseModel]", create_model(plugin.__name__, __base__=Strict, **fields))


def check_arguments(
    kind: Kind, use: str, arguments: Mapping[str, object], beside: type[BaseModel] = BaseModel
) -> list[Mistake]:
    """What is wrong with what was written for a plugin: unknown keys, missing ones, wrong types.

    Args:
        kind: The plugin's kind.
        use: The plugin's name.
        arguments: Plain JSON data, as it was written.
        beside: The fields that stand among the arguments and are not the plugin's.
    """
    return find_mistakes(arguments_model(kind, use, beside), arguments)
