"""What CLAP hears of a sound: spectrograms as transformers makes them, but never by chance.

transformers cuts a long sound at places that it draws, and where it fuses several cuts, marks one
short sound of each batch as long. Here the cuts are the middle ones of those that it may draw, and
only a long sound is marked: a vector depends on its own sound alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.encoders.sounds import Samples

if TYPE_CHECKING:
    from transformers import ClapFeatureExtractor


@dataclass(frozen=True, slots=True)
class Heard:
    """The payload of a prepared sound.

    `mels` has shape (1, frames, bands) or (4, frames, bands), float32: the whole and three cuts
    where the sound is `long` and the model fuses.
    """

    mels: npt.NDArray[np.float32]
    long: bool


def listener(extractor: "ClapFeatureExtractor") -> Callable[[Samples], Heard]:
    """What makes a `Heard` of samples by a ClapFeatureExtractor, which stays as it is."""
    from transformers import ClapFeatureExtractor

    class Middle(ClapFeatureExtractor):
        """Cuts where the library would draw; the last of its methods that looks at chance."""

        def _random_mel_fusion(
            self, mel: npt.NDArray[Any], total_frames: int, chunk_frames: int
        ) -> npt.NDArray[Any]:
            return _fuse(mel, total_frames, chunk_frames)

    middle = Middle(**extractor.to_dict())
    most, fuses = middle.nb_max_samples, middle.truncation == "fusion"

    def hear(samples: Samples) -> Heard:
        if len(samples) > most and not fuses:
            start = (len(samples) - most) // 2
            samples = samples[start : start + most]
        mels, long = middle._get_input_mel(
            samples.astype(np.float64), most, middle.truncation, middle.padding
        )
        # The four of a short sound are equal.
        kept = mels if long else mels[:1]
        return Heard(np.asarray(kept, np.float32), bool(long))

    return hear


def _fuse(mel: npt.NDArray[Any], total: int, chunk: int) -> npt.NDArray[Any]:
    """The whole, shrunk, and a cut of each third: the middle of those that may begin there."""
    import torch

    thirds = np.array_split(np.arange(total - chunk + 1), 3)
    starts = [int(third[len(third) // 2]) if len(third) else 0 for third in thirds]
    whole = torch.nn.functional.interpolate(
        torch.from_numpy(mel[None, None]), size=[chunk, 64], mode="bilinear", align_corners=False
    )
    return np.stack([whole[0, 0].numpy(), *(mel[start : start + chunk] for start in starts)])
