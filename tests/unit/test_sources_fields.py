"""Ids, contents and metadata out of rows."""

import datetime
from collections.abc import Mapping, Sequence

import pytest

from schemas.quarantine import Reason
from schemas.table import RESERVED
from tasks.errors import ConfigError
from tasks.sources.base import Problem, Record, Value
from tasks.sources.fields import Fields, Template

URI = "/corpus/a"


def fields(
    text: str = "body",
    metadata: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    tombstone: str | None = None,
) -> Fields:
    return Fields(
        id="key", content=Template(text), metadata=metadata, rename=rename, tombstone=tombstone
    )


@pytest.mark.parametrize(
    ("text", "row", "content"),
    [
        ("body", ["a text"], "a text"),
        ("a.b", ["a bare name is a column, dots and all"], "a bare name is a column, dots and all"),
        ("body", [7], "7"),
        ("body", [None], ""),
        ("body", [" \n"], ""),
        ("body", [float("nan")], ""),
        ("{title}. {abstract}", ["T", "A"], "T. A"),
        ("{title}. {abstract}", ["T", None], "T. "),
        ("{title}. {abstract}", [None, " "], ""),
        ("{{{year}}} {title}", [2.5, "T"], "{2.5} T"),
        ("{day}", [datetime.date(2024, 1, 2)], "2024-01-02"),
        ("{title} {body}", ["{body}", "{0.__class__}"], "{body} {0.__class__}"),
    ],
)
def test_a_content_is_its_columns_put_together_and_never_evaluated(
    text: str, row: list[Value], content: str
) -> None:
    assert fields(text).record(["x", *row], URI) == Record("x", content, URI)


@pytest.mark.parametrize(
    "text", ["{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{}", "{a:{b}}", "{a", "}", "", "{{}}"]
)
def test_a_text_that_is_no_plain_template_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^text = "):
        fields(text)


@pytest.mark.parametrize(
    ("value", "record_id", "reason"),
    [
        ("a b", "a b", None),
        (12, "12", None),
        (None, None, Reason.NULL_ID),
        ("", None, Reason.NULL_ID),
        (True, None, Reason.WRONG_TYPE),
        (1.0, None, Reason.WRONG_TYPE),
        (["a"], None, Reason.WRONG_TYPE),
        ("\udcff", None, Reason.INVALID_UTF8),
    ],
)
def test_ids_are_strings_or_integers(
    value: Value, record_id: str | None, reason: Reason | None
) -> None:
    record = fields().record([value, "text"], URI)
    assert (record.id, record.content) == (record_id, "text")
    assert (record.problem and record.problem.reason) == reason


@pytest.mark.parametrize("value", [True, ["a"], {"a": 1}])
def test_a_content_that_is_neither_text_nor_number_is_a_problem_of_the_row(value: Value) -> None:
    record = fields().record(["x", value], URI)
    assert (record.id, record.content) == ("x", "")
    assert record.problem is not None
    assert record.problem.reason == Reason.WRONG_TYPE


def test_metadata_are_scalars_and_lists_of_one_kind() -> None:
    good: list[Value] = [
        None,
        True,
        3,
        2.5,
        "s",
        datetime.date(2024, 1, 2),
        ["a", None],
        [1, 2.5],
        [],
    ]
    for value in good:
        record = fields(metadata=["m"]).record(["x", "text", value], URI)
        assert record == Record("x", "text", URI, {"m": value})
    bad: list[Value] = [{"a": 1}, [["a"]], ["a", 1], [{"a": 1}], 2**63, [2**63]]
    for value in bad:
        record = fields(metadata=["m"]).record(["x", "text", value], URI)
        assert (record.id, record.content, record.metadata) == ("x", "text", {})
        assert record.problem is not None
        assert record.problem.reason == Reason.WRONG_TYPE


def test_a_renamed_column_is_read_by_its_own_name_and_given_by_the_new_one() -> None:
    both = fields(metadata=["text", "year"], rename={"text": "original"})
    assert both.slots == ("key", "body", "text", "year")
    record = both.record(["x", "content", "t", 2024], URI)
    assert record.metadata == {"original": "t", "year": 2024}


@pytest.mark.parametrize("name", sorted(RESERVED | {"_score"}))
def test_a_metadata_column_of_a_reserved_name_needs_another_one(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is a reserved name; add rename"):
        fields(metadata=[name])
    with pytest.raises(ConfigError, match=f"'{name}' is a reserved name; add rename"):
        fields(metadata=["m"], rename={"m": name})
    assert fields(metadata=[name], rename={name: "m"}).metadata == {name: "m"}


def test_names_that_are_there_twice_and_renamings_of_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="'a' is there twice"):
        fields(metadata=["a", "b"], rename={"b": "a"})
    with pytest.raises(ConfigError, match="rename: 'c' is not one of metadata"):
        fields(metadata=["a"], rename={"c": "d"})


@pytest.mark.parametrize(
    ("value", "removed"),
    [
        (True, True),
        (1, True),
        ("yes", True),
        (None, False),
        (0, False),
        ("", False),
        ("False", False),
    ],
)
def test_a_true_tombstone_removes_and_needs_no_text(value: Value, removed: bool) -> None:
    record = fields(metadata=["m"], tombstone="gone").record(["x", {"bad": 1}, "m", value], URI)
    assert (record.id, record.tombstone, record.problem is None) == ("x", removed, removed)


def test_a_problem_that_stands_for_a_value_is_the_records() -> None:
    problem = Problem(Reason.INVALID_UTF8, "byte 0 is not UTF-8")
    assert fields().record(["x", problem], URI) == Record("x", "", URI, problem=problem)
    assert fields().record([problem, "t"], URI) == Record(None, "t", URI, problem=problem)


def test_a_missing_column_is_named_with_what_is_there() -> None:
    three = fields("{a} {b}", metadata=["m"])
    three.check_columns([("/f1", ["key", "a", "b", "m"]), ("/f2", ["key", "a", "b"])], lambda: [])
    with pytest.raises(ConfigError, match=r"^/f2 has no column 'b'; it has: 'key', 'a'$"):
        three.check_columns([("/f1", ["key", "a", "b", "m"]), ("/f2", ["key", "a"])], lambda: [])
    with pytest.raises(
        ConfigError, match=r"^no file, such as /f1, has a column 'm'; it has: 'key', 'a', 'b'$"
    ):
        three.check_columns([("/f1", ["key", "a", "b"])], lambda: [])
    with pytest.raises(ConfigError, match=r"no column 'key', did you mean 'keys'\? it has: 'keys'"):
        three.check_columns([("/f1", ["keys", "a", "b", "m"])], lambda: [])
    three.check_columns([("/f1", ["key", "a", "b"])], lambda: [("/f2", ["m"])])
    with pytest.raises(ConfigError, match=r"^/f1 has several columns 'a'"):
        three.check_columns([("/f1", ["key", "a", "a", "b", "m"])], lambda: [])
