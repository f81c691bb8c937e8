"""Whole runs over images, where nobody but the encoder knows what they are."""

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.content import Media
from tasks.encoders.base import Precision
from tasks.errors import ConfigError, SourceError
from tasks.space import open_space
from tasks.store import quarantine
from tests import web
from tests.encoders import ByteEncoder
from tests.pipeline import books, config, refresh
from tests.web import body

EARLIER = 1_600_000_000


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "vectors"


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (EARLIER, EARLIER))
    return folder


def pixels(n: int) -> dict[str, bytes]:
    return {f"{k % 3}/{k:02}.png": b"image %d" % k for k in range(n)}


def captions(folder: Path, names: Mapping[str, str]) -> str:
    path = folder / "captions.csv"
    path.write_text("file_name,caption\n" + "".join(f"{k},{v}\n" for k, v in names.items()))
    return str(path)


def settings(**source: object) -> dict[str, Any]:
    encoder = {"use": "tests.encoders:ByteEncoder"}
    return config(Path("unused"), source=source, encoder=encoder)


def told(made: Mapping[str, Any], store: Path) -> dict[str, str]:
    return {entry.id: entry.reason for entry in quarantine.read(str(store), made["table"])}


def rows(store: Path, *columns: str) -> list[tuple[Any, ...]]:
    table = open_space("notes", str(store), version="latest").to_arrow(["id", *columns])
    return sorted(tuple(row.values()) for row in table.to_pylist())


def test_a_folder_of_images_is_kept_in_step(tmp_path: Path, store: Path) -> None:
    images = pixels(12)
    folder = write(tmp_path / "images", {**images, "bad.png": b"bad pixels", "empty.png": b""})
    about = {name: f"picture {name[2:4]}" for name in images}
    kept = settings(
        use="images", path=str(folder), sidecar=captions(folder, about), metadata=["caption"]
    )
    made = refresh(kept, store)
    assert books(made) == {"read": 14, "new": 12, "quarantined": 2}
    assert told(made, store) == {"bad.png": "undecodable", "empty.png": "empty"}
    assert rows(store, "caption", "modality", "source_uri") == sorted(
        (name, about[name], "image", f"{folder}/{name}") for name in images
    )
    encoder = ByteEncoder()
    encoder.load(Precision.FLOAT32)
    ids, vectors = open_space("notes", str(store)).vectors()
    prepared = ByteEncoder().prepare([Media("image", images[one]) for one in ids])
    assert (vectors == encoder.encode(prepared)).all()

    # What is as it was is not read: with the old time and size another content is not seen.
    for name in images:
        with (folder / name).open("r+b") as file:
            file.write(images[name].swapcase())
        os.utime(folder / name, (EARLIER, EARLIER))
    again = refresh(kept, store)
    assert books(again) == {"read": 14, "unchanged": 12, "quarantined": 2}
    assert again["new_version"] is False
    for name in images:
        (folder / name).write_bytes(images[name])
        os.utime(folder / name, (EARLIER, EARLIER))

    # A row of the sidecar that changed moves metadata alone, and no other file is read.
    captions(folder, {**about, "0/03.png": "another caption", "no.png": "nothing"})
    moved = refresh(kept, store)
    assert books(moved) == {"read": 15, "unchanged": 11, "metadata_changed": 1, "quarantined": 3}
    assert moved["encoded"] == 0
    assert dict(rows(store, "caption"))["0/03.png"] == "another caption"
    assert told(moved, store)["no.png"] == "not_found"

    # Files come, go and change.
    write(folder, {"0/00.png": b"changed pixels", "0/99.png": b"image 1", "bad.png": b"mended"})
    (folder / "2/11.png").unlink()
    changed = refresh(kept, store)
    assert books(changed) == {
        "read": 16,
        "new": 2,
        "changed": 1,
        "unchanged": 10,
        "quarantined": 3,
    }
    assert "2/11.png" not in dict(rows(store, "caption"))
    assert changed["encoded"] == 2  # the new one has the bytes of another
    assert told(changed, store) == {
        "empty.png": "empty",
        "no.png": "not_found",
        "2/11.png": "not_found",
    }


