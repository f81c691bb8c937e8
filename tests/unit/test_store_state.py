"""What stands beside the tables: receipts, manifests, snapshots, quarantine."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from schemas.quarantine import QuarantineEntry, Reason
from schemas.receipt import Receipt, WrittenFile, WrittenFragment
from tasks.errors import ConfigError, StoreError
from tasks.store import layout, manifests, quarantine, receipts, snapshots
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


def test_a_corrupt_receipt_is_named_and_left_out(tmp_path: Path) -> None:
    folder = Path(layout.receipts_folder(str(tmp_path), "papers.1"))
    folder.mkdir(parents=True)
    (folder / "r1.0.0.json").write_text("{")
    (folder / "r1.1.0.json").write_text('{"format": 9}')
    found, warnings = receipts.list(str(tmp_path), "papers.1")
    assert found == ()
    assert "r1.0.0.json cannot be read" in warnings[0]
    assert "r1.1.0.json: format 9" in warnings[1]


class Manifest(BaseModel):
    format: int = 1
    rows: int


def test_a_manifest_is_replaced_whole_and_a_newer_format_is_refused(tmp_path: Path) -> None:
    store = str(tmp_path)
    assert manifests.read(store, "papers.1", "r1", Manifest) is None
    for rows in (1, 2):
        manifests.write(store, "papers.1", "r1", Manifest(rows=rows))
        assert manifests.read(store, "papers.1", "r1", Manifest) == Manifest(rows=rows)
    assert [path.name for path in (tmp_path / "runs" / "papers.1" / "r1").iterdir()] == [
        "manifest.json"
    ]
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


def test_a_snapshot_is_replaced_whole_and_keeps_at_most_one_older_version(tmp_path: Path) -> None:
    store = str(tmp_path)
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
    path = Path(layout.state_uri(store, "papers.1", "files"))
    assert len(list((path / "_versions").glob("*.manifest"))) == 2


def test_quarantine_is_replaced_whole_and_equal_entries_write_nothing(tmp_path: Path) -> None:
    store = str(tmp_path)
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
    path = Path(layout.state_uri(store, "papers.1", "quarantine"))
    assert not path.exists()
    quarantine.write(store, "papers.1", entries)
    assert quarantine.read(store, "papers.1") == entries[::-1]
    before = sorted(path.rglob("*"))
    quarantine.write(store, "papers.1", entries[::-1])
    assert sorted(path.rglob("*")) == before
    quarantine.write(store, "papers.1", [])
    assert quarantine.read(store, "papers.1") == []


@pytest.mark.parametrize("uri", ["s3://bucket/store", "gs://bucket", "https://host/x"])
def test_a_store_that_is_not_on_a_local_disk_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="must be a folder on a local disk"):
        layout.root(uri)
    assert layout.root("file:///a%20b/c") == "/a b/c"
