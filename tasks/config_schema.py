"""The JSON Schema of a config, with the arguments of the built-in plugins: for editors."""

from typing import Any, TypeAlias

from pydantic import BaseModel

from schemas.config import Config, EncoderConfig, SinkConfig, SourceConfig, TrainConfig
from tasks import plugins
from tasks.argument_docs import SHARED, descriptions

Schema: TypeAlias = dict[str, Any]

_REFERENCE = {
    "description": "A secret, by the environment variable that holds it.",
    "type": "object",
    "properties": {"env": {"type": "string"}},
    "required": ["env"],
    "additionalProperties": False,
}
_BLOCK = {
    "description": "A secret, by the Secret block of Prefect's that holds it: secret/NAME.",
    "type": "object",
    "properties": {"block": {"type": "string", "pattern": "^secret/[a-z0-9][a-z0-9-]*$"}},
    "required": ["block"],
    "additionalProperties": False,
}


def config_json_schema() -> dict[str, object]:
    """What editors complete and check; arguments of plugins of a user's own are left open."""
    schema: Schema = Config.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$defs"]["Secret"] = _REFERENCE
    schema["$defs"]["SinkSecret"] = {"anyOf": [_REFERENCE, _BLOCK]}
    _add_plugins(schema, "sources", SourceConfig)
    _add_plugins(schema, "encoders", EncoderConfig)
    _add_plugins(schema, "trainers", TrainConfig)
    _add_plugins(schema, "sinks", SinkConfig)
    return schema


def _add_plugins(schema: Schema, kind: plugins.Kind, model: type[BaseModel]) -> None:
    """Lets the value of `use` decide which other keys there are."""
    part = schema["$defs"][model.__name__]
    ours = part["properties"]
    part["allOf"] = []
    secret = {"$ref": f"#/$defs/{'SinkSecret' if kind == 'sinks' else 'Secret'}"}
    for use in plugins.names(kind):
        arguments = plugins.arguments_model(kind, use).model_json_schema()
        schema["$defs"].update(arguments.pop("$defs", {}))
        told = (SHARED if kind == "sinks" else {}) | descriptions(plugins.load(kind, use))
        given = {
            "properties": {
                name: {"anyOf": [one, secret]}
                | ({"description": told[name]} if name in told else {})
                for name, one in arguments.get("properties", {}).items()
            },
            "required": arguments.get("required", []),
            "propertyNames": {"enum": [*ours, *arguments.get("properties", {})]},
        }
        named: Schema = {"properties": {"use": {"const": use}}}
        if ours["use"].get("default") != use:
            named["required"] = ["use"]
        part["allOf"].append({"if": named, "then": given})
