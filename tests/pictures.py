"""Pictures in many formats, modes, sizes and orientations, each beside what it shows.

What a file shows is computed here without the code that is tested: by numpy from what was put into
the file, or by Pillow's plain decoding where a format loses something.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Array = npt.NDArray[Any]

SIZES = [(64, 64), (137, 100), (111, 259), (40, 400), (1, 1), (3, 2), (225, 224)]


@dataclass(frozen=True)
class PictureFile:
    """A file, and the RGB picture that it shows."""

    name: str
    data: bytes
    shown: Image.Image


def drawing(width: int, height: int, seed: int = 0) -> Array:
    """Smooth colours, soft blots and some edges, as pictures have; shape (height, width, 3)."""
    rng = np.random.default_rng(seed)
    blots = rng.integers(0, 256, (max(1, height // 16), max(1, width // 16), 3), np.uint8)
    soft = np.asarray(Image.fromarray(blots).resize((width, height), Image.Resampling.BICUBIC))
    down, across = np.mgrid[:height, :width]
    fade = np.stack([255 * across // width, 255 * down // height, (across + down) % 256], 2)
    drawn = (soft.astype(np.int64) + fade) // 2
    drawn[height // 4 : height // 2, width // 4 : width // 2] = (220, 30, 40)
    pixels: Array = drawn.astype(np.uint8)
    return pixels


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The file of a picture."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def oriented(orientation: int) -> bytes:
    """EXIF that says nothing but this."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def on_white(colours: Array, alpha: Array) -> Image.Image:
    """Colours laid on white, in whole numbers."""
    part = alpha[:, :, None].astype(np.float64) / 255
    return Image.fromarray(np.rint(colours * part + 255 * (1 - part)).astype(np.uint8))


