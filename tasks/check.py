"""One thing that `doctor` or `verify` looked at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """A name, and in `detail` what was found, and what to do if it is bad."""

    name: str
    ok: bool
    detail: str
