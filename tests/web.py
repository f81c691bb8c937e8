"""A web server on loopback: it answers as its routes say, and knows what it was asked."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeAlias

LOOPBACK = ["127.0.0.0/8"]


class Request(BaseHTTPRequestHandler):
    """One request; a route writes the whole answer."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        route = self.server.routes.get(self.path, self.server.otherwise)
        with suppress(OSError):  # whoever asked has heard enough
            route(self)

    def answer(self, status: int, body: bytes = b"", /, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a clean run prints no requests."""


Route: TypeAlias = Callable[[Request], None]


class Server(ThreadingHTTPServer):
    """Its `asked` are the paths of all requests, in their order."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, otherwise: Route) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.routes: dict[str, Route] = {}
        self.otherwise = otherwise
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def server(
    routes: Mapping[str, Route] | None = None, *, otherwise: Route | None = None
) -> Iterator[Server]:
    """Serves while the block runs."""
    with Server(otherwise or (lambda request: request.answer(404))) as made:
        made.routes.update(routes or {})
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        made.shutdown()


def body(content: bytes, etag: str = "") -> Route:
    """A content with or without an ETag, and 304 for whoever has it."""

    def route(request: Request) -> None:
        if etag and request.headers["If-None-Match"] == etag:
            request.answer(304, ETag=etag)
        else:
            request.answer(200, content, **({"ETag": etag} if etag else {}))

    return route


def file(request: Request) -> None:
    """The file that the path of a URL names, with an ETag of its time."""
    path = Path(request.path)
    if path.is_file():
        found = path.stat()
        body(path.read_bytes(), f'"{found.st_mtime_ns}-{found.st_size}"')(request)
    else:
        request.answer(404)
