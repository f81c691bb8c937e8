"""An HTTP server on loopback that a store's wire format is written on."""

import json
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request; `at` is what the groups of its route's pattern matched."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    at: tuple[str, ...] = ()
    target: str = ""

    @property
    def length(self) -> int:
        """Bytes of path and query as they came."""
        return len(self.target)

    def many(self, name: str) -> list[str]:
        """All values of a key of the query."""
        return [value for key, value in parse_qsl(urlsplit(self.target).query) if key == name]

    def json(self) -> Any:
        """The body; NaN and infinities are no JSON."""
        try:
            return json.loads(self.body, parse_constant=_refuse_constant)
        except ValueError as error:
            raise Refused(400, {"error": f"malformed body: {error}"}) from None


class Refused(Exception):
    """What is answered instead."""

    def __init__(self, status: int, body: Any, **headers: str) -> None:
        super().__init__(status, body)
        self.status, self.body, self.headers = status, body, headers


@dataclass
class Fault:
    """What happens to a request instead of being answered, or after a part of it was done.

    Attributes:
        path: Of which requests, as a pattern that is searched for in "METHOD path".
        status: Answered instead; 0 where the connection is cut.
        headers: Beside it.
        body: Likewise.
        after: Of how many rows of a bulk request the work is done first.
        times: How often.
    """

    path: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    after: int = 0
    times: int = 1


Answer: TypeAlias = tuple[int, Any]
Route: TypeAlias = Callable[[Asked], Answer]


class Wire:
    """Routes and state of a store; whoever writes one adds to `routes`.

    Requests come one at a time. What no route knows is answered 400 and kept in `unknown`.
    """

    headers: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        self.routes: list[tuple[str, re.Pattern[str], Route]] = []
        self.unknown: list[str] = []
        self.asked: list[str] = []
        self.faults: list[Fault] = []
        self.fault: Fault | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        """Where it listens, also before and after."""
        return f"http://127.0.0.1:{self.port}"

    def route(self, method: str, pattern: str, answer: Route) -> None:
        """`pattern` is that of a whole path as it came, before it is unquoted."""
        self.routes.append((method, re.compile(pattern), answer))

    def start(self) -> None:
        """Listens, on the same port as before; what was written is still there."""
        if self._server is not None:
            return
        wire = self

        class Handler(_Handler):
            of = wire

        self._server = _Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Ends at once, with all connections."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def answer(self, asked: Asked) -> tuple[int, Any, dict[str, str]]:
        """What is sent back; raises ConnectionAbortedError where the connection is cut."""
        with self._lock:
            name = f"{asked.method} {asked.path}"
            self.asked.append(name)
            self.fault = next((one for one in self.faults if re.search(one.path, name)), None)
            if self.fault and not self.fault.after:
                return self.spend()
            try:
                status, body = self._routed(asked)
                return status, body, {}
            except Refused as error:
                return error.status, error.body, error.headers
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                self.unknown.append(f"{name}: {error!r}")  # a body of another form
                return 400, {"error": f"malformed request: {error!r}"}, {}

    def spend(self) -> tuple[int, Any, dict[str, str]]:
        """What the fault says."""
        fault = self.fault
        assert fault is not None
        fault.times -= 1
        if not fault.times:
            self.faults.remove(fault)
        self.fault = None
        if not fault.status:
            raise ConnectionAbortedError
        return fault.status, fault.body, fault.headers

    def done(self, n: int) -> None:
        """Bulk routes call it after each row: cuts in half-way where a fault says so."""
        if self.fault and self.fault.after and n >= self.fault.after:
            status, body, headers = self.spend()
            raise Refused(status, body, **headers)

    def _routed(self, asked: Asked) -> Answer:
        for method, pattern, route in self.routes:
            found = pattern.fullmatch(asked.path)
            if found and method == asked.method:
                at = tuple(unquote(one or "") for one in found.groups())
                return route(replace(asked, at=at))
        self.unknown.append(f"{asked.method} {asked.path}")
        raise Refused(400, {"error": f"no route {asked.method} {asked.path}"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a cut connection is meant."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    of: Wire

    def handle(self) -> None:
        self.of._open.add(self.connection)
        try:
            with suppress(OSError):
                super().handle()
        finally:
            self.of._open.discard(self.connection)

    def answer(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=False))
        asked = Asked(self.command, parts.path, query, headers, body, target=self.path)
        try:
            status, said, more = self.of.answer(asked)
        except ConnectionAbortedError:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        sent = said if isinstance(said, bytes) else b"" if said is None else _dumped(said)
        self.send_response(status)
        headers = {"Content-Type": "application/json"} | self.of.headers | more
        for name, value in (headers | {"Content-Length": str(len(sent))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = answer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a clean run prints no requests."""


def _dumped(said: Any) -> bytes:
    return json.dumps(said, allow_nan=False).encode()


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
