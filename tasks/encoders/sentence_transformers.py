"""Any text model of sentence-transformers: by name on the hub, by folder, or the packaged default.

`import sentence_transformers` takes 5 to 10 s (torch 2, transformers and scikit-learn the rest),
once per process and only in `load`. No lighter part can be had alone: importing one imports all.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.encoders import model_settings as settings
from tasks.encoders.base import Conversion, Precision, Prepared, Tokenizer, Vectors
from tasks.encoders.hub import DEFAULT_MODEL, Model, find_model
from tasks.encoders.model_tokenizer import load_tokenizer
from tasks.encoders.on_device import OnDevice
from tasks.encoders.running import to_unit
from tasks.encoders.text_model import TextModel
from tasks.encoders.text_readers import Role
from tasks.errors import ConfigError, EncoderError


class SentenceTransformersEncoder(OnDevice[TextModel]):
    """Vectors of a sentence-transformers model, through all of its modules."""

    modalities: tuple[str, ...] = ("text",)

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        revision: str | None = None,
        dim: int | None = None,
        normalize: bool = True,
        prompt: str | None = None,
        query_prompt: str | None = None,
        max_tokens: int | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        """Loads nothing.

        Args:
            model: Name on the hub, or a folder.
            revision: Commit, tag or branch; by default what the hub's cache or main branch has.
            dim: First so many components, of a model trained for it (Kusupati et al. 2022,
                Matryoshka representation learning, arXiv:2205.13147).
            normalize: Unit norm, also after `dim` has cut.
            prompt: Put before each text: the name of one of the model's prompts, or literal text.
                By default the model's own for documents, if it has one; "" for none.
            query_prompt: The same for queries.
            max_tokens: Longest text that the model reads, special tokens included.
            trust_remote_code: Runs Python code that comes with the model.
        """
        for name, value in (("dim", dim), ("max_tokens", max_tokens)):
            if value is not None and value < 1:
                raise ConfigError(f"encoder.{name} is {value}, but must be 1 or more")
        self.normalized = normalize
        self._name = model
        self._revision = revision
        self._dim = dim
        self._prompt = prompt
        self._query_prompt = query_prompt
        self._max_tokens = max_tokens
        self._trust_remote_code = trust_remote_code
        self._model: Model | None = None

    def __repr__(self) -> str:
        """The model's name and revision."""
        revision = f", revision={self._revision!r}" if self._revision else ""
        return f"{type(self).__name__}({self._name!r}{revision})"

    @property
    def dim(self) -> int:
        """Number of components; the model is loaded if its settings do not say."""
        own = self._own_dim()
        if self._dim is not None and self._dim > own:
            raise ConfigError(f"encoder.dim is {self._dim}, but {self._name!r} gives {own} at most")
        return self._dim or own

    def fingerprint(self) -> dict[str, object]:
        """Digests of all files that decide, and the arguments; a copy by another name is equal."""
        model = self._find()
        return {
            "encoder": "sentence-transformers",
            "method": 1,
            "files": model.digests(),
            "dim": self._dim,
            "normalize": self.normalized,
            "prompt": settings.document_prompt(model, self._prompt),
            "query_prompt": settings.query_prompt(model, self._query_prompt),
            "max_tokens": self._longest(model),
        }

    def tokenizer(self) -> Tokenizer:
        """The model's own; its `limit` leaves room for special tokens and the prompt."""
        model = self._find()
        prompt = settings.document_prompt(model, self._prompt)
        return load_tokenizer(model, self._longest(model), prompt)

    def prepare(self, contents: Sequence[str]) -> list[Prepared]:
        """Tokens with the document prompt."""
        prompt = settings.document_prompt(self._find(), self._prompt)
        return self._ready().prepare(contents, Role("document", prompt))

    def prepare_query(self, contents: Sequence[str]) -> list[Prepared]:
        """Tokens with the query prompt."""
        prompt = settings.query_prompt(self._find(), self._query_prompt)
        return self._ready().prepare(contents, Role("query", prompt))

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """Row i for item i: through all modules, then cut to `dim`, then to unit norm."""
        if not items:
            return np.empty((0, self.dim), np.float32)
        return self.convert(self._ready().encode(items))

    def conversion(self, other: Mapping[str, object]) -> Conversion | None:
        """Of the same model in as many components or more, unless a norm is wanted that is gone.

        Texts that one of both cuts off are left out.
        """
        mine = self.fingerprint()
        free = {"dim", "normalize", "max_tokens", "query_prompt"}
        if {**other, **{name: mine[name] for name in free}} != mine:
            return None
        components = other["dim"] or self._own_dim()
        if not isinstance(components, int) or components < self.dim:
            return None
        if other["normalize"] and not self.normalized:
            return None
        if other["max_tokens"] == mine["max_tokens"]:
            return Conversion()
        limits = (other["max_tokens"], mine["max_tokens"])
        model, shortest = self._find(), min(one for one in limits if isinstance(one, int))
        prompt = settings.document_prompt(model, self._prompt)
        return Conversion(load_tokenizer(model, shortest, prompt).limit)

    def convert(self, vectors: Vectors) -> Vectors:
        """The first `dim` components, to unit norm where this encoder normalises."""
        cut = vectors[:, : self._dim]
        return to_unit(cut) if self.normalized else np.ascontiguousarray(cut)

    def _own_dim(self) -> int:
        own = settings.dimension(self._find())
        if own is None:
            own = (self._loaded or self._load(Precision.FLOAT32, "cpu")).dim
        if own is None:
            raise EncoderError(f"model {self._name!r} does not say how many components it gives")
        return own

    def _find(self) -> Model:
        if self._model is None:
            self._model = find_model(self._name, self._revision, with_code=self._trust_remote_code)
        return self._model

    def _longest(self, model: Model) -> int | None:
        most = settings.positions(model)
        if self._max_tokens is not None and most is not None and self._max_tokens > most:
            raise ConfigError(
                f"encoder.max_tokens is {self._max_tokens}, but {self._name!r} reads {most} at most"
            )
        return self._max_tokens or settings.longest_text(model)

    def _load(self, precision: Precision, device: str, threads: int | None = None) -> TextModel:
        model = self._find()
        return TextModel(
            model.download(),
            precision,
            device,
            max_tokens=self._longest(model),
            trust_remote_code=self._trust_remote_code,
        )