def test_urls_are_asked_once_a_run_and_fetched_when_they_changed(
    tmp_path: Path, store: Path
) -> None:
    with web.server() as server:
        server.routes = {f"/{n}": body(b"image %d" % n, f'"{n}"') for n in range(8)}
        server.routes["/secret"] = lambda request: request.answer(302, Location="http://127.0.0.2/")
        names = [*(f"{n}" for n in range(8)), "gone", "secret"]
        lines = [f"{name},{server.url}/{name},{name}!" for name in names]
        (tmp_path / "list.csv").write_text("id,url,note\n" + "\n".join(lines))
        kept = settings(
            use="urls",
            path=f"{tmp_path}/list.csv",
            cache=f"{tmp_path}/cache",
            id="id",
            metadata=["note"],
            allow=["127.0.0.1"],
            retries=0,
        )
        made = refresh(kept, store)
        assert books(made) == {"read": 10, "new": 8, "quarantined": 2}
        assert told(made, store) == {"gone": "not_found", "secret": "forbidden_address"}
        assert sorted(server.asked) == sorted(f"/{name}" for name in names)
        assert rows(store, "note") == [(f"{n}", f"{n}!") for n in range(8)]

        server.asked.clear()
        again = refresh(kept, store)
        assert books(again) == {"read": 10, "unchanged": 8, "quarantined": 2}
        assert (again["new_version"], again["encoded"]) == (False, 0)
        assert sorted(server.asked) == sorted(f"/{name}" for name in names)

        server.routes["/1"] = body(b"another", '"11"')
        server.routes["/2"] = lambda request: request.answer(503)
        server.routes["/gone"] = body(b"back", '"b"')
        changed = refresh(kept, store)
        assert books(changed) == {
            "read": 10,
            "new": 1,
            "changed": 1,
            "unchanged": 6,
            "quarantined": 2,
        }
        assert told(changed, store) == {"2": "unavailable", "secret": "forbidden_address"}
        assert len(rows(store)) == 9  # what did not answer keeps its row

        server.routes["/2"] = body(b"image 2", '"2"')
        server.asked.clear()
        back = refresh(kept, store)
        assert books(back) == {"read": 10, "unchanged": 9, "quarantined": 1}
        assert sorted(server.asked) == sorted(f"/{name}" for name in names)


def test_an_answer_that_differs_each_time_does_not_stop_a_run(tmp_path: Path, store: Path) -> None:
    with web.server(otherwise=lambda r: r.answer(200, os.urandom(8))) as server:
        (tmp_path / "list.txt").write_text(f"{server.url}/a\n{server.url}/b\n")
        kept = settings(
            use="urls", path=f"{tmp_path}/list.txt", cache=f"{tmp_path}/cache", allow=web.LOOPBACK
        )
        assert books(refresh(kept, store)) == {"read": 2, "new": 2}
        assert books(refresh(kept, store)) == {"read": 2, "changed": 2}


def test_images_in_tables_and_tar_files_are_one_space_with_those_in_folders(
    tmp_path: Path, store: Path
) -> None:
    folder = write(tmp_path / "images", {"a.png": b"image a", "b.png": b"bad"})
    table = {"id": ["c", "d"], "at": ["a.png", "../outside.png"], "x": [b"image c", b"bad"]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        for name, data in {"e.jpg": b"image e", "f.json": b"{}", "/g.jpg": b"image g"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    parquet = {"use": "parquet", "path": f"{tmp_path}/t.parquet", "id": "id"}
    kept = settings()
    kept["source"] = [
        {"use": "images", "path": str(folder)},
        {**parquet, "image_path": "at", "root": str(folder)},
        {"use": "webdataset", "path": f"{tmp_path}/t.tar", "image": "jpg"},
    ]
    made = refresh(kept, store)
    assert books(made) == {"read": 7, "new": 3, "quarantined": 4}
    assert told(made, store) == {
        "b.png": "undecodable",
        "d": "unsafe_name",
        "f": "not_found",
        "/g": "unsafe_name",
    }
    assert made["encoded"] == 2  # c has the bytes of a.png
    assert [one for (one,) in rows(store)] == ["a.png", "c", "e"]
    kept["source"][1] = {**parquet, "image": "x"}
    assert books(refresh(kept, store)) == {
        "read": 7,
        "changed": 1,
        "unchanged": 2,
        "quarantined": 4,
    }


def test_a_truncated_tar_stops_the_run_or_stands_aside_as_a_whole(
    tmp_path: Path, store: Path
) -> None:
    for name in "ab":
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            member = tarfile.TarInfo(f"{name}.jpg")
            member.size = 5
            archive.addfile(member, io.BytesIO(b"image"))
    whole = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[:700])
    kept = settings(use="webdataset", path=str(tmp_path), image="jpg")
    with pytest.raises(SourceError, match=r"b\.tar cannot be read"):
        refresh(kept, store)
    kept["source"]["on_unreadable"] = "quarantine"
    made = refresh(kept, store)
    assert books(made) == {"read": 2, "new": 1, "quarantined": 1}
    assert told(made, store) == {f"{tmp_path}/b.tar": "unreadable"}


def test_what_is_longer_than_the_limit_is_not_even_read(tmp_path: Path, store: Path) -> None:
    folder = write(tmp_path / "images", {"a.png": b"small"})
    with (folder / "huge.png").open("wb") as file:
        file.truncate(2**40)
    kept = {**settings(use="images", path=str(folder)), "limits": {"max_quarantined": 1.0}}
    made = refresh(kept, store)
    assert books(made) == {"read": 2, "new": 1, "quarantined": 1}
    assert told(made, store) == {"huge.png": "too_large"}
    (entry,) = quarantine.read(str(store), made["table"])
    assert entry.detail == "1099511627776 bytes, limits.max_content_bytes is 67108864"


def test_an_encoder_of_texts_refuses_a_source_of_images(tmp_path: Path, store: Path) -> None:
    kept = settings(use="images", path=str(write(tmp_path / "images", {"a.png": b"small"})))
    kept["encoder"] = {"use": "hashing", "dim": 32}
    with pytest.raises(
        ConfigError, match="the source gives image, and encoder 'hashing' reads text"
    ):
        refresh(kept, store)
