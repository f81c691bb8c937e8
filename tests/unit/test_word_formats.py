"""Files of word vectors, against gensim's readers and writers."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import ConfigError, SourceError
from tasks.words.formats import Format, Vectors, read, read_counts, write

WORDS = ["the", "Ünïcode", "日本", "don't", "x\u00a0y", "😀", "0.5"]
GENSIM: dict[Format, dict[str, Any]] = {
    Format.WORD2VEC: {},
    Format.WORD2VEC_BINARY: {"binary": True},
    Format.GLOVE: {"no_header": True},
}
BITS = st.integers(0, 2**32 - 1)


def of_bits(bits: list[int]) -> Vectors:
    vectors = np.array(bits, np.uint32).view(np.float32)
    return np.where(np.isfinite(vectors), vectors, np.float32(0.1)).reshape(len(WORDS), 3)


@given(bits=st.lists(BITS, min_size=21, max_size=21))
@settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@pytest.mark.parametrize("form", Format)
def test_any_vectors_come_back_bit_for_bit_and_gensim_reads_the_same(
    form: Format, bits: list[int], tmp_path: Path
) -> None:
    vectors, path = of_bits(bits), tmp_path / "vectors"
    write(path, WORDS, vectors, form)
    words, found = read(path, form)
    assert (words, found.tobytes()) == (WORDS, vectors.tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # gensim leaves a file without header open
        peer = KeyedVectors.load_word2vec_format(str(path), **GENSIM[form])
    assert (peer.index_to_key, peer.vectors.tobytes()) == (WORDS, vectors.tobytes())


@pytest.mark.parametrize("form", Format)
def test_what_gensim_writes_is_read(form: Format, tmp_path: Path) -> None:
    vectors, path = of_bits(list(range(10**9, 10**9 + 21 * 7**9, 7**9))), tmp_path / "vectors"
    peer = KeyedVectors(3)
    peer.add_vectors(WORDS, vectors)
    peer.save_word2vec_format(
        str(path), binary=form == Format.WORD2VEC_BINARY, write_header=form != Format.GLOVE
    )
    words, found = read(path, form)
    assert (words, found.tobytes()) == (WORDS, vectors.tobytes())


@pytest.mark.parametrize("form", Format)
def test_many_words_and_none(form: Format, tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(9_000)]
    vectors = np.arange(18_000, dtype=np.float32).reshape(9_000, 2)
    for n in (9_000, 4_096, 1, 0):
        write(tmp_path / "vectors", words[:n], vectors[:n], form)
        found = read(tmp_path / "vectors", form)
        assert (found[0], found[1].tolist()) == (words[:n], vectors[:n].tolist())


def test_the_lines_are_those_of_the_formats(tmp_path: Path) -> None:
    vectors = np.array([[0.1, -2], [1e-20, 3.5]], np.float32)
    for form, said in {
        Format.WORD2VEC: b"2 2\na 0.1 -2.0\nb 1e-20 3.5\n",
        Format.GLOVE: b"a 0.1 -2.0\nb 1e-20 3.5\n",
        Format.WORD2VEC_BINARY: b"2 2\na %b\nb %b\n" % (vectors[0].tobytes(), vectors[1].tobytes()),
    }.items():
        write(tmp_path / "vectors", ["a", "b"], vectors, form)
        assert (tmp_path / "vectors").read_bytes() == said


@pytest.mark.parametrize("word", ["two words", "a\nline", "a\ttab", ""])
def test_a_word_with_white_space_is_refused_by_name_and_nothing_written(
    word: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        write(tmp_path / "v", ["a", word], np.ones((2, 3), np.float32), Format.GLOVE)
    assert str(caught.value) == (
        f"{word!r} has white space, or is empty: files of word vectors cannot hold it"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("form", "data", "said"),
    [
        ("word2vec", b"a 0.1 0.2\n", "begin; files without are of format glove"),
        ("word2vec", b"", "line 1: b'' is no number of words and dimension"),
        ("word2vec", b"2 2\na 0 1\n", "line 1 speaks of 2 words, there are 1"),
        (
            "word2vec",
            b"1 3\na 0 1\n",
            "line 2: a word and 3 numbers were expected, and there are 2",
        ),
        ("glove", b"a 0 1\nb c 0 1\n", "line 2: a word and 2 .* are 3: b'b c 0 1.*have a space"),
        (
            "glove",
            b"2 3\na 0 1 2\n",
            "line 2: a word and 1 .* are 3: .*; line 1 looks like one of format word2vec",
        ),
        ("glove", b"a 0 1\nb 0 x\n", "line 2: could not convert string to float: b'x'"),
        ("glove", b"a 0 1\na 0 2\n", "'a', word 2, stands there before"),
        ("glove", b"a 0 1\nb nan 2\n", "the vector of 'b' is not finite"),
        ("glove", b"a 0 1\n\xff 1 2\n", "word 2 is not UTF-8"),
        ("glove", b"alone\n", "line 1: a word and some numbers were expected, and there are 0"),
        ("word2vec-binary", b"2 1\na \0\0\0\0", "is too short for 2 words of 1 numbers"),
        ("word2vec-binary", b"2 1\nabcdefg \0\0\0\0\n", "ends within word 2 of 2"),
        ("word2vec-binary", b"1 1\na \0\0\0\0b \0", "goes on after its 1 words of 1 numbers"),
    ],
)
def test_a_file_of_another_kind_is_told_with_its_place(
    form: str, data: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / "v").write_bytes(data)
    with pytest.raises(SourceError, match=f"{tmp_path / 'v'}.*{said}"):
        read(tmp_path / "v", Format(form))


def test_a_file_that_is_not_there_or_cannot_be_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none: No such file or directory"):
        read(tmp_path / "none", Format.GLOVE)
    for reading in (lambda path: read(path, Format.GLOVE), read_counts):
        with pytest.raises(ConfigError, match=r"v\.gz is compressed: unpack it, and name what"):
            reading(tmp_path / "v.gz")
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        write(tmp_path / "no" / "v", ["a"], np.ones((1, 1), np.float32), Format.GLOVE)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="folder cannot be written: Is a directory"):
        write(tmp_path / "folder", ["a"], np.ones((1, 1), np.float32), Format.GLOVE)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
