"""Opening a sink with its secrets, which nobody gets to read."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from schemas.config import SinkConfig
from tasks import plugins
from tasks.secrets import Blocks, Hidden, hidden_in, no_blocks, resolve_secrets
from tasks.sinks.base import Sink


@contextmanager
def opened(config: SinkConfig, blocks: Blocks = no_blocks) -> Iterator[tuple[Sink, Hidden]]:
    """A sink as the user wrote it, connected, and the secrets that it got.

    They are in nothing that is raised. Raises ConfigError where one cannot be had, SinkUnavailable
    where nobody answers.
    """

    def of_block(name: str, key: str) -> str:
        return blocks(name, f"sink {config.label!r}: {key}")

    resolved = resolve_secrets(config.arguments, of_block)
    with hidden_in(config.arguments, resolved) as hidden:
        sink: Sink = plugins.build("sinks", config.use, resolved)
        with closing(sink):
            sink.connect()
            yield sink, hidden
