"""Any model of open_clip: pictures and texts in one space.

Without a `model` it is a tiny one that comes with vectorline and knows drawings of coloured shapes
alone. For photographs name a published one, like `ViT-B-32` with `laion2b_s34b_b79k`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.content import Content
from tasks.encoders.base import Precision, Prepared, Tokenizer, Vectors
from tasks.encoders.clip_files import ClipModel, find_clip
from tasks.encoders.clip_tokens import clip_tokenizer
from tasks.encoders.images import MAX_PIXELS, PIXELS_PER_TOKEN, ImageReader, Picture
from tasks.encoders.modalities import encode_each, prepare_each
from tasks.encoders.normalizing import Normalizer
from tasks.encoders.on_device import OnDevice
from tasks.encoders.running import loading, quiet, require, to_unit, within_memory
from tasks.encoders.templates import in_prompt, outside
from tasks.encoders.text_tokens import beginning
from tasks.errors import ConfigError

if TYPE_CHECKING:
    import torch

_Untyped: TypeAlias = Any  # open_clip has no types


@dataclass(frozen=True, slots=True)
class _Tokens:
    """The payload of a prepared text: as many ids as the model reads."""

    ids: npt.NDArray[np.int64]


class OpenClipEncoder(OnDevice["_Loaded"]):
    """Vectors of an open_clip model's two towers, of unit norm."""

    modalities: tuple[str, ...] = ("text", "image")
    normalized = True
    cost_of_token = PIXELS_PER_TOKEN

    def __init__(
        self,
        model: str | None = None,
        pretrained: str | None = None,
        revision: str | None = None,
        prompt: str = "",
        query_prompt: str | None = None,
        jpeg_draft: bool = True,
        max_pixels: int = MAX_PIXELS,
        seed: int | None = None,
    ) -> None:
        """Loads nothing.

        Args:
            model: Name of an architecture of open_clip, `hf-hub:organisation/name`, or a folder
                with an `open_clip_config.json`; by default the tiny model of vectorline.
            pretrained: With an architecture: tag of published weights, or a file of weights.
            revision: Commit, tag or branch of what comes from a hub.
            prompt: Put around each text, where `{}` stands for it, or before it if there is none.
            query_prompt: The same for queries, such as "a photo of {}"; by default as `prompt`.
            jpeg_draft: Decodes JPEGs near the size that the model sees: faster, and vectors differ
                by a cosine of less than 0.001.
            max_pixels: Pictures with more are not decoded, but quarantined.
            seed: Random weights for an architecture, to measure speed with.
        """
        require("image", "open_clip", "PIL", "torchvision")
        if max_pixels < 1:
            raise ConfigError(f"encoder.max_pixels is {max_pixels}, but must be 1 or more")
        self._name = model
        self._pretrained = pretrained
        self._revision = revision
        self._prompt = prompt
        self._query_prompt = prompt if query_prompt is None else query_prompt
        self._draft = jpeg_draft
        self._max_pixels = max_pixels
        self._seed = seed
        self._model: ClipModel | None = None

    def __repr__(self) -> str:
        """The model's name and weights."""
        weights = f", {self._pretrained!r}" if self._pretrained else ""
        return f"{type(self).__name__}({self._name or 'tiny_clip'!r}{weights})"

    @property
    def dim(self) -> int:
        """Number of components."""
        return int(self._find().config["embed_dim"])

    def fingerprint(self) -> dict[str, object]:
        """The model's config, digests of weights and tokenizer, and the arguments."""
        model = self._find()
        found: dict[str, object] = {
            "encoder": "open-clip",
            "method": 1,
            "config": dict(model.config),
            **model.digests(),
            "framing": model.framing().settings(),
            "colours": [list(values) for values in model.colours()],
            "prompt": self._prompt,
            "query_prompt": self._query_prompt,
            "jpeg_draft": self._draft,
        }
        if self._seed is not None:
            packages = ("open_clip_torch", "timm", "torch")
            found["random"] = [self._seed, *(metadata.version(name) for name in packages)]
        return found

    def tokenizer(self) -> Tokenizer:
        """The model's own; its `limit` leaves room for special tokens and the prompt."""
        return _tokenizer(self._find(), self._prompt)

    def prepare(self, contents: Sequence[Content]) -> list[Prepared]:
        """Pixels of pictures, tokens of texts in the prompt."""
        return self._ready().prepare(contents, self._prompt)

    def prepare_query(self, contents: Sequence[Content]) -> list[Prepared]:
        """The same with the query prompt."""
        return self._ready().prepare(contents, self._query_prompt)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """Row i for item i; pictures and texts may stand in one batch."""
        if not items:
            return np.empty((0, self.dim), np.float32)
        return self._ready().encode(items, self.dim)

    def _find(self) -> ClipModel:
        if self._model is None:
            self._model = find_clip(self._name, self._pretrained, self._revision, self._seed)
        return self._model

    def _load(self, precision: Precision, device: str, threads: int | None) -> "_Loaded":
        model = self._find()
        reader = ImageReader(
            model.framing(), max_pixels=self._max_pixels, draft=self._draft, threads=threads
        )
        return _Loaded(model, precision, device, self._seed, reader)


