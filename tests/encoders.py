"""Encoders that fail in known ways; functions of their input like any other."""

import ctypes
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tasks.content import Media, Unusable
from tasks.encoders import checkpoint
from tasks.encoders.base import Conversion, Precision, Prepared, Vectors
from tasks.encoders.fitted import Fit
from tasks.encoders.hashing import HashingEncoder
from tasks.encoders.node2vec import DeepWalkEncoder


class BlindEncoder(HashingEncoder):
    """Gives nothing for texts that speak of a blind spot."""

    def __init__(self) -> None:
        super().__init__(dim=32)

    def prepare(self, contents: Sequence[str]) -> list[Prepared]:
        blind = ["blind" in content for content in contents]
        prepared = super().prepare(contents)
        return [Prepared(p.cost, p.truncated, (b, p)) for b, p in zip(blind, prepared, strict=True)]

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        pairs = [item.payload for item in items]
        vectors = super().encode([pair[1] for pair in pairs])  # type: ignore[index]
        vectors[[pair[0] for pair in pairs]] = 0  # type: ignore[index]
        return vectors


class AilingEncoder(BlindEncoder):
    """Is blind while it is `ill`, and can be cured; notes what it has `seen`."""

    ill = False
    seen: ClassVar[list[str]] = []

    def prepare(self, contents: Sequence[str]) -> list[Prepared]:
        self.seen.extend(contents)
        return super().prepare(contents)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        if self.ill:
            return super().encode(items)
        return HashingEncoder.encode(self, [item.payload[1] for item in items])  # type: ignore[index]


class NanEncoder(HashingEncoder):
    """Weights that were broken on the way."""

    def __init__(self) -> None:
        super().__init__(dim=32)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        return super().encode(items) * float("nan")


class DeadlyEncoder(HashingEncoder):
    """Ends its process at a text that says so, as a crash in native code does."""

    def __init__(self) -> None:
        super().__init__(dim=32)

    def prepare(self, contents: Sequence[str]) -> list[Prepared]:
        if any("deadly" in content for content in contents):
            os._exit(1)
        return super().prepare(contents)


class SlowEncoder(HashingEncoder):
    """Takes a while over each batch."""

    def __init__(self) -> None:
        super().__init__(dim=32)

    @property
    def batch_cost(self) -> int:
        return 64

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        time.sleep(0.3)
        return super().encode(items)


class NotingEncoder(SlowEncoder):
    """Notes each content when it begins to encode it, as a line of JSON."""

    def __init__(self, notes: str) -> None:
        super().__init__()
        self._notes = Path(notes)

    def prepare(self, contents: Sequence[str]) -> list[Prepared]:
        pairs = zip(contents, super().prepare(contents), strict=True)
        return [Prepared(p.cost, p.truncated, (content, p)) for content, p in pairs]

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        pairs = [item.payload for item in items]
        with self._notes.open("a") as file:
            file.writelines(json.dumps(pair[0]) + "\n" for pair in pairs)  # type: ignore[index]
        return super().encode([pair[1] for pair in pairs])  # type: ignore[index]


class CountingEncoder(HashingEncoder):
    """Notes each content that it prepares, as a line of JSON."""

    def __init__(self, counts: str) -> None:
        super().__init__(dim=8)
        self._counts = Path(counts)

    def prepare(self, contents: Sequence[str]) -> list[Prepared]:
        with self._counts.open("a") as file:
            file.writelines(json.dumps(content) + "\n" for content in contents)
        return super().prepare(contents)


class PromptedEncoder(CountingEncoder):
    """Puts a prompt before queries."""

    def prepare_query(self, contents: Sequence[str]) -> list[Prepared]:
        return self.prepare([f"query: {content}" for content in contents])


