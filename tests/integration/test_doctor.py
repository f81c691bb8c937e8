"""The doctor on this machine."""

from pathlib import Path

import pytest

from tasks import doctor as doctor_module
from tasks.check import Check
from tasks.doctor import doctor
from tests import s3


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Check]:
    store = tmp_path_factory.mktemp("doctor") / "not" / "there"
    found = doctor(str(store))
    assert not store.parent.exists()
    return {check.name: check for check in found}


def test_the_doctor_finds_a_test_machine_well(checks: dict[str, Check]) -> None:
    assert [name for name, check in checks.items() if not check.ok] == []
    assert list(checks) == [
        "python",
        "own packages",
        "packages",
        "packages for text",
        "packages for image",
        "packages for audio",
        "packages for graph",
        "packages for words",
        "packages for evaluate",
        "packages for umap",
        "packages for mteb",
        "packages for s3",
        "sinks",
        "device",
        "default model",
        "ray",
        "prefect",
        "free disk",
        "locks",
        "shared memory",
    ]


def test_a_store_that_cannot_be_is_told_with_what_to_do() -> None:
    bad = [check for check in doctor("https://host/store") if not check.ok]
    assert [check.name for check in bad] == ["store"]
    assert "give --store (or VECTORLINE_STORE) a path" in bad[0].detail


@pytest.mark.stores
def test_a_store_on_an_object_store_is_looked_at(s3_endpoint: str) -> None:
    del s3_endpoint
    found = {check.name: check for check in doctor(f"{s3.BUCKET}/doctor")}
    assert found["locks"] == Check("locks", True, f"they hold in {s3.BUCKET}/doctor")
    assert "free disk" not in found
    bad = [check for check in doctor("s3://nowhere/store") if not check.ok]
    assert [check.name for check in bad] == ["locks"]
    assert "The specified bucket does not exist" in bad[0].detail


def test_an_old_and_a_missing_package_are_told_with_the_install_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Other distributions of the same names come first on the path.
    for name, version in (("tokenizers", "0.1.0"), ("prefect", "4.0")):
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    bad = {check.name: check.detail for check in doctor(str(tmp_path)) if not check.ok}
    assert bad == {
        "packages": "prefect 4.0 (needs <3.9,>=3.8.8): pip install vectorline",
        "packages for text": "tokenizers 0.1.0 (needs >=0.22): pip install 'vectorline[text]'",
    }


def test_stores_whose_client_is_missing_are_named_and_no_mistake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def versions_of(names: list[str]) -> dict[str, str]:
        return {name: "1" for name in names if name not in ("scann", "psycopg")}

    monkeypatch.setattr("tasks.libraries.versions_of", versions_of)
    (found,) = (check for check in doctor(str(tmp_path)) if check.name == "sinks")
    assert found == Check(
        "sinks",
        True,
        "publish to parquet, numpy, lancedb, faiss, usearch, qdrant, chroma, milvus, sqlite-vec, "
        "duckdb, elasticsearch, pinecone, weaviate; to scann, pgvector if it is wanted: "
        "pip install 'vectorline[scann,pgvector]'",
    )


def test_packages_of_an_extra_that_nobody_wanted_are_no_mistake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def version(package: str) -> str | None:
        return None if package == "soundfile" else known(package)

    known = doctor_module._version
    monkeypatch.setattr(doctor_module, "_version", version)
    found = {check.name: check for check in doctor(str(tmp_path))}
    mend = "none, if they are needed: pip install 'vectorline[audio]'"
    assert found["packages for audio"] == Check("packages for audio", True, mend)
    assert "open-clip-torch" in found["packages for image"].detail
