"""Pictures with captions, as a trainer reads them: decoded once, then drawn by number.

Pictures stand in one memory-mapped file, so that a corpus need not fit into memory.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.content import Media
from tasks.encoders.framing import Fit, Framing
from tasks.encoders.images import MAX_PIXELS, ImageReader, Picture
from tasks.errors import SourceError
from tasks.sources.base import Record
from tasks.trainers.training_state import replace_file

PICTURES, ABOUT = "pictures.npy", "pairs.json"
BATCH = 256


@dataclass(frozen=True, slots=True)
class Pairs:
    """`pictures` has shape (n, size, size, 3), dtype uint8; caption i is that of picture i.

    `skipped` counts records that have no caption or cannot be decoded.
    """

    pictures: npt.NDArray[np.uint8]
    captions: Sequence[str]
    skipped: int

    def split(self, share: float, seed: int) -> tuple["Drawn", "Drawn"]:
        """Those to learn from, and a random share to judge by; equal captions stay together."""
        names, number = np.unique(np.array(self.captions, object), return_inverse=True)
        judged = np.random.default_rng(seed).random(len(names)) < share
        mine = judged[number]
        return Drawn(self, np.flatnonzero(~mine)), Drawn(self, np.flatnonzero(mine))


@dataclass(frozen=True, slots=True)
class Drawn:
    """Some of the pairs."""

    pairs: Pairs
    numbers: npt.NDArray[np.int64]

    def draw(self, n: int, seed: Sequence[int]) -> tuple[npt.NDArray[np.uint8], list[str]]:
        """Up to n of them without repetition: a function of the seed alone."""
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.choice(self.numbers, min(n, len(self.numbers)), replace=False))
        return self.pairs.pictures[chosen], self.captions(chosen)

    def captions(self, numbers: npt.NDArray[np.int64] | None = None) -> list[str]:
        """The captions of all, or of some by their numbers."""
        own = self.numbers if numbers is None else numbers
        return [self.pairs.captions[number] for number in own.tolist()]


def gather(records: Iterable[Record], column: str, size: int, folder: Path) -> Pairs:
    """The pairs of all records, from `folder` if they were gathered there before.

    `column` is the metadata column with the captions; pictures are cut to a square of `size`.
    """
    if (folder / ABOUT).exists():
        about = json.loads((folder / ABOUT).read_text())
        pictures = np.memmap(folder / PICTURES, np.uint8, "r", shape=tuple(about["shape"]))
        return Pairs(pictures, about["captions"], about["skipped"])
    folder.mkdir(parents=True, exist_ok=True)
    framing = Framing((size, size), (size, size), Fit.SHORT_EDGE, "bicubic")
    reader = ImageReader(framing, max_pixels=MAX_PIXELS, draft=True, threads=None)
    captions: list[str] = []
    skipped = 0
    with (folder / PICTURES).open("wb") as file:
        left = iter(records)
        while batch := list(islice(left, BATCH)):
            prepared = reader.prepare([_media(record) for record in batch])
            for record, item in zip(batch, prepared, strict=True):
                caption = record.metadata.get(column)
                if isinstance(item.payload, Picture) and isinstance(caption, str) and caption:
                    file.write(item.payload.pixels.tobytes())
                    captions.append(caption)
                else:
                    skipped += 1
    if not captions:
        raise SourceError(
            f"no record has a picture that can be decoded and a caption in column {column!r} "
            f"({skipped:,} were read): is it among the source's `metadata`?"
        )
    shape = (len(captions), size, size, 3)
    about = {"shape": shape, "captions": captions, "skipped": skipped}
    replace_file(folder / ABOUT, json.dumps(about).encode())
    return Pairs(np.memmap(folder / PICTURES, np.uint8, "r", shape=shape), captions, skipped)


def _media(record: Record) -> Media:
    if record.problem is None and isinstance(record.content, Media):
        return record.content
    return Media("image", b"")
