"""An S3 server on loopback: moto's, with a lock around all that writes.

Without it two requests that create the same object at once both won, once in 550 rounds. `python -m
tests.s3` prints its port, and ends with its standard input; `careless`, it knows no If-None-Match.
It tells what was written to it: whoever watches for new objects need not list them all.
"""

import logging
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from wsgiref.types import StartResponse, WSGIEnvironment

BUCKET = "s3://vectors"
WRITTEN = "/-/written/"  # no bucket can be called so


def environment(endpoint: str) -> dict[str, str]:
    """The variables that lead Lance and obstore to a server."""
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
    }


@contextmanager
def server(*words: str) -> Iterator[str]:
    """Starts one, with an empty bucket; gives its endpoint."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.s3", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
        bucket = f"{endpoint}/{BUCKET.removeprefix('s3://')}"
        urllib.request.urlopen(urllib.request.Request(bucket, method="PUT")).close()  # noqa: S310
        yield endpoint
        assert process.stdin is not None
        process.stdin.close()


def written(after: int) -> list[str]:
    """The paths of all that was put to the server of the environment, from that one on."""
    url = f"{os.environ['AWS_ENDPOINT_URL']}{WRITTEN}{after}"
    with urllib.request.urlopen(url) as answer:  # noqa: S310 (loopback)
        return list(answer.read().decode().split())


def main() -> None:
    """Serves until standard input ends."""
    from moto.moto_server.werkzeug_app import create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    WSGIRequestHandler.protocol_version = "HTTP/1.1"  # keeps connections
    moto, writing = create_backend_app("s3"), threading.Lock()
    paths: list[str] = []

    def answer(request: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = request["PATH_INFO"]
        if path.startswith(WRITTEN):
            start("200 OK", [("Content-Type", "text/plain")])
            return ["\n".join(paths[int(path.removeprefix(WRITTEN)) :]).encode()]
        if "careless" in sys.argv:
            request.pop("HTTP_IF_NONE_MATCH", None)
        with nullcontext() if request["REQUEST_METHOD"] in ("GET", "HEAD") else writing:
            answered: Iterable[bytes] = moto(request, start)
        if request["REQUEST_METHOD"] == "PUT":
            paths.append(path.removeprefix("/"))
        return answered

    serving = make_server("127.0.0.1", 0, answer, threaded=True)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    print(serving.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
