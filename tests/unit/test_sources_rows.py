"""Good and bad rows of each kind of file."""

import datetime
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.quarantine import Reason
from tasks.errors import ConfigError, SourceChanged, SourceError
from tasks.sources import csv as csv_module
from tasks.sources import jsonl as jsonl_module
from tasks.sources import lance as lance_module
from tasks.sources.base import File, Record, Shard, Source
from tasks.sources.csv import CsvSource
from tasks.sources.jsonl import JsonlSource, lines, ranges
from tasks.sources.lance import LanceSource
from tasks.sources.parquet import ParquetSource
from tasks.sources.text import TextSource

Told = tuple[str | None, str, Reason | None]


def read(source: Source) -> list[Record]:
    return [record for shard in source.shards(source.files()) for record in source.read(shard)]


def told(source: Source) -> list[Told]:
    """Id, content and reason of each record."""
    return [(r.id, str(r.content), r.problem.reason if r.problem else None) for r in read(source)]


def zstd(plain: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(plain)
    return bytes(sink.getvalue().to_pybytes())


def binary_as_string(values: list[bytes | None]) -> pa.Array:
    """A column that says it is UTF-8, as a careless writer leaves it."""
    return pa.array(values, pa.binary()).view(pa.string())


# -- JSON Lines


def jsonl(folder: Path, content: bytes, name: str = "a.jsonl") -> JsonlSource:
    (folder / name).write_bytes(content)
    return JsonlSource(path=str(folder / name), id="id", text="t", metadata=["m"])


def test_a_bad_line_of_json_is_one_record_and_keeps_its_id_where_it_can(tmp_path: Path) -> None:
    content = b"\n".join(
        [
            b'\xef\xbb\xbf{"id": "a", "t": "one", "m": 1}',
            b"",
            b'{"id": 2, "t": "two", "m": null}',
            b'{"id": "c", "t": "\xff", "m": 1}',
            b'{"id": "d", "t": "\\ud800", "m": 1}',
            b'{"id": "e", "t": "x", "m": 1, "unread": "\xff"}',
            b'{"id": "f", "t": "half',
            b'["g"]',
            b'{"t": "no id", "m": 1}',
            b'{"id": "h", "t": {"a": 1}, "m": 1}',
            b'{"id": "i", "t": "x", "m": {"a": 1}}',
            b"[" * 100_000,
            b" \t",
            b'{"id": "z", "t": "last"}',
        ]
    )
    assert told(jsonl(tmp_path, content)) == [
        ("a", "one", None),
        ("2", "two", None),
        ("c", "", Reason.INVALID_UTF8),
        ("d", "", Reason.INVALID_UTF8),
        ("e", "x", None),
        (None, "", Reason.INVALID_JSON),
        (None, "", Reason.INVALID_JSON),
        (None, "no id", Reason.NULL_ID),
        ("h", "", Reason.WRONG_TYPE),
        ("i", "x", Reason.WRONG_TYPE),
        (None, "", Reason.INVALID_JSON),
        ("z", "last", None),
    ]


def test_details_are_short_and_hold_no_content(tmp_path: Path) -> None:
    secret = "s3cret " * 1000
    rows = [
        b'{"id": "a", "t": ["' + secret.encode() + b'"], "m": 1}',
        b'{"id": "b", ' + secret.encode(),
    ]
    details = [
        record.problem.detail
        for record in read(jsonl(tmp_path, b"\n".join(rows)))
        if record.problem
    ]
    assert len(details) == len(rows)
    assert all(len(detail) <= 200 and "s3cret" not in detail for detail in details)


@pytest.mark.parametrize(("name", "pack"), [("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstd)])
def test_a_compressed_file_is_read_and_a_truncated_one_is_an_error(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    plain = b"".join(b'{"id": %d, "t": "text %d", "m": 0}\n' % (n, n * 7919) for n in range(5000))
    packed = pack(plain)
    assert told(jsonl(tmp_path, packed, name)) == [
        (str(n), f"text {n * 7919}", None) for n in range(5000)
    ]
    assert len(read(jsonl(tmp_path, packed + packed, name))) == 10_000
    for broken in [packed[: len(packed) // 2], b"not compressed at all"]:
        with pytest.raises(SourceError, match=rf"{name} cannot be read: .*; write it again"):
            list(jsonl(tmp_path, broken, name).read(one_shard(tmp_path / name)))


def one_shard(path: Path) -> Shard:
    file = File(str(path), path.stat().st_size, "")
    return ranges(file, 2**40)[0]


@given(
    content=st.lists(
        st.sampled_from([b"a", b"\n", b"\r\n", b"bcd", "é\u2028".encode()]), max_size=40
    ),
    shard_bytes=st.integers(1, 50),
)
@example(content=[b"a\nb\n"], shard_bytes=2)
@example(content=[b"\n"], shard_bytes=1)
def test_byte_ranges_of_any_content_partition_its_lines(
    content: list[bytes], shard_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "partition.jsonl"
    path.write_bytes(b"".join(content))
    shards = ranges(File(str(path), path.stat().st_size, ""), shard_bytes)
    found = []
    for shard in shards:
        with path.open("rb") as stream:
            found += list(lines(stream, shard.start, shard.end))
    parts = [part + b"\n" for part in b"".join(content).split(b"\n")]
    assert [line.rstrip() for line in found if isinstance(line, bytes)] == [
        part.rstrip() for part in parts if part.strip()
    ]


def test_a_line_beyond_the_limit_is_a_problem_and_the_next_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl_module, "MAX_RECORD_BYTES", 50)
    monkeypatch.setattr(jsonl_module, "PART_BYTES", 7)
    content = b'{"id": "a", "t": "' + b"x" * 100 + b'"}\n{"id": "b", "t": "y", "m": 1}\n'
    assert told(jsonl(tmp_path, content)) == [(None, "", Reason.TOO_LARGE), ("b", "y", None)]


def test_a_key_that_no_record_has_is_a_config_error_unless_it_may_just_be_rare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = b'{"id": "a", "title": "x", "m": 1}\n'
    (tmp_path / "a.jsonl").write_bytes(row * 3)

    def source(text: str, metadata: str) -> JsonlSource:
        return JsonlSource(path=str(tmp_path), id="id", text=text, metadata=[metadata])

    assert len(read(source("title", "m"))) == 3
    with pytest.raises(ConfigError, match="has 'body'; it has: 'id', 'm', 'title'"):
        read(source("body", "m"))
    with pytest.raises(ConfigError, match="has 'year'; it has: 'id', 'm', 'title'"):
        read(source("title", "year"))
    monkeypatch.setattr(jsonl_module, "SAMPLE_RECORDS", 2)
    assert len(read(source("title", "year"))) == 3
    monkeypatch.undo()
    (tmp_path / "b.jsonl").write_bytes(b'{"id": "b", "title": "x", "year": 1}\n')
    rare = source("title", "year")
    assert [record.id for record in rare.read(rare.shards(rare.files()[:1])[0])] == ["a"] * 3


# -- CSV


def csv(folder: Path, content: bytes, name: str = "a.csv", **arguments: object) -> CsvSource:
    (folder / name).write_bytes(content)
    return CsvSource(path=str(folder / name), id="id", text="t", **arguments)  # type: ignore[arg-type]


def test_a_bad_row_of_csv_is_one_record_and_keeps_its_id_where_it_can(tmp_path: Path) -> None:
    content = (
        b"\xef\xbb\xbfid,t,unread\r\n"
        b'a,"one\nline, ""quoted""",u\r\n'
        b"\r\n"
        b"b,few\r\n"
        b"c,too,many,fields\r\n"
        b"d,\xff,u\r\n"
        b"e,x,\xff\r\n"
        b",no id,u\r\n"
        b'f,"closed" badly,u\r\n'
        b"g,NUL\0,u\n"
        b'h,"never closed,u\r\n'
        b"i,swallowed,u\r\n"
    )
    assert told(csv(tmp_path, content)) == [
        ("a", 'one\nline, "quoted"', None),
        ("b", "", Reason.RAGGED_ROW),
        ("c", "", Reason.RAGGED_ROW),
        ("d", "", Reason.INVALID_UTF8),
        ("e", "x", None),
        (None, "no id", Reason.NULL_ID),
        (None, "", Reason.RAGGED_ROW),
        ("g", "NUL\0", None),
        (None, "", Reason.RAGGED_ROW),
    ]


def test_declared_types_are_parsed_and_a_bad_value_is_a_problem(tmp_path: Path) -> None:
    types = {"i": "int", "f": "float", "b": "bool", "d": "date", "s": "timestamp"}
    content = (
        b"id,t,i,f,b,d,s,w\n"
        b"a,x,1,1.5,TRUE,2024-02-29,2024-01-01T01:00:00+01:00,w\n"
        b"b,x,,,,,,\n"
        b"c,x,1.5,,,,,\n"
        b"d,x,,,,2023-02-29,,\n"
    )
    source = csv(tmp_path, content, metadata=[*types, "w"], rename={"w": "word"}, types=types)
    records = read(source)
    assert records[0].metadata == {
        "i": 1,
        "f": 1.5,
        "b": True,
        "d": datetime.date(2024, 2, 29),
        "s": datetime.datetime(2024, 1, 1),
        "word": "w",
    }
    assert records[1].metadata == {**dict.fromkeys(types), "word": ""}
    assert [r.problem and (r.problem.reason, r.problem.detail) for r in records[2:]] == [
        (Reason.WRONG_TYPE, "metadata 'i': '1.5' is no int"),
        (Reason.WRONG_TYPE, "metadata 'd': '2023-02-29' is no date"),
    ]
    assert source.schema(source.files()) == pa.schema(
        [
            ("i", pa.int64()),
            ("f", pa.float64()),
            ("b", pa.bool_()),
            ("d", pa.date32()),
            ("s", pa.timestamp("us")),
            ("word", pa.string()),
        ]
    )


def test_files_with_other_headers_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,t,m\na,x,1\n")
    (tmp_path / "b.csv").write_text("more,t,id\n?,y,b\n")
    source = CsvSource(path=str(tmp_path), id="id", text="t", metadata=["m"])
    assert [(r.id, r.content, r.metadata) for r in read(source)] == [
        ("a", "x", {"m": "1"}),
        ("b", "y", {"m": None}),
    ]
    assert len(source.shards(source.files()[1:])) == 1
    (tmp_path / "c.csv").write_text("id,m\na,1\n")
    with pytest.raises(ConfigError, match=r"c\.csv has no column 't'; it has: 'id', 'm'"):
        source.shards(source.files())


def test_an_empty_csv_and_one_compressed_and_tabbed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no column 'id'; it has: none"):
        read(csv(tmp_path, b""))
    packed = gzip.compress(b"id\tt\na\tx,y\n")
    assert told(csv(tmp_path, packed, "a.csv.gz", delimiter="\t")) == [("a", "x,y", None)]


def test_a_field_beyond_the_limit_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_module, "MAX_FIELD_CHARACTERS", 10)
    assert told(csv(tmp_path, b"id,t\na,12345678901\nb,x\n")) == [
        (None, "", Reason.TOO_LARGE),
        ("b", "x", None),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"types": {"x": "int"}}, "types: 'x' is not one of metadata"),
        ({"metadata": ["x"], "types": {"x": "long"}}, "types: x = 'long'; allowed are int, float"),
        ({"delimiter": "::"}, "delimiter = '::': one character is needed"),
    ],
)
def test_arguments_of_csv_that_cannot_be_meant_are_refused(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        csv(tmp_path, b"", **arguments)


# -- Parquet


def parquet(
    folder: Path, table: pa.Table, name: str = "a.parquet", **arguments: object
) -> ParquetSource:
    pq.write_table(table, folder / name)
    metadata = [column for column in table.column_names if column not in ("id", "t")]
    options = {"path": str(folder), "id": "id", "text": "t", "metadata": metadata, **arguments}
    return ParquetSource(**options)  # type: ignore[arg-type]


def test_bytes_that_are_no_utf8_are_a_problem_of_their_row_alone(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": binary_as_string([b"a", b"b", b"\xff", None]),
            "t": binary_as_string([b"one", b"\xc3\x28", b"three", b"four"]),
        }
    )
    assert told(parquet(tmp_path, table)) == [
        ("a", "one", None),
        ("b", "", Reason.INVALID_UTF8),
        (None, "three", Reason.INVALID_UTF8),
        (None, "four", Reason.NULL_ID),
    ]


def test_columns_of_parquet_are_values_of_python(tmp_path: Path) -> None:
    day = datetime.date(2024, 1, 2)
    columns = {
        "id": pa.array([1, None], pa.int32()),
        "t": pa.array([b"x", b"y"], pa.large_binary()),
        "word": pa.array(["w", None]).dictionary_encode(),
        "tags": pa.array([["a", None], None]),
        "day": pa.array([day, None]),
        "when": pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns", "UTC")),
        "box": pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
    }
    source = parquet(tmp_path, pa.table(columns))
    first, second = read(source)
    assert first == Record(
        "1",
        "x",
        str(tmp_path / "a.parquet"),
        {
            "word": "w",
            "tags": ["a", None],
            "day": day,
            "when": datetime.datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=datetime.UTC),
            "box": [1.0, 2.0],
        },
    )
    assert (second.id, second.content, set(second.metadata.values())) == (None, "y", {None})
    assert source.schema(source.files()) == pa.schema(
        [
            ("word", pa.string()),
            ("tags", pa.list_(pa.string())),
            ("day", pa.date32()),
            ("when", pa.timestamp("us", "UTC")),
            ("box", pa.list_(pa.float32())),
        ]
    )


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("id", [1.5], "id = 'id' is double; a string or an integer is needed"),
        ("id", [True], "id = 'id' is bool; a string or an integer is needed"),
        ("t", [["a"]], "text column 't' is list<element: string>; a string or a number is needed"),
        ("m", [{"a": 1}], "metadata column 'm' is struct<a: int64>; strings, numbers"),
        ("m", [[b"a"]], "metadata column 'm' is list<element: binary>; strings, numbers"),
    ],
)
def test_a_column_of_a_type_that_cannot_serve_is_named(
    tmp_path: Path, column: str, values: list[object], message: str
) -> None:
    table = pa.table({"id": ["a"], "t": ["x"], "m": [1], column: values})
    source = parquet(tmp_path, table)
    with pytest.raises(ConfigError) as error:
        source.shards(source.files())
    assert f"a.parquet: {message}" in str(error.value)


