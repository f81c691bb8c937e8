"""Images and sounds: in folders, in columns of tables, in tar files."""

import csv
import gzip
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.quarantine import Reason
from tasks.content import Media
from tasks.errors import ConfigError, SourceChanged, SourceError
from tasks.sources import folders as folders_module
from tasks.sources import webdataset as webdataset_module
from tasks.sources.base import Record, Source
from tasks.sources.folders import AudioSource, ImageSource
from tasks.sources.lance import LanceSource
from tasks.sources.parquet import ParquetSource
from tasks.sources.webdataset import WebdatasetSource

EARLIER = 1_600_000_000
Told = tuple[str | None, bytes, Reason | None]


def read(source: Source) -> list[Record]:
    return [record for shard in source.shards(source.files()) for record in source.read(shard)]


def told(source: Source) -> list[Told]:
    return [
        (
            record.id,
            record.content.data if isinstance(record.content, Media) else record.content.encode(),
            record.problem.reason if record.problem else None,
        )
        for record in read(source)
    ]


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (EARLIER, EARLIER))
    return folder


def stamps(source: Source) -> dict[str, str]:
    return {Path(file.uri).name: file.stamp for file in source.files()}


# -- folders


def test_files_of_any_depth_and_case_are_called_by_their_path(tmp_path: Path) -> None:
    files = {"b.PNG": b"1", "a/x.jpg": b"2", "a/b/y.WebP": b"", "a/notes.txt": b"", ".h/z.png": b""}
    write(tmp_path, files)
    source = ImageSource(path=str(tmp_path))
    assert read(source)[2] == Record("b.PNG", Media("image", b"1"), str(tmp_path / "b.PNG"))
    assert told(source) == [
        ("a/b/y.WebP", b"", None),
        ("a/x.jpg", b"2", None),
        ("b.PNG", b"1", None),
    ]
    assert told(ImageSource(path=str(tmp_path), patterns=["*.PNG"])) == [("b.PNG", b"1", None)]
    with pytest.raises(ConfigError, match=r"has no file like \*\*/\*.\{flac,mp3,wav\}"):
        AudioSource(path=str(tmp_path)).files()
    (sound,) = read(AudioSource(path=str(write(tmp_path, {"s.Mp3": b"ID3"}))))
    assert sound == Record("s.Mp3", Media("audio", b"ID3"), str(tmp_path / "s.Mp3"))


def test_parts_of_names_are_metadata(tmp_path: Path) -> None:
    write(tmp_path, {"cat/1-night.png": b"1", "dog/2.png": b"2", "stray.png": b"3"})
    source = ImageSource(
        path=str(tmp_path),
        name_pattern=r"(?P<kind>\w+)/(?P<n>\d+)(-(?P<time>\w+))?",
        rename={"n": "number"},
    )
    assert [record.metadata for record in read(source)] == [
        {"kind": "cat", "number": "1", "time": "night"},
        {"kind": "dog", "number": "2", "time": None},
        {"kind": None, "number": None, "time": None},
    ]
    assert source.schema(source.files()) == pa.schema(
        [("kind", pa.string()), ("number", pa.string()), ("time", pa.string())]
    )


def test_a_pattern_that_no_name_has_is_a_mistake(tmp_path: Path) -> None:
    write(tmp_path, {"cat/1.png": b"1", "dog/2.png": b"2"})
    with pytest.raises(ConfigError, match=r"is in the path of no file: the first is 'cat/1\.png'"):
        ImageSource(path=str(tmp_path), name_pattern=r"x(?P<kind>\d+)").files()


ROWS: list[dict[str, Any]] = [
    {"name": "a.png", "caption": "an a", "year": 1990},
    {"name": "./deep/b.png", "caption": "a b", "year": None},
    {"name": "gone.png", "caption": "nothing", "year": 3},
]


def sidecar(folder: Path, kind: str, rows: Sequence[Mapping[str, Any]]) -> str:
    path = folder / f"about.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


def with_sidecar(folder: Path, kind: str, rows: Sequence[Mapping[str, Any]]) -> ImageSource:
    return ImageSource(
        path=str(folder),
        sidecar=sidecar(folder, kind, rows),
        key="name",
        metadata=["caption", "year"],
        types={"year": "int"} if kind == "csv" else None,
    )


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata_come_from_a_sidecar_and_a_row_without_its_file_is_a_problem(
    tmp_path: Path, kind: str
) -> None:
    write(tmp_path, {"a.png": b"1", "deep/b.png": b"2", "c.png": b"3"})
    records = read(with_sidecar(tmp_path, kind, ROWS))
    assert [(r.id, r.metadata) for r in records if r.problem is None] == [
        ("a.png", {"caption": "an a", "year": 1990}),
        ("c.png", {"caption": None, "year": None}),
        ("deep/b.png", {"caption": "a b", "year": None}),
    ]
    assert [(r.id, r.source_uri, r.problem.reason) for r in records if r.problem] == [
        ("gone.png", str(tmp_path / f"about.{kind}"), Reason.NOT_FOUND)
    ]


