"""Pixels to what a model computes with."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.encoders.images import Pixels

if TYPE_CHECKING:
    import torch


class Normalizer:
    """Scales pixels as torchvision's ToTensor and Normalize do, on the device."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: str) -> None:
        """`mean` and `std` of red, green and blue."""
        import torch

        self._device = device
        self._mean = torch.tensor(mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(std, device=device).view(3, 1, 1)

    def __call__(self, pictures: Sequence[Pixels]) -> "torch.Tensor":
        """Shape (n, 3, height, width), float32: row i for pictures[i], all of one size."""
        import torch

        pixels = torch.from_numpy(np.stack(pictures)).to(self._device)
        return (pixels.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std
