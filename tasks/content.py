"""What is encoded: a text, an image or sound as its file has it, a node by its edges, a word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

TEXT = "text"
NO_KNOWN_WORD = "no_known_word"
UNITS = {TEXT: "tokens", "node": "steps of walks", "word": "words in all epochs"}


@dataclass(frozen=True, slots=True)
class Media:
    """A content that is no text.

    `data` are the bytes of a file, nothing decoded yet, or those of a node's adjacency,
    or a word and how often it occurs.
    """

    modality: str
    data: bytes


Content: TypeAlias = str | Media


def modality_of(content: Content) -> str:
    """The kind of a content: `text`, `image`, `audio`, `node`, `word`."""
    return TEXT if isinstance(content, str) else content.modality


def cost_unit(modalities: Sequence[str]) -> str:
    """What the cost of contents is counted in, by an encoder that reads these."""
    if len(modalities) == 1 and modalities[0] in UNITS:
        return UNITS[modalities[0]]
    return "pixels" if "image" in modalities else "samples"


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a content cannot be encoded; `reason` is one of `schemas.quarantine.Reason`."""

    reason: str
    detail: str
