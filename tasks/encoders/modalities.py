"""Sorts contents by their kind and puts together what was made of each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tasks.content import Content, Unusable, modality_of
from tasks.encoders.base import Prepared, Vectors


def prepare_each(
    contents: Sequence[Content], ways: Mapping[str, Callable[[list[Any]], list[Prepared]]]
) -> list[Prepared]:
    """Item i for contents[i], prepared in the way of its modality; without one it has a problem."""
    places: dict[str, list[int]] = {}
    for number, content in enumerate(contents):
        places.setdefault(modality_of(content), []).append(number)
    found: dict[int, Prepared] = {}
    for modality, numbers in places.items():
        if modality in ways:
            made = ways[modality]([contents[number] for number in numbers])
        else:
            why = f"content of kind {modality!r}, the encoder reads {', '.join(ways)}"
            made = [Prepared(1, False, None, Unusable("wrong_type", why))] * len(numbers)
        found.update(zip(numbers, made, strict=True))
    return [found[number] for number in range(len(contents))]


def encode_each(
    items: Sequence[Prepared], ways: Mapping[type, Callable[[list[Any]], Vectors]], dim: int
) -> Vectors:
    """Row i for items[i], encoded in the way of its payload's type."""
    vectors = np.empty((len(items), dim), np.float32)
    kinds = [type(item.payload) for item in items]
    if strange := set(kinds) - set(ways):
        raise TypeError(f"not prepared by this encoder: a payload of {strange}")
    for kind in dict.fromkeys(kinds):
        numbers = [number for number, one in enumerate(kinds) if one is kind]
        vectors[numbers] = ways[kind]([items[number].payload for number in numbers])
    return vectors
