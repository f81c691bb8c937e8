"""open_clip's CLIP with words of its own, while it is trained, and the folder that it becomes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.encoders.base import Vectors
from tasks.errors import ConfigError
from tasks.trainers.training_state import replace_file
from tasks.trainers.words import END_ID, PAD

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

Pictures: TypeAlias = npt.NDArray[np.uint8]
"""Shape (n, image size, image size, 3), RGB."""

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
TOKENIZER = "tokenizer.json"


class Towers:
    """An image and a text tower with random weights, from pictures and texts to unit vectors."""

    def __init__(
        self,
        embed_dim: int,
        image: Mapping[str, object],
        text: Mapping[str, object],
        tokenizer: "Tokenizer",
        *,
        device: str,
        seed: int,
    ) -> None:
        """`image` and `text` are open_clip's `vision_cfg` and `text_cfg`."""
        import torch
        from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
        from open_clip.model import CLIP

        self._tokenizer = tokenizer
        self._device = device
        self._config = {
            "embed_dim": embed_dim,
            "vision_cfg": dict(image),
            "text_cfg": {
                **text,
                "vocab_size": tokenizer.get_vocab_size(),
                "pool_type": "eos",
                "eos_id": END_ID,
                # Any name makes open_clip read the tokenizer in the folder, which has no settings.
                "hf_tokenizer_name": TOKENIZER,
                "tokenizer_kwargs": {"pad_token": PAD},
            },
        }
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._clip = CLIP(**self._config).to(device)
        self.model: torch.nn.Module = self._clip
        # Convolutions on a CPU are faster so.
        self._clip.visual.to(memory_format=torch.channels_last)
        self.logit_scale: torch.nn.Parameter = self._clip.logit_scale
        self._size: int = self._clip.visual.image_size
        self._context: int = self._clip.context_length
        self._mean = torch.tensor(OPENAI_DATASET_MEAN, device=device) * 255
        self._std = torch.tensor(OPENAI_DATASET_STD, device=device) * 255

    @property
    def temperature(self) -> float:
        """What the loss divides cosines by."""
        return float(np.exp(-self.logit_scale.item()))

    def pixels(self, pictures: Pictures) -> "torch.Tensor":
        """What the image tower reads, normalised as open_clip does: (n, 3, size, size)."""
        import torch

        shape = (self._size, self._size, 3)
        if pictures.dtype != np.uint8 or pictures.shape[1:] != shape:
            raise ConfigError(
                f"pictures are {pictures.dtype} of shape {pictures.shape[1:]}, the model reads "
                f"uint8 of shape {shape}: resize them, or set image_size"
            )
        values = torch.from_numpy(pictures).to(self._device).float()
        return ((values - self._mean) / self._std).permute(0, 3, 1, 2)

    def tokens(self, texts: Sequence[str]) -> "torch.Tensor":
        """What the text tower reads: (n, context length)."""
        import torch

        self._tokenizer.enable_truncation(self._context)
        self._tokenizer.enable_padding(pad_token=PAD, length=self._context)
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        return torch.tensor(ids, device=self._device)

    def images(self, pictures: Pictures) -> Vectors:
        """Unit vectors of pictures, row for row, as the finished model gives them."""
        return self._encode(lambda: self._clip.encode_image(self.pixels(pictures), normalize=True))

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of texts, row for row, as the finished model gives them."""
        return self._encode(lambda: self._clip.encode_text(self.tokens(texts), normalize=True))

    def _encode(self, encode: "Callable[[], torch.Tensor]") -> Vectors:
        import torch

        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            vectors: Vectors = encode().float().cpu().numpy()
        self.model.train(was_training)
        return vectors

    def save_tokenizer_and_config(self, folder: Path) -> None:
        """Writes what open_clip needs beside the weights."""
        from open_clip.transform import PreprocessCfg

        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.save(str(folder / TOKENIZER))
        config = {"model_cfg": self._config, "preprocess_cfg": asdict(PreprocessCfg(self._size))}
        text = json.dumps(config, indent=2) + "\n"
        (folder / CONFIG).write_text(text, encoding="utf-8")

    def save_weights(self, folder: Path) -> None:
        """Writes the weights in half precision, all at once."""
        from safetensors.torch import save

        half = {
            name: (one.half() if one.is_floating_point() else one).contiguous()
            for name, one in self.model.state_dict().items()
        }
        replace_file(folder / WEIGHTS, save(half))
