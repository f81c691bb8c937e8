"""Whether two versions come from one encoder: before anything is said of their data."""

from dataclasses import dataclass

import numpy as np

from schemas.drift import Verdict
from schemas.manifest import Manifest
from tasks.encoders.canaries import FLOOR, cosines
from tasks.errors import EncoderChanged, StoreError, VectorlineError
from tasks.space import Space
from tasks.store import canaries, manifests
from tasks.store.table import Table
from tasks.table_encoder import load_encoder


@dataclass(frozen=True)
class Identity:
    """What is to be said of the encoders; without a verdict they are one, and data can be compared.

    `notes` are what is worth knowing beside it, such as another precision.
    """

    verdict: Verdict | None
    reason: str = ""
    notes: tuple[str, ...] = ()


def identity(baseline: Space, candidate: Space) -> Identity:
    """Looks at fingerprints, then at canaries: of both tables, or of the table and this machine."""
    if baseline.entry.fingerprint != candidate.entry.fingerprint:
        return _of_two(baseline, candidate)
    notes: tuple[str, ...] = ()
    before, now = (_precision(side) for side in (baseline, candidate))
    if before != now:
        notes = (f"numerics changed: {before} -> {now}",)
    try:
        load_encoder(Table(candidate.store_uri, candidate.entry.table))
    except EncoderChanged as error:
        return Identity("encoder changed", f"the encoder of this machine is another one: {error}")
    except VectorlineError as error:
        notes += (f"whether this machine has the same encoder was not looked at: {error}",)
    return Identity(None, notes=notes)


def _precision(space: Space) -> str:
    """What the run of a version computed in."""
    entry = space.entry
    manifest = manifests.read(space.store_uri, entry.table, entry.run_id, Manifest)
    return (manifest and manifest.precision) or space.settings.precision


def _of_two(baseline: Space, candidate: Space) -> Identity:
    """Of one config that gives another fingerprint, something under its names has changed."""
    ours, theirs = candidate.settings, baseline.settings
    seen = _canaries_beside(baseline, candidate)
    prints = f"fingerprint {theirs.fingerprint[:12]} -> {ours.fingerprint[:12]}"
    if ours.encoder == theirs.encoder:
        return Identity(
            "encoder changed",
            f"the config names one encoder, and what stands under that name has changed ({prints}; "
            f"{seen}): weights, tokenizer, preprocessing or a library",
        )
    return Identity(
        "not comparable",
        f"versions {baseline.version} and {candidate.version} are of different encoders ({prints}; "
        f"{seen}): vectors of one say nothing of the other's",
    )


def _canaries_beside(baseline: Space, candidate: Space) -> str:
    """How much the canaries of both tables differ, in words."""
    try:
        one, other = (
            canaries.read(side.store_uri, side.entry.table) for side in (baseline, candidate)
        )
    except StoreError as error:
        return str(error)
    if one.shape != other.shape:
        return f"canaries have {one.shape[1]} and {other.shape[1]} components"
    if not len(one):
        return "neither has canaries"
    alike = cosines(one, other)
    same = int(np.count_nonzero(alike >= FLOOR))
    return (
        f"of {len(one)} canaries {len(one) - same} have other vectors, with a cosine of "
        f"{alike.min():.3f} at the least"
    )