class _Loaded:
    """A model on a device, in one precision."""

    def __init__(
        self,
        model: ClipModel,
        precision: Precision,
        device: str,
        seed: int | None,
        reader: ImageReader,
    ) -> None:
        import torch

        self.device = device
        self._reader = reader
        self._found = model
        self._dtype: torch.dtype = getattr(torch, precision.value)
        with quiet():
            self._model = _build(model, seed).to(device, self._dtype).eval()
            self._library_tokenizer = _library_tokenizer(model)
        self._normalizer = Normalizer(*model.colours(), device)
        self._tokenizers: dict[str, Tokenizer] = {}

    def prepare(self, contents: Sequence[Content], prompt: str) -> list[Prepared]:
        ways = {"text": lambda texts: self._tokens(texts, prompt), "image": self._reader.prepare}
        return prepare_each(contents, ways)

    def encode(self, items: Sequence[Prepared], dim: int) -> Vectors:
        ways: dict[type, Callable[[list[Any]], Vectors]]
        ways = {Picture: self._images, _Tokens: self._texts}
        return within_memory(
            lambda: to_unit(encode_each(items, ways, dim)), f"{len(items)} contents", self.device
        )

    def _tokens(self, texts: Sequence[str], prompt: str) -> list[Prepared]:
        """Of equal cost: the text tower reads as many tokens of each, most of them padding."""
        if prompt not in self._tokenizers:
            self._tokenizers[prompt] = _tokenizer(self._found, prompt)
        counter, context = self._tokenizers[prompt], self._found.context
        parts = [beginning(text, context, counter.count) for text in texts]
        whole = [in_prompt(prompt, part) for part in parts]
        cost = context * PIXELS_PER_TOKEN
        return [
            Prepared(
                cost,
                truncated=len(part) < len(text) or counter.count(text) > (counter.limit or 0),
                payload=_Tokens(row),
            )
            for text, part, row in zip(
                texts, parts, self._library_tokenizer(whole).numpy(), strict=True
            )
        ]

    def _images(self, pictures: Sequence[Picture]) -> Vectors:
        import torch

        with torch.inference_mode():
            batch = self._normalizer([picture.pixels for picture in pictures])
            return _to_numpy(self._model.encode_image(batch.to(self._dtype)))

    def _texts(self, texts: Sequence[_Tokens]) -> Vectors:
        import torch

        with torch.inference_mode():
            ids = torch.from_numpy(np.stack([text.ids for text in texts])).to(self.device)
            return _to_numpy(self._model.encode_text(ids))


def _to_numpy(vectors: "torch.Tensor") -> Vectors:
    return np.asarray(vectors.float().cpu().numpy(), np.float32)


def _tokenizer(model: ClipModel, prompt: str) -> Tokenizer:
    extra = tuple(model.tokenizer_arguments.get("additional_special_tokens") or ())
    return clip_tokenizer(model.tokenizer, model.cleaning, model.context, extra, outside(prompt))


def _library_tokenizer(model: ClipModel) -> _Untyped:
    """The tokenizer that open_clip itself would use; gives ids of shape (n, context)."""
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    arguments = model.tokenizer_arguments
    if model.tokenizer is None:
        return SimpleTokenizer(context_length=model.context, **arguments)
    return HFTokenizer(
        str(model.tokenizer.download()),
        context_length=model.context,
        tokenizer_mode=model.text.get("tokenizer_mode"),
        **arguments,
    )


def _build(model: ClipModel, seed: int | None) -> _Untyped:
    """The model in float32; EncoderError if its weights do not fit it."""
    import open_clip
    import torch

    if model.weights is None:
        with torch.random.fork_rng(devices=[]), loading(model.architecture):
            torch.manual_seed(seed or 0)
            return open_clip.create_model(str(model.architecture), pretrained_text=False)
    folder = model.weights.download()
    with loading(folder):
        if model.architecture is None:
            return open_clip.create_model(f"local-dir:{folder}", require_pretrained=True)
        return open_clip.create_model(
            model.architecture,
            pretrained=str(folder / (model.checkpoint or "")),
            require_pretrained=True,
        )