class RaisingEncoder(HashingEncoder):
    """A plugin with a mistake in it."""

    def __init__(self) -> None:
        super().__init__(dim=32)

    def prepare(self, contents: Sequence[str]) -> list[Prepared]:
        if any(content.startswith("note ") for content in contents):
            raise KeyError("vocabulary")
        return super().prepare(contents)


class RoundingEncoder(HashingEncoder):
    """Computes in float16 where it is asked to."""

    def __init__(self) -> None:
        super().__init__(dim=32)
        self._loaded = Precision.FLOAT32

    def precision(self, wanted: str, device: str | None = None) -> Precision:
        return Precision.FLOAT32 if wanted == "auto" else Precision(wanted)

    def load(
        self, precision: Precision, device: str | None = None, threads: int | None = None
    ) -> None:
        self._loaded = precision

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        vectors = super().encode(items)
        if self._loaded == Precision.FLOAT16:
            return vectors.astype(np.float16).astype(np.float32)
        return vectors


class CutEncoder(CountingEncoder):
    """Reads the first words of a text and keeps the first components, as Matryoshka models do."""

    def __init__(self, counts: str, keep: int, words: int) -> None:
        super().__init__(counts)
        self._whole = HashingEncoder(dim=32)
        self._keep = keep
        self._words = words

    @property
    def dim(self) -> int:
        return self._keep

    def fingerprint(self) -> dict[str, object]:
        return {"encoder": "cut", "keep": self._keep, "words": self._words}

    def prepare(self, contents: Sequence[str]) -> list[Prepared]:
        super().prepare(contents)
        return self._whole.prepare([" ".join(one.split()[: self._words]) for one in contents])

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        return self.convert(self._whole.encode(items))

    def conversion(self, other: Mapping[str, object]) -> Conversion | None:
        keep, words = other.get("keep"), other.get("words")
        if not isinstance(keep, int) or not isinstance(words, int) or keep < self._keep:
            return None
        return Conversion(None if words == self._words else min(words, self._words))

    def convert(self, vectors: Vectors) -> Vectors:
        cut = vectors[:, : self._keep]
        unit: Vectors = cut / np.linalg.norm(cut, axis=1, keepdims=True)
        return unit


class FatalEncoder(SlowEncoder):
    """Ends its process at a text that says so, by a segmentation fault: once for each text."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = Path(folder)

    def prepare(self, contents: Sequence[str]) -> list[Prepared]:
        for content in contents:
            flag = self._folder / content
            if "fatal" in content and not flag.exists():
                flag.touch()
                ctypes.string_at(0)
        return super().prepare(contents)


class ByteEncoder(HashingEncoder):
    """Hashes the bytes of images as words; what starts with "bad" is no image."""

    modalities = ("image",)

    def __init__(self) -> None:
        super().__init__(dim=16)

    def fingerprint(self) -> dict[str, object]:
        return {"encoder": "bytes"}

    def prepare(self, contents: Sequence[Media]) -> list[Prepared]:  # type: ignore[override]
        return [self._unless_bad(content.data) for content in contents]

    def _unless_bad(self, data: bytes) -> Prepared:
        if data.startswith(b"bad"):
            return Prepared(1, False, None, Unusable("undecodable", data.decode()))
        return super().prepare([data.hex()])[0]


class ForgetfulWalkEncoder(DeepWalkEncoder):
    """Deletes the user's cache while it fits."""

    def fit(self, *arguments: Any, **options: Any) -> Fit:
        made = super().fit(*arguments, **options)
        shutil.rmtree(os.environ["VECTORLINE_CACHE"])
        return made


class CarefulWalkEncoder(DeepWalkEncoder):
    """Keeps a checkpoint after each block, and a line of each process that began to fit."""

    def __init__(self, log: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._log = Path(log)

    def fit(self, *arguments: Any, **options: Any) -> Fit:
        checkpoint.CHECKPOINT_S = 0.0
        with self._log.open("a") as lines:
            lines.write(f"{os.getpid()}\n")
        return super().fit(*arguments, **options)
