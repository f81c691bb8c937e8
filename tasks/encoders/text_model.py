"""A loaded SentenceTransformer: texts to tokens, and batches of tokens to vectors.

`SentenceTransformer.encode` tokenises within each batch and sorts by characters. Here tokens come
before batches, so that these are cut by real counts; the forward pass is the library's, through all
of the model's modules.
"""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from tasks.encoders.base import Precision, Prepared, Vectors
from tasks.encoders.canaries import TEXTS
from tasks.encoders.text_readers import (
    FastTokenizer,
    Features,
    LibraryReader,
    Read,
    Reader,
    Role,
    TokenReader,
)
from tasks.errors import EncoderError

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
        with _quiet():
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
        import torch

        read = [item.payload for item in items if isinstance(item.payload, Read)]
        reader = read[0].reader
        if len(read) < len(items) or any(other.reader is not reader for other in read):
            raise ValueError("a batch must come from one call of prepare, or of prepare_query")
        try:
            return self._forward(reader, [one.content for one in read])
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            memory = MemoryError(f"{len(items)} texts on {self.device}: {error}")
        # Outside of the handler: the error's traceback holds on to the tensors of the batch.
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
        raise memory

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
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    dtype = getattr(torch, precision.value)
    try:
        model = SentenceTransformer(
            str(folder),
            device=device,
            trust_remote_code=trust_remote_code,
            # Code that the user trusts may name files in other places of the hub.
            local_files_only=not trust_remote_code,
            model_kwargs={"dtype": dtype},
        )
    except (
        OSError,
        ValueError,
        RuntimeError,
        ImportError,
        KeyError,
        TypeError,
        SafetensorError,
    ) as error:
        code = "" if trust_remote_code else "; a model with code of its own needs trust_remote_code"
        raise EncoderError(f"the model in {folder} cannot be loaded: {error}{code}") from error
    return model.eval()


def _is_out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars, reports and warnings of the libraries."""
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    for library in ("transformers", "sentence_transformers", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.ERROR)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    disable_progress_bars()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def limit_threads(threads: int) -> None:
    """Bounds the CPU threads of torch, and of tokenizers if they have not started theirs."""
    import torch

    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))
    torch.set_num_threads(threads)
