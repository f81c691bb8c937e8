"""Sources on an object store: a real S3 wire server on loopback."""

import gzip
import io
import json
import tarfile

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.quarantine import Reason
from tasks.content import Media
from tasks.errors import ConfigError, SourceChanged, SourceUnavailable
from tasks.sources import jsonl as jsonl_module
from tasks.sources.base import Record, Source
from tasks.sources.csv import CsvSource
from tasks.sources.folders import ImageSource
from tasks.sources.jsonl import JsonlSource
from tasks.sources.lance import LanceSource
from tasks.sources.parquet import ParquetSource
from tasks.sources.text import TextSource
from tasks.sources.webdataset import WebdatasetSource

pytestmark = pytest.mark.stores

KEYS = {"key": "testing", "secret": "testing"}


@pytest.fixture(scope="module")
def options(s3_endpoint: str) -> dict[str, object]:
    return {**KEYS, "endpoint_url": s3_endpoint}


@pytest.fixture(scope="module")
def corpus(options: dict[str, object]) -> fsspec.AbstractFileSystem:
    fs = fsspec.filesystem("s3", **options)
    fs.mkdir("corpus")
    return fs


def read(source: Source) -> list[Record]:
    return [record for shard in source.shards(source.files()) for record in source.read(shard)]


def test_each_kind_of_file_is_read_from_an_object_store(
    corpus: fsspec.AbstractFileSystem, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl_module, "SHARD_BYTES", 1000)
    ids = [str(n) for n in range(100)]
    rows = [{"key": i, "body": f"text {i}"} for i in ids]
    json_lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    table = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), table, row_group_size=30)
    csv_lines = "key,body\n" + "".join(f"{row['key']},{row['body']}\n" for row in rows)
    corpus.pipe(
        {
            "corpus/kinds/a.parquet": table.getvalue().to_pybytes(),
            "corpus/kinds/a.csv": csv_lines.encode(),
            "corpus/kinds/a.jsonl": json_lines,
            "corpus/packed/a.jsonl.gz": gzip.compress(json_lines),
            "corpus/notes/b/one.md": b"one",
        }
    )
    wanted = [(i, f"text {i}", None) for i in ids]
    kinds: dict[str, Source] = {
        "kinds/a.parquet": ParquetSource(
            path="s3://corpus/kinds", id="key", text="body", storage_options=options
        ),
        "kinds/a.csv": CsvSource(
            path="s3://corpus/kinds/*.csv", id="key", text="body", storage_options=options
        ),
        "kinds/a.jsonl": JsonlSource(
            path="s3://corpus/kinds", id="key", text="body", storage_options=options
        ),
        "packed/a.jsonl.gz": JsonlSource(
            path="s3://corpus/packed/", id="key", text="body", storage_options=options
        ),
    }
    for name, source in kinds.items():
        (file,) = source.files()
        assert file.uri == f"s3://corpus/{name}"
        assert file.stamp == corpus.info(f"corpus/{name}")["ETag"].strip('"')
        assert source.owns(file.uri)
        assert [(record.id, record.content, record.problem) for record in read(source)] == wanted
    notes = TextSource(path="s3://corpus/notes", storage_options=options)
    assert read(notes) == [Record("b/one.md", "one", "s3://corpus/notes/b/one.md")]


