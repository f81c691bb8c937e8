"""Finds a timm model: what it is, its weights, and how it wants its pictures.

By a name that timm knows, with or without a tag; by `hf-hub:` and a name; by `local-dir:` or
plainly a folder. Only timm can say what it knows, and it imports torch: see `asked`.
"""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.encoders.asked import ask
from tasks.encoders.framing import Fit, Framing
from tasks.encoders.hub import Layout, Model, find_files
from tasks.encoders.running import loading, quiet
from tasks.encoders.timm_pooling import Backbone, Pooling, pool
from tasks.encoders.weights import sha256
from tasks.errors import ConfigError, EncoderError, UnknownModel

_CONFIG = "config.json"
# In timm's own order of preference.
_CHECKPOINTS = (
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
)
_PACKAGES = ("timm", "torch")


@dataclass(frozen=True, slots=True)
class TimmModel:
    """A timm model that was found.

    `name` is what timm builds it from. `weights` is None where they are random; its first file but
    the config are the weights, to be loaded from that file if `name` is no folder.
    """

    name: str
    weights: Model | None

    @property
    def checkpoint(self) -> str:
        """Name of the file of weights."""
        return next(name for name in self.weights.files if name != _CONFIG) if self.weights else ""

    def config(self) -> str:
        """The digest of the model's config; empty where timm has it."""
        if self.weights is None or _CONFIG not in self.weights.files:
            return ""
        return sha256(self.weights.folder / _CONFIG)


def find_timm(
    name: str, *, pretrained: bool, checkpoint: str | None, revision: str | None, seed: int | None
) -> TimmModel:
    """The model; ConfigError for arguments that do not go together, EncoderError if not found."""
    if revision is not None and seed is not None:
        raise ConfigError("encoder.revision is of published weights: leave it out beside `seed`")
    if checkpoint is not None and seed is not None:
        raise ConfigError("encoder.checkpoint and encoder.seed: give one of both")
    if checkpoint is not None:
        file = Path(checkpoint).expanduser().absolute()
        if not file.is_file():
            raise UnknownModel(f"encoder.checkpoint is {checkpoint!r}: no such file")
        return TimmModel(name, Model(checkpoint, file.parent, (file.name,)))
    if seed is not None:
        return TimmModel(name, None)
    if not pretrained:
        raise ConfigError(
            "encoder.pretrained is false: give `checkpoint`, a file of weights, or `seed` if random"
            " ones are wanted"
        )
    return _published_weights(name, revision)


def _published_weights(name: str, revision: str | None) -> TimmModel:
    where = name.removeprefix("local-dir:")
    if where != name or Path(name).is_dir() or name.startswith((".", "~", "/")):
        return _whole(find_files(where, revision, _LAYOUT))
    if name.startswith("hf-hub:"):
        return _whole(find_files(name.removeprefix("hf-hub:"), revision, _LAYOUT))
    place = ask(f"{__name__}:published", {"name": name}, _PACKAGES)
    if place["file"] is None:
        return _whole(find_files(place["repository"], revision, _LAYOUT))
    one_file = Layout(lambda names: tuple({place["file"]} & set(names)), (place["file"],), "")
    return TimmModel(name, find_files(place["repository"], revision, one_file))


def published(name: str) -> dict[str, str | None]:
    """Where on a hub the weights of a name are; `file` is None for the usual one."""
    import timm

    _check_name(name)
    said = timm.get_pretrained_cfg(name)
    if said is None or not said.hf_hub_id:
        raise UnknownModel(
            f"encoder.model is {name!r}: timm has no published weights for it on a hub; give"
            " `checkpoint`, a file of weights, or a name with one of its tags"
            f" ({', '.join(timm.list_pretrained(name.split('.')[0] + '.*')) or 'it has none'})"
        )
    return {"repository": said.hf_hub_id, "file": said.hf_hub_filename}


