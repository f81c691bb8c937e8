"""Which libraries there are: their versions made a result; some are missing for an extra."""

import importlib.metadata
from collections.abc import Iterable

from packaging.requirements import Requirement


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def requirements_of(extra: str) -> list[Requirement]:
    """What an extra of vectorline's needs, without what is always needed; all that for ""."""
    return [
        one
        for line in importlib.metadata.requires("vectorline") or []
        if _belongs(one := Requirement(line), extra)
    ]


def missing_for(extra: str) -> list[str]:
    """The packages of an extra that are not installed; none for an extra that there is not."""
    try:
        needed = [one.name for one in requirements_of(extra)] if extra else []
    except importlib.metadata.PackageNotFoundError:  # nobody knows: vectorline is not installed
        return []
    there = versions_of(needed)
    return [name for name in needed if name not in there]


def _belongs(requirement: Requirement, extra: str) -> bool:
    if requirement.marker is None:
        return not extra
    without, with_it = (requirement.marker.evaluate({"extra": one}) for one in ("", extra))
    return with_it and without == (not extra)
