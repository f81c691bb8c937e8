"""A server of HTTP with faults before it, for stores that are more than a wire format here."""

import http.client
import re
from typing import Any

from tests.stores.peer import Peer
from tests.wire.server import Asked, Wire

KEPT_OUT = {"host", "content-length", "accept-encoding", "connection"}


class Between(Wire):
    """Passes on what no fault is for; with `after`, a fault comes when all of it was done."""

    def __init__(self, port: int) -> None:
        self._to = port
        super().__init__()

    def answer(self, asked: Asked) -> tuple[int, Any, dict[str, str]]:
        name = f"{asked.method} {asked.path}"
        with self._lock:
            self.asked.append(name)
            fault = next((one for one in self.faults if re.search(one.path, name)), None)
            self.fault = fault
            if fault and not fault.after:
                return self.spend()
        answer = self._passed_on(asked)
        with self._lock:
            if fault in self.faults:
                self.fault = fault
                return self.spend()
        return answer

    def _passed_on(self, asked: Asked) -> tuple[int, Any, dict[str, str]]:
        headers = {name: value for name, value in asked.headers.items() if name not in KEPT_OUT}
        server = http.client.HTTPConnection("127.0.0.1", self._to)
        try:
            server.request(asked.method, asked.target, asked.body, headers)
            answer = server.getresponse()
            kind = answer.getheader("Content-Type", "application/json")
            return answer.status, answer.read(), {"Content-Type": kind}
        except (OSError, http.client.HTTPException):
            raise ConnectionAbortedError from None
        finally:
            server.close()


class Passing:
    """A Peer whose server is asked through `wire`."""

    def __init__(self, peer: Peer) -> None:
        self._peer, self.use = peer, peer.use
        self._arguments = peer.arguments()
        self.wire = Between(int(self._arguments["url"].rsplit(":", 1)[1]))

    def arguments(self) -> dict[str, Any]:
        return self._arguments | {"url": self.wire.url}

    def visible(self) -> dict[str, dict[str, Any]]:
        return self._peer.visible()

    def stop(self) -> None:
        self._peer.stop()

    def start(self) -> None:
        self._peer.start()

    def close(self) -> None:
        self._peer.close()
        self.wire.stop()


def before(peer: Peer) -> Any:
    """The same peer, with a `wire` whose faults can be set."""
    return peer if hasattr(peer, "wire") else Passing(peer)