def test_types_that_differ_between_files_widen_or_are_named(tmp_path: Path) -> None:
    parquet(
        tmp_path, pa.table({"id": ["a"], "t": ["x"], "m": pa.array([1], pa.int32())}), "a.parquet"
    )
    parquet(
        tmp_path, pa.table({"id": ["b"], "t": ["x"], "m": pa.array([None], pa.null())}), "b.parquet"
    )
    source = parquet(
        tmp_path,
        pa.table({"id": ["c"], "t": ["x"], "m": pa.array([0.5], pa.float32())}),
        "c.parquet",
    )
    assert source.schema(source.files()) == pa.schema([("m", pa.float64())])
    assert [record.metadata["m"] for record in read(source)] == [1, None, 0.5]
    parquet(tmp_path, pa.table({"id": ["d"], "t": ["x"], "m": ["w"]}), "d.parquet")
    with pytest.raises(ConfigError) as error:
        source.schema(source.files())
    both = f"'m' is double in {tmp_path}/a.parquet and string in {tmp_path}/d.parquet"
    assert both in str(error.value)


def test_a_metadata_column_may_be_missing_from_some_files_not_from_all(tmp_path: Path) -> None:
    parquet(tmp_path, pa.table({"id": ["a"], "t": ["x"], "m": [1]}), "a.parquet")
    source = parquet(tmp_path, pa.table({"id": ["b"], "t": ["x"]}), "b.parquet", metadata=["m"])
    assert [record.metadata for record in read(source)] == [{"m": 1}, {"m": None}]
    assert len(source.shards(source.files()[1:])) == 1
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(ConfigError, match=r"no file, such as .*, has a column 'm'; it has: 'id'"):
        source.shards(source.files())


