import math
import re

import pytest

from tasks.drift.terms import Term, key_terms
from tasks.errors import DriftError

GRAPHS = ["a graph of nodes", "the Graph has edges", "nodes and edges of the graph"] * 10
OTHERS = ["a table of rows", "the rows of a file", "reads the file and the table"] * 10


def test_terms_are_the_words_of_the_segment_the_surest_first() -> None:
    found = key_terms(GRAPHS, OTHERS)
    assert [(term.word, term.inside, term.outside) for term in found] == [
        ("graph", 30, 0),
        ("edges", 20, 0),
        ("nodes", 20, 0),
        ("has", 10, 0),
    ]
    assert key_terms(GRAPHS, OTHERS, n=1) == found[:1]
    assert key_terms(GRAPHS, GRAPHS) == []


def test_the_score_is_that_of_the_paper() -> None:
    words = {"graph": 30, "of": 20, "nodes": 20, "the": 20, "has": 10, "edges": 20, "and": 10}
    others = {"table": 20, "of": 20, "rows": 20, "the": 20, "file": 20, "reads": 10, "and": 10}
    n, m = sum(words.values()), sum(others.values())
    prior, whole = 0.1 * 30, 0.1 * (n + m)
    one = math.log((30 + prior) / (n + whole - 30 - prior))
    other = math.log(prior / (m + whole - prior))
    expected = (one - other) / math.sqrt(1 / (30 + prior) + 1 / prior)
    found = key_terms(GRAPHS, OTHERS)[0]
    assert found == Term("graph", found.z, 30, 0)
    assert found.z == pytest.approx(expected)


def test_a_word_of_a_segment_where_all_have_it_is_none_of_its_terms() -> None:
    assert key_terms(["same word"] * 50, ["same word"] * 50 + ["other"]) == []
    assert key_terms(["same"] * 50, ["text"] * 50)[0].word == "same"
    assert key_terms(["rare", *["text"] * 49], ["text"] * 50) == []


def test_a_text_that_repeats_a_word_counts_it_once() -> None:
    inside = ["noise " * 500, *["signal here"] * 40]
    assert [term.word for term in key_terms(inside, ["other words"] * 40)] == ["here", "signal"]


def test_words_are_letters_of_any_script() -> None:
    found = key_terms(["Größe x_1 数据库 2026"] * 30, ["nothing at all"] * 30)
    assert {term.word for term in found} == {"größe", "数据库"}
    assert key_terms(["1 2 3", "_"], ["words"]) == []


@pytest.mark.parametrize(
    ("inside", "outside", "n"), [([], ["a"], 5), (["a"], [], 5), (["a"], ["a"], 0)]
)
def test_terms_need_texts_on_both_sides(inside: list[str], outside: list[str], n: int) -> None:
    said = f"{n} terms of {len(inside)} texts against {len(outside)}"
    with pytest.raises(DriftError, match=re.escape(said)):
        key_terms(inside, outside, n)