def test_only_files_whose_row_changed_have_another_stamp(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": b"1", "deep/b.png": b"2", "c.png": b"3"})
    before = stamps(with_sidecar(tmp_path, "jsonl", ROWS))
    assert stamps(with_sidecar(tmp_path, "jsonl", ROWS[::-1])) == before
    changed = [{**ROWS[0], "caption": "a changed a"}, *ROWS[1:]]
    after = stamps(with_sidecar(tmp_path, "jsonl", changed))
    assert [name for name in before if after[name] != before[name]] == ["a.png"]
    after = stamps(with_sidecar(tmp_path, "jsonl", ROWS[:2]))
    assert [name for name in before if after[name] != before[name]] == ["about.jsonl"]


def test_rows_of_a_sidecar_that_cannot_be_used_are_problems(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": b"1", "b.png": b"2", "c.png": b"3"})
    (tmp_path / "about.csv").write_text(
        "name,caption,year\n"
        "a.png,one,1\na.png,two,1\n"  # differ
        "b.png,same,1\nb.png,same,1\n"
        "c.png,x,MMI\n"
        ",no name,1\n"
        "ragged\n"
    )
    source = ImageSource(
        path=str(tmp_path),
        sidecar=f"{tmp_path}/about.csv",
        key="name",
        metadata=["caption", "year"],
        types={"year": "int"},
    )
    assert told(source) == [
        ("a.png", b"", Reason.ID_CONFLICT),
        (None, b"", Reason.NULL_ID),
        ("ragged", b"", Reason.RAGGED_ROW),
        ("b.png", b"2", None),
        ("c.png", b"", Reason.WRONG_TYPE),
    ]


def test_a_sidecar_that_names_no_file_at_all_is_a_config_error(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": b"1"})
    source = with_sidecar(tmp_path, "jsonl", [{**ROWS[0], "name": "images/a.png"}])
    with pytest.raises(ConfigError) as error:
        source.files()
    assert str(error.value) == (
        f"no row of {tmp_path}/about.jsonl names a file: the first row has 'images/a.png', "
        "the first file is 'a.png'"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sidecar": "a.csv"}, "metadata are columns of a sidecar, or the named groups"),
        ({"metadata": ["x"]}, "metadata are columns of a sidecar, or the named groups"),
        ({"types": {"x": "int"}}, "types go with a sidecar"),
        (
            {"sidecar": "a.csv", "metadata": ["x"], "name_pattern": "(?P<y>.)"},
            "metadata are columns of a sidecar, or the named groups",
        ),
        ({"name_pattern": "("}, r"name_pattern = '\(': missing \)"),
        ({"name_pattern": "(?P<id>.)"}, "'id' is a reserved name; add rename"),
        ({"sidecar": "a.xlsx", "metadata": ["x"]}, r"'a.xlsx': files or a glob of one kind"),
        (
            {"sidecar": "a.jsonl", "metadata": ["x"], "types": {"x": "int"}},
            "types = .*: only those of CSV",
        ),
        ({"sidecar": "a.txt", "metadata": ["x"]}, "a .txt file has no columns"),
    ],
)
def test_arguments_of_folders_that_cannot_be_meant_are_refused(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ImageSource(path="x", **arguments)


def test_what_cannot_be_read_is_a_problem_and_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": b"12345", "b.png": b"123456", "fine/c.png": b"1"})
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**40)  # a hole: reading it would take all memory
    (tmp_path / "fine" / "up").symlink_to("..")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "memory.png").symlink_to("/proc/self/mem")  # an error for each reader, also root
    (tmp_path / "zero.png").symlink_to("/dev/zero")  # no file
    (tmp_path / "z-endless.png").symlink_to("/proc/kallsyms")  # says that it has no bytes
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"coffee")
    source = ImageSource(path=str(tmp_path))
    source.max_content_bytes = 5
    assert told(source) == [
        ("a.png", b"12345", None),
        ("b.png", b"", Reason.TOO_LARGE),
        ("caf\\xe9.png", b"", Reason.INVALID_UTF8),
        ("fine/c.png", b"1", None),
        ("huge.png", b"", Reason.TOO_LARGE),
        ("loop.png", b"", Reason.UNREADABLE),
        ("memory.png", b"", Reason.UNREADABLE),
        ("z-endless.png", b"", Reason.TOO_LARGE),
    ]
    uris = [file.uri for file in source.files()]
    assert [uri for uri in uris if not source.owns(uri)] == []
    assert "".join(uris).encode()


