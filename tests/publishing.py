"""A store with versions to publish, and what readers downstream are to see of each."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.config import SinkConfig
from schemas.publication import PublicationRecord
from tasks import failpoints
from tasks.plugins import names
from tasks.publish import PublishOptions, publish
from tasks.run import Stop
from tasks.space import open_space
from tasks.store.catalog import Catalog
from tests.pipeline import config, refresh, write_jsonl
from tests.stores.peer import Peer, peer

Rows = list[dict[str, Any]]
SPACE = "notes"


def notes(first: int, n: int, *, word: str = "sea", year: int = 2000) -> Rows:
    return [
        {"id": f"n{number}", "text": f"{word} {number} it's ☃", "year": year + number % 3}
        for number in range(first, first + n)
    ]


def corpora(scale: int = 1) -> list[Rows]:
    """What the corpus was, version by version; the last two are of another encoder."""
    first = notes(0, 40 * scale)
    grown = first + notes(40 * scale, 10 * scale)
    dated = notes(0, 6 * scale, year=1990) + grown[6 * scale :]
    told = dated[: 20 * scale] + notes(20 * scale, 6 * scale, word="law") + dated[26 * scale :]
    shrunk = told[8 * scale :]
    return [first, grown, dated, told, shrunk, shrunk, notes(100 * scale, 5 * scale) + shrunk]


LAST = len(corpora())
SWITCHED = LAST - 1  # the first version of the other encoder


def make(folder: Path, scale: int = 1) -> str:
    """A store with all versions, of which the first serves."""
    store, corpus = str(folder / "vectors"), folder / "corpus"
    for number, rows in enumerate(corpora(scale), 1):
        write_jsonl(corpus / "a.jsonl", rows)
        encoder = {"use": "hashing", "dim": 32 if number < SWITCHED else 48}
        refresh(
            config(corpus, encoder=encoder),
            store,
            promote="no" if number > 1 else "yes",
            backfill=number >= SWITCHED,
        )
    assert [one.version for one in Catalog(store).versions(SPACE)] == [*range(1, LAST + 1)]
    return store


def last_for(peer: Peer) -> int:
    """The last version that a place takes: an index of Pinecone's has one dimension for good."""
    return SWITCHED - 1 if peer.use == "pinecone" else LAST


def copied(store: str, folder: Path) -> str:
    return str(shutil.copytree(store, folder / "store"))


def serve(store: str, version: int) -> None:
    catalog = Catalog(store)
    now = catalog.serving(SPACE)
    catalog.promote(
        SPACE, version, who="t", why="t", expected_from=None if now is None else now.version
    )


def sinks(*quick: str, among: Collection[str] = ()) -> list[Any]:
    """All sinks, or some, as parameters; `make test-all` alone has those that are not quick."""
    return [
        pytest.param(use, marks=[pytest.mark.stores, *([] if use in quick else [pytest.mark.slow])])
        for use in among or names("sinks")
    ]


def placed(use: str, folder: Path) -> Iterator[Peer]:
    """What a fixture gives: a place, which is closed at the end."""
    found = peer(use, folder)
    yield found
    found.close()


def sink_of(peer: Peer, **more: Any) -> SinkConfig:
    said = {"use": peer.use, "max_removed": 1.0, **peer.arguments(), **more}
    return SinkConfig.model_validate(said, strict=False)


def published(store: str, sink: SinkConfig, **options: Any) -> PublicationRecord:
    made: PublicationRecord = publish.fn(store, SPACE, sink, PublishOptions(**options), Stop())
    return made


def wanted(store: str, version: int | str = "serving") -> dict[str, dict[str, Any]]:
    """What readers are to see of a version: by id `vector` as bytes, and metadata."""
    table = open_space(SPACE, store, version).to_arrow()
    return plain(table.select(["id", "record_id", "chunk", "modality", "vector", "text", "year"]))


def plain(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row.pop("id"): row for row in table.to_pylist()}


def seen(peer: Peer) -> dict[str, dict[str, Any]]:
    """What they do see."""
    keys = ("record_id", "chunk", "modality", "vector", "text", "year")
    return {
        id_: {key: row[key].tolist() if key == "vector" else row[key] for key in keys}
        for id_, row in peer.visible().items()
    }


PUBLISH_POINTS = ("publish-begun", "publish-pushed", "publish-written", "publish-served")
SINK_POINTS = ("sink-file", "sink-before-switch", "sink-after-switch")
"""Of sinks that are folders, whose writers test_sinks_in_folders.py kills."""


def killed(store: str, sink: SinkConfig, point: str) -> bool:
    """A process that publishes and is killed at a place; whether it was."""
    environment = {**os.environ, failpoints.VARIABLE: point}
    command = [sys.executable, "-m", "tests.publishing", store, sink.model_dump_json()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


if __name__ == "__main__":
    published(sys.argv[1], SinkConfig.model_validate_json(sys.argv[2], strict=False))