def test_images_are_read_from_an_object_store(
    corpus: fsspec.AbstractFileSystem, options: dict[str, object]
) -> None:
    table = pa.BufferOutputStream()
    paths = ["a/x.png", "s3://corpus/images/a/x.png", "s3://corpus/notes/b/one.md", "gone.png"]
    pq.write_table(pa.table({"key": ["p", "q", "r", "s"], "at": paths}), table)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("z.jpg")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"Z"))
    corpus.pipe(
        {
            "corpus/images/a/x.png": b"X",
            "corpus/images/y.JPG": b"Y",
            "corpus/tables/a.parquet": table.getvalue().to_pybytes(),
            "corpus/tars/a.tar.gz": gzip.compress(archive.getvalue()),
        }
    )
    folder = ImageSource(path="s3://corpus/images", storage_options=options)
    x, y, z = (Media("image", data) for data in (b"X", b"Y", b"Z"))
    assert read(folder) == [
        Record("a/x.png", x, "s3://corpus/images/a/x.png"),
        Record("y.JPG", y, "s3://corpus/images/y.JPG"),
    ]
    tar_source = WebdatasetSource(path="s3://corpus/tars", image="jpg", storage_options=options)
    assert read(tar_source) == [Record("z", z, "s3://corpus/tars/a.tar.gz")]
    named = ParquetSource(
        path="s3://corpus/tables",
        id="key",
        image_path="at",
        root="s3://corpus/images",
        root_options=options,
        storage_options=options,
    )
    assert [(r.content, r.problem and r.problem.reason) for r in read(named)] == [
        (x, None),
        (x, None),
        (Media("image", b""), Reason.UNSAFE_NAME),
        (Media("image", b""), Reason.NOT_FOUND),
    ]


def test_an_object_that_is_replaced_is_noticed_though_listings_are_cached(
    corpus: fsspec.AbstractFileSystem, options: dict[str, object]
) -> None:
    corpus.pipe("corpus/changing/a.csv", b"key,body\na,one\n")
    source = CsvSource(path="s3://corpus/changing", id="key", text="body", storage_options=options)
    before = source.files()
    shards = source.shards(before)
    corpus.pipe("corpus/changing/a.csv", b"key,body\na,two\n")
    with pytest.raises(SourceChanged, match=r"s3://corpus/changing/a\.csv changed"):
        list(source.read(shards[0]))
    assert source.files() != before
    assert [record.content for record in read(source)] == ["two"]
    corpus.pipe("corpus/changing/b.csv", b"key,body\nb,three\n")
    assert [record.id for record in read(source)] == ["a", "b"]


def test_what_is_not_there_is_a_config_error(
    corpus: fsspec.AbstractFileSystem, options: dict[str, object]
) -> None:
    corpus.pipe("corpus/there/a.csv", b"key,body\n")
    for path in ["s3://corpus/there/b.csv", "s3://corpus/there/*.tsv", "s3://nowhere/a.csv"]:
        with pytest.raises(ConfigError, match=r"there holds a\.csv$|nothing is there$"):
            CsvSource(path=path, id="key", text="body", storage_options=options).files()


def test_a_store_that_does_not_answer_is_a_transient_error() -> None:
    options: dict[str, object] = {
        **KEYS,
        "endpoint_url": "http://127.0.0.1:9",
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }
    source = CsvSource(path="s3://corpus/a.csv", id="key", text="body", storage_options=options)
    with pytest.raises(SourceUnavailable, match=r"s3://corpus/a\.csv did not answer"):
        source.files()


def test_a_dataset_of_lance_is_read_from_an_object_store(
    corpus: fsspec.AbstractFileSystem, s3_endpoint: str
) -> None:
    import lance

    options = {
        "aws_access_key_id": "testing",
        "aws_secret_access_key": "testing",
        "aws_endpoint": s3_endpoint,
        "aws_region": "us-east-1",
        "allow_http": "true",
    }
    uri = "s3://corpus/papers.lance"
    lance.write_dataset(pa.table({"key": ["a"], "body": ["x"]}), uri, storage_options=options)
    source = LanceSource(path=uri, id="key", text="body", storage_options=options)
    assert read(source) == [Record("a", "x", uri)]
    with pytest.raises(SourceUnavailable, match="did not answer"):
        LanceSource(
            path=uri,
            id="key",
            text="body",
            storage_options={
                **options,
                "aws_endpoint": "http://127.0.0.1:9",
                "client_max_retries": "0",
            },
        ).files()
