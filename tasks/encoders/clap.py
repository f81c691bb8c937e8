"""CLAP: sounds and texts in one space, through transformers (Wu et al. 2023, arXiv:2211.06687)."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.content import Content, Media, Unusable
from tasks.encoders import model_settings as settings
from tasks.encoders.base import Precision, Prepared, Tokenizer, Vectors
from tasks.encoders.clap_sounds import Heard, listener
from tasks.encoders.hub import Model, find_model
from tasks.encoders.modalities import encode_each, prepare_each
from tasks.encoders.model_tokenizer import load_tokenizer
from tasks.encoders.on_device import OnDevice
from tasks.encoders.running import loading, quiet, require, to_unit, within_memory
from tasks.encoders.sounds import Samples, read_sound
from tasks.encoders.templates import in_prompt, outside
from tasks.encoders.text_tokens import beginning
from tasks.errors import ConfigError, EncoderError

_SOUND_TOKENS = 1_024  # what a sound costs beside a text: patches of its spectrogram, in windows


@dataclass(frozen=True, slots=True)
class _Tokens:
    """The payload of a prepared text."""

    ids: npt.NDArray[np.int64]


class ClapEncoder(OnDevice["_Loaded"]):
    """Vectors of a CLAP model's two towers, of unit norm."""

    modalities: tuple[str, ...] = ("text", "audio")
    normalized = True

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        prompt: str = "",
        query_prompt: str | None = None,
        max_seconds: float = 120,
    ) -> None:
        """Loads nothing.

        Args:
            model: Name on the hub, such as `laion/clap-htsat-unfused`, or a folder.
            revision: Commit, tag or branch of a model of the hub.
            prompt: Put around each text, where `{}` stands for it, or before it if there is none.
            query_prompt: The same for queries, such as "the sound of {}"; by default as `prompt`.
            max_seconds: Of a longer sound the beginning is heard.
        """
        require("audio", "transformers", "soundfile", "soxr")
        if max_seconds <= 0:
            raise ConfigError(f"encoder.max_seconds is {max_seconds}, but must be above 0")
        self._name = model
        self._revision = revision
        self._prompt = prompt
        self._query_prompt = prompt if query_prompt is None else query_prompt
        self._max_seconds = max_seconds
        self._model: Model | None = None
        self._counters: dict[str, Tokenizer] = {}

    def __repr__(self) -> str:
        """The model's name and revision."""
        revision = f", revision={self._revision!r}" if self._revision else ""
        return f"{type(self).__name__}({self._name!r}{revision})"

    @property
    def dim(self) -> int:
        """Number of components."""
        said = self._find().settings("config.json").get("projection_dim", 512)
        return int(said) if isinstance(said, int) else 512

    def fingerprint(self) -> dict[str, object]:
        """Digests of all files that decide, and the arguments."""
        return {
            "encoder": "clap",
            "method": 1,
            "files": self._find().digests(),
            "prompt": self._prompt,
            "query_prompt": self._query_prompt,
            "max_seconds": self._max_seconds,
        }

    def tokenizer(self) -> Tokenizer:
        """The model's own; its `limit` leaves room for special tokens and the prompt."""
        return self._counter(self._prompt)

    def prepare(self, contents: Sequence[Content]) -> list[Prepared]:
        """Spectrograms of sounds, tokens of texts in the prompt."""
        return self._prepare(contents, self._prompt)

    def prepare_query(self, contents: Sequence[Content]) -> list[Prepared]:
        """The same with the query prompt."""
        return self._prepare(contents, self._query_prompt)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """Row i for item i; sounds and texts may stand in one batch."""
        if not items:
            return np.empty((0, self.dim), np.float32)
        return self._ready().encode(items, self.dim)

    def _prepare(self, contents: Sequence[Content], prompt: str) -> list[Prepared]:
        loaded, counter = self._ready(), self._counter(prompt)
        return prepare_each(
            contents,
            {
                "text": lambda texts: loaded.tokens(texts, prompt, counter, self._longest()),
                "audio": lambda sounds: loaded.hear(sounds, self._max_seconds),
            },
        )

    def _counter(self, prompt: str) -> Tokenizer:
        if prompt not in self._counters:
            added = outside(prompt)
            self._counters[prompt] = load_tokenizer(self._find(), self._longest(), added)
        return self._counters[prompt]

    def _longest(self) -> int:
        """Tokens that the text tower reads, special ones included."""
        model = self._find()
        said = model.settings("config.json").get("text_config")
        tower = said if isinstance(said, dict) else {}
        # The positions of RoBERTa begin after that of the padding.
        most = (
            int(tower.get("max_position_embeddings", 514)) - int(tower.get("pad_token_id", 1)) - 1
        )
        return min(most, settings.longest_text(model) or most)

    def _find(self) -> Model:
        if self._model is None:
            self._model = find_model(self._name, self._revision, with_code=False)
            kind = self._model.settings("config.json").get("model_type")
            if kind != "clap":
                raise EncoderError(f"encoder.model is {self._name!r}, of kind {kind!r}, not 'clap'")
        return self._model

    def _load(self, precision: Precision, device: str, threads: int | None) -> "_Loaded":
        return _Loaded(self._find().download(), precision, device, threads)


