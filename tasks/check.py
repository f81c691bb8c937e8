"""One thing that `doctor` or `verify` looked at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """A name, and in `detail` what was found, and what to do if it is bad.

    `looked` False says that nothing could be looked at, so that `ok` means little.
    """

    name: str
    ok: bool
    detail: str
    looked: bool = True
