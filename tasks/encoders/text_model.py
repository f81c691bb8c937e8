"""A loaded SentenceTransformer: texts to tokens, and batches of tokens to vectors.

`SentenceTransformer.encode` tokenises within each batch and sorts by characters. Here tokens come
before batches, so that these are cut by real counts; the forward pass is the library's, through all
of the model's modules.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from tasks.encoders.base import Precision, Prepared, Vectors
from tasks.encoders.canaries import TEXTS
from tasks.encoders.running import loading, quiet, within_memory
from tasks.encoders.text_readers import (
    FastTokenizer,
    Features,
    LibraryReader,
    Read,
    Reader,
    Role,
    TokenReader,
)

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_NO_LIMIT = 1_000_000_000
# A text of so many tokens is no text to a model without a limit: attention over it would never end.
_LIMIT_WITHOUT_ONE = 131_072


class TextModel:
    """A SentenceTransformer on a device, in one precision."""

    def __init__(
        self,
        folder: Path,
        precision: Precision,
        device: str,
        *,
        max_tokens: int | None,
        trust_remote_code: bool,
    ) -> None:
        """Loads what `folder` holds; EncoderError if it cannot be loaded."""
        with quiet():
            self._model = _load(folder, precision, device, trust_remote_code)
        self.device = device
        if max_tokens is not None:
            self._model.max_seq_length = max_tokens
        limit = self._model.max_seq_length
        self._limit = limit if limit is not None and limit < _NO_LIMIT else _LIMIT_WITHOUT_ONE
        self._fast = self._fast_tokenizer()
        self._readers: dict[Role, Reader] = {}

    @property
    def dim(self) -> int | None:
        """Number of components of the model's own vectors, if it says."""
        return self._model.get_embedding_dimension()

    def prepare(self, texts: Sequence[str], role: Role) -> list[Prepared]:
        """Item i for texts[i], read in that role."""
        if role not in self._readers:
            self._readers[role] = self._choose_reader(role)
        return self._readers[role].prepare(texts)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """The model's own vectors in float32, row i for items[i]; all must be of one role."""
        read = [item.payload for item in items if isinstance(item.payload, Read)]
        reader = read[0].reader
        if len(read) < len(items) or any(other.reader is not reader for other in read):
            raise ValueError("a batch must come from one call of prepare, or of prepare_query")
        contents = [one.content for one in read]
        return within_memory(
            lambda: self._forward(reader, contents), f"{len(items)} texts", self.device
        )

    def _forward(self, reader: Reader, contents: Sequence[object]) -> Vectors:
        import torch

        with torch.inference_mode():
            features = {
                name: value.to(self.device) if isinstance(value, torch.Tensor) else value
                for name, value in reader.features(contents).items()
            }
            vectors = self._model(features, task=reader.role.task)["sentence_embedding"]
            return np.asarray(vectors.float().cpu().numpy(), np.float32)

    def _fast_tokenizer(self) -> FastTokenizer | None:
        tokenizer = getattr(self._model[0], "tokenizer", None)
        # A model that keeps the ends of texts cannot be served from their beginnings.
        if tokenizer is None or not getattr(tokenizer, "is_fast", False):
            return None
        return (
            FastTokenizer(tokenizer, self._limit) if tokenizer.truncation_side == "right" else None
        )

    def _choose_reader(self, role: Role) -> Reader:
        """Tokens of our own cutting where they are those of the library on every canary."""
        library = LibraryReader(self._model, self._limit, role)
        if self._fast is None:
            return library
        expected = [library.features([text]) for text in TEXTS]
        prompt_tokens = cast("int | None", expected[0].get("prompt_length"))
        reader = TokenReader(self._fast, replace(role, prompt_tokens=prompt_tokens))
        ours = (reader.features([content]) for content in reader.read(TEXTS))
        alike = all(map(_equal, ours, expected))
        return reader if alike else library


def _equal(ours: Features, theirs: Features) -> bool:
    """Whether two batches are the same to the model; `modality` only says that both are text."""
    import torch

    return ours.keys() == theirs.keys() - {"modality"} and all(
        torch.equal(torch.as_tensor(value), torch.as_tensor(theirs[name]))
        for name, value in ours.items()
    )


def _load(
    folder: Path, precision: Precision, device: str, trust_remote_code: bool
) -> "SentenceTransformer":
    import torch
    from sentence_transformers import SentenceTransformer

    advice = "" if trust_remote_code else "a model with code of its own needs trust_remote_code"
    with loading(folder, advice):
        model = SentenceTransformer(
            str(folder),
            device=device,
            trust_remote_code=trust_remote_code,
            # Code that the user trusts may name files in other places of the hub.
            local_files_only=not trust_remote_code,
            model_kwargs={"dtype": getattr(torch, precision.value)},
        )
    return model.eval()
