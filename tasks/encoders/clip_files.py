"""Finds an open_clip model: its config, weights and tokenizer, without importing torch.

By the name of one of open_clip's architectures and a tag of published weights (or a file, or a seed
for random ones), by `hf-hub:` and a name, by `local-dir:` or plainly a folder.
"""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.encoders.asked import ask
from tasks.encoders.clip_tokens import packaged_merges
from tasks.encoders.framing import Fit, Framing
from tasks.encoders.hub import Layout, Model, find_files
from tasks.encoders.weights import sha256
from tasks.errors import ConfigError, EncoderError, UnknownModel

TINY_MODEL = Path(__file__).parent / "tiny_clip"
_CONFIG = "open_clip_config.json"
# In open_clip's own order of preference.
_CHECKPOINTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
_CHECKPOINT_SUFFIXES = (".safetensors", ".bin", ".pth")
_TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class ClipModel:
    """An open_clip model that was found.

    `weights` holds the file `checkpoint`; both are None where weights are random. `tokenizer` is
    None where the model uses the one that open_clip brings. `architecture` is what open_clip builds
    it from: a name that it knows, or None for the folder of the weights.
    """

    config: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    weights: Model | None
    checkpoint: str | None
    tokenizer: Model | None
    architecture: str | None

    @property
    def text(self) -> Mapping[str, Any]:
        """The settings of the text tower."""
        found: Mapping[str, Any] = self.config["text_cfg"]
        return found

    @property
    def context(self) -> int:
        """Tokens that the text tower reads."""
        return int(self.text.get("context_length", 77))

    @property
    def tokenizer_arguments(self) -> dict[str, Any]:
        """What the model's config says of its tokenizer, but for dropping tokens by chance."""
        given = self.text.get("tokenizer_kwargs") or {}
        return {name: value for name, value in given.items() if name != "reduction_mask"}

    @property
    def cleaning(self) -> str:
        """How texts are cleaned before they are tokenised."""
        usual = "lower" if self.tokenizer is None else "whitespace"
        return str(self.tokenizer_arguments.get("clean", usual))

    def framing(self) -> Framing:
        """What open_clip's transform does to a picture's geometry."""
        size = self.config["vision_cfg"].get("image_size", 224)
        height, width = (size, size) if isinstance(size, int) else size
        mode = self.preprocess.get("resize_mode") or "shortest"
        square = Fit.SHORT_EDGE if width == height else Fit.COVER
        fit = {"longest": Fit.CONTAIN, "squash": Fit.SQUASH}.get(mode, square)
        # open_clip covers what is no square by its default filter, whatever the config says.
        given = None if fit == Fit.COVER else self.preprocess.get("interpolation")
        filtering = "bilinear" if given == "bilinear" else "bicubic"
        fill = int(self.preprocess.get("fill_color") or 0)
        return Framing((width, height), (width, height), fit, filtering, (fill, fill, fill))

    def colours(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the colours, by which pictures are normalised."""
        return tuple(
            (one,) * 3 if isinstance(one, int | float) else tuple(one)
            for one in (self.preprocess.get("mean") or _MEAN, self.preprocess.get("std") or _STD)
        )  # type: ignore[return-value]

    def digests(self) -> dict[str, object]:
        """SHA-256 of the weights and of the tokenizer's files."""
        weights = None
        if self.weights is not None:
            weights = self.weights.digests()[self.checkpoint or ""]
        tokenizer: object = {"packaged": sha256(packaged_merges())}
        if self.tokenizer is not None:
            known = self.tokenizer.digests()
            tokenizer = {name: known[name] for name in known if name in _TOKENIZER_FILES}
        return {"weights": weights, "tokenizer": tokenizer}


def find_clip(
    name: str | None, pretrained: str | None, revision: str | None, seed: int | None
) -> ClipModel:
    """The model; None is the small one that comes with vectorline.

    Raises ConfigError for arguments that do not go together, EncoderError if it is not found.
    """
    where = str(TINY_MODEL) if name is None else name.removeprefix("local-dir:")
    on_hub, is_path = where.startswith("hf-hub:"), where.startswith((".", "~", "/"))
    if where == name and not (on_hub or is_path or Path(where).is_dir()):
        return _built_in(where, pretrained, revision, seed)
    for key, value in (("pretrained", pretrained), ("seed", seed)):
        if value is not None:
            raise ConfigError(
                f"encoder.{key} is {value!r}, but {name!r} has weights of its own: leave it out"
            )
    model = find_files(where.removeprefix("hf-hub:"), revision, _WHOLE)
    said = model.settings(_CONFIG)
    config = said.get("model_cfg")
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= set(config):
        raise EncoderError(f"model {where!r}: its {_CONFIG} has no complete model_cfg")
    checkpoint = next((one for one in model.files if one.endswith(_CHECKPOINT_SUFFIXES)), None)
    if checkpoint is None:
        raise EncoderError(f"model {where!r} has no weights ({', '.join(_CHECKPOINTS[:3])}, ...)")
    preprocess = said.get("preprocess_cfg")
    tokenizer_name = config["text_cfg"].get("hf_tokenizer_name")
    tokenizer = None
    if tokenizer_name:
        elsewhere = on_hub and tokenizer_name != where.removeprefix("hf-hub:")
        tokenizer = find_files(tokenizer_name, None, _TOKENIZER) if elsewhere else model
    return ClipModel(
        config,
        preprocess if isinstance(preprocess, dict) else {},
        model,
        checkpoint,
        tokenizer,
        architecture=None,
    )


def published(model: str, tag: str) -> dict[str, Any]:
    """What open_clip says of a tag of published weights; it imports torch."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    found = get_pretrained_cfg(model, tag)
    if not found:
        known = list_pretrained_tags_by_model(model)
        raise UnknownModel(
            f"encoder.pretrained is {tag!r}: neither a file nor a tag of {model!r}"
            f"{_near(tag, known)} (it has {', '.join(known) or 'none'})"
        )
    return dict(found)


def _built_in(
    name: str, pretrained: str | None, revision: str | None, seed: int | None
) -> ClipModel:
    name = name.replace("/", "-")
    config = _known_config(name)
    if revision is not None and seed is not None:
        raise ConfigError("encoder.revision is of published weights: leave it out beside `seed`")
    if (pretrained is None) == (seed is None):
        raise ConfigError(
            f"encoder.model is {name!r}, an architecture: give `pretrained`, the tag of published"
            " weights or a file of weights, or `seed` if random ones are wanted"
        )
    preprocess: dict[str, Any] = {}
    weights = None
    if pretrained is not None and Path(pretrained).expanduser().is_file():
        file = Path(pretrained).expanduser().absolute()
        weights = Model(pretrained, file.parent, (file.name,))
    elif pretrained is not None:
        preprocess = ask(
            f"{__name__}:published", {"model": name, "tag": pretrained}, ("open_clip_torch",)
        )
        _check_activation(name, pretrained, config, preprocess)
        weights = _on_hub(preprocess["hf_hub"], revision)
    tokenizer_name = config["text_cfg"].get("hf_tokenizer_name")
    return ClipModel(
        config,
        preprocess,
        weights,
        weights.files[0] if weights else None,
        find_files(tokenizer_name, None, _TOKENIZER) if tokenizer_name else None,
        architecture=name,
    )


def _known_config(name: str) -> dict[str, Any]:
    folder = packaged_merges().parent / "model_configs"
    try:
        config: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except OSError:
        near = _near(name, [path.stem for path in folder.glob("*.json")])
        version = metadata.version("open_clip_torch")
        raise UnknownModel(
            f"encoder.model is {name!r}: no folder here, and open_clip {version} has no such model"
            f"{near} (one on a hub is written hf-hub:organisation/name)"
        ) from None
    return config


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, cutoff=0.5)
    return f", did you mean {' or '.join(near)}?" if near else ""


def _check_activation(
    name: str, tag: str, config: Mapping[str, Any], said: Mapping[str, Any]
) -> None:
    """open_clip only warns, and gives wrong vectors."""
    wants, has = bool(said.get("quick_gelu")), bool(config.get("quick_gelu"))
    if wants != has:
        other = f"{name}-quickgelu" if wants else name.removesuffix("-quickgelu")
        raise ConfigError(
            f"encoder.model is {name!r}, but the weights {tag!r} were trained with another"
            f" activation function: use model {other!r}"
        )


def _on_hub(place: str, revision: str | None) -> Model:
    """The file of a tag's weights; `place` is organisation/name/file, the file may be missing."""
    repository, _, file = place.rpartition("/")
    names = (file,) if file else ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    safe = f"{PurePosixPath(file).stem}.safetensors"
    wanted = (safe, *names) if file.endswith((".bin", ".pth")) else names

    def choose(files: Iterable[str]) -> tuple[str, ...]:
        there = set(files)
        return tuple(name for name in wanted if name in there)[:1]

    return find_files(repository, revision, Layout(choose, wanted, "choose another tag"))


def _choose_tokenizer(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names) & set(_TOKENIZER_FILES)))


def _choose_whole(names: Iterable[str]) -> tuple[str, ...]:
    """Config, one file of weights and the tokenizer, without what lies in folders inside."""
    names = [name for name in names if "/" not in name]
    weights = sorted(
        (name for name in names if name.endswith(_CHECKPOINT_SUFFIXES)),
        key=lambda name: (
            _CHECKPOINTS.index(name) if name in _CHECKPOINTS else len(_CHECKPOINTS),
            not name.endswith(".safetensors"),
            name,
        ),
    )
    config = [name for name in names if name == _CONFIG]
    return (*config, *weights[:1], *_choose_tokenizer(names))


_WHOLE = Layout(_choose_whole, (_CONFIG,), "give the folder that open_clip's push_to_hf_hub wrote")
_TOKENIZER = Layout(
    _choose_tokenizer, ("tokenizer.json", "tokenizer_config.json"), "it needs a tokenizer"
)
