"""Pictures of every kind through our preparation and through open_clip's and timm's transforms."""

import io
import resource
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from schemas.quarantine import Reason
from tasks.content import Media, Unusable
from tasks.encoders.clip_files import ClipModel
from tasks.encoders.framing import Fit, Framing
from tasks.encoders.images import MAX_PIXELS, ImageReader, Picture, Pixels
from tasks.encoders.timm_files import framing as timm_framing
from tests.pictures import PictureFile, bomb, drawing, oriented, picture_files, save

FRAMING = Framing((64, 64), (64, 64), Fit.SHORT_EDGE, "bicubic")


@pytest.fixture(scope="module")
def files() -> list[PictureFile]:
    return list(picture_files())


def reader(framing: Framing, *, draft: bool = False, max_pixels: int = MAX_PIXELS) -> ImageReader:
    return ImageReader(framing, max_pixels=max_pixels, draft=draft, threads=2)


def read(framing: Framing, data: list[bytes], **options: Any) -> list[Pixels]:
    prepared = reader(framing, **options).prepare([Media("image", one) for one in data])
    assert [one.problem for one in prepared] == [None] * len(data)
    return [one.payload.pixels for one in prepared if isinstance(one.payload, Picture)]


def problem(data: bytes, **options: Any) -> Unusable:
    prepared = reader(FRAMING, **options).prepare([Media("image", data)])[0]
    assert prepared.payload is None
    assert prepared.problem is not None
    return prepared.problem


def furthest(ours: Pixels, theirs: Any) -> float:
    """The largest difference, in 255ths; `theirs` is a tensor of shape (3, height, width)."""
    wanted = 255 * theirs.permute(1, 2, 0).numpy()
    assert ours.shape == wanted.shape
    return float(np.abs(ours - wanted).max())


def clip_model(size: Any, **preprocess: Any) -> ClipModel:
    config = {"embed_dim": 8, "vision_cfg": {"image_size": size}, "text_cfg": {}}
    return ClipModel(config, preprocess, None, None, None, None)


def open_clip_transform(size: Any, **preprocess: Any) -> Any:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    cfg = PreprocessCfg(size=size, mean=(0.0,) * 3, std=(1.0,) * 3, **preprocess)
    return image_transform_v2(cfg, is_train=False)


def test_every_file_gives_what_open_clips_transform_gives_of_the_picture(
    files: list[PictureFile],
) -> None:
    assert len(files) >= 200
    transform = open_clip_transform(64)
    ours = read(clip_model(64).framing(), [file.data for file in files])
    off = {
        file.name: furthest(pixels, transform(file.shown))
        for file, pixels in zip(files, ours, strict=True)
    }
    assert {name: value for name, value in off.items() if value > 2} == {}


def test_every_file_gives_what_timms_transform_gives_of_the_picture(
    files: list[PictureFile],
) -> None:
    from timm.data import create_transform

    data: dict[str, Any] = {"input_size": (3, 56, 56), "crop_pct": 0.875, "crop_mode": "center"}
    data |= {"interpolation": "bilinear", "mean": (0.0,) * 3, "std": (1.0,) * 3}
    transform = create_transform(**data, is_training=False)
    ours = read(timm_framing(data), [file.data for file in files])
    off = {
        file.name: furthest(pixels, transform(file.shown))
        for file, pixels in zip(files, ours, strict=True)
    }
    assert {name: value for name, value in off.items() if value > 2} == {}


