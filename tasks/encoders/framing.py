"""How a model's own transform scales a picture and cuts it to what the model sees.

The same steps as torchvision's Resize and CenterCrop and the ResizeKeepRatio and CenterCropOrPad of
open_clip and timm, on a Pillow picture and without torch, so that they run in threads on bytes.

Of a picture some thirty times as long as high only the middle is computed: 30,000 x 2 pixels,
scaled as a whole, would take 2 GB. Its sharp edges may come out otherwise then, since Pillow
chooses by size whether it scales first across or down.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from PIL.Image import Image

Size: TypeAlias = tuple[int, int]
"""Width and height, as Pillow has them."""

_MOST_SCALED = 32  # times the pixels that the model sees


class Fit(StrEnum):
    """How a picture's size becomes the size that it is scaled to."""

    SHORT_EDGE = "short_edge"
    """The short edge is the target's, the long one is rounded down (torchvision)."""
    COVER = "cover"
    """Covers a target that is no square, each edge rounded to the nearest (timm)."""
    CONTAIN = "contain"
    """Fits into the target, each edge rounded to the nearest (timm)."""
    SQUASH = "squash"
    """The target itself, whatever the picture's shape."""


@dataclass(frozen=True, slots=True)
class Framing:
    """What is done to a picture's geometry: scaled towards `target`, then cut to `size`.

    `resampling` is the name of a filter of Pillow; `fill` colours what the picture leaves empty.
    """

    size: Size
    target: Size
    fit: Fit
    resampling: str
    fill: tuple[int, int, int] = (0, 0, 0)

    def settings(self) -> dict[str, object]:
        """All of it as plain data, for a fingerprint."""
        return {
            "size": list(self.size),
            "target": list(self.target),
            "fit": str(self.fit),
            "resampling": self.resampling,
            "fill": list(self.fill),
        }

    @property
    def pixels(self) -> int:
        """Pixels that the model sees."""
        return self.size[0] * self.size[1]

    def scaled(self, original: Size) -> Size:
        """What a picture of this size is scaled to, before it is cut."""
        width, height = original
        if self.fit == Fit.SQUASH:
            return self.target
        if self.fit == Fit.SHORT_EDGE:
            edge = self.target[0]
            if width <= height:
                return edge, int(edge * height / width)
            return int(edge * width / height), edge
        ratios = width / self.target[0], height / self.target[1]
        ratio = min(ratios) if self.fit == Fit.COVER else max(ratios)
        return max(1, round(width / ratio)), max(1, round(height / ratio))

    def frame(self, image: "Image", original: Size) -> "Image":
        """The picture as the model sees it.

        `original` is the picture's true size: it may have been decoded at less.
        """
        from PIL import Image

        method = Image.Resampling[self.resampling.upper()]
        scaled = self.scaled(original)
        (left, right), (top, bottom) = (
            _middle(whole, seen) for whole, seen in zip(scaled, self.size, strict=True)
        )
        if scaled[0] * scaled[1] <= _MOST_SCALED * self.pixels:
            whole = image.resize(scaled, method)
            return self._filled(whole.crop((left, top, right, bottom)))
        width, height = image.size
        across, down = width / scaled[0], height / scaled[1]
        seen = (left * across, top * down, min(right * across, width), min(bottom * down, height))
        return self._filled(image.resize((right - left, bottom - top), method, box=seen))

    def _filled(self, image: "Image") -> "Image":
        """The picture in the middle of the fill colour, where it is smaller than what is seen."""
        from PIL import Image

        if image.size == self.size:
            return image
        whole = Image.new("RGB", self.size, self.fill)
        left, top = ((seen - own) // 2 for seen, own in zip(self.size, image.size, strict=True))
        whole.paste(image, (left, top))
        return whole


def _middle(length: int, wanted: int) -> Size:
    """Where the middle part of an edge starts and ends; all of an edge that is shorter."""
    if length <= wanted:
        return 0, length
    start = round((length - wanted) / 2)
    return start, start + wanted
