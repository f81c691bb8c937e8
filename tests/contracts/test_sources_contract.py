"""What every entry of the table of sources does alike."""

import io
import json
import os
import pickle
import shutil
import tarfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.quarantine import Reason
from tasks import plugins
from tasks.content import Content, Media
from tasks.errors import ConfigError, SourceChanged
from tasks.sources import BUILT_IN
from tasks.sources.base import Record, Source
from tests import web

Row = tuple[str | None, str]
GOOD: list[Row] = [(f"id-{n:04d}", f"text {n} ü") for n in range(25)]
EARLIER = 1_600_000_000


@dataclass(frozen=True)
class Corpus:
    """How a source's files are written, and what the source is given to find them."""

    write: Callable[[Path, Sequence[Row]], None]
    """Two files of about half of the rows each, in a folder."""
    arguments: Callable[[Path], dict[str, object]]
    bad: Callable[[Path], None]
    """Adds a file whose single row is bad."""
    reason: Reason
    ending: str = ""
    """What an id has after that of its row."""
    modality: str = "text"

    def content(self, text: str) -> Content:
        return text if self.modality == "text" else Media(self.modality, text.encode())


def _halves(rows: Sequence[Row]) -> list[tuple[str, Sequence[Row]]]:
    middle = len(rows) // 2
    return [("a", rows[:middle]), ("b", rows[middle:])]


def _table(rows: Sequence[Row]) -> pa.Table:
    return pa.table(
        {"key": [i for i, _ in rows], "body": [text for _, text in rows]},
        schema=pa.schema([("key", pa.string()), ("body", pa.string())]),
    )


def _write_parquet(folder: Path, rows: Sequence[Row]) -> None:
    for name, half in _halves(rows):
        pq.write_table(_table(half), folder / f"{name}.parquet", row_group_size=5)


def _bad_parquet(folder: Path) -> None:
    table = pa.table({"key": ["bad"], "body": pa.array([b"\xff\xfe"]).view(pa.string())})
    pq.write_table(table, folder / "c.parquet")


def _write_csv(folder: Path, rows: Sequence[Row]) -> None:
    for name, half in _halves(rows):
        lines = [f'{i},"{text}"\n' for i, text in half]
        (folder / f"{name}.csv").write_text("key,body\n" + "".join(lines))


def _bad_csv(folder: Path) -> None:
    (folder / "c.csv").write_text("key,body\nbad,one,two\n")


def _write_jsonl(folder: Path, rows: Sequence[Row]) -> None:
    for name, half in _halves(rows):
        lines = [json.dumps({"key": i, "body": text}) + "\n" for i, text in half]
        (folder / f"{name}.jsonl").write_text("".join(lines))


def _bad_jsonl(folder: Path) -> None:
    (folder / "c.jsonl").write_text("[1, 2]\n")


def _write_text(folder: Path, rows: Sequence[Row]) -> None:
    for i, text in rows:
        (folder / f"{i}.txt").write_text(text)


def _bad_text(folder: Path) -> None:
    (folder / "zz.md").write_bytes(b"\xff\xfe")


def _write_lance(folder: Path, rows: Sequence[Row]) -> None:
    uri = str(folder / "corpus.lance")
    shutil.rmtree(uri, ignore_errors=True)
    lance.write_dataset(_table(rows), uri, max_rows_per_file=5)


def _bad_lance(folder: Path) -> None:
    uri = str(folder / "corpus.lance")
    lance.write_dataset(_table([("", "no id")]), uri, mode="append")


def _write_files(ending: str) -> Callable[[Path, Sequence[Row]], None]:
    def write(folder: Path, rows: Sequence[Row]) -> None:
        for i, text in rows:
            (folder / f"{i}{ending}").write_text(text)

    return write


def _bad_link(ending: str) -> Callable[[Path], None]:
    return lambda folder: (folder / f"zz{ending}").symlink_to(f"zz{ending}")