def test_a_truncated_parquet_is_an_error_that_names_it_and_declares_no_types(
    tmp_path: Path,
) -> None:
    source = parquet(tmp_path, pa.table({"id": ["a"], "t": ["x"], "m": [1]}))
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[:-20])
    with pytest.raises(
        SourceError, match=r"b\.parquet cannot be read: .*; write it again, or leave it out"
    ):
        source.shards(source.files())
    assert source.schema(source.files()) == pa.schema([("m", pa.int64())])


def test_a_file_without_row_groups_has_a_shard_without_records(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.string()), ("t", pa.string())])
    pq.ParquetWriter(tmp_path / "a.parquet", schema).close()
    source = ParquetSource(path=str(tmp_path), id="id", text="t")
    assert source.shards(source.files()) == [Shard(tuple(source.files()))]
    assert read(source) == []


# -- text files and Lance


def test_text_files_are_called_by_their_path_and_read_as_they_stand(tmp_path: Path) -> None:
    for name, content in [
        ("a.txt", b"\xef\xbb\xbfone\r\n"),
        ("b/c.md", b""),
        ("b/d.txt", b"\xff"),
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    expected: list[Told] = [
        ("a.txt", "one\r\n", None),
        ("b/c.md", "", None),
        ("b/d.txt", "", Reason.INVALID_UTF8),
    ]
    assert told(TextSource(path=str(tmp_path))) == expected
    assert told(TextSource(path=f"{tmp_path}/**/*.*")) == expected
    assert told(TextSource(path=str(tmp_path), patterns=["**/*.md"])) == expected[1:2]
    assert told(TextSource(path=f"{tmp_path}/b/c.md")) == [("c.md", "", None)]
    (tmp_path / "b").rename(tmp_path / ".b")
    assert told(TextSource(path=str(tmp_path))) == expected[:1]


def test_a_dataset_is_read_at_the_version_that_was_listed(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.lance")
    lance.write_dataset(pa.table({"id": ["a", "b", "c"], "t": ["x", "y", "z"]}), uri)
    source = LanceSource(path=uri, id="id", text="t")
    shards = source.shards(source.files())
    dataset = lance.dataset(uri)
    dataset.delete("id = 'b'")
    assert [record.id for shard in shards for record in source.read(shard)] == ["a", "b", "c"]
    assert [record.id for record in read(source)] == ["a", "c"]
    dataset.cleanup_old_versions(datetime.timedelta(0), delete_unverified=True)
    with pytest.raises(SourceChanged, match="has no version 1 any more; run again"):
        list(source.read(shards[0]))


def test_fragments_share_a_shard_until_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lance_module, "SHARD_ROWS", 10)
    uri = str(tmp_path / "a.lance")
    for n_rows in [4, 6, 1, 25, 3]:
        rows = pa.table({"id": [str(n) for n in range(n_rows)], "t": ["x"] * n_rows})
        lance.write_dataset(rows, uri, mode="append" if n_rows != 4 else "create")
    source = LanceSource(path=uri, id="id", text="t")
    shards = source.shards(source.files())
    assert [(shard.start, shard.end) for shard in shards] == [(0, 2), (2, 3), (3, 4), (4, 5)]
    assert [len(list(source.read(shard))) for shard in shards] == [10, 1, 25, 3]


def test_a_folder_of_tables_asks_which_one(tmp_path: Path) -> None:
    lance.write_dataset(pa.table({"id": ["a"], "t": ["x"]}), str(tmp_path / "papers.lance"))
    with pytest.raises(ConfigError, match="a folder with the tables papers: name one with table"):
        LanceSource(path=str(tmp_path), id="id", text="t").files()
    assert told(LanceSource(path=str(tmp_path), table="papers", id="id", text="t")) == [
        ("a", "x", None)
    ]


def test_json_written_by_others_is_read_as_they_meant_it(tmp_path: Path) -> None:
    rows = [{"id": "a", "t": "ü", "m": [1, 2]}, {"id": "b", "t": 1.5, "m": None}]
    content = "\r\n".join(json.dumps(row) for row in rows)
    assert [
        (r.id, r.content, r.metadata["m"]) for r in read(jsonl(tmp_path, content.encode()))
    ] == [
        ("a", "ü", [1, 2]),
        ("b", "1.5", None),
    ]
