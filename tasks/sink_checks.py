"""What `publish:` asks of sinks, held against what they can: before a run's hours of work.

Nothing is opened: what a store says of itself is known when a publication begins.
"""

from collections.abc import Sequence

import pyarrow as pa

from schemas.config import CompressConfig, SinkConfig
from tasks import plugins
from tasks.compression import left_of
from tasks.errors import ConfigError
from tasks.libraries import missing_for
from tasks.secrets import blocks_in, hidden_in, resolve_secrets
from tasks.shapes import check_fits, columns_of
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


def check_sinks(sinks: Sequence[SinkConfig], space: str, dim: int, table: pa.Schema) -> None:
    """Raises for what a sink could not take of a table: its vectors and its columns.

    ConfigError, or what a sink's own check raises. A secret of a Prefect block is not asked for.
    """
    for config in sinks:
        sink = _built(config)
        if sink is None:
            continue
        check_offered(config, sink)
        compress = config.compress or CompressConfig()
        element = Element(compress.to)
        shape = Shape(
            dim=left_of(dim, compress.dim, element),
            element=element,
            metric=Metric.COSINE,
            columns=columns_of(table, space, config),
            full_dim=dim if keeps_original(compress) else 0,
        )
        check_fits(shape, sink, config.label)


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
