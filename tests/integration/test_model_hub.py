"""Models of a hub: one on loopback that has the packaged model under another name.

None of this needs torch. Each question is asked in a process of its own, as the address of the hub
is read once.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import pytest

from tasks.encoders.hub import DEFAULT_MODEL, find_model
from tasks.encoders.sentence_transformers import SentenceTransformersEncoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """A model hub with one model, `org/mini`, at one commit; its weights are large files."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        paths = parse_qs(self.rfile.read(length).decode())["paths"]
        self.asked.append(f"digests of {paths}")
        self.answer(200, json.dumps([self.entry(self.folder / path) for path in paths]).encode())

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.asked.append(f"{self.command} {path}")
        known, _, rest = path.removeprefix("/api/models").removeprefix("/org/mini").partition("/")
        kind, _, rest = rest.partition("/")
        commit, _, name = rest.partition("/")
        if "/org/mini" not in path or known:
            self.answer(404, error="RepoNotFound")
        elif kind and commit not in ("main", COMMIT, COMMIT[:7]):
            self.answer(404, error="RevisionNotFound")
        elif kind in ("", "revision"):
            self.answer(200, json.dumps({"id": "org/mini", "sha": COMMIT}).encode())
        elif kind == "tree":
            files = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
            self.answer(200, json.dumps([self.entry(path) for path in files]).encode())
        else:
            content = (self.folder / name).read_bytes()
            self.answer(200, content, etag=self.entry(self.folder / name)["oid"])

    def entry(self, path: Path) -> dict[str, object]:
        content = path.read_bytes()
        entry: dict[str, object] = {
            "type": "file",
            "path": path.relative_to(self.folder).as_posix(),
            "size": len(content),
            "oid": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
        }
        if path.suffix == ".safetensors":
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
        return entry

    def answer(self, status: int, content: bytes = b"", **headers: object) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        for name, key in (("etag", "ETag"), ("error", "X-Error-Code")):
            if name in headers:
                self.send_header(key, str(headers[name]))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def hub() -> Iterator[tuple[str, list[str]]]:
    """Address of the hub, and the requests that it gets."""
    asked: list[str] = []
    folder = find_model(DEFAULT_MODEL, None, with_code=False).folder
    handler = type("MiniHub", (Hub,), {"folder": folder, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def ask(code: str, address: str, home: Path, **environment: str) -> Any:
    """What `code` prints as JSON in a process that knows this hub alone."""
    own = {"HF_ENDPOINT": address, "HF_HOME": str(home), "VECTORLINE_CACHE": str(home / "ours")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | own | {"HF_HUB_OFFLINE": "0"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


KNOWN = """
import json, sys
from tasks.encoders.sentence_transformers import SentenceTransformersEncoder
encoder = SentenceTransformersEncoder("org/mini", revision={revision!r})
print(json.dumps([encoder.fingerprint(), encoder.dim, encoder.tokenizer().limit]))
assert "torch" not in sys.modules
"""
LOAD = """
import json
from tasks.encoders import sentence_transformers as ours
from tasks.encoders.base import Precision
ours.TextModel = lambda folder, *_, **__: print(json.dumps(str(folder)))  # torch would come here
ours.SentenceTransformersEncoder("org/mini").load(Precision.FLOAT32, device="cpu")
"""
ERRORS = """
import json
from tasks.encoders.sentence_transformers import SentenceTransformersEncoder
from tasks.errors import EncoderError
said = []
for name, revision in {models!r}:
    try:
        SentenceTransformersEncoder(name, revision=revision).fingerprint()
    except EncoderError as error:
        said.append(str(error))
print(json.dumps(said))
"""


def test_a_published_model_is_known_before_its_weights_and_loads_when_needed(
    hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, asked = hub
    packaged = SentenceTransformersEncoder().fingerprint()
    before = ask(KNOWN.format(revision=COMMIT[:7]), address, tmp_path)
    assert before == [packaged, 384, 254]
    assert [request for request in asked if "safetensors" in request] == [
        "digests of ['model.safetensors']"
    ]
    folder = ask(LOAD, address, tmp_path)
    assert SentenceTransformersEncoder(folder).fingerprint() == packaged
    asked.clear()
    offline = ask(KNOWN.format(revision=None), address, tmp_path, HF_HUB_OFFLINE="1")
    assert offline == before
    assert asked == []


def test_an_unknown_model_a_wrong_revision_and_no_network_are_told_apart(
    hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, _ = hub
    run = partial(ask, address=address, home=tmp_path)
    models = [("org/none", None), ("org/mini", "v9"), ("no model/at/all", None)]
    assert run(ERRORS.format(models=models)) == [
        f"model 'org/none': not a folder here, and {address} has no such model;"
        " check the name, or set HF_TOKEN if it is private or gated",
        f"model 'org/mini', revision 'v9': {address} has the model but no such revision",
        "model 'no model/at/all': neither a folder here nor a name as a hub has them,"
        " like 'sentence-transformers/all-MiniLM-L6-v2'",
    ]
    assert run(ERRORS.format(models=[("org/mini", None)]), HF_HUB_OFFLINE="1") == [
        f"model 'org/mini': not a folder here, not in the cache {tmp_path}/hub, and {address}"
        " cannot be reached (HF_HUB_OFFLINE is set); check name and revision, go online once,"
        " or give a folder that holds the model"
    ]
