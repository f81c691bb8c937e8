"""A server before another one that answers late, does things twice, or does not answer.

Whatever is asked for is done by the other server. `python -m tests.flaky ENDPOINT SEED` prints its
port, and ends with its standard input; then it prints how often it did what. With PATTERN and FAULT
nothing is left to chance: that becomes of the first write to each path that matches.
"""

import json
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

WRITES = ("PUT", "POST", "DELETE")
LATE_S = (0.2, 2.0)
OWN_HEADERS = ("connection", "content-length", "date", "server", "transfer-encoding")


class Fault(StrEnum):
    """What may become of a request."""

    LATE = "late"
    TWICE_FIRST = "twice, the first answer"
    TWICE_SECOND = "twice, the second answer"
    LOST = "lost answer"


TWICE = (Fault.TWICE_FIRST, Fault.TWICE_SECOND)
DRAWN_BELOW = {
    Fault.LATE: 0.005,
    Fault.TWICE_FIRST: 0.015,
    Fault.TWICE_SECOND: 0.035,
    Fault.LOST: 0.065,
}
CREATING = 5  # times as often where something is made unless it is there: commits, leases, tags


class Flaky:
    """A flaky server that runs; `faults` are known when it has ended."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.faults: dict[str, int] = {}


@contextmanager
def server(endpoint: str, seed: int, *aim: str) -> Iterator[Flaky]:
    """Starts one before another server; `aim` is a pattern of paths, and a fault."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.flaky", endpoint, str(seed), *aim],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        flaky = Flaky(f"http://127.0.0.1:{int(process.stdout.readline())}")
        yield flaky
        flaky.faults = json.loads(process.communicate()[0])


class Between(BaseHTTPRequestHandler):
    """Passes requests on, and answers back."""

    protocol_version = "HTTP/1.1"  # keeps connections
    address = ""
    random = random.Random()  # noqa: S311 (repeatable, not secret)
    counts: ClassVar[Counter[str]] = Counter()
    lock = threading.Lock()
    aim: re.Pattern[str] | None = None
    aimed = Fault.LATE
    hits: ClassVar[set[str]] = set()

    def pass_on(self) -> None:
        """Once or twice; then answers, later or not at all."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self._draw()
        answers = [self._ask(body)]
        if fault in TWICE:
            answers.append(self._ask(body))
        if fault == Fault.LATE:
            time.sleep(random.uniform(*LATE_S))  # noqa: S311
        if fault == Fault.LOST:
            self.close_connection = True
            return
        answer, content = answers[0] if fault == Fault.TWICE_FIRST else answers[-1]
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in OWN_HEADERS:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

    def log_message(self, *words: object) -> None:
        """Says nothing."""

    def _draw(self) -> Fault | None:
        """What is to become of this request."""
        with self.lock:
            if self.aim is not None:
                hit = self.command == "PUT" and self.path not in self.hits
                if not hit or not self.aim.search(self.path):
                    return None
                self.hits.add(self.path)
                self.counts[self.aimed] += 1
                return self.aimed
            drawn = self.random.random() / (CREATING if "If-None-Match" in self.headers else 1)
            self.counts["requests"] += 1
            fault = next((fault for fault, below in DRAWN_BELOW.items() if drawn < below), None)
            if fault is None or (fault in TWICE and self.command not in WRITES):
                return None
            self.counts[fault] += 1
            return fault

    def _ask(self, body: bytes) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection(self.address)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        connection.request(self.command, self.path, body or None, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content


def main() -> None:
    """Serves until standard input ends."""
    endpoint, seed, *aim = sys.argv[1:]
    Between.address = endpoint.removeprefix("http://")
    Between.random.seed(int(seed))
    if aim:
        Between.aim, Between.aimed = re.compile(aim[0]), Fault(aim[1])
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Between)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    print(serving.server_port, flush=True)
    sys.stdin.read()
    print(json.dumps(Between.counts), flush=True)


if __name__ == "__main__":
    main()
