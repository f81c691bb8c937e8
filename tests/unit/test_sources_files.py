"""Listing, stamps, ownership and errors of files."""

import errno
import gzip
import os
from pathlib import Path

import aiohttp
import fsspec
import pyarrow as pa
import pytest

from tasks.errors import ConfigError, SourceChanged, SourceError, SourceUnavailable
from tasks.sources.access import errors_of
from tasks.sources.base import File
from tasks.sources.files import FileSet

PATTERNS = ["**/*.txt"]
EARLIER = 1_600_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ["a.txt", "b[1].txt", "deep/c.txt", "deep/d.csv", ".hidden/e.txt", "_tmp/f.txt"]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
        os.utime(path, (EARLIER, EARLIER))
    return tmp_path


def names(path: str | list[str], folder: Path) -> list[str]:
    files = FileSet(path, patterns=PATTERNS)
    listed = [file.uri for file in files.listed()]
    assert all(files.owns(uri) for uri in listed)
    return [uri.removeprefix(f"{folder}/") for uri in listed]


def test_a_path_is_a_file_a_folder_a_glob_or_a_list(folder: Path) -> None:
    assert names(f"{folder}/a.txt", folder) == ["a.txt"]
    assert names(str(folder), folder) == ["a.txt", "b[1].txt", "deep/c.txt"]
    assert names(f"file://{folder}/", folder) == ["a.txt", "b[1].txt", "deep/c.txt"]
    assert names(f"{folder}/*.txt", folder) == ["a.txt", "b[1].txt"]
    assert names(f"{folder}/**/*.txt", folder) == [
        ".hidden/e.txt",
        "_tmp/f.txt",
        "a.txt",
        "b[1].txt",
        "deep/c.txt",
    ]
    assert names(f"{folder}/b[1].txt", folder) == ["b[1].txt"]
    assert names([f"{folder}/deep", f"{folder}/a.txt", f"{folder}/*.txt"], folder) == [
        "a.txt",
        "b[1].txt",
        "deep/c.txt",
    ]


def test_what_would_not_be_listed_is_not_owned(folder: Path) -> None:
    whole = FileSet(str(folder), patterns=PATTERNS)
    others = [
        "/a.txt",
        f"{folder}/deep/d.csv",
        f"{folder}/_tmp/f.txt",
        f"{folder}2/a.txt",
        "s3://b/a.txt",
    ]
    assert not any(whole.owns(uri) for uri in others)
    glob = FileSet(f"{folder}/*.txt", patterns=PATTERNS)
    assert glob.owns(f"{folder}/gone.txt")
    assert not glob.owns(f"{folder}/deep/c.txt")


def test_a_remote_file_is_called_by_its_whole_uri() -> None:
    fsspec.filesystem("memory").pipe("/sources/deep/a.txt", b"text")
    files = FileSet("memory://sources", patterns=PATTERNS)
    (file,) = files.listed()
    assert (file.uri, file.size_bytes, file.stamp) == ("memory:///sources/deep/a.txt", 4, "")
    assert files.relative(file.uri) == "deep/a.txt"
    with files.reading(file) as stream:
        assert stream.readline(3) == b"tex"
    fsspec.filesystem("memory").pipe("/sources/deep/a.txt", b"TEXT")
    with pytest.raises(SourceChanged):
        files.check(file)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "{0}/no.txt",
            "path = '{0}/no.txt' does not exist; {0} holds .hidden, _tmp, a.txt, b[1].txt, deep",
        ),
        (
            "{0}/no/*.txt",
            "path = '{0}/no/*.txt' has no file; {0} holds .hidden, _tmp, a.txt, b[1].txt, deep",
        ),
        (
            "{0}/x?.txt",
            "path = '{0}/x?.txt' has no file; {0} holds .hidden, _tmp, a.txt, b[1].txt, deep",
        ),
        ("{0}/_tmp/f.txt/x", "path = '{0}/_tmp/f.txt/x' does not exist; {0}/_tmp holds f.txt"),
        (
            "nosuch://x",
            "path = 'nosuch://x' with these storage_options: Protocol not known: nosuch",
        ),
    ],
)
def test_a_path_without_files_says_what_is_there(folder: Path, path: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        FileSet(path.format(folder), patterns=PATTERNS).listed()
    assert str(error.value) == message.format(folder)


def test_a_folder_without_matching_files_says_what_would_match(folder: Path) -> None:
    (folder / "deep" / "c.txt").unlink()
    with pytest.raises(ConfigError, match=r"has no file like \*\*/\*.txt; .* holds d.csv$"):
        FileSet(f"{folder}/deep", patterns=PATTERNS).listed()


def test_a_file_younger_than_two_seconds_has_no_stamp_but_is_told_from_another(
    folder: Path,
) -> None:
    path = folder / "a.txt"
    path.write_text("young")
    files = FileSet(str(path), patterns=PATTERNS)
    (file,) = files.listed()
    assert (file.stamp, bool(file.state)) == ("", True)
    files.check(file)
    path.write_text("YOUNG")
    os.utime(path, (EARLIER, EARLIER))
    with pytest.raises(SourceChanged, match="changed since it was listed"):
        files.check(file)
    path.unlink()
    with pytest.raises(SourceChanged, match="is gone since it was listed"):
        files.check(file)


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_noticed(folder: Path) -> None:
    files = FileSet(f"{folder}/a.txt", patterns=PATTERNS)
    before = files.listed()
    (folder / "new").write_text("a.txt")
    os.utime(folder / "new", (EARLIER, EARLIER))
    (folder / "new").replace(folder / "a.txt")
    assert files.listed() != before


@pytest.mark.parametrize(
    ("uri", "error", "raised"),
    [
        ("s3://b/k", TimeoutError("read"), SourceUnavailable),
        ("s3://b/k", ConnectionResetError("peer"), SourceUnavailable),
        ("s3://b/k", OSError(errno.EBUSY, "SlowDown"), SourceUnavailable),
        ("s3://b/k", aiohttp.ServerDisconnectedError(), SourceUnavailable),
        ("s3://b/k", OSError("Truncated compressed stream"), SourceError),
        ("s3://b/k", PermissionError("Forbidden"), SourceError),
        ("/a/b", OSError(errno.EIO, "a bad disk"), SourceError),
    ],
)
def test_only_what_may_pass_is_transient(
    uri: str, error: Exception, raised: type[SourceError]
) -> None:
    with pytest.raises(SourceError) as caught, errors_of(uri):
        raise error
    assert type(caught.value) is raised
    assert uri in str(caught.value)


def test_running_out_of_memory_is_no_error_of_the_file() -> None:
    with pytest.raises(MemoryError), errors_of("/a"):
        raise pa.ArrowMemoryError("malloc of size 64 failed")


def test_what_is_wrong_in_the_reader_passes_as_it_is(folder: Path) -> None:
    files = FileSet(f"{folder}/a.txt", patterns=PATTERNS)
    (file,) = files.listed()
    with pytest.raises(ZeroDivisionError), files.reading(file):
        raise ZeroDivisionError


def test_a_file_that_looks_broken_because_it_was_replaced_is_a_changed_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"text"))
    files = FileSet(str(path), patterns=PATTERNS)
    (file,) = files.listed()
    with pytest.raises(SourceChanged), files.reading(file):
        _replace_and_fail(path)


def _replace_and_fail(path: Path) -> None:
    path.write_bytes(b"other")
    raise EOFError("the end is missing")


def test_an_unknown_state_is_not_compared(folder: Path) -> None:
    files = FileSet(f"{folder}/a.txt", patterns=PATTERNS)
    files.check(File(f"{folder}/a.txt", 5, ""))
