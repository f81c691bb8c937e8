"""Two ways from texts to what a model's first module takes: its fast tokenizer, or the library.

The first tokenises each text once, before batches are cut, and never reads a long text to its end.
The second is for what the first cannot do: chat templates, routers, static vectors, slow
tokenizers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.encoders.base import Prepared
from tasks.encoders.text_tokens import LONGEST_TOKEN, TextTokenizer, beginning

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerBase

Features: TypeAlias = "dict[str, torch.Tensor | Any]"


@dataclass(frozen=True, slots=True)
class Role:
    """What a text is to the model, and what is put before it.

    `task` is `document` or `query`; `prompt_tokens` is the prompt's length where pooling leaves it
    out.
    """

    task: str
    prompt: str
    prompt_tokens: int | None = None


class Reader(Protocol):
    """Reads texts in one role."""

    role: Role

    def prepare(self, texts: Sequence[str]) -> list[Prepared]:
        """Item i for texts[i]; its payload is a `Read`."""

    def features(self, contents: Sequence[object]) -> Features:
        """Padded features of one batch, row i for contents[i]."""


@dataclass(frozen=True, slots=True)
class Read:
    """A text as its reader has read it."""

    reader: Reader
    content: object


@dataclass(frozen=True, slots=True)
class Tokens:
    """Ids and types of a text's tokens, and whether the text has more of them."""

    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.int32]
    truncated: bool


class FastTokenizer:
    """Two copies of a model's fast tokenizer: one cuts at `limit` tokens, one counts."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", limit: int) -> None:
        """Copies what is inside `tokenizer`, which stays as it is."""
        from tokenizers import Tokenizer

        written = tokenizer.backend_tokenizer.to_str()
        self.limit = limit
        self.counter = TextTokenizer(Tokenizer.from_str(written), name="")
        self.cutter = Tokenizer.from_str(written)
        self.cutter.no_padding()
        self.cutter.enable_truncation(limit)
        self.pads_left = tokenizer.padding_side == "left"
        self.pad_id = int(tokenizer.pad_token_id or 0)
        self.pad_type = int(tokenizer.pad_token_type_id)
        self.wants_types = "token_type_ids" in tokenizer.model_input_names


class TokenReader:
    """Reads by the model's fast tokenizer."""

    def __init__(self, tokenizer: FastTokenizer, role: Role) -> None:
        """Prepends the role's prompt to each text."""
        self._tokenizer = tokenizer
        self.role = role

    def prepare(self, texts: Sequence[str]) -> list[Prepared]:
        """Tokens of each text, cut at the limit."""
        return [
            Prepared(len(tokens.ids), tokens.truncated, Read(self, tokens))
            for tokens in self.read(texts)
        ]

    def read(self, texts: Sequence[str]) -> list[Tokens]:
        """What `prepare` wraps: tokens of each text with its prompt."""
        fast = self._tokenizer
        whole = [self.role.prompt + text for text in texts]
        parts = [beginning(text, fast.limit, fast.counter.count) for text in whole]
        return [
            Tokens(
                ids=np.array(encoding.ids, np.int32),
                types=np.array(encoding.type_ids, np.int32),
                truncated=len(part) < len(text) or bool(encoding.overflowing),
            )
            for text, part, encoding in zip(
                whole, parts, fast.cutter.encode_batch_fast(parts), strict=True
            )
        ]

    def features(self, contents: Sequence[object]) -> Features:
        """Padded on the tokenizer's side."""
        import torch

        fast = self._tokenizer
        rows = [content for content in contents if isinstance(content, Tokens)]
        width = max(len(row.ids) for row in rows)
        ids = np.full((len(rows), width), fast.pad_id, np.int64)
        types = np.full((len(rows), width), fast.pad_type, np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for i, row in enumerate(rows):
            start = width - len(row.ids) if fast.pads_left else 0
            place = slice(start, start + len(row.ids))
            ids[i, place], types[i, place], mask[i, place] = row.ids, row.types, 1
        features: Features = {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
        }
        if fast.wants_types:
            features["token_type_ids"] = torch.from_numpy(types)
        if self.role.prompt_tokens is not None:
            features["prompt_length"] = self.role.prompt_tokens
        return features


class LibraryReader:
    """Reads as the library does; each text once to count its tokens and once in its batch."""

    def __init__(self, model: "SentenceTransformer", limit: int, role: Role) -> None:
        """A text that fills `limit` tokens counts as truncated."""
        self._model = model
        self._limit = limit
        self.role = role

    def prepare(self, texts: Sequence[str]) -> list[Prepared]:
        """The texts, with their number of tokens."""
        return [self._prepare(text) for text in texts]

    def features(self, contents: Sequence[object]) -> Features:
        """What the model's first module makes of the texts."""
        return self._model.preprocess(
            [str(content) for content in contents], prompt=self.role.prompt, task=self.role.task
        )

    def _prepare(self, text: str) -> Prepared:
        part = text[: LONGEST_TOKEN * self._limit]
        ids = self.features([part]).get("input_ids")
        cost = len(part.split()) if ids is None else int(ids.shape[-1])
        truncated = len(part) < len(text) or cost >= self._limit
        return Prepared(max(1, cost), truncated, Read(self, part))
