"""What an encoder gives: vectors, and the hash of all that decides what they mean.

An encoder's constructor takes plain keyword arguments, exactly the keys that a user may write under
`encoder:`, and loads nothing: `fingerprint` and `dim` answer without weights and without importing
torch. `load` is called once per process, before the first `prepare`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from tasks.content import Content, Unusable

Vectors: TypeAlias = npt.NDArray[np.float32]
"""Shape (n, dim), dtype float32: row i for content i."""


class Precision(StrEnum):
    """How an encoder computes; vectors at rest are float32 always."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A content ready to be encoded.

    `cost` is what it adds to a batch: tokens or pixels. `truncated` says that the encoder will not
    see all of the content. `payload` is the encoder's own. With a `problem` the content cannot be
    encoded, and never comes to `encode`.
    """

    cost: int
    truncated: bool
    payload: object
    problem: Unusable | None = None


class Tokenizer(Protocol):
    """Cuts text as the encoder does; chunkers count with it."""

    name: str
    """What decides its cuts, hashed into content hashes of chunked records."""
    limit: int | None
    """Most tokens by `count` that the encoder reads of a text; None if it reads all."""

    def count(self, text: str) -> int:
        """Number of tokens of the whole text, without special tokens, never truncated."""


class Encoder(Protocol):
    """Turns contents into vectors (inductive).

    Row i of what `encode` gives belongs to item i and, within a cosine of 1e-4, depends on nothing
    else in the call. Running out of memory is raised as MemoryError, whatever the library calls it.
    """

    modalities: tuple[str, ...]
    """The kinds of content that it reads: `text`, `image`, `audio`."""
    normalized: bool
    """Whether rows have unit Euclidean norm."""

    @property
    def dim(self) -> int:
        """Number of components, known without loading weights."""

    @property
    def batch_cost(self) -> int:
        """Cost of a good batch on this machine: padded tokens (longest x count) or pixels."""

    def fingerprint(self) -> dict[str, object]:
        """All that decides what a vector means, as plain data; never device, batch size or workers.

        No weights are loaded and torch is not imported. Raises EncoderError for an unknown model or
        revision, with what to do.
        """

    def precision(self, wanted: str, device: str | None = None) -> Precision:
        """What `auto` means on this device (None: the best), or what is wanted if it can be had."""

    def load(
        self, precision: Precision, device: str | None = None, threads: int | None = None
    ) -> None:
        """Loads weights; `device` None picks the best there is; `threads` bounds CPU threads."""

    def tokenizer(self) -> Tokenizer:
        """The encoder's own tokenizer, without loading weights.

        Raises ConfigError where it reads no text.
        """

    def prepare(self, contents: Sequence[Any]) -> list[Prepared]:
        """CPU work that may run beside `encode`: item i for content i.

        A text is a `str`, any other content a `tasks.content.Media` of one of the `modalities`.
        """

    def prepare_query(self, contents: Sequence[Any]) -> list[Prepared]:
        """The same for queries, with the query prompt where the model has one."""

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """Vectors of one batch, row i for item i; an empty batch gives shape (0, dim)."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """For which contents one encoder's vectors can be made of another one's.

    Those of up to `longest` tokens, as the tokenizer counts; None: all.
    """

    longest: int | None = None

    def holds(self, content: Content, tokenizer: Tokenizer) -> bool:
        """Whether this content is one of them; what is no text is one if all are."""
        if self.longest is None:
            return True
        return isinstance(content, str) and tokenizer.count(content) <= self.longest


@runtime_checkable
class Converter(Protocol):
    """What an encoder has besides, if its vectors may be made of another one's without a model."""

    def conversion(self, other: Mapping[str, object]) -> Conversion | None:
        """Whether and where that can be done, by the other encoder's `fingerprint`."""

    def convert(self, vectors: Vectors) -> Vectors:
        """Vectors of such another encoder as this one gives them, row i for row i."""