def _write_tar(folder: Path, rows: Sequence[Row]) -> None:
    for name, half in _halves(rows):
        with tarfile.open(folder / f"{name}.tar", "w") as archive:
            for i, text in half:
                _add(archive, f"{i}.jpg", text.encode())


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _bad_tar(folder: Path) -> None:
    with tarfile.open(folder / "c.tar", "w") as archive:
        _add(archive, "../outside.jpg", b"")


@lru_cache
def _server() -> web.Server:
    """Serves the files of this machine, for as long as this process runs."""
    made = web.Server(web.file)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return made


def _write_urls(folder: Path, rows: Sequence[Row]) -> None:
    for i, text in rows:
        (folder / f"{i}.jpg").write_text(text)
    for name, half in _halves(rows):
        lines = "".join(f"{i},{_server().url}{folder}/{i}.jpg\n" for i, _ in half)
        (folder / f"{name}.csv").write_text("key,url\n" + lines)


def _bad_url(folder: Path) -> None:
    (folder / "c.csv").write_text("key,url\nbad,ftp://localhost/x.jpg\n")


def _columns(folder: Path) -> dict[str, object]:
    return {"id": "key", "text": "body"}


def _nothing(folder: Path) -> dict[str, object]:
    return {}


CORPORA = {
    "parquet": Corpus(_write_parquet, _columns, _bad_parquet, Reason.INVALID_UTF8),
    "csv": Corpus(_write_csv, _columns, _bad_csv, Reason.RAGGED_ROW),
    "jsonl": Corpus(_write_jsonl, _columns, _bad_jsonl, Reason.INVALID_JSON),
    "text": Corpus(_write_text, _nothing, _bad_text, Reason.INVALID_UTF8, ".txt"),
    "images": Corpus(
        *(_write_files(".png"), _nothing, _bad_link(".png"), Reason.UNREADABLE, ".png", "image")
    ),
    "audio": Corpus(
        *(_write_files(".WAV"), _nothing, _bad_link(".WAV"), Reason.UNREADABLE, ".WAV", "audio")
    ),
    "webdataset": Corpus(
        _write_tar, lambda _: {"image": "jpg"}, _bad_tar, Reason.UNSAFE_NAME, modality="image"
    ),
    "urls": Corpus(
        write=_write_urls,
        arguments=lambda folder: {
            "path": f"{folder}/*.csv",
            "id": "key",
            "cache": f"{folder}-cache",
            "allow": web.LOOPBACK,
        },
        bad=_bad_url,
        reason=Reason.FORBIDDEN_ADDRESS,
        modality="image",
    ),
    "lance": Corpus(
        _write_lance, lambda _: {**_columns(_), "table": "corpus"}, _bad_lance, Reason.NULL_ID
    ),
}


GRAPHS = ("edges",)
"""Those whose records are no rows of files: see test_edges.py."""


def test_every_source_has_a_corpus_here_or_is_one_of_graphs() -> None:
    assert {*CORPORA, *GRAPHS} == set(BUILT_IN)


@pytest.fixture(params=sorted(CORPORA))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def source(kind: str, tmp_path: Path) -> Source:
    CORPORA[kind].write(tmp_path, GOOD)
    _age(tmp_path)
    return _source(kind, tmp_path)


def _source(kind: str, folder: Path) -> Source:
    arguments = {"path": str(folder), **CORPORA[kind].arguments(folder)}
    plugins.check_arguments("sources", kind, arguments)
    built: Source = plugins.load("sources", kind)(**arguments)
    return built


def _age(folder: Path, time_s: int = EARLIER) -> None:
    """Makes all files old enough for their times to be trusted."""
    for path in folder.rglob("*"):
        os.utime(path, (time_s, time_s))


def _read(source: Source) -> list[Record]:
    shards = source.shards(source.files())
    return [record for shard in shards for record in source.read(shard)]


def _ids(kind: str) -> list[str]:
    return [f"{i}{CORPORA[kind].ending}" for i, _ in GOOD]


def _stamps(source: Source) -> list[str]:
    """Of what has records: a list of URLs is a file too, and none of them."""
    read = {record.source_uri for record in _read(source)}
    return [file.stamp for file in source.files() if file.uri in read]


