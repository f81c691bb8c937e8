"""Any backbone of timm: ResNet, ConvNeXt, ViT, DINO, DINOv2, MAE and a thousand more."""

from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np

from tasks.content import Content
from tasks.encoders.asked import ask
from tasks.encoders.base import Precision, Prepared, Tokenizer, Vectors
from tasks.encoders.images import MAX_PIXELS, PIXELS_PER_TOKEN, ImageReader, Picture
from tasks.encoders.modalities import encode_each, prepare_each
from tasks.encoders.normalizing import Normalizer
from tasks.encoders.on_device import OnDevice
from tasks.encoders.running import quiet, require, to_unit, within_memory
from tasks.encoders.timm_files import TimmModel, build, find_timm, framing
from tasks.encoders.timm_pooling import check_pooling, pool
from tasks.errors import ConfigError


class TimmEncoder(OnDevice["_Loaded"]):
    """Vectors of a timm backbone, pooled as asked."""

    modalities: tuple[str, ...] = ("image",)
    cost_of_token = PIXELS_PER_TOKEN

    def __init__(
        self,
        model: str,
        pretrained: bool = True,
        checkpoint: str | None = None,
        revision: str | None = None,
        pooling: str = "model",
        gem_power: float = 3.0,
        stages: list[int] | None = None,
        normalize: bool = True,
        jpeg_draft: bool = True,
        max_pixels: int = MAX_PIXELS,
        seed: int | None = None,
    ) -> None:
        """Loads nothing.

        Args:
            model: Name as timm has it (`resnet50.a1_in1k`), `hf-hub:organisation/name`, or a folder
                with a `config.json`.
            pretrained: The published weights; false only with `checkpoint` or `seed`.
            checkpoint: A file of weights for a model that is given by name.
            revision: Commit, tag or branch of what comes from a hub.
            pooling: `model` (what its classifier sees), `class`, `patches`, `gem`, `last-stage` or
                `multi-scale`.
            gem_power: The exponent of `gem`.
            stages: Those that `multi-scale` joins, from 0; by default at half, three quarters and
                the end.
            normalize: Unit norm.
            jpeg_draft: Decodes JPEGs near the size that the model sees: faster, and vectors differ
                by a cosine of less than 0.001.
            max_pixels: Pictures with more are not decoded, but quarantined.
            seed: Random weights, to measure speed with.
        """
        require("image", "timm", "PIL", "torchvision")
        if max_pixels < 1:
            raise ConfigError(f"encoder.max_pixels is {max_pixels}, but must be 1 or more")
        if gem_power <= 0:
            raise ConfigError(f"encoder.gem_power is {gem_power}, but must be above 0")
        self.normalized = normalize
        self._pooling = check_pooling(pooling)
        self._arguments = {
            "pretrained": pretrained,
            "checkpoint": checkpoint,
            "revision": revision,
            "seed": seed,
        }
        self._name = model
        self._power = gem_power
        self._stages = stages
        self._draft = jpeg_draft
        self._max_pixels = max_pixels
        self._seed = seed
        self._model: TimmModel | None = None
        self._said: dict[str, Any] | None = None

    def __repr__(self) -> str:
        """The model's name and pooling."""
        return f"{type(self).__name__}({self._name!r}, pooling={str(self._pooling)!r})"

    @property
    def dim(self) -> int:
        """Number of components."""
        return int(self._describe()["dim"])

    def fingerprint(self) -> dict[str, object]:
        """What timm says of the model, the digest of its weights, and the arguments."""
        model, said = self._find(), self._describe()
        found: dict[str, object] = {
            "encoder": "timm",
            "method": 1,
            "architecture": said["architecture"],
            "arguments": said["arguments"],
            "weights": model.weights.digests()[model.checkpoint] if model.weights else None,
            "framing": framing(said["data"]).settings(),
            "colours": [list(said["data"][name]) for name in ("mean", "std")],
            "pooling": [str(self._pooling), self._power, self._stages],
            "dim": said["dim"],
            "normalize": self.normalized,
            "jpeg_draft": self._draft,
        }
        if self._seed is not None:
            found["random"] = [self._seed, metadata.version("timm"), metadata.version("torch")]
        return found

    def tokenizer(self) -> Tokenizer:
        """There is none: ConfigError."""
        raise ConfigError(f"{self!r} reads no text: leave `chunk` out")

    def prepare(self, contents: Sequence[Content]) -> list[Prepared]:
        """Pixels of pictures."""
        return prepare_each(contents, {"image": self._ready().reader.prepare})

    def prepare_query(self, contents: Sequence[Content]) -> list[Prepared]:
        """The same as `prepare`."""
        return self.prepare(contents)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """Row i for item i."""
        if not items:
            return np.empty((0, self.dim), np.float32)
        vectors = encode_each(items, {Picture: self._vectors}, self.dim)
        return to_unit(vectors) if self.normalized else vectors

    def _vectors(self, pictures: Sequence[Picture]) -> Vectors:
        import torch

        loaded = self._ready()

        def compute() -> Vectors:
            with torch.inference_mode():
                pixels = loaded.normalizer([picture.pixels for picture in pictures])
                pixels = pixels.to(loaded.dtype)
                vectors = pool(loaded.model, pixels, self._pooling, self._power, self._stages)
                return np.asarray(vectors.cpu().numpy(), np.float32)

        return within_memory(compute, f"{len(pictures)} pictures", loaded.device)

    def _find(self) -> TimmModel:
        if self._model is None:
            self._model = find_timm(self._name, **self._arguments)  # type: ignore[arg-type]
        return self._model

    def _describe(self) -> dict[str, Any]:
        if self._said is None:
            model = self._find()
            question = {
                "name": model.name,
                "pooling": str(self._pooling),
                "power": self._power,
                "stages": self._stages,
            }
            self._said = ask(
                "tasks.encoders.timm_files:describe", question, ("timm", "torch"), model.config()
            )
        return self._said

    def _load(self, precision: Precision, device: str, threads: int | None) -> "_Loaded":
        said = self._describe()
        reader = ImageReader(
            framing(said["data"]), max_pixels=self._max_pixels, draft=self._draft, threads=threads
        )
        return _Loaded(self._find(), said["data"], precision, device, self._seed, reader)


class _Loaded:
    """A model on a device, in one precision."""

    def __init__(
        self,
        model: TimmModel,
        data: dict[str, Any],
        precision: Precision,
        device: str,
        seed: int | None,
        reader: ImageReader,
    ) -> None:
        import torch

        self.device = device
        self.reader = reader
        self.dtype: torch.dtype = getattr(torch, precision.value)
        with quiet():
            self.model: Any = build(model, seed).to(device, self.dtype).eval()
        self.normalizer = Normalizer(tuple(data["mean"]), tuple(data["std"]), device)
