"""From the bytes of a sound's file to samples at the rate that a model wants.

WAV, FLAC, MP3, Ogg and what else libsndfile reads, mixed down to one channel, resampled by soxr. A
sound is read block by block, so that a long one does not fill the memory.
"""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.content import Unusable

if TYPE_CHECKING:
    import soundfile

Samples: TypeAlias = npt.NDArray[np.float32]
"""Shape (n,), dtype float32: one channel, mostly within -1 and 1."""

_SHORTEST_S = 0.01  # less is a click that no model was made for; resampling may leave nothing of it
_BLOCK = 1 << 20  # samples of all channels: there may be a thousand of these
_FASTEST = 768_000  # samples a second: what claims more would lift the limit on seconds
_LOUDEST = 1e6  # floating point files may hold anything; squares of more would overflow
_SIGNATURES = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"FORM")


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples of one channel; `cut` says that the file has more."""

    samples: Samples
    cut: bool


def read_sound(data: bytes, rate: int, most_s: float) -> Sound | Unusable:
    """The first `most_s` seconds of a sound at `rate` samples a second, or why there is none."""
    import soundfile

    if not data:
        return Unusable("empty", "the file is empty")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            own_rate = file.samplerate
            if own_rate > _FASTEST:
                return Unusable("undecodable", f"claims {own_rate:,} samples a second")
            samples, cut = _mono(file, most_s)
    except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError) as error:
        if data.startswith(_SIGNATURES):
            return Unusable("undecodable", str(error))
        return Unusable("unsupported_format", f"no sound that libsndfile reads: {error}")
    if len(samples) < _SHORTEST_S * own_rate:
        return Unusable("empty", f"{len(samples)} samples at {own_rate:,} a second")
    if not np.isfinite(samples).all():
        return Unusable("not_finite", "samples that are NaN or infinite")
    if np.abs(samples).max() > _LOUDEST:
        return Unusable("undecodable", f"samples beyond {_LOUDEST:,.0f}: 1 is full scale")
    return Sound(_resample(samples, own_rate, rate), cut)


def _mono(file: "soundfile.SoundFile", most_s: float) -> tuple[Samples, bool]:
    """The mean of the channels, and whether the file has more than `most_s` seconds."""
    left = int(most_s * file.samplerate)
    blocks: list[Samples] = [np.empty(0, np.float32)]
    while left > 0:
        wanted = min(left, _BLOCK // file.channels)
        block = file.read(wanted, dtype="float32", always_2d=True)
        blocks.append(block.mean(axis=1))
        left -= len(block)
        if len(block) < wanted:
            break
    return np.concatenate(blocks), left <= 0 and len(file.read(1)) > 0


def _resample(samples: Samples, own_rate: int, rate: int) -> Samples:
    import soxr

    if own_rate == rate:
        return samples
    return np.asarray(soxr.resample(samples, own_rate, rate), np.float32)
