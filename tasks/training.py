"""What a training is given, and what it makes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.progress import Report, listener
from tasks.sources.base import File, Source


@dataclass(frozen=True)
class Corpus:
    """The sources of a config, their files, and what the user wrote for them."""

    sources: Sequence[Source]
    listed: Sequence[list[File]]
    said: Sequence[object]


@dataclass(frozen=True)
class Made:
    """A folder with all files of a model, what was measured, and how many records it is of.

    `encoder` is the one that takes it as its `model`. `read` is the digest of the file that it was
    made of, if that was not the corpus.
    """

    folder: Path
    metrics: dict[str, float]
    n_records: int
    encoder: str
    read: str | None = None


def tell(stage: str) -> None:
    """Says how far the training is."""
    listener.get()(Report(stage))
