"""What a sink could not take of a version is told before the version is made."""

from typing import Any

import pyarrow as pa
import pytest

from schemas.config import SinkConfig
from tasks.errors import ConfigError
from tasks.sink_checks import check_offered, check_sinks
from tasks.store.rows import row_schema
from tests.fussy import FussySink

METADATA = pa.schema([("year", pa.int64()), ("score", pa.float64())])


def checked(use: str, *, dim: int = 64, **said: Any) -> list[str]:
    config = SinkConfig.model_validate({"use": use, **said}, strict=False)
    return check_sinks([config], "notes", dim, row_schema(dim, METADATA, store_content=True))


@pytest.mark.parametrize(
    ("use", "said", "told"),
    [
        ("parquet", {"mode": "rowwise"}, "cannot publish in mode 'rowwise', but atomic or switch"),
        ("parquet", {"columns": ["_x"]}, "column '_x', and space 'notes' has year, score"),
        ("parquet", {"partition_by": ["score"]}, "partition_by: 'score' is double: must be text"),
        (
            "parquet",
            {"columns": ["score"], "partition_by": ["year"]},
            "partition_by: 'year' is no metadata column; there are: record_id",
        ),
        ("scann", {"compress": {"to": "int8"}}, "takes no int8 components, but float32"),
        ("parquet", {"compress": {"dim": 65}}, "sink 'parquet': compress.dim = 65: vectors have"),
        ("parquet", {"compress": {"to": "binary", "dim": 9}}, "must fill bytes"),
    ],
)
def test_what_no_sink_of_files_can_do(use: str, said: dict[str, Any], told: str) -> None:
    assert checked(use, path="out") == []
    with pytest.raises(ConfigError, match=told):
        checked(use, path="out", **said)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {"columns": ["year", "yaer", "cluster"], "partition_by": ["cluster"]},
            [
                "sink 'parquet' takes column 'yaer', and space 'notes' has year, score, "
                "did you mean 'year'?",
                "sink 'parquet' takes column 'cluster', and space 'notes' has year, score",
            ],
        ),
        (
            {"partition_by": ["yaer"]},
            [
                "partition_by: 'yaer' is no metadata column; there are: record_id, chunk, "
                "modality, source_uri, text, year, score, did you mean 'year'?"
            ],
        ),
    ],
)
def test_a_column_that_may_come_to_be_is_noted(said: dict[str, Any], told: list[str]) -> None:
    noted = "publishing to 'parquet' will be refused until that column is there: "
    assert checked("parquet", path="out", **said) == [noted + one for one in told]
    with pytest.raises(ConfigError, match="cannot publish in mode 'rowwise'"):
        checked("parquet", path="out", mode="rowwise", **said)
    with pytest.raises(ConfigError, match="have 64 components"):
        checked("parquet", path="out", compress={"dim": 65}, **said)


@pytest.mark.parametrize(
    ("use", "said", "told"),
    [
        ("pgvector", {}, "2,000 are the most: publish fewer, .*or set index: none"),
        ("elasticsearch", {"url": "http://h", "collection": "c"}, "at most 4,096 components"),
    ],
)
def test_more_components_than_a_server_takes(use: str, said: dict[str, Any], told: str) -> None:
    checked(use, dim=2_000, **said)
    with pytest.raises(ConfigError, match=told):
        checked(use, dim=5_000, **said)
    checked(use, dim=5_000, compress={"dim": 1_024}, **said)


def test_a_secret_that_a_block_has_is_not_asked_for() -> None:
    checked("qdrant", url={"block": "secret/url"}, collection="c")
    with pytest.raises(ConfigError, match="cannot publish in mode 'rowwise'"):
        checked("pgvector", url={"block": "secret/url"}, mode="rowwise")


def test_a_client_that_is_not_installed_is_told_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks.libraries.versions_of", lambda names: dict.fromkeys(["apsw"], "3"))
    config = SinkConfig.model_validate({"use": "sqlite-vec", "path": "a.db"})
    told = r"sink 'sqlite-vec' needs sqlite-vec: pip install 'vectorline\[sqlite-vec\]'"
    with pytest.raises(ConfigError, match=told):
        check_offered(config, FussySink(path="a"))