class _Loaded:
    """A model on a device; what is not float32 is computed by autocast, norms and sums are not."""

    def __init__(
        self, folder: Path, precision: Precision, device: str, threads: int | None
    ) -> None:
        import torch

        self.device = device
        self._dtype: torch.dtype = getattr(torch, precision.value)
        with quiet():
            self._model, self._tokenizer, extractor = _load(folder)
            self._model = self._model.to(device).eval()
        self._rate = int(extractor.sampling_rate)
        self._hear: Callable[[Samples], Heard] = listener(extractor)
        self._mels = 4 if extractor.truncation == "fusion" else 1
        self._pool = ThreadPoolExecutor(threads, "hear")

    def hear(self, sounds: Sequence[Media], most_s: float) -> list[Prepared]:
        """Item i for sounds[i]."""
        return list(self._pool.map(lambda sound: self._hear_one(sound.data, most_s), sounds))

    def tokens(
        self, texts: Sequence[str], prompt: str, counter: Tokenizer, longest: int
    ) -> list[Prepared]:
        """Item i for texts[i], cut at `longest` tokens."""
        parts = [beginning(text, longest, counter.count) for text in texts]
        whole = [in_prompt(prompt, part) for part in parts]
        read = self._tokenizer(whole, truncation=True, max_length=longest).input_ids
        return [
            Prepared(
                len(ids),
                len(part) < len(text) or counter.count(text) > (counter.limit or 0),
                _Tokens(np.array(ids, np.int64)),
            )
            for text, part, ids in zip(texts, parts, read, strict=True)
        ]

    def encode(self, items: Sequence[Prepared], dim: int) -> Vectors:
        """Row i for items[i]."""
        ways: dict[type, Callable[[list[Any]], Vectors]]
        ways = {Heard: self._sounds, _Tokens: self._texts}
        return within_memory(
            lambda: to_unit(encode_each(items, ways, dim)), f"{len(items)} contents", self.device
        )

    def _hear_one(self, data: bytes, most_s: float) -> Prepared:
        sound = read_sound(data, self._rate, most_s)
        if isinstance(sound, Unusable):
            return Prepared(1, truncated=False, payload=None, problem=sound)
        return Prepared(_SOUND_TOKENS, sound.cut, self._hear(sound.samples))

    def _sounds(self, sounds: Sequence[Heard]) -> Vectors:
        mels = [np.broadcast_to(one.mels, (self._mels, *one.mels.shape[1:])) for one in sounds]
        return self._compute(
            self._model.get_audio_features,
            input_features=np.stack(mels),
            is_longer=np.array([[one.long] for one in sounds]),
        )

    def _texts(self, texts: Sequence[_Tokens]) -> Vectors:
        width = max(len(text.ids) for text in texts)
        ids = np.full((len(texts), width), self._tokenizer.pad_token_id, np.int64)
        mask = np.zeros((len(texts), width), np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text.ids)], mask[row, : len(text.ids)] = text.ids, 1
        return self._compute(self._model.get_text_features, input_ids=ids, attention_mask=mask)

    def _compute(self, tower: Callable[..., Any], **inputs: npt.NDArray[Any]) -> Vectors:
        import torch

        kind = torch.device(self.device).type
        lower = self._dtype != torch.float32
        with torch.inference_mode(), torch.autocast(kind, self._dtype if lower else None, lower):
            given = {name: torch.from_numpy(one).to(self.device) for name, one in inputs.items()}
            vectors = tower(**given).pooler_output
            return np.asarray(vectors.float().cpu().numpy(), np.float32)


def _load(folder: Path) -> tuple[Any, Any, Any]:
    """Model, tokenizer and feature extractor; EncoderError if they cannot be loaded."""
    from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

    with loading(folder):
        return (
            ClapModel.from_pretrained(folder, local_files_only=True),
            AutoTokenizer.from_pretrained(str(folder), local_files_only=True),
            ClapFeatureExtractor.from_pretrained(folder, local_files_only=True),
        )
