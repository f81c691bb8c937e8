"""The shape of a collection: made of a version and a config, kept in the collection's stamp."""

import base64

import pyarrow as pa

from schemas.config import SinkConfig
from tasks.compression import Compression
from tasks.digests import digest_json
from tasks.errors import ColumnMissing, ConfigError
from tasks.mistakes import did_you_mean
from tasks.sinks.base import Element, Metric, Shape, Sink
from tasks.space import Space
from tasks.store.rows import TEXT, metadata_schema

OWN = ("record_id", "chunk", "modality", "source_uri")
"""Columns that each row has beside its metadata: what a search tells, and where it comes from."""
KEY_DIGITS = 10


def missing_columns(schema: pa.Schema, space: str, config: SinkConfig) -> dict[str, str]:
    """The metadata columns that a sink takes and a table has not, with what to say of each."""
    has = metadata_schema(schema).names
    return {
        name: f"sink {config.label!r} takes column {name!r}, and space {space!r} has "
        f"{', '.join(has) or 'none'}{did_you_mean(name, has)}"
        for name in config.columns or ()
        if name not in has
    }


def columns_of(schema: pa.Schema, space: str, config: SinkConfig) -> pa.Schema:
    """Those of a table's columns that a sink gets; ColumnMissing for some that are not there."""
    for told in missing_columns(schema, space, config).values():
        raise ColumnMissing(told)
    metadata = metadata_schema(schema)
    names = metadata.names if config.columns is None else config.columns
    own = [schema.field(name).with_nullable(True) for name in OWN]
    text = [TEXT] if config.text and TEXT.name in schema.names else []
    fields = [*own, *text, *(metadata.field(name).with_nullable(True) for name in names)]
    return pa.schema([field.remove_metadata() for field in fields])


def shape_of(space: Space, config: SinkConfig, compression: Compression) -> Shape:
    """What the rows of a version look like in a sink; ColumnMissing for what it has not."""
    return Shape(
        dim=compression.dim,
        element=compression.element,
        metric=Metric(space.settings.metric),
        columns=columns_of(space.dataset.schema, space.entry.space, config),
        full_dim=space.settings.dim if compression.keeps_original else 0,
    )


def key_of(space: Space, shape: Shape, compression: Compression) -> str:
    """Stands for table and shape: rows of another one belong into another collection."""
    made = [space.entry.table, space.entry.fingerprint, to_plain(shape), compression.digest]
    return digest_json(made).hex()[:KEY_DIGITS]


def to_plain(shape: Shape) -> dict[str, str | int]:
    """Plain data from which `from_plain` makes the same shape."""
    return {
        "dim": shape.dim,
        "element": shape.element.value,
        "metric": shape.metric.value,
        "columns": base64.b64encode(shape.columns.serialize().to_pybytes()).decode(),
        "full_dim": shape.full_dim,
    }


def from_plain(data: dict[str, str | int]) -> Shape:
    """The shape that `to_plain` was given."""
    buffer = pa.py_buffer(base64.b64decode(str(data["columns"])))
    return Shape(
        dim=int(data["dim"]),
        element=Element(str(data["element"])),
        metric=Metric(str(data["metric"])),
        columns=pa.ipc.read_schema(buffer),
        full_dim=int(data["full_dim"]),
    )


def check_fits(shape: Shape, sink: Sink, name: str) -> None:
    """Raises ConfigError for a shape that a sink cannot take, before any work.

    SinkError and ColumnMissing as the sink's own check does.
    """
    limits = sink.limits
    limits.check(shape)
    if limits.max_dim is not None and shape.dim > limits.max_dim:
        raise ConfigError(
            f"sink {name!r} takes vectors of at most {limits.max_dim:,} components, and these have "
            f"{shape.dim:,}: `compress: {{dim: {limits.max_dim}}}` cuts them"
        )
    if shape.element not in limits.elements:
        raise ConfigError(
            f"sink {name!r} takes no {shape.element} components, but "
            f"{', '.join(sorted(limits.elements))}"
        )
    if shape.metric not in limits.metrics:
        raise ConfigError(
            f"sink {name!r} does not search by {shape.metric}, but by "
            f"{', '.join(sorted(limits.metrics))}"
        )
