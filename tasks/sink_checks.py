"""What `publish:` asks of sinks, held against what they can: before a run's hours of work.

Nothing is opened: what a store says of itself is known when a publication begins.
"""

from collections.abc import Sequence

import pyarrow as pa

from schemas.config import CompressConfig, SinkConfig
from tasks import plugins
from tasks.compression import left_of
from tasks.errors import ColumnMissing, ConfigError
from tasks.libraries import missing_for
from tasks.mistakes import of_sink
from tasks.secrets import blocks_in, hidden_in, resolve_secrets
from tasks.shapes import check_fits, columns_of, missing_columns
from tasks.shortening import keeps_original
from tasks.sinks.base import Element, Metric, Mode, Shape, Sink


def mode_of(config: SinkConfig, sink: Sink) -> Mode:
    """What was asked for, else the best that the sink can do; ConfigError for another one."""
    if config.mode is None:
        return sink.modes[0]
    if config.mode not in sink.modes:
        raise ConfigError(
            f"sink {config.label!r} cannot publish in mode {config.mode!r}, but "
            f"{' or '.join(sink.modes)}"
        )
    return Mode(config.mode)


def check_offered(config: SinkConfig, sink: Sink) -> None:
    """Raises ConfigError for another mode than the sink's, or a client that is not installed."""
    mode_of(config, sink)
    if lacking := missing_for(config.use):
        raise ConfigError(
            f"sink {config.label!r} needs {', '.join(lacking)}: "
            f"pip install 'vectorline[{config.use}]'"
        )


def check_sinks(sinks: Sequence[SinkConfig], space: str, dim: int, table: pa.Schema) -> list[str]:
    """Notes on columns that a sink wants and a table has not: a later version may have them.

    Raises for what a sink could not take of a table: ConfigError, or what its own check raises. A
    secret of a Prefect block is not asked for.
    """
    notes = []
    for config in sinks:
        try:
            notes += _check(config, space, dim, table)
        except ConfigError as error:
            raise type(error)(of_sink(config.label, str(error))) from error
    return notes


def _check(config: SinkConfig, space: str, dim: int, table: pa.Schema) -> list[str]:
    sink = _built(config)
    if sink is None:
        return []
    check_offered(config, sink)
    missing = missing_columns(table, space, config)
    notes = [_noted(config, told) for told in missing.values()]
    to_come = pa.schema([*table, *((name, pa.string()) for name in missing)])
    compress = config.compress or CompressConfig()
    element = Element(compress.to)
    shape = Shape(
        dim=left_of(dim, compress.dim, element),
        element=element,
        metric=Metric.COSINE,
        columns=columns_of(to_come, space, config),
        full_dim=dim if keeps_original(compress) else 0,
    )
    try:
        check_fits(shape, sink, config.label)
    except ColumnMissing as error:
        if config.columns is not None:
            raise  # one that these do not name never comes
        notes.append(_noted(config, str(error)))
    return notes


def _noted(config: SinkConfig, told: str) -> str:
    return f"publishing to {config.label!r} will be refused until that column is there: {told}"


def _built(config: SinkConfig) -> Sink | None:
    """None where a constructor may refuse what stands for the secret of a block."""
    resolved = resolve_secrets(config.arguments, lambda name, key: name)
    with hidden_in(config.arguments, resolved):
        try:
            return plugins.build("sinks", config.use, resolved)
        except ConfigError:
            if blocks_in(config.arguments):
                return None
            raise
