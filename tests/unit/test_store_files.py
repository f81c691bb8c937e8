"""The files of a store do the same on a local disk and on an object store."""

import pytest

from tasks.errors import ConfigError, StoreError
from tasks.store import files, object_files
from tests import s3


def test_files_are_written_listed_moved_and_removed(store: str) -> None:
    here = files.of(store)
    a, b, c = (f"{store}/folder/{name}" for name in ("a.json", "b b.json", "sub/ü.json"))
    assert (here.read(a), here.size_bytes(a), here.names(f"{store}/folder")) == (None, None, [])
    for path, text in ((a, "old"), (a, "new one"), (b, "ü"), (c, "")):
        here.write(path, text)
    assert here.read(a) == b"new one"
    assert (here.size_bytes(a), here.size_bytes(b), here.size_bytes(c)) == (7, 2, 0)
    assert here.names(f"{store}/folder") == ["a.json", "b b.json", "sub"]
    assert here.names(f"{store}/fold") == []
    here.sync([a, b])
    here.sync([f"{store}/folder/gone"], missing_ok=True)
    here.move(b, f"{store}/folder/aside/b")
    here.move(b, f"{store}/folder/aside/b")
    assert here.read(f"{store}/folder/aside/b") == "ü".encode()
    here.remove([a, b])
    assert here.names(f"{store}/folder") == ["aside", "sub"]
    here.remove_folder(f"{store}/folder")
    assert here.names(store) == []


def test_files_that_do_not_end_as_they_must_are_torn(store: str) -> None:
    here = files.of(store)
    for name, text in (("a", "123END"), ("b", ""), ("c", "EN"), ("d", "END")):
        here.write(f"{store}/{name}", text)
    assert here.torn(store, b"END") == ["b", "c"]


@pytest.mark.stores
def test_of_two_who_create_an_object_one_wins_also_when_its_answer_is_lost(
    s3_endpoint: str,
) -> None:
    del s3_endpoint
    bucket = object_files.connect(s3.BUCKET)
    path = f"{s3.BUCKET}/created"
    assert bucket.create(path, "mine")
    assert not bucket.create(path, "theirs")
    assert bucket.create(path, "mine")
    assert bucket.read(path) == b"mine"


@pytest.mark.stores
def test_a_bucket_that_is_not_there_is_named(s3_endpoint: str) -> None:
    del s3_endpoint
    there = files.of("s3://nowhere/x")
    said = "s3://nowhere/x failed: The specified bucket does not exist"
    with pytest.raises(StoreError, match=f"^listing {said}$"):
        there.names("s3://nowhere/x")
    with pytest.raises(StoreError, match=f"^writing {said}$"):
        there.write("s3://nowhere/x", "")


@pytest.mark.stores
def test_missing_keys_are_named(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    del s3_endpoint
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(object_files, "MAX_RETRIES", 0)
    with pytest.raises(ConfigError, match=r"by the environment: .* Missing AccessKeyId$"):
        files.of("s3://without-keys/x")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match="the environment has no AWS_ACCESS_KEY_ID"):
        files.of("s3://without-keys/x").read("s3://without-keys/x")
