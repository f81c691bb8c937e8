"""Plugins by name, and what may be written for them."""

from pathlib import Path
from typing import get_args

import pytest

from tasks import plugins
from tasks.errors import ConfigError

OWN = """
class Encoder:
    def __init__(
        self, copy: int, *, schema: str | list[str] = "x", _private: float = 1.0, untyped=None
    ):
        self.copy = copy

class Open:
    def __init__(self, known: int = 1, **others: str) -> None:
        pass

not_a_class = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of a user's own."""
    (tmp_path / "own_plugins_for_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_plugins_for_test"


@pytest.mark.parametrize(
    ("kind", "use"),
    [(kind, use) for kind in get_args(plugins.Kind) for use in plugins.names(kind)],
)
def test_every_built_in_name_leads_to_its_class(kind: plugins.Kind, use: str) -> None:
    plugin = plugins.load(kind, use)
    assert f"{plugin.__module__}:{plugin.__name__}" == plugins.names(kind)[use]


def test_a_dotted_path_leads_to_a_plugin_of_a_users_own(own: str) -> None:
    assert vars(plugins.load("encoders", f"{own}:Encoder")(3)) == {"copy": 3}


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (
            "hashin",
            "'hashin' is none of sentence-transformers, hashing, open-clip, timm, clap, "
            "node2vec, deepwalk, word2vec, glove, static-words, "
            "did you mean 'hashing'? "
            "A plugin of your own is named package.module:Attribute",
        ),
        (
            "no.such:Thing",
            "'no.such:Thing' cannot be imported (No module named 'no'): its folder must be "
            "installed or stand in PYTHONPATH, also on the workers",
        ),
        ("OWN:Encodr", "'OWN:Encodr': OWN has no class 'Encodr', did you mean 'Encoder'?"),
        ("OWN:not_a_class", "'OWN:not_a_class': OWN has no class 'not_a_class'"),
    ],
)
def test_a_name_that_leads_nowhere_is_told_with_what_is_meant(
    own: str, use: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        plugins.load("encoders", use.replace("OWN", own))
    assert str(caught.value) == expected.replace("OWN", own)


def test_a_built_in_plugin_without_its_library_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lacks_library_for_test.py").write_text("import no_such_library_for_test")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(plugins.names("encoders"), "lacking", "lacks_library_for_test:Encoder")
    with pytest.raises(ConfigError, match=r"pip install 'vectorline\[text\]'"):
        plugins.load("encoders", "lacking")


def test_arguments_are_checked_against_the_constructor(own: str) -> None:
    use = f"{own}:Encoder"
    wrong = {"schema": [1], "_private": "x", "untyped": {"any": 1}, "copi": 1}
    assert [str(one) for one in plugins.check_arguments("encoders", use, wrong)] == [
        "copy is missing: expected an integer",
        "schema[0] = 1: expected a string",
        "_private = 'x': expected a number",
        "copi: unknown key, did you mean 'copy'? (allowed: _private, copy, schema, untyped)",
    ]
    right = {"copy": 1, "schema": ["a"], "_private": 1, "untyped": None}
    assert plugins.check_arguments("encoders", use, right) == []


def test_a_constructor_that_takes_any_keyword_is_given_any(own: str) -> None:
    found = plugins.check_arguments("encoders", f"{own}:Open", {"known": "x", "other": "y"})
    assert [str(one) for one in found] == ["known = 'x': expected an integer"]


class Half:
    """An encoder that somebody began."""

    normalized = True

    def __init__(self) -> None:
        self.modalities = ("text",)

    @property
    def dim(self) -> int:
        raise AssertionError("looked at without need")


def test_a_plugin_that_lacks_something_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"is no encoder: it lacks batch_cost, encode, finger.*"):
        plugins.build("encoders", f"{__name__}:Half", {})
