"""What stands beside the tables: receipts, manifests, snapshots, quarantine."""

from datetime import UTC, datetime
from pathlib import Path

import lance
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from schemas.quarantine import QuarantineEntry, Reason
from schemas.receipt import Receipt, WrittenFile, WrittenFragment
from tasks.errors import ConfigError, StoreError
from tasks.store import files, layout, manifests, quarantine, receipts, snapshots
from tests.tables import FINGERPRINT, new_table

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
COUNT = st.integers(0, 2**40)
ENTRIES = st.builds(QuarantineEntry, id=TEXT, detail=TEXT, source_uri=TEXT, content_hash=TEXT)
FILES = st.builds(WrittenFile, path=TEXT, size_bytes=COUNT)
FRAGMENTS = st.builds(
    WrittenFragment, metadata=TEXT, rows=COUNT, files=st.lists(FILES, max_size=2).map(tuple)
)
RECEIPTS = st.builds(
    Receipt,
    table=st.just("papers.1"),
    run_id=st.sampled_from(["r1", "r2"]),
    session=st.sampled_from(["a", "b"]),
    job=st.integers(0, 9),
    attempt=st.integers(0, 9),
    fragments=st.lists(FRAGMENTS, max_size=2).map(tuple),
    quarantined=st.lists(ENTRIES, max_size=2).map(tuple),
    seconds=st.dictionaries(TEXT, st.floats(0, 1e6), max_size=2),
)


def name_of(receipt: Receipt) -> str:
    return f"{receipt.run_id}.{receipt.session}.{receipt.job}.{receipt.attempt}.json"


@given(receipts_=st.lists(RECEIPTS, max_size=4, unique_by=name_of))
def test_receipts_come_back_as_they_were_published(
    receipts_: list[Receipt], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = str(tmp_path_factory.mktemp("store"))
    for receipt in receipts_:
        receipts.publish(store, receipt)
    found, warnings = receipts.list(store, "papers.1")
    assert warnings == ()
    assert found == tuple(sorted(receipts_, key=name_of))
    receipts.drop(store, receipts_)
    receipts.drop(store, receipts_)
    assert receipts.list(store, "papers.1") == ((), ())


@given(receipts_=st.lists(RECEIPTS, min_size=2, max_size=4, unique_by=name_of))
def test_what_comes_after_a_commit_is_not_cleared_with_it(
    receipts_: list[Receipt], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = str(tmp_path_factory.mktemp("store"))
    *before, late = receipts_
    for receipt in before:
        receipts.publish(store, receipt)
    served = receipts.paths(store, "papers.1")
    receipts.publish(store, late)
    receipts.clear(store, served)
    assert receipts.list(store, "papers.1") == ((late,), ())


def test_a_corrupt_receipt_is_named_and_left_out(store: str) -> None:
    folder = layout.receipts_folder(store, "papers.1")
    files.of(folder).write(f"{folder}/r1.0.0.json", "{")
    files.of(folder).write(f"{folder}/r1.1.0.json", '{"format": 9}')
    found, warnings = receipts.list(store, "papers.1")
    assert found == ()
    assert "r1.0.0.json cannot be read" in warnings[0]
    assert "r1.1.0.json: format 9" in warnings[1]


class Manifest(BaseModel):
    format: int = 1
    rows: int


def test_a_manifest_is_replaced_whole_and_a_newer_format_is_refused(store: str) -> None:
    assert manifests.read(store, "papers.1", "r1", Manifest) is None
    for rows in (1, 2):
        manifests.write(store, "papers.1", "r1", Manifest(rows=rows))
        assert manifests.read(store, "papers.1", "r1", Manifest) == Manifest(rows=rows)
    folder = layout.manifest_path(store, "papers.1", "r1").rpartition("/")[0]
    assert files.of(folder).names(folder) == ["manifest.json"]
    manifests.write(store, "papers.1", "r1", Manifest(format=2, rows=3))
    with pytest.raises(StoreError, match=r"manifest\.json: format 2 .*upgrade vectorline"):
        manifests.read(store, "papers.1", "r1", Manifest)


def test_settings_of_a_newer_format_or_of_no_vectorline_are_refused(tmp_path: Path) -> None:
    table = new_table(tmp_path)
    assert table.settings().fingerprint == FINGERPRINT
    text = table.settings().model_dump_json()
    table.open().update_schema_metadata({"vectorline": text.replace('"format":1', '"format":2')})
    with pytest.raises(StoreError, match=f"settings of table '{table.name}': format 2"):
        table.settings()
    table.open().update_schema_metadata({}, replace=True)
    with pytest.raises(StoreError, match="is no table of vectorline"):
        table.settings()


def test_a_snapshot_is_replaced_whole_and_keeps_at_most_one_older_version(store: str) -> None:
    assert snapshots.read(store, "papers.1", "files") is None
    schema = pa.schema([("uri", pa.string()), ("seen", pa.timestamp("us", "UTC"))])
    seen = datetime(2026, 1, 2, tzinfo=UTC)
    for number in range(4):
        rows = pa.table({"uri": [f"{number}.csv"], "seen": [seen]}, schema=schema)
        snapshots.write(store, "papers.1", "files", rows, {"number": str(number)})
        assert snapshots.read(store, "papers.1", "files") == (rows, {"number": str(number)})
    empty = schema.empty_table()
    snapshots.write(store, "papers.1", "files", empty, {})
    assert snapshots.read(store, "papers.1", "files") == (empty, {})
    versions = f"{layout.state_uri(store, 'papers.1', 'files')}/_versions"
    assert sum(name.endswith(".manifest") for name in files.of(versions).names(versions)) == 2


def test_quarantine_is_replaced_whole_and_equal_entries_write_nothing(store: str) -> None:
    entries = [
        QuarantineEntry(
            id=id_,
            reason=reason,
            detail="d",
            source_uri="a.csv",
            content_hash="0" * 32,
            transient=reason.transient,
        )
        for id_, reason in (("b", Reason.EMPTY), ("a", Reason.TIMEOUT))
    ]
    quarantine.write(store, "papers.1", [])
    uri = layout.state_uri(store, "papers.1", "quarantine")
    assert files.of(uri).names(uri) == []
    quarantine.write(store, "papers.1", entries)
    assert quarantine.read(store, "papers.1") == entries[::-1]
    before = lance.dataset(uri).version
    quarantine.write(store, "papers.1", entries[::-1])
    assert lance.dataset(uri).version == before
    quarantine.write(store, "papers.1", [])
    assert quarantine.read(store, "papers.1") == []


def test_a_store_is_a_folder_or_below_a_bucket(tmp_path: Path) -> None:
    for uri in ("https://host/x", "s3://", "s3:///x", "s3://bucket/a%20b", "s3://bucket/a?b"):
        with pytest.raises(ConfigError, match="neither a folder nor on an object store"):
            layout.root(uri)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file, and a store is a folder"):
        layout.root(str(tmp_path / "file"))
    roots = {
        str(tmp_path / "vectors"): str(tmp_path / "vectors"),
        "file:///a%20b/c": "/a b/c",
        "s3://bucket": "s3://bucket",
        "s3://bucket/": "s3://bucket",
        "s3://bucket/a b//ä/": "s3://bucket/a b/ä",
    }
    assert {uri: layout.root(uri) for uri in roots} == roots
