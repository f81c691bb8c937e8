"""Sinks whose libraries are not installed."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import ConfigError
from tasks.plugins import build

AT_NOBODY = {"url": "http://127.0.0.1:9", "collection": "docs"}


@pytest.mark.parametrize(
    ("use", "library", "arguments"),
    [
        ("pgvector", "psycopg", {}),
        ("qdrant", "qdrant_client", AT_NOBODY),
        ("chroma", "chromadb", AT_NOBODY),
        ("milvus", "pymilvus", AT_NOBODY),
        ("elasticsearch", "elasticsearch", AT_NOBODY),
        ("weaviate", "weaviate", AT_NOBODY),
        ("pinecone", "pinecone", {"host": "h", "api_key": "k", "collection": "docs"}),
        ("duckdb", "duckdb", {"path": "a.duckdb"}),
        ("sqlite-vec", "apsw", {"path": "a.db"}),
        ("sqlite-vec", "sqlite_vec", {"path": "a.db"}),
        ("faiss", "faiss", {"path": "a"}),
        ("usearch", "usearch", {"path": "a"}),
        ("scann", "scann", {"path": "a"}),
    ],
)
def test_a_missing_library_is_told_with_the_line_that_installs_it(
    use: str,
    library: str,
    arguments: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in {library, *(one for one in sys.modules if one.startswith(f"{library}."))}:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(tmp_path)
    sink = build("sinks", use, arguments)
    with pytest.raises(ConfigError, match=re.escape(f"pip install 'vectorline[{use}]'")):
        sink.connect()