def test_files_share_a_shard_until_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders_module, "SHARD_FILES", 3)
    monkeypatch.setattr(folders_module, "SHARD_BYTES", 10)
    sizes = [1, 1, 1, 1, 9, 1, 99, 1]
    write(tmp_path, {f"{n}.png": b"x" * size for n, size in enumerate(sizes)})
    source = ImageSource(path=str(tmp_path))
    shards = source.shards(source.files())
    assert [[file.size_bytes for file in shard.files] for shard in shards] == [
        [1, 1, 1],
        [1, 9],
        [1],
        [99],
        [1],
    ]
    assert [shard.size_bytes for shard in shards] == [3, 10, 1, 99, 1]


# -- columns of tables


def table(**columns: object) -> pa.Table:
    return pa.table({"id": ["a", "b", "c"], **columns})


def in_lance(folder: Path, rows: pa.Table, **arguments: Any) -> Source:
    lance.write_dataset(rows, str(folder / "t.lance"), mode="overwrite")
    return LanceSource(path=str(folder / "t.lance"), id="id", **arguments)


def in_parquet(folder: Path, rows: pa.Table, **arguments: Any) -> Source:
    pq.write_table(rows, folder / "t.parquet")
    return ParquetSource(path=str(folder / "t.parquet"), id="id", **arguments)


@pytest.mark.parametrize("made", [in_parquet, in_lance])
def test_bytes_of_a_column_are_contents_as_they_stand(tmp_path: Path, made: Any) -> None:
    data = [b"\xff\xd8", None, b""]
    rows = table(pixels=pa.array(data, pa.binary()), year=[1, 2, 3])
    source = made(tmp_path, rows, image="pixels", metadata=["year"])
    assert (source.modality, [r.metadata for r in read(source)]) == (
        "image",
        [{"year": 1}, {"year": 2}, {"year": 3}],
    )
    assert told(source) == [("a", b"\xff\xd8", None), ("b", b"", None), ("c", b"", None)]
    large = made(tmp_path, table(x=pa.array(data, pa.large_binary())), audio="x")
    assert read(large)[0].content == Media("audio", b"\xff\xd8")


@pytest.mark.parametrize("made", [in_parquet, in_lance])
def test_a_struct_of_bytes_and_path_is_read_as_others_write_it(tmp_path: Path, made: Any) -> None:
    rows = table(image=[{"bytes": b"1", "path": "x.png"}, None, {"bytes": None, "path": "y"}])
    assert told(made(tmp_path, rows, image="image")) == [
        ("a", b"1", None),
        ("b", b"", None),
        ("c", b"", None),
    ]


def test_blobs_of_lance_are_bytes(tmp_path: Path) -> None:
    blob = pa.field("x", pa.large_binary(), metadata={"lance-encoding:blob": "true"})
    rows = pa.table(
        [pa.array(["a", "b"]), pa.array([b"1", b"2" * 10_000], pa.large_binary())],
        schema=pa.schema([pa.field("id", pa.string()), blob]),
    )
    assert told(in_lance(tmp_path, rows, image="x")) == [
        ("a", b"1", None),
        ("b", b"2" * 10_000, None),
    ]


