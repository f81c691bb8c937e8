"""128-bit digests of ids, contents and metadata, and arrays of them.

blake2b from the standard library at 16 bytes: equality of two digests is taken as equality of what
was hashed. Digests of many records are an array of uint64 with shape (n, 2), so that numpy sorts
and compares them: a fixed-width bytes array sorts several times slower.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

DIGEST_BYTES = 16
Digests: TypeAlias = npt.NDArray[np.uint64]
"""Shape (n, 2), dtype uint64: row i is the digest of record i."""


def digest(data: bytes, salt: bytes = b"") -> bytes:
    """The 16-byte digest of `salt` followed by `data`, which is not copied."""
    state = hashlib.blake2b(salt, digest_size=DIGEST_BYTES)
    state.update(data)
    return state.digest()


def digest_text(text: str) -> bytes:
    """The digest of a text's UTF-8; lone surrogates are hashed as they stand."""
    return digest(text.encode("utf-8", "surrogatepass"))


def digest_json(value: object) -> bytes:
    """The digest of plain data, independent of the order of keys.

    What JSON lacks is hashed by its `repr`.
    """
    text = json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=repr
    )
    return digest_text(text)


def to_array(digests: Iterable[bytes]) -> Digests:
    """Digests as an array, row i for digest i."""
    return np.frombuffer(b"".join(digests), dtype=np.uint64).reshape(-1, 2)


def stack(parts: Iterable[Digests]) -> Digests:
    """All digests of the parts, in their order; none of no parts."""
    return np.concatenate([np.empty((0, 2), np.uint64), *parts])
