"""What encoders of words have in common: they are fitted to the texts of a corpus."""

from abc import abstractmethod

from tasks.encoders.base import Vectors
from tasks.encoders.fitted import Fit, FittedEncoder
from tasks.encoders.running import require
from tasks.words.sentences import Sentences
from tasks.words.vocabulary import Vocabulary


class WordEncoder(FittedEncoder[Sentences]):
    """What counts as a word of a text, and which ones have a vector, is part of the encoder."""

    modalities: tuple[str, ...] = ("word",)

    def __init__(
        self,
        dim: int,
        lineage: int,
        max_residual: float,
        vocabulary: Vocabulary,
        *,
        normalize: bool,
    ) -> None:
        """Checks what all of them take."""
        require("words", "gensim", "numba", "safetensors")
        super().__init__(dim, lineage, max_residual)
        self.vocabulary = vocabulary
        self.normalized = normalize

    @abstractmethod
    def method(self) -> dict[str, object]:
        """Name, a number that changes with the method, and its own arguments."""

    def made(
        self, corpus: Sentences, vectors: Vectors, contexts: Vectors, metrics: dict[str, float]
    ) -> Fit:
        """The fit, with zeros for words that always stand alone."""
        for table in (vectors, contexts):
            table[~corpus.joined] = 0
        return Fit(vectors, contexts, metrics, corpus.counts, self.vocabulary.about())

    def fingerprint(self) -> dict[str, object]:
        """All arguments but those that say how a refit is made and where."""
        return {
            **self.method(),
            "dim": self.dim,
            "lower": self.vocabulary.lower,
            "word_pattern": self.vocabulary.word_pattern,
            "min_count": self.vocabulary.min_count,
            "max_words": self.vocabulary.max_words,
            "normalize": self.normalized,
            "lineage": self.lineage,
        }
