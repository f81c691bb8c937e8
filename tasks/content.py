"""What is encoded: a text, or an image or a sound as its file has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

TEXT = "text"


@dataclass(frozen=True, slots=True)
class Media:
    """A content that is no text: `data` are the bytes of a file, nothing decoded yet."""

    modality: str
    data: bytes


Content: TypeAlias = str | Media


def modality_of(content: Content) -> str:
    """The kind of a content: `text`, `image`, `audio`."""
    return TEXT if isinstance(content, str) else content.modality


def cost_unit(modalities: Sequence[str]) -> str:
    """What the cost of contents is counted in, by an encoder that reads these."""
    if TEXT in modalities and len(modalities) == 1:
        return "tokens"
    return "pixels" if "image" in modalities else "samples"


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a content cannot be encoded; `reason` is one of `schemas.quarantine.Reason`."""

    reason: str
    detail: str
