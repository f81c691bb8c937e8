"""From the bytes of a picture's file to the pixels that a model sees.

What comes out is what the correct RGB picture gives, through the model's own transform: turned as
its EXIF says, CMYK and grey converted, 16 bits scaled to 8, transparent parts laid on white, the
first frame of an animation. Colour profiles are left aside, as open_clip and timm leave them. A
JPEG is decoded near the size that the model sees (by its draft mode, 2 to 3 times faster), never
below it.

Bytes that are no such picture give a reason, not an exception, and pixels are counted in the header
before anything is decoded.
"""

import io
import logging
import os
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.content import Media, Unusable
from tasks.encoders.base import Prepared
from tasks.encoders.framing import Framing, Size

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""Shape (height, width, 3), dtype uint8: red, green, blue."""

MAX_PIXELS = 64_000_000
PIXELS_PER_TOKEN = 256
"""A square of 16 x 16 pixels costs a batch about as much as a token of a text."""

# Pillow reads more, but only these carry pictures that people keep, and none starts a program.
FORMATS = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP")
_ALSO_JPEG = ("JPEG", "MPO")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
# Two pictures beyond this size are not decoded at once: each takes up to 8 bytes a pixel.
_LARGE_PIXELS = 16_000_000
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)  # of EXIF's orientations, those that swap width and height
_SIGNATURES = (
    (b"\xff\xd8", "a JPEG"),
    (b"\x89PNG", "a PNG"),
    (b"GIF8", "a GIF"),
    (b"RIFF", "a WebP"),
    (b"BM", "a BMP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
)
_SHOWN_BYTES = 16


@dataclass(frozen=True, slots=True)
class Picture:
    """The payload of a prepared picture."""

    pixels: Pixels


class ImageReader:
    """Prepares pictures for one model, several at once."""

    def __init__(
        self, framing: Framing, *, max_pixels: int, draft: bool, threads: int | None
    ) -> None:
        """A picture of more than `max_pixels` is not decoded; `draft` lets JPEGs be decoded small.

        `threads` decode at once, by default as many as there are cores.
        """
        self._framing = framing
        self._max_pixels = max_pixels
        self._draft = draft
        self._large = threading.Lock()
        self._pool = ThreadPoolExecutor(threads or os.cpu_count(), "decode")

    def prepare(self, contents: Sequence[Media]) -> list[Prepared]:
        """Item i for contents[i]; its payload is a `Picture`, its cost the pixels of it."""
        # What Pillow finds odd in a file is either in the reason or does not matter.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        logging.getLogger("PIL").setLevel(logging.CRITICAL)
        return list(self._pool.map(self._prepare, contents))

    def _prepare(self, content: Media) -> Prepared:
        read = self._read(content.data)
        if isinstance(read, Unusable):
            return Prepared(1, truncated=False, payload=None, problem=read)
        return Prepared(self._framing.pixels, truncated=False, payload=Picture(read))

    def _read(self, data: bytes) -> Pixels | Unusable:
        from PIL import Image, UnidentifiedImageError

        if not data:
            return Unusable("empty", "the file is empty")
        try:
            return self._decode(data)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            return Unusable("too_many_pixels", f"{error}; encoder.max_pixels is the limit")
        except UnidentifiedImageError:
            return _unknown(data)
        except MemoryError:
            raise
        except Exception as error:  # the decoders raise whatever they like at bytes that lie
            return Unusable("undecodable", f"{type(error).__name__}: {error}")

    def _decode(self, data: bytes) -> Pixels | Unusable:
        from PIL import Image

        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if not width * height:
                return Unusable("empty", f"a picture of {width} x {height} pixels")
            if width * height > self._max_pixels:
                return Unusable(
                    "too_many_pixels",
                    f"{width:,} x {height:,} pixels, encoder.max_pixels is {self._max_pixels:,}",
                )
            with self._large if width * height > _LARGE_PIXELS else nullcontext():
                width, height = self._load(image)
                rgb = to_rgb(image)
                if isinstance(rgb, Unusable):
                    return rgb
                turn = _orientation(image)
                true_size = (height, width) if turn in _SIDEWAYS else (width, height)
                return np.asarray(self._framing.frame(_turned(rgb, turn), true_size))

    def _load(self, image: "Image") -> Size:
        """Decodes the picture, a JPEG near the size it is scaled to; its true size."""
        size = image.size
        if self._draft and image.format in _ALSO_JPEG:
            sideways = _orientation(image) in _SIDEWAYS
            wanted = self._framing.scaled(size[::-1] if sideways else size)
            image.draft(None, wanted[::-1] if sideways else wanted)
            image.load()
            return size
        image.load()
        return image.size  # a TIFF is turned when it is loaded


def to_rgb(image: "Image") -> "Image | Unusable":
    """The picture in 8 bits of red, green and blue; transparent parts are laid on white."""
    from PIL import Image

    if image.mode in _SIXTEEN_BITS:
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65_535)
        clear = image.info.get("transparency")  # one grey, where a PNG says so
        if isinstance(clear, int):
            grey[grey == clear] = 65_535
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        front = image.convert("RGBA")
        white = Image.new("RGBA", front.size, "white")
        white.alpha_composite(front)
        return white.convert("RGB")
    try:
        if image.mode == "F":
            raise ValueError("floating point numbers have no range that all programs agree on")
        return image.convert("RGB")
    except ValueError as error:
        return Unusable("unsupported_format", f"{image.format} in mode {image.mode}: {error}")


def _turned(image: "Image", orientation: int) -> "Image":
    """The picture as it is to be looked at."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _orientation(image: "Image") -> int:
    """What EXIF says of it, from 1 to 8; 1 where that cannot be read."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
        return found if isinstance(found, int) and 1 <= found <= 8 else 1
    except Exception:  # damaged metadata says nothing of the pixels, and raises as it likes
        return 1


def _unknown(data: bytes) -> Unusable:
    """Why Pillow does not know the file: a picture whose header is damaged, or no picture."""
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return Unusable("undecodable", f"begins as {name}, but its header is damaged")
    if b"<svg" in data[:4096].lower():
        return Unusable("unsupported_format", "an SVG drawing has no pixels: convert it to PNG")
    return Unusable(
        "unsupported_format",
        f"no picture in a format that is read ({', '.join(FORMATS)}): it begins with"
        f" {data[:_SHOWN_BYTES]!r}",
    )
