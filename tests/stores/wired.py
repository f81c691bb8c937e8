"""What the peers share whose server is a wire format in this process."""

from tests.wire.server import Wire


class Wired:
    """Its state outlives `stop`; `close` looks whether anything was asked that it does not know."""

    def __init__(self, wire: Wire) -> None:
        self._server = wire

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.start()

    def close(self) -> None:
        self._server.stop()
        assert self._server.unknown == []
