"""Vectors of words that others have fitted, from a file."""

from typing import Literal

from tasks.words.formats import Format
from tasks.words.vocabulary import WORD, Vocabulary


class WordVectors:
    """Trains nothing: what a file holds is kept as a model of this store."""

    def __init__(
        self,
        *,
        path: str,
        format: Literal["word2vec", "word2vec-binary", "glove"],
        counts: str | None = None,
        lower: bool = True,
        word_pattern: str = WORD,
    ) -> None:
        """Reads nothing.

        Args:
            path: The file.
            format: What it is written in.
            counts: A file with a word and how often it occurs in each line, as word2vec and GloVe
                write one; SIF needs it.
            lower: Case does not count: the words of the file are in lower case.
            word_pattern: Matches one word of a text.
        """
        self.path = path
        self.form = Format(format)
        self.counts = counts
        self.vocabulary = Vocabulary(lower, word_pattern)
