"""Folders of images from end to end: good files become rows, bad ones go to quarantine."""

import io
import json
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from examples.scenes import write_folder
from flows import cli
from tasks.config import from_dict
from tasks.duplicates import duplicates
from tasks.search import Query, Term, search
from tasks.space import open_space
from tasks.store import quarantine
from tasks.store.catalog import Catalog
from tasks.train import train
from tests.pipeline import books, refresh

N_FILES, N_BAD = 5_000, 500
SIDE = 24


def config(folder: Path, **own: Any) -> dict[str, Any]:
    return {
        "space": "pictures",
        "source": {"use": "images", "path": str(folder)},
        "encoder": {"use": "open-clip"},
        "compute": {"use": "serial"},
        **own,
    }


def saved(kind: str, pixels: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels; there are a few bytes of them."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def bad_ways(noise: Any) -> dict[str, tuple[str, bytes, str]]:
    """For each way: an ending of names, the bytes, and the reason."""
    jpeg, png = saved("JPEG", noise), saved("PNG", noise)
    gif, webp = saved("GIF", noise[:, :, 0]), saved("WEBP", noise)
    depths = Image.fromarray(noise[:, :, 0].astype(np.float32))
    floats = io.BytesIO()
    depths.save(floats, "TIFF")
    return {
        "empty": ("jpg", b"", "empty"),
        "cut jpeg": ("jpg", jpeg[: len(jpeg) // 2], "undecodable"),
        "cut png": ("png", png[: len(png) // 2], "undecodable"),
        "cut gif": ("gif", gif[:9], "undecodable"),
        "cut webp": ("webp", webp[: len(webp) // 2], "undecodable"),
        "flipped png": ("png", flipped(png, len(png) // 2), "undecodable"),
        "header alone": ("jpg", jpeg[:20], "undecodable"),
        "a text": ("jpg", b"no picture, but a sentence about one", "unsupported_format"),
        "a page": ("png", b"<!doctype html><html><body>404</body></html>", "unsupported_format"),
        "a drawing": ("svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format"),
        "json": ("webp", b'{"error": "not found"}', "unsupported_format"),
        "zeros": ("png", bytes(400), "unsupported_format"),
        "an archive": ("jpg", b"PK\x03\x04" + bytes(60), "unsupported_format"),
        "floats": ("tif", floats.getvalue(), "unsupported_format"),
        "a bomb": ("png", png_of(50_000, 50_000), "too_many_pixels"),
        "a long bomb": ("png", png_of(2**30, 1), "too_many_pixels"),
        "too large": ("png", png + bytes(300_000), "too_large"),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with good files, and 500 bad ones; for these the reasons by id."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    noise = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    ways, why = [*bad_ways(noise).values()], {}
    for number in range(N_FILES):
        below = folder / f"{number % 7}" / f"{number % 3}"
        below.mkdir(parents=True, exist_ok=True)
        if number % (N_FILES // N_BAD) == 0:
            ending, data, reason = ways[number // (N_FILES // N_BAD) % len(ways)]
            name = f"bad{number}.{ending}"
            data = data + str(number).encode() if reason == "unsupported_format" else data
            why[f"{number % 7}/{number % 3}/{name}"] = reason
        else:
            pixels = np.full((SIDE, SIDE, 3), rng.integers(0, 256, 3), np.uint8)
            name, kind = (f"{number}.png", "PNG") if number % 2 else (f"{number}.jpg", "JPEG")
            data = saved(kind, pixels)
        (below / name).write_bytes(data)
    return folder, why


def test_five_hundred_bad_files_of_five_thousand_are_in_quarantine_with_their_reasons(
    made: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, why = made
    limits = {"max_quarantined": 0.2, "max_content_bytes": 100_000}
    done = refresh(config(folder, limits=limits), tmp_path / "store")
    found = quarantine.read(str(tmp_path / "store"), done["table"])
    assert {entry.id: entry.reason.value for entry in found} == why
    assert len(set(Counter(why.values()))) >= 5
    assert books(done) == {"read": N_FILES, "new": N_FILES - N_BAD, "quarantined": N_BAD}
    assert done["rows"] == N_FILES - N_BAD
    again = refresh(config(folder, limits=limits), tmp_path / "store")
    assert not again["new_version"]


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    write_folder(tmp_path / "scenes", 60, np.random.default_rng(0))
    return tmp_path / "scenes"


def test_texts_find_images_and_images_find_texts_in_one_space(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in (scenes / "captions.jsonl").read_text().splitlines()]
    (tmp_path / "captions.jsonl").write_text(
        "\n".join(
            json.dumps({"id": f"text of {row['path']}", "text": row["caption"]}) for row in rows
        )
    )
    columns = ["caption", "family", "shape", "colour"]
    pictures = {"use": "images", "path": str(scenes), "key": "path", "metadata": columns}
    pictures["sidecar"] = str(scenes / "captions.jsonl")
    texts = {"use": "jsonl", "path": str(tmp_path / "captions.jsonl"), "id": "id", "text": "text"}
    store = tmp_path / "store"
    done = refresh(config(scenes, source=[pictures, texts]), store)
    assert (done["rows"], done["records"]["quarantined"]) == (2 * len(rows), 0)
    space = open_space("pictures", str(store))
    frame = space.to_pandas(["id", "modality", "text"]).set_index("id")
    assert Counter(frame["modality"]) == {"image": len(rows), "text": len(rows)}
    assert frame["text"].isna().tolist() == (frame["modality"] == "image").tolist()
    single = [row for row in rows if row["family"] == "single"]
    n_right = n_back = 0
    for row in single:
        asked = Query([Term("text", row["caption"])], k=1, modality="image")
        (hit,) = search(space, asked)
        n_right += hit.columns["caption"] == row["caption"]
        asked = Query([Term("image", str(scenes / row["path"]))], k=1, modality="text")
        (hit,) = search(space, asked)
        n_back += hit.columns["text"] == row["caption"]
    assert n_right >= 0.8 * len(single)
    assert n_back >= 0.8 * len(single)
    (tmp_path / "shapes.txt").write_text("\n".join(sorted({row["shape"] for row in single})))
    command = ["classify", "pictures", "--store", str(store), "--labels"]
    command += [str(tmp_path / "shapes.txt"), "--template", "a {}", "--truth", "shape", "--json"]
    assert cli.main([*command, "--where", "family = 'single'", "--modality", "image"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["accuracy"] >= 0.8
    assert {one["id"] for one in answer["records"]} == {row["path"] for row in single}


def test_an_image_that_cannot_be_read_is_no_question(scenes: Path, tmp_path: Path) -> None:
    refresh(config(scenes), tmp_path / "store")
    command = ["search", "pictures", "--store", str(tmp_path / "store"), "--image"]
    (tmp_path / "a.jpg").write_text("a text")
    assert cli.main([*command, str(tmp_path / "a.jpg")]) == 2
    assert cli.main([*command, str(tmp_path / "missing.jpg")]) == 2
    assert cli.main([*command, str(scenes / "single")]) == 2  # a folder


def test_near_duplicates_of_images_are_found(scenes: Path, tmp_path: Path) -> None:
    names = sorted(path.relative_to(scenes) for path in scenes.rglob("*.png"))[:5]
    for name in names:
        with Image.open(scenes / name) as picture:
            picture.save(scenes / name.with_name(f"copy of {name.stem}.jpg"), quality=90)
    refresh(config(scenes), tmp_path / "store")
    groups = duplicates(open_space("pictures", str(tmp_path / "store")), 0.9)
    of = {id_: group.ids for group in groups for id_ in group.ids}
    for name in names:
        copy = name.with_name(f"copy of {name.stem}.jpg").as_posix()
        assert copy in of[name.as_posix()]


def test_a_model_is_trained_on_pictures_with_captions_and_used_by_name(
    scenes: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    source = {
        "use": "images",
        "path": str(scenes),
        "sidecar": str(scenes / "captions.jsonl"),
        "key": "path",
        "metadata": ["caption"],
    }
    fit = {"use": "contrastive", "name": "shapes", "steps": 3, "batch": 16, "validation": 0.2}
    settings = config(scenes, source=source, train=fit)
    made = train.fn(from_dict(settings, "a test"), store, 0.0)
    assert made["use"] == "trained:shapes"
    assert made["records"] == 60
    again = train.fn(from_dict(settings, "a test"), store, 0.0)
    assert again["digest"] == made["digest"]
    settings["encoder"] = {"use": "open-clip", "model": "trained:shapes"}
    done = refresh(settings, store)
    assert done["rows"] == 60
    (entry,) = Catalog(store).versions("pictures")
    kept = open_space("pictures", store).settings.encoder
    assert kept["model"] == f"trained:shapes@{made['digest']}"
    assert len(open_space("pictures", store).embed(["a red circle"])) == 1
    assert entry.rows == 60
