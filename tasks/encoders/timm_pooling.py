"""From what a timm backbone computes to one vector a picture."""

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from tasks.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    import torch

Backbone: TypeAlias = Any
"""A model of timm: its models share no class that says what they have."""

_SMALLEST = 1e-6  # as in the code of the paper


class Pooling(StrEnum):
    """What of a backbone becomes the vector."""

    MODEL = "model"
    """What the model's own classifier is given."""
    CLASS = "class"
    """The class token, after the last norm."""
    PATCHES = "patches"
    """The mean of the patch tokens, or of the last feature map, after the last norm."""
    GEM = "gem"
    """Their generalised mean (Radenovic et al. 2018, arXiv:1711.02512, equation 3)."""
    LAST_STAGE = "last-stage"
    """The mean of the last stage's map, before what follows the stages."""
    MULTI_SCALE = "multi-scale"
    """The means of several stages' maps, each of unit norm, joined (stages as in a feature pyramid:
    Lin et al. 2017, arXiv:1612.03144)."""


def check_pooling(pooling: str) -> Pooling:
    """The pooling of that name; ConfigError if there is none."""
    try:
        return Pooling(pooling)
    except ValueError:
        allowed = ", ".join(Pooling)
        raise ConfigError(f"encoder.pooling is {pooling!r}, but must be one of {allowed}") from None


def pool(
    model: Backbone,
    pixels: "torch.Tensor",
    pooling: Pooling,
    power: float,
    stages: Sequence[int] | None,
) -> "torch.Tensor":
    """Row i for picture i, in float32; `power` is for GEM, `stages` for MULTI_SCALE.

    Raises EncoderError where the model has not what the pooling asks for.
    """
    if pooling == Pooling.MODEL:
        own: torch.Tensor = model(pixels).float()
        return own
    if pooling == Pooling.CLASS:
        return _final_norm(model, _class_token(model, pixels)).float()
    if pooling == Pooling.PATCHES:
        return _final_norm(model, _patches(model, pixels).mean(dim=1)).float()
    if pooling == Pooling.GEM:
        powers = _patches(model, pixels).float().clamp(min=_SMALLEST).pow(power)
        return powers.mean(dim=1).pow(1 / power)
    if pooling == Pooling.LAST_STAGE:
        return _stage_means(model, pixels, [-1])[0]
    return _join(_stage_means(model, pixels, stages))


def _join(means: "list[torch.Tensor]") -> "torch.Tensor":
    import torch

    return torch.cat([torch.nn.functional.normalize(mean, dim=1) for mean in means], dim=1)


def _class_token(model: Backbone, pixels: "torch.Tensor") -> "torch.Tensor":
    found: torch.Tensor = model.forward_features(pixels)
    if getattr(model, "cls_token", None) is None or found.ndim != 3:
        raise EncoderError(
            f"{_name(model)} has no class token: choose another encoder.pooling than 'class'"
        )
    return found[:, 0]


def _patches(model: Backbone, pixels: "torch.Tensor") -> "torch.Tensor":
    """The last tokens without the leading special ones, or the last map; shape (n, places, c)."""
    found: torch.Tensor = model.forward_features(pixels)
    if found.ndim == 3:
        return found[:, getattr(model, "num_prefix_tokens", 0) :]
    if found.ndim == 4:
        channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
        return found.flatten(1, 2) if channels_last else found.flatten(2).transpose(1, 2)
    raise EncoderError(
        f"{_name(model)} gives neither tokens nor a map: use encoder.pooling 'model'"
    )


def _final_norm(model: Backbone, vectors: "torch.Tensor") -> "torch.Tensor":
    """Where a model norms after pooling, `forward_features` has not normed."""
    norm = getattr(model, "fc_norm", None)
    return vectors if norm is None else norm(vectors)


def _stage_means(
    model: Backbone, pixels: "torch.Tensor", stages: Sequence[int] | None
) -> "list[torch.Tensor]":
    """The mean of each stage's map, in float32; by default at half, three quarters and the end."""
    count = len(getattr(model, "feature_info", ()))
    if not count or not hasattr(model, "forward_intermediates"):
        raise EncoderError(f"{_name(model)} tells nothing of its stages: choose another pooling")
    if stages is None:
        stages = sorted({max(0, -(-count * part // 4) - 1) for part in (2, 3, 4)})
    for stage in stages:
        if not -count <= stage < count:
            raise ConfigError(
                f"encoder.stages has {stage}, but {_name(model)} has {count} stages: from"
                f" 0 to {count - 1}"
            )
    wanted = [stage % count for stage in stages]
    order = sorted(set(wanted))
    maps = model.forward_intermediates(
        pixels, indices=order, norm=True, output_fmt="NCHW", intermediates_only=True
    )
    means = {stage: one.float().mean(dim=(2, 3)) for stage, one in zip(order, maps, strict=True)}
    return [means[stage] for stage in wanted]


def _name(model: Backbone) -> str:
    return str(getattr(model, "pretrained_cfg", {}).get("architecture") or type(model).__name__)