@pytest.mark.parametrize("made", [in_parquet, in_lance])
def test_paths_of_a_column_lead_below_the_root_and_nowhere_else(tmp_path: Path, made: Any) -> None:
    root = write(tmp_path / "root", {"a.png": b"1", "deep/b.png": b"22"})
    write(tmp_path, {"secret.png": b"secret", "root2/x.png": b"no"})
    paths = {
        "plain": ("deep/../a.png", b"1", None),
        "whole": (f"{root}/deep/b.png", b"22", None),
        "uri": (f"file://{root}/deep/b.png", b"22", None),
        "up": ("../secret.png", b"", Reason.UNSAFE_NAME),
        "elsewhere": (f"{tmp_path}/secret.png", b"", Reason.UNSAFE_NAME),
        "neighbour": (f"{root}2/x.png", b"", Reason.UNSAFE_NAME),
        "back": (f"{root}/../secret.png", b"", Reason.UNSAFE_NAME),
        "web": ("https://example.org/a.png", b"", Reason.UNSAFE_NAME),
        "chain": (f"simplecache::file://{root}/a.png", b"", Reason.UNSAFE_NAME),
        "root": (".", b"", Reason.UNSAFE_NAME),
        "nul": ("a\0.png", b"", Reason.UNSAFE_NAME),
        "gone": ("gone.png", b"", Reason.NOT_FOUND),
        "folder": ("deep", b"", Reason.NOT_FOUND),
        "long": ("x" * 5000, b"", Reason.UNREADABLE),
        "blank": (" ", b"", Reason.EMPTY),
        "null": (None, b"", Reason.EMPTY),
    }
    rows = pa.table({"id": list(paths), "at": [path for path, _, _ in paths.values()]})
    source = made(tmp_path, rows, image_path="at", root=str(root))
    assert told(source) == [(i, data, why) for i, (_, data, why) in paths.items()]
    source.max_content_bytes = 1
    assert told(source)[1] == ("whole", b"", Reason.TOO_LARGE)
    assert told(made(tmp_path, rows, audio_path="{at}", root=f"file://{root}"))[0][1] == b"1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one of text, image, audio, image_path, audio_path says .*; there is none of them"),
        ({"text": "x", "image": "y"}, "what a record is; there is text and image"),
        ({"image_path": "x"}, "image_path needs root, the folder or URI"),
        ({"image_path": "x", "root": "https://example.org"}, "{use: urls} reads from web servers"),
        ({"image_path": "{x", "root": "y"}, "image_path = '{x': "),
        ({"image": "x", "root": "y"}, "root = 'y' goes with a column of paths; image is none"),
    ],
)
def test_a_record_is_exactly_one_thing(arguments: dict[str, Any], message: str) -> None:
    for source in (ParquetSource, LanceSource):
        with pytest.raises(ConfigError, match=message):
            source(path="x", id="id", **arguments)


@pytest.mark.parametrize("made", [in_parquet, in_lance])
def test_a_column_that_holds_no_bytes_is_named(tmp_path: Path, made: Any) -> None:
    source = made(tmp_path, table(x=["a", "b", "c"]), image="x")
    with pytest.raises(ConfigError, match="image column 'x' is string; bytes are needed"):
        source.shards(source.files())


# -- tar files


def tar(path: Path, members: Sequence[tuple[str, bytes]], **links: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in links.items():
            link = tarfile.TarInfo(name.replace("_", "."))
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
    path.write_bytes(packed.getvalue())
    return packed.getvalue()


SAMPLES = [
    ("a/1.jpg", b"one"),
    ("a/1.json", b'{"year": 1, "tags": ["x"]}'),
    ("a/1.txt", b"a caption\n"),
    ("./b.2.seg.png", b"unread"),
    ("./b.2.JPG", b"two"),
]


def test_members_of_one_key_are_a_record(tmp_path: Path) -> None:
    tar(tmp_path / "b.tar", SAMPLES)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(tar(tmp_path / "x", [("z.jpeg", b"zip")])))
    source = WebdatasetSource(
        path=str(tmp_path),
        image=["jpg", ".jpeg", "2.jpg"],
        metadata=["year", "tags", "txt"],
        rename={"txt": "caption"},
    )
    assert read(source) == [
        Record(
            "z",
            Media("image", b"zip"),
            f"{tmp_path}/a.tar.gz",
            {"year": None, "tags": None, "caption": None},
        ),
        Record(
            "a/1",
            Media("image", b"one"),
            f"{tmp_path}/b.tar",
            {"year": 1, "tags": ["x"], "caption": "a caption"},
        ),
        Record(
            "b",
            Media("image", b"two"),
            f"{tmp_path}/b.tar",
            {"year": None, "tags": None, "caption": None},
        ),
    ]


@pytest.mark.parametrize(
    "pax",
    [
        {"size": str(10**14)},
        {"GNU.sparse.size": "abc"},
        {"GNU.sparse.map": "x,y"},
        {"GNU.sparse.realsize": "q"},
    ],
)
def test_a_tar_that_lies_about_its_members_is_damaged(tmp_path: Path, pax: dict[str, str]) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a/b.jpg")
        member.size, member.pax_headers = 5, pax
        archive.addfile(member, io.BytesIO(b"hello"))
    with pytest.raises(SourceError, match=r"a\.tar"):
        read(WebdatasetSource(path=str(path), image="jpg"))


