"""Servers whose answers come late, or are lost: what was asked of them is done all the same."""

import socket
import threading
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

PIECE_BYTES = 2**18


class Slow:
    """As the peer, by ports of its own.

    Attributes:
        delay_s: How long each piece of an answer takes.
        lost: How many pieces of answers were lost.
    """

    def __init__(self, peer: Any) -> None:
        self.use, self.delay_s, self.lost = peer.use, 0.0, 0
        self._peer, self._silent = peer, False
        self._ports: list[socket.socket] = []
        self._open: set[socket.socket] = set()
        self._said: dict[str, Any] = peer.arguments()
        for key in ("url", "host"):
            if key in self._said:
                port = self._before(urlsplit(self._said[key]).port or 0)
                self._said = self._said | {key: f"http://127.0.0.1:{port}"}
        if "grpc_port" in self._said:
            self._said = self._said | {"grpc_port": self._before(self._said["grpc_port"])}

    def arguments(self) -> dict[str, Any]:
        return self._said

    def visible(self) -> dict[str, dict[str, Any]]:
        seen: dict[str, dict[str, Any]] = self._peer.visible()
        return seen

    def lose(self) -> None:
        """From now on, no answer arrives."""
        self._silent = True

    def heal(self) -> None:
        """Answers arrive again, on new connections."""
        self._silent = False
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for one in self._ports:
            one.close()
        self.heal()
        self._peer.close()

    def _before(self, port: int) -> int:
        listens = socket.create_server(("127.0.0.1", 0))
        self._ports.append(listens)
        threading.Thread(target=self._accept, args=(listens, port), daemon=True).start()
        return int(listens.getsockname()[1])

    def _accept(self, listens: socket.socket, port: int) -> None:
        with suppress(OSError):  # closed
            while True:
                asks, _ = listens.accept()
                try:
                    answers = socket.create_connection(("127.0.0.1", port))
                except OSError:
                    asks.close()
                    continue
                for pump in ((asks, answers, False), (answers, asks, True)):
                    threading.Thread(target=self._pass_on, args=pump, daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket, is_answer: bool) -> None:
        self._open.add(one)
        with suppress(OSError):
            while piece := one.recv(PIECE_BYTES):
                if is_answer:
                    time.sleep(self.delay_s)
                    if self._silent:
                        self.lost += 1
                        continue
                other.sendall(piece)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.discard(one)
        one.close()