def test_the_records_of_all_shards_are_all_rows_once_in_order(kind: str, source: Source) -> None:
    records = _read(source)
    assert [record.id for record in records] == _ids(kind)
    assert [record.content for record in records] == [
        CORPORA[kind].content(text) for _, text in GOOD
    ]
    assert {source.modality} == {CORPORA[kind].modality}
    assert [record.problem for record in records] == [None] * len(GOOD)


def test_files_are_ordered_by_uri_and_their_shards_are_complete(source: Source) -> None:
    files = source.files()
    assert files == sorted(files, key=lambda file: file.uri)
    shards = source.shards(files)
    assert sorted({file for shard in shards for file in shard.files}, key=lambda f: f.uri) == files
    apart = [
        record.id for file in files for s in source.shards([file]) for record in source.read(s)
    ]
    assert apart == [record.id for record in _read(source)]


def test_reading_twice_and_in_another_process_gives_the_same(source: Source) -> None:
    records = _read(source)
    copy: Source = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert _read(copy) == _read(source) == records
    assert copy.shards(copy.files()) == source.shards(source.files())


def test_a_bad_row_is_one_record_with_its_problem(
    kind: str, source: Source, tmp_path: Path
) -> None:
    CORPORA[kind].bad(tmp_path)
    records = _read(source)
    assert len(records) == len(GOOD) + 1
    bad = [record for record in records if record.problem is not None]
    assert [record.problem.reason for record in bad if record.problem] == [CORPORA[kind].reason]


def test_a_source_owns_its_own_uris_also_when_the_files_are_gone(
    kind: str, source: Source, tmp_path: Path
) -> None:
    uris = {record.source_uri for record in _read(source)}
    listed = {file.uri for file in source.files()}
    assert uris == {uri for uri in listed if kind != "urls" or uri.startswith("http")}
    shutil.rmtree(tmp_path)
    gone = _source(kind, tmp_path)
    assert {uri for uri in uris if gone.owns(uri)} == uris
    assert not gone.owns("/elsewhere" + min(uris))
    assert not gone.owns(str(tmp_path) + "-2" + min(uris).removeprefix(str(tmp_path)))


def test_stamps_stay_while_nothing_changes_and_differ_when_something_does(
    kind: str, source: Source, tmp_path: Path
) -> None:
    before = _stamps(source)
    assert before
    assert all(before)
    assert _stamps(source) == before
    CORPORA[kind].write(tmp_path, [(i, text.replace("text", "TEXT")) for i, text in GOOD])
    _age(tmp_path, EARLIER + 1)
    after = _stamps(source)
    assert len(after) == len(before)
    assert all(after)
    assert not set(after) & set(before)


def test_a_shard_whose_file_is_another_by_now_is_a_transient_error(
    kind: str, source: Source, tmp_path: Path
) -> None:
    if kind == "urls":
        pytest.skip("a URL is first read after it was listed, and its answer is kept")
    shards = source.shards(source.files())
    CORPORA[kind].write(tmp_path, [(i, text.replace("text", "TEXT")) for i, text in GOOD])
    with pytest.raises(SourceChanged, match="run again"):
        next(iter(source.read(shards[0])))


def test_a_file_that_changes_while_it_is_read_is_a_transient_error(
    kind: str, source: Source, tmp_path: Path
) -> None:
    if kind == "lance":
        pytest.skip("a version of a dataset never changes")
    if kind == "urls":
        pytest.skip("the answer of a server is kept when it is first read")
    shard = source.shards(source.files())[0]
    records = source.read(shard)
    next(records)
    CORPORA[kind].write(tmp_path, [(i, text.replace("text", "TEXT")) for i, text in GOOD])
    with pytest.raises(SourceChanged, match="run again"):
        list(records)


def test_a_path_that_is_not_there_is_a_config_error_before_any_work(
    kind: str, tmp_path: Path
) -> None:
    (tmp_path / "neighbour").mkdir()
    with pytest.raises(ConfigError, match="nowhere"):
        _source(kind, tmp_path / "nowhere").files()
