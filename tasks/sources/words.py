"""The words of a corpus: a record is a word, its content the word and how often it occurs."""

import shutil
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from tasks.content import TEXT, Media
from tasks.digests import digest_json
from tasks.errors import ConfigError, SourceChanged
from tasks.sources.base import Corpus, File, Record, Shard, Source
from tasks.sources.cached_folder import as_one, is_whole
from tasks.sources.word_cache import WordFiles, build, fresh_folder
from tasks.words.vocabulary import Vocabulary

SHARD_WORDS = 65_536
WORD = "word"
URI = "corpus"


class WordSource:
    """The texts of some sources are one corpus, listed as one file, and counted when one changes.

    Each machine keeps them in its cache folder, where its workers map them. A shard is up to
    65,536 words. A word that never stands beside another one is isolated.
    """

    modality = WORD

    def __init__(self, sources: Sequence[Source], said: object, vocabulary: Vocabulary) -> None:
        """`said` is what the user wrote for the sources."""
        for source in sources:
            if source.modality != TEXT:
                raise ConfigError(
                    f"the source gives {source.modality}: words are those of texts, which all "
                    "sources must give"
                )
        self.max_content_bytes = sources[0].max_content_bytes
        self._sources = tuple(sources)
        self._vocabulary = vocabulary
        self._key = digest_json(
            [said, vocabulary.lower, vocabulary.word_pattern, self.max_content_bytes]
        ).hex()

    def files(self) -> list[File]:
        """One file that stands for all of them."""
        return [as_one(URI, [file for own in self._listed() for file in own])]

    def owns(self, source_uri: str) -> bool:
        """Whether it is that of this corpus."""
        return source_uri == URI

    def shards(self, files: Sequence[File]) -> list[Shard]:
        """Ranges of words; the texts that cannot be used come last. Counts the words.

        Raises ConfigError where there is no word, or all are too rare.
        """
        (file,) = files
        words = self.words(file)
        words.check()
        ranges = [
            (start, min(start + SHARD_WORDS, words.n_words))
            for start in range(0, words.n_words, SHARD_WORDS)
        ]
        if not ranges or any(words.problems()):
            ranges.append((words.n_words, words.n_words))
        return [Shard((file,), start, end, file.size_bytes) for start, end in ranges]

    def schema(self, files: Sequence[File]) -> pa.Schema | None:
        """How often a word occurs."""
        del files
        return pa.schema([pa.field("count", pa.int64())])

    def read(self, shard: Shard) -> Iterator[Record]:
        """One record for each word, or one for each text that cannot be used."""
        (file,) = shard.files
        words = self.words(file)
        if shard.start == shard.end:
            for name, problem in words.problems():
                yield Record(name, "", file.uri, problem=problem)
            return
        for word, count, isolated in words.words(shard.start, shard.end):
            content = Media(WORD, f"{word}\0{count}".encode())
            yield Record(word, content, file.uri, {"count": count}, isolated=isolated)

    def corpus(self, files: Sequence[File]) -> Corpus:
        """The texts, as numbers of words."""
        (file,) = files
        words = self.words(file)
        return Corpus(words.ids(), words.sentences)

    def forget(self) -> None:
        """Lets all texts be read again, whatever the times and sizes of the files are."""
        shutil.rmtree(fresh_folder(self._key, ""), ignore_errors=True)
        _opened.cache_clear()

    def words(self, file: File) -> WordFiles:
        """The words and texts, counted if they are not yet."""
        return _opened(fresh_folder(self._key, file.state), self, file)

    def _listed(self) -> list[list[File]]:
        return [source.files() for source in self._sources]

    def make(self, folder: Path, file: File) -> WordFiles:
        """The words as they stand in the folder, counted where they do not yet.

        SourceChanged if the texts are not as they were listed.
        """
        if not is_whole(folder):
            if self.files()[0].state != file.state:
                raise SourceChanged("the texts changed since they were listed; run again")
            build(folder, self._records(), self._vocabulary, self.max_content_bytes)
        return WordFiles(folder, self._vocabulary)

    def _records(self) -> Iterator[Record]:
        for source, files in zip(self._sources, self._listed(), strict=True):
            for shard in source.shards(files):
                yield from source.read(shard)


@lru_cache(maxsize=2)
def _opened(folder: Path, source: WordSource, file: File) -> WordFiles:
    return source.make(folder, file)
