"""Qdrant as its readers see it: plain requests, with the alias for a name."""

import base64
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

ALIAS = "papers"


class Peer:
    """A server on loopback: Qdrant's engine behind its protocol, see qdrant_server.py."""

    use = "qdrant"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    def arguments(self) -> dict[str, Any]:
        self.start()
        return {"url": self._url, "collection": ALIAS}

    def visible(self) -> dict[str, dict[str, Any]]:
        self.start()
        seen: dict[str, dict[str, Any]] = {}
        body: dict[str, Any] = {"limit": 1000, "with_vector": True}
        while True:
            try:
                page = self._ask(f"/collections/{ALIAS}/points/scroll", body)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 404:
                    return {}
                raise
            for point in page["points"]:
                seen[point["payload"].pop("id")] = _row(point)
            if page["next_page_offset"] is None:
                return seen
            body["offset"] = page["next_page_offset"]

    def bulk(self, rows: pa.Table) -> None:
        from qdrant_client import QdrantClient
        from qdrant_client.models import Distance, VectorParams

        self.start()
        client = QdrantClient(url=self._url, check_compatibility=False)
        vectors = np.stack(rows["vector"].to_numpy())
        params = VectorParams(size=vectors.shape[1], distance=Distance.COSINE)
        client.create_collection(f"bulk-{uuid4().hex}", params)
        name = client.get_collections().collections[-1].name
        client.upload_collection(
            name,
            vectors=vectors,
            payload=rows.drop_columns(["vector", "_hash"]).to_pylist(),
            batch_size=1000,
            wait=True,
        )
        client.close()

    def start(self) -> None:
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stores.qdrant_server", self._folder, str(self._port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process = None

    def close(self) -> None:
        self.stop()

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(  # noqa: S310 (loopback)
            self._url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return json.load(answer)["result"]


def _row(point: dict[str, Any]) -> dict[str, Any]:
    """Readers of cosines find a vector of the length one, and the one that was put beside it."""
    vector, payload = point["vector"], point["payload"]
    if isinstance(vector, dict):
        vector = vector["vector"]
    if "_vector" in payload:
        put = np.frombuffer(base64.b64decode(payload.pop("_vector")), np.float32)
        np.testing.assert_allclose(vector, put / np.linalg.norm(put), rtol=1e-5)
        vector = put
    payload.pop("_hash")
    return {**payload, "vector": np.float32(vector)}