@pytest.mark.parametrize(
    ("size", "preprocess"),
    [
        (64, {"interpolation": "bilinear"}),
        (64, {"resize_mode": "longest", "fill_color": 7}),
        (64, {"resize_mode": "squash"}),
        ((48, 80), {"interpolation": "bilinear"}),
        ((48, 80), {"resize_mode": "longest"}),
        ((80, 48), {"resize_mode": "squash", "interpolation": "bilinear"}),
    ],
)
def test_each_way_of_open_clip_to_fit_a_picture_is_ours(
    files: list[PictureFile], size: Any, preprocess: dict[str, Any]
) -> None:
    known = [file for file in files if file.name.startswith(("png-", "ppm-"))]
    transform = open_clip_transform(size, **preprocess)
    ours = read(clip_model(size, **preprocess).framing(), [file.data for file in known])
    # What is shrunk to nothing by "longest" is an error there; here its short edge is one pixel.
    fitting = [(p, f) for p, f in zip(ours, known, strict=True) if min(f.shown.size) > 5]
    assert len(fitting) >= 60
    for pixels, file in fitting:
        assert furthest(pixels, transform(file.shown)) <= 2, file.name


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize(("size", "part"), [((3, 64, 64), 0.95), ((3, 48, 80), 1.0)])
@pytest.mark.parametrize("filtering", ["bicubic", "lanczos"])
def test_each_way_of_timm_to_fit_a_picture_is_ours(
    files: list[PictureFile], mode: str, size: tuple[int, int, int], part: float, filtering: str
) -> None:
    from timm.data import create_transform

    known = [file for file in files if file.name.startswith("ppm-")]
    data: dict[str, Any] = {"input_size": size, "crop_pct": part, "crop_mode": mode}
    data |= {"interpolation": filtering, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    transform = create_transform(**data, is_training=False)
    for pixels, file in zip(
        read(timm_framing(data), [file.data for file in known]), known, strict=True
    ):
        if min(file.shown.size) > 5:
            assert furthest(pixels, transform(file.shown)) <= 2, file.name


def test_a_border_has_the_mean_colour_of_timms_config() -> None:
    data: dict[str, Any] = {"input_size": (3, 64, 64), "crop_pct": 1.0, "crop_mode": "border"}
    data |= {"interpolation": "bicubic", "mean": (0.5, 0.2, 0.0), "std": (1.0,) * 3}
    pixels = read(timm_framing(data), [save(Image.new("RGB", (64, 10), "white"), "PNG")])[0]
    assert pixels[0, 0].tolist() == [128, 51, 0]
    assert pixels[32, 32].tolist() == [255, 255, 255]


def test_a_jpeg_decoded_small_looks_as_one_decoded_whole() -> None:
    shapes = [(1280, 960), (960, 1280), (700, 2000)]
    data = [
        save(Image.fromarray(drawing(*shape)), "JPEG", quality=90, exif=oriented(turn))
        for shape in shapes
        for turn in (1, 6)
    ]
    small, whole = read(FRAMING, data, draft=True), read(FRAMING, data)
    for one, other in zip(small, whole, strict=True):
        off = np.abs(one.astype(np.int64) - other)
        assert off.mean() <= 6  # 255ths: one picture turned or cut otherwise is off by 30 and more
    assert any(one.tolist() != other.tolist() for one, other in zip(small, whole, strict=True))


def test_a_jpeg_is_decoded_near_the_size_that_it_is_scaled_to_and_never_below() -> None:
    for turn, size, scaled in ((1, (520, 260), (128, 64)), (8, (260, 520), (64, 128))):
        data = save(Image.fromarray(drawing(520, 260)), "JPEG", exif=oriented(turn))
        small = Image.open(io.BytesIO(data))
        small.draft(None, (128, 64))
        assert small.size == (130, 65)
        assert FRAMING.scaled(size) == scaled
        expected = FRAMING.frame(ImageOps.exif_transpose(small), size)
        assert np.array_equal(read(FRAMING, [data], draft=True)[0], np.asarray(expected))


def test_a_picture_thousands_of_times_longer_than_high_is_cut_before_it_is_scaled() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Soft, without sharp edges: see the module's docstring.
    colours = drawing(30_000, 2) // 4 + 90
    flat, high = read(
        FRAMING,
        [
            save(Image.fromarray(colours), "PNG"),
            save(Image.fromarray(np.swapaxes(colours, 0, 1)), "PNG"),
        ],
    )
    part = Image.fromarray(colours[:, 14_990:15_010])
    scaled = np.asarray(part.resize((640, 64), Image.Resampling.BICUBIC))[:, 288:352]
    assert np.abs(flat.astype(np.int64) - scaled).max() <= 1
    assert np.abs(high.astype(np.int64) - np.swapaxes(scaled, 0, 1)).max() <= 1
    # Scaled whole, each would have 61 million pixels.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


JPEG = save(Image.fromarray(drawing(200, 100)), "JPEG")
PNG = save(Image.fromarray(drawing(200, 100)), "PNG")
GIF = save(Image.fromarray(drawing(200, 100)[:, :, 0]), "GIF")
WEBP = save(Image.fromarray(drawing(200, 100)), "WEBP")


def _many_texts() -> bytes:
    """A PNG file whose text fills a hundred megabytes when it is unpacked."""
    import struct
    import zlib

    text = b"comment\0\0" + zlib.compress(b"x" * 100_000_000)
    block = struct.pack(">I", len(text)) + b"zTXt" + text
    return PNG[:33] + block + struct.pack(">I", zlib.crc32(b"zTXt" + text)) + PNG[33:]


def _broken_profile() -> bytes:
    return save(Image.fromarray(drawing(90, 70)), "PNG", icc_profile=b"\0\1\2" * 100)


@pytest.mark.parametrize(
    ("name", "data", "reason", "detail"),
    [
        ("empty", b"", "empty", "the file is empty"),
        ("text", b"This is no picture at all.", "unsupported_format", "begins with b'This is no"),
        ("spaces", b" " * 100, "unsupported_format", "begins with"),
        ("zeros", bytes(5_000), "unsupported_format", "begins with"),
        ("svg", b"<?xml version='1.0'?>\n<svg width='9'/>", "unsupported_format", "SVG"),
        ("html", b"<!DOCTYPE html><html></html>", "unsupported_format", "DOCTYPE"),
        ("pdf", b"%PDF-1.7\n%\xe2\xe3", "unsupported_format", "%PDF"),
        ("eps", b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported_format", "%!PS"),
        ("heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1", "unsupported_format", "ftypheic"),
        ("half a jpeg", JPEG[: len(JPEG) // 2], "undecodable", "truncated"),
        ("head of a jpeg", JPEG[:20], "undecodable", ""),
        ("magic of a jpeg", JPEG[:3], "undecodable", "JPEG"),
        ("half a png", PNG[: len(PNG) // 2], "undecodable", "truncated"),
        ("head of a png", PNG[:20], "undecodable", "truncated"),
        ("half a gif", GIF[: len(GIF) // 2], "undecodable", ""),
        ("half a webp", WEBP[: len(WEBP) // 2], "undecodable", ""),
        ("a png with a bit off", PNG[:500] + b"\xff" + PNG[501:], "undecodable", ""),
        ("bomb", bomb(60_000, 60_000), "too_many_pixels", ""),
        ("smaller bomb", bomb(9_000, 9_000), "too_many_pixels", "9,000 x 9,000 pixels"),
        ("no pixels", bomb(0, 10), "undecodable", ""),
        ("a bomb of text", _many_texts(), "undecodable", "too large"),
    ],
)
def test_bytes_that_are_no_picture_give_a_reason(
    name: str, data: bytes, reason: str, detail: str
) -> None:
    del name
    found = problem(data)
    assert (found.reason, detail.lower() in found.detail.lower()) == (Reason(reason), True), found


def test_floating_point_pixels_are_refused() -> None:
    data = save(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    found = problem(data)
    assert found.reason == "unsupported_format"
    assert "mode F" in found.detail


def test_the_limit_on_pixels_is_the_users() -> None:
    assert problem(PNG, max_pixels=19_999) == Unusable(
        "too_many_pixels", "200 x 100 pixels, encoder.max_pixels is 19,999"
    )
    assert len(read(FRAMING, [PNG], max_pixels=20_000)) == 1


def test_bad_files_among_good_ones_change_none_of_them() -> None:
    contents = [Media("image", one) for one in (PNG, b"", JPEG, JPEG[:99], PNG, _broken_profile())]
    prepared = reader(FRAMING).prepare(contents)
    assert [one.problem is None for one in prepared] == [True, False, True, False, True, True]
    assert [one.cost for one in prepared if one.problem is None] == [64 * 64] * 4
    first, again = prepared[0].payload, prepared[4].payload
    assert isinstance(first, Picture)
    assert isinstance(again, Picture)
    assert first.pixels.tolist() == again.pixels.tolist() == read(FRAMING, [PNG])[0].tolist()


def test_metadata_that_cannot_be_read_turns_nothing() -> None:
    image = Image.fromarray(drawing(80, 60))
    upright = read(FRAMING, [save(image, "JPEG")])[0].tolist()
    begun = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12"  # a tag of orientation, and its end is gone
    for exif in (begun, b"Exif\0\0garbage", oriented(77), oriented(0), oriented(1)):
        assert read(FRAMING, [save(image, "JPEG", exif=exif)])[0].tolist() == upright
    assert read(FRAMING, [save(image, "JPEG", exif=oriented(3))])[0].tolist() != upright