def describe(name: str, pooling: str, power: float, stages: Sequence[int] | None) -> dict[str, Any]:
    """What a model wants and gives: `architecture`, `arguments`, `data` config of timm, `dim`.

    Nothing is loaded: the model is built without memory for weights, where it can be.
    """
    import timm
    import torch

    _check_name(name)
    with quiet(), torch.inference_mode():
        try:
            with torch.device("meta"):
                model = timm.create_model(name, pretrained=False)
        except (RuntimeError, NotImplementedError):  # some look at numbers when they are built
            model = timm.create_model(name, pretrained=False)
        model.reset_classifier(0)
        model.eval()
        data = timm.data.resolve_model_data_config(model)
        device = next(model.parameters()).device
        pixels = torch.zeros(1, *data["input_size"], device=device)
        dim = pool(model, pixels, Pooling(pooling), power, stages).shape[1]
        if data["input_size"][0] != 3:
            raise EncoderError(f"{name!r} wants {data['input_size'][0]} channels, not 3 colours")
    said = model.pretrained_cfg
    arguments = {key: value for key, value in model._model_args.items() if _is_plain(value)}
    return {
        "architecture": said.get("architecture") or name,
        "arguments": arguments,
        "data": {key: value for key, value in data.items() if key in _DATA},
        "dim": dim,
    }


_DATA = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")


def framing(data: Mapping[str, Any]) -> Framing:
    """What timm's transform for evaluation does to a picture's geometry."""
    height, width = data["input_size"][-2:]
    scale = data["crop_pct"] or 0.875
    target = (math.floor(width / scale), math.floor(height / scale))
    usual = Fit.SHORT_EDGE if target[0] == target[1] else Fit.COVER
    fit = {"squash": Fit.SQUASH, "border": Fit.CONTAIN}.get(data["crop_mode"], usual)
    red, green, blue = (round(255 * one) for one in data["mean"])
    fill = (red, green, blue) if fit == Fit.CONTAIN else (0, 0, 0)
    return Framing((width, height), target, fit, data["interpolation"], fill)


def build(model: TimmModel, seed: int | None) -> Backbone:
    """The model in float32, without its classifier; EncoderError if its weights do not fit it."""
    import timm
    import torch

    with loading(repr(model.name)):
        if model.weights is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed or 0)
                made = timm.create_model(model.name, pretrained=False)
        elif model.name.startswith("local-dir:"):
            model.weights.download()
            made = timm.create_model(model.name, pretrained=True)
        else:
            made = _from_file(model.name, model.weights.download() / model.checkpoint)
    made.reset_classifier(0)
    return made


def _from_file(name: str, file: Path) -> Backbone:
    """With as many classes as the file has: otherwise timm leaves out whatever is missing."""
    import timm

    weights = timm.models.load_state_dict(str(file))
    said = timm.get_pretrained_cfg(name)
    last = said.classifier if said is not None else None
    classifiers = (last,) if isinstance(last, str) else last or ()
    sizes = [weights[f"{one}.weight"].shape[0] for one in classifiers if f"{one}.weight" in weights]
    n_classes = sizes[0] if sizes else 0
    return timm.create_model(
        name,
        pretrained=True,
        num_classes=n_classes,
        pretrained_cfg_overlay={"state_dict": weights, "num_classes": n_classes, "label_offset": 0},
    )


def _check_name(name: str) -> None:
    import timm

    if name.startswith(("local-dir:", "hf-hub:")) or timm.is_model(name.split(".")[0]):
        return
    near = difflib.get_close_matches(name.split(".")[0], timm.list_models())
    raise UnknownModel(
        f"encoder.model is {name!r}: no folder here, and timm {timm.__version__} has no such model"
        + (f", did you mean {' or '.join(near)}?" if near else "")
        + " (one on a hub is written hf-hub:organisation/name)"
    )


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _whole(found: Model) -> TimmModel:
    if not [name for name in found.files if name != _CONFIG]:
        raise EncoderError(f"model {found.name!r} has no weights ({', '.join(_CHECKPOINTS[:2])})")
    return TimmModel(f"local-dir:{found.folder}", found)


def _choose(names: Iterable[str]) -> tuple[str, ...]:
    """Config and one file of weights."""
    there = {name for name in names if "/" not in name}
    weights = [name for name in _CHECKPOINTS if name in there]
    others = sorted(name for name in there if name.endswith((".safetensors", ".bin", ".pth")))
    return (*({_CONFIG} & there), *(weights or others)[:1])


_LAYOUT = Layout(_choose, (_CONFIG,), "give the folder that timm's save_for_hf wrote")
