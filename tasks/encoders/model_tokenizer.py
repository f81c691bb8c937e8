"""A model's tokenizer without the model, for chunkers to count with."""

from typing import TYPE_CHECKING

from tasks.digests import digest
from tasks.encoders import model_settings as settings
from tasks.encoders.base import Tokenizer
from tasks.encoders.hub import Model
from tasks.encoders.text_tokens import TextTokenizer
from tasks.encoders.weights import sha256
from tasks.errors import EncoderError

if TYPE_CHECKING:
    import tokenizers
    from transformers import PreTrainedTokenizerBase


class LibraryTokenizer:
    """Counts by a tokenizer of transformers that has no fast one inside."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", name: str) -> None:
        """`name` is the protocol's."""
        self.name = name
        self.limit: int | None = None
        self._tokenizer = tokenizer

    def count(self, text: str) -> int:
        """Number of tokens of the whole text."""
        return len(self._tokenizer.encode(text, add_special_tokens=False, verbose=False))


def load_tokenizer(model: Model, longest: int | None, prompt: str) -> Tokenizer:
    """The model's tokenizer, without its weights; without torch if it has a `tokenizer.json`.

    `longest` is what the model reads of a text; what special tokens and `prompt` take is left out
    of the tokenizer's `limit`. Raises EncoderError if the model has none.
    """
    file = settings.tokenizer_file(model)
    if file is None:
        counter, n_special = _from_library(model)
    else:
        from tokenizers import Tokenizer as FastTokenizer

        fast = FastTokenizer.from_file(str(model.folder / file))
        counter = _wrap(fast, sha256(model.folder / file)[:16], settings.lowers_case(model))
        n_special = fast.num_special_tokens_to_add(False)
    if longest is not None:
        counter.limit = longest - n_special - counter.count(prompt)
    return counter


def _wrap(fast: "tokenizers.Tokenizer", name: str, lower: bool) -> TextTokenizer:
    if not lower:
        return TextTokenizer(fast, name)
    from tokenizers.normalizers import Lowercase, Sequence

    fast.normalizer = Sequence([Lowercase(), *([fast.normalizer] if fast.normalizer else [])])
    return TextTokenizer(fast, f"{name}-lower")


def _from_library(model: Model) -> tuple[TextTokenizer | LibraryTokenizer, int]:
    from transformers import AutoTokenizer

    folder = model.folder / settings.transformer_path(model)
    names = [name for name in model.files if not name.endswith((".safetensors", ".bin"))]
    joined = digest("".join(sha256(model.folder / name) for name in names).encode()).hex()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        raise EncoderError(
            f"model {model.name!r} has no tokenizer that works without its weights ({error});"
            " leave `chunk` out, or choose a model with a tokenizer.json"
        ) from error
    n_special = int(tokenizer.num_special_tokens_to_add(pair=False))
    if tokenizer.is_fast:
        return _wrap(tokenizer.backend_tokenizer, joined[:16], lower=False), n_special
    return LibraryTokenizer(tokenizer, joined[:16]), n_special