def test_a_folder_of_a_tar_may_have_a_newline_in_its_name(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", [("a\nb/c.jpg", b"1")])
    (record,) = read(WebdatasetSource(path=str(tmp_path / "a.tar"), image="jpg"))
    assert record.id == "a\nb/c"


def test_bad_members_are_problems_of_their_record_alone(tmp_path: Path) -> None:
    members = [
        ("/etc/a.jpg", b"absolute"),
        ("x/../../b.jpg", b"up"),
        ("../../etc/passwd", b"up, without an extension"),
        ("fine.jpg", b"1"),
        ("fine.json", b"{}"),
        ("twice.jpg", b"1"),
        ("twice.jpg", b"2"),
        ("alone.json", b"{}"),
        ("json.jpg", b"1"),
        ("json.json", b"["),
        ("list.jpg", b"1"),
        ("list.json", b"[]"),
        ("text.jpg", b"1"),
        ("text.txt", b"\xff"),
        ("large.jpg", b"x" * 101),
        ("README", b"no part of a record"),
        ("a/.hidden.jpg", b"nor is this"),
        ("__meta__/a.jpg", b"nor this"),
        (os.fsdecode(b"caf\xe9.jpg"), b"1"),
        ("empty.jpg", b""),
    ]
    tar(tmp_path / "a.tar", members, link_jpg="/etc/passwd")
    source = WebdatasetSource(path=str(tmp_path), image="jpg", metadata=["txt", "year"])
    source.max_content_bytes = 100
    assert told(source) == [
        ("/etc/a", b"", Reason.UNSAFE_NAME),
        ("x/../../b", b"", Reason.UNSAFE_NAME),
        ("../../etc/passwd", b"", Reason.UNSAFE_NAME),
        ("fine", b"1", None),
        ("twice", b"", Reason.ID_CONFLICT),
        ("alone", b"", Reason.NOT_FOUND),
        ("json", b"1", Reason.INVALID_JSON),
        ("list", b"1", Reason.INVALID_JSON),
        ("text", b"1", Reason.INVALID_UTF8),
        ("large", b"", Reason.TOO_LARGE),
        (None, b"1", Reason.INVALID_UTF8),
        ("empty", b"", None),
        ("link", b"", Reason.UNSAFE_NAME),
    ]


def test_a_tar_that_was_cut_anywhere_is_an_error_that_names_it(tmp_path: Path) -> None:
    whole = tar(tmp_path / "a.tar", SAMPLES)
    end = whole.rstrip(b"\0")
    source = WebdatasetSource(path=str(tmp_path), image="jpg")
    members = -(-len(end) // 512) * 512
    for size in (0, 100, 512, 700, 1024, 1500, members - 512, members):
        (tmp_path / "a.tar").write_bytes(whole[:size])
        with pytest.raises(SourceError, match=r"a\.tar cannot be read: ReadError") as error:
            read(source)
        assert not isinstance(error.value, SourceChanged), size
    (tmp_path / "a.tar").write_bytes(whole[:1024] + b"no header" * 100 + whole[1024:])
    with pytest.raises(SourceError, match="truncated or damaged"):
        read(source)
    (tmp_path / "a.tar").rename(tmp_path / "a.tar.gz")
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(whole)[:-20])
    with pytest.raises(SourceError, match=r"a\.tar\.gz cannot be read"):
        read(source)


def test_a_header_as_large_as_memory_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2**33
    (tmp_path / "a.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + b"a" * 2048)
    source = WebdatasetSource(path=str(tmp_path), image="jpg")
    with pytest.raises(SourceError, match="a header of 8589934592 bytes"):
        read(source)


def test_an_extension_that_no_record_has_is_a_config_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar(tmp_path / "a.tar", [("a.png", b"1"), ("a.txt", b"t")])
    source = WebdatasetSource(path=str(tmp_path), image=["jpg", "webp"])
    with pytest.raises(ConfigError) as error:
        source.shards(source.files())
    assert str(error.value) == (
        "no record that was looked at has a member jpg or webp; it has: 'png', 'txt'"
    )
    tar(tmp_path / "b.tar", [("b.jpg", b"1")])
    monkeypatch.setattr(webdataset_module, "SAMPLE_RECORDS", 1)
    assert len(source.shards(source.files()[:1])) == 1
    for image, audio in ((None, None), ("jpg", "wav")):
        with pytest.raises(ConfigError, match="image or audio, one of them"):
            WebdatasetSource(path="x", image=image, audio=audio)