def plain(data: bytes) -> Image.Image:
    """What Pillow shows of a file without any trouble in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some have odd metadata on purpose
        return Image.open(io.BytesIO(data)).convert("RGB")


def grey_of(values: Array) -> Image.Image:
    """Grey values in the three colours."""
    return Image.fromarray(np.repeat(values[:, :, None], 3, axis=2).astype(np.uint8))


def _lossless(kind: str, width: int, height: int, **options: Any) -> tuple[bytes, Image.Image]:
    image = Image.fromarray(drawing(width, height))
    return save(image, kind, **options), image


def _lossy(kind: str, width: int, height: int, **options: Any) -> tuple[bytes, Image.Image]:
    data = save(Image.fromarray(drawing(width, height)), kind, quality=90, **options)
    return data, plain(data)


def _turned(kind: str, width: int, height: int, orientation: int) -> tuple[bytes, Image.Image]:
    image = Image.fromarray(drawing(width, height))
    data = save(image, kind, exif=oriented(orientation))
    flat = image if kind != "JPEG" else plain(save(image, kind))
    flat.getexif()[0x0112] = orientation
    return data, ImageOps.exif_transpose(flat)


def _grey(kind: str, width: int, height: int) -> tuple[bytes, Image.Image]:
    values = drawing(width, height)[:, :, 0]
    data = save(Image.fromarray(values), kind)
    return data, plain(data) if kind == "JPEG" else grey_of(values)


def _cmyk(kind: str, width: int, height: int) -> tuple[bytes, Image.Image]:
    inks = np.dstack([drawing(width, height), drawing(width, height, 1)[:, :, 0] // 2])
    data = save(Image.fromarray(inks, "CMYK"), kind)
    kept = np.asarray(Image.open(io.BytesIO(data))).astype(np.int64)
    light = 255 - kept[:, :, :3]
    shown = light - light * kept[:, :, 3:] / 255
    return data, Image.fromarray(np.rint(shown).astype(np.uint8))


def _with_alpha(kind: str, width: int, height: int, **options: Any) -> tuple[bytes, Image.Image]:
    colours, alpha = drawing(width, height), drawing(width, height, 2)[:, :, 1]
    image = Image.fromarray(np.dstack([colours, alpha]), "RGBA")
    return save(image, kind, **options), on_white(colours, alpha)


def _grey_with_alpha(kind: str, width: int, height: int) -> tuple[bytes, Image.Image]:
    grey, alpha = (drawing(width, height, seed)[:, :, 0] for seed in (0, 2))
    shown = on_white(np.repeat(grey[:, :, None], 3, axis=2), alpha)
    return save(Image.fromarray(np.dstack([grey, alpha]), "LA"), kind), shown


def _palette(kind: str, width: int, height: int, clear: bool) -> tuple[bytes, Image.Image]:
    """Eight colours, of which the first ones may be partly or wholly clear."""
    colours = drawing(8, 1, 3)[0]
    places = (drawing(width, height)[:, :, 0] // 32).astype(np.uint8)
    image = Image.fromarray(places, "P")
    image.putpalette(colours.tobytes())
    if not clear:
        return save(image, kind), Image.fromarray(colours[places])
    if kind == "GIF":
        alpha = np.array([0] + [255] * 7, np.uint8)
        data = save(image, kind, transparency=0)
    else:
        alpha = np.array([0, 100] + [255] * 6, np.uint8)
        data = save(image, kind, transparency=alpha.tobytes())
    return data, on_white(colours[places], alpha[places])


def _sixteen_bits(kind: str, width: int, height: int) -> tuple[bytes, Image.Image]:
    high, low = (drawing(width, height, seed)[:, :, 0].astype(np.uint16) for seed in (0, 4))
    values = high * 256 + low
    return save(Image.fromarray(values), kind), grey_of(np.rint(values / 257))


def _sixteen_bits_key(width: int, height: int) -> tuple[bytes, Image.Image]:
    """One of few greys of 16 bits is clear."""
    greys = drawing(width, height)[:, :, 0].astype(np.uint16) // 64 * 64 * 257
    key = int(greys[0, 0])
    shown = np.where(greys == key, 65_535, greys)
    data = save(Image.fromarray(greys), "PNG", transparency=key)
    return data, grey_of(np.rint(shown / 257))


def _one_bit(kind: str, width: int, height: int) -> tuple[bytes, Image.Image]:
    black = drawing(width, height)[:, :, 0] > 127
    return save(Image.fromarray(black), kind), grey_of(255 * black)


def _key_colour(width: int, height: int) -> tuple[bytes, Image.Image]:
    """One colour of a picture is clear."""
    colours = drawing(width, height) // 64 * 64
    key = tuple(int(value) for value in colours[0, 0])
    alpha = np.where((colours == key).all(axis=2), 0, 255)
    return save(Image.fromarray(colours), "PNG", transparency=key), on_white(colours, alpha)


def _animated(kind: str, width: int, height: int, **options: Any) -> tuple[bytes, Image.Image]:
    colours = drawing(width, height) // 86 * 86  # 27 of them: a GIF keeps them all
    frames = [Image.fromarray(colours[:, ::-1]), Image.fromarray(255 - colours)]
    first = Image.fromarray(colours)
    data = save(first, kind, save_all=True, append_images=frames, **options)
    return data, plain(data) if kind == "GIF" else first


def _two_in_one(width: int, height: int) -> tuple[bytes, Image.Image]:
    """An MPO file, as cameras write them: a JPEG with another behind."""
    first, second = (Image.fromarray(drawing(width, height, seed)) for seed in (0, 1))
    return save(first, "MPO", save_all=True, append_images=[second]), plain(save(first, "JPEG"))


KINDS: dict[str, Callable[[int, int], tuple[bytes, Image.Image]]] = {
    "jpeg": partial(_lossy, "JPEG"),
    "jpeg-progressive": partial(_lossy, "JPEG", progressive=True, subsampling=0),
    "jpeg-grey": partial(_grey, "JPEG"),
    "jpeg-cmyk": partial(_cmyk, "JPEG"),
    **{f"jpeg-turned-{n}": partial(_turned, "JPEG", orientation=n) for n in range(2, 9)},
    "jpeg-broken-profile": partial(_lossy, "JPEG", icc_profile=b"no profile" * 50),
    "jpeg-huge-exif": partial(_lossy, "JPEG", exif=b"Exif\0\0" + b"MM\0*" + b"\xff" * 65_000),
    "mpo": _two_in_one,
    "png": partial(_lossless, "PNG"),
    "png-alpha": partial(_with_alpha, "PNG"),
    "png-grey": partial(_grey, "PNG"),
    "png-grey-alpha": partial(_grey_with_alpha, "PNG"),
    "png-palette": partial(_palette, "PNG", clear=False),
    "png-palette-clear": partial(_palette, "PNG", clear=True),
    "png-16": partial(_sixteen_bits, "PNG"),
    "png-16-key": _sixteen_bits_key,
    "png-1": partial(_one_bit, "PNG"),
    "png-key": _key_colour,
    "png-turned": partial(_turned, "PNG", orientation=6),
    "png-animated": partial(_animated, "PNG"),
    "gif": partial(_palette, "GIF", clear=False),
    "gif-clear": partial(_palette, "GIF", clear=True),
    "gif-animated": partial(_animated, "GIF"),
    "webp": partial(_lossy, "WEBP"),
    "webp-alpha": partial(_with_alpha, "WEBP", lossless=True, exact=True),
    "webp-animated": partial(_animated, "WEBP", lossless=True),
    "tiff": partial(_lossless, "TIFF", compression="tiff_lzw"),
    "tiff-cmyk": partial(_cmyk, "TIFF"),
    "tiff-16": partial(_sixteen_bits, "TIFF"),
    "tiff-turned": partial(_turned, "TIFF", orientation=5),
    "bmp": partial(_lossless, "BMP"),
    "ppm": partial(_lossless, "PPM"),
    "avif": partial(_lossy, "AVIF", speed=10),
    "jpeg2000": partial(_lossless, "JPEG2000"),
}


def picture_files() -> Iterator[PictureFile]:
    """Each kind in each size: 280 files."""
    for name, make in KINDS.items():
        for width, height in SIZES:
            yield PictureFile(f"{name}-{width}x{height}", *make(width, height))


def bomb(width: int, height: int) -> bytes:
    """A PNG file whose header promises so many pixels, and that has none."""
    import struct
    import zlib

    def block(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + block(b"IHDR", header)
        + block(b"IDAT", zlib.compress(b"\0" * 1_000))
        + block(b"IEND", b"")
    )
