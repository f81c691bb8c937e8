import base64
import itertools
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.evaluation import Details, Estimate, EvaluationRecord, Gate, Map, Verdict
from schemas.suite import MapMethod
from tasks.errors import ConfigError
from tasks.reports import words
from tasks.reports.figures import Bar, limits_of, variance
from tasks.reports.page import render
from tasks.store.evaluations import RECORD, SCORES
from tests import reports

LIMIT = 2_000_000
VOID = {"meta", "link", "br", "hr", "img", "input"}
VERDICTS: list[Verdict] = ["better", "not worse", "worse", "cannot tell"]


class Page(HTMLParser):
    """What a page is made of: elements with attributes, ids, texts by section; all ends meet."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.values: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.texts: dict[str, str] = {}
        self._open: list[tuple[str, str | None]] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag, tuple(sorted(name for name, _ in attrs))] += 1
        self.values += [(tag, name, value or "") for name, value in attrs]
        named = dict(attrs).get("id")
        if named:
            self.ids.append(named)
        if tag in ("td", "th", "small", "dd"):
            self.handle_data(" ")
        if tag not in VOID:
            self._open.append((tag, named if tag == "section" else None))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, section in self._open:
            if section:
                self.texts[section] = self.texts.get(section, "") + data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def said(self, section: str) -> str:
        return " ".join(self.texts[section].split())

    @property
    def kinds(self) -> set[tuple[str, tuple[str, ...]]]:
        return set(self.elements)


def none() -> pa.Table:
    return SCORES.empty_table()


@cache
def quiet() -> "Page":
    record = reports.hostile(["quiet"])
    return Page(render(record, reports.history(record)))


def plain(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("record", [reports.alone(), *map(reports.beside, VERDICTS)])
def test_every_section_stands_once_and_in_order(record: EvaluationRecord) -> None:
    page = Page(render(record, reports.history(record)))
    assert [id_ for id_ in page.ids if id_ in reports.SECTIONS] == reports.SECTIONS
    assert len(page.ids) == len(set(page.ids))
    assert [value for _, name, value in page.values if name == "href" and value in page.ids] == []
    links = {value[1:] for tag, name, value in page.values if tag == "a"}
    assert links - set(page.ids) == set()


@pytest.mark.parametrize(
    ("verdict", "headline", "to_do"),
    [
        ("better", "▲ Version 4 is better than version 3", "vectorline promote stdlib 4"),
        ("not worse", "= Version 4 is not worse than version 3", "vectorline promote stdlib 4"),
        ("worse", "▼ Version 4 is worse than version 3", "Keep version 3. Look at what was lost"),
        (
            "cannot tell",
            "? Cannot tell whether version 4 is worse than version 3",
            "Add queries or labels to the suite",
        ),
    ],
)
def test_the_verdict_says_what_is_so_and_why_and_what_to_do(
    verdict: Verdict, headline: str, to_do: str
) -> None:
    record = reports.beside(verdict)
    said = Page(render(record, none())).said("verdict")
    assert said.startswith(headline)
    assert f"Why. {record.reason} What to do." in said
    assert to_do in said


@pytest.mark.parametrize(
    ("verdict", "to_do"),
    [
        ("better", "What to do. It serves already."),
        ("not worse", "What to do. It serves already."),
        (
            "worse",
            "It serves already: go back to version 3. Look at what was lost, under Changes. "
            "vectorline promote stdlib 3",
        ),
    ],
)
def test_a_version_that_serves_already_is_not_to_be_promoted(verdict: Verdict, to_do: str) -> None:
    said = Page(render(reports.beside(verdict, serving=4), none())).said("verdict")
    assert to_do in said
    assert "promote stdlib 4" not in said


@pytest.mark.parametrize(
    ("gate", "verdict", "said"),
    [
        (Gate(passed=True), "better", "The gate lets it serve."),
        (
            Gate(passed=True),
            "cannot tell",
            "The gate lets it serve: its encoder is the one that serves.",
        ),
        (
            Gate(passed=False, failed=("a", "b")),
            "worse",
            "The gate keeps it from serving, by a, b.",
        ),
        (None, "worse", None),
    ],
)
def test_the_gate_is_told_where_there_is_one(
    gate: Gate | None, verdict: Verdict, said: str | None
) -> None:
    found = Page(render(reports.beside(verdict, gate=gate), none())).said("verdict")
    assert found.endswith(said) if said else "gate" not in found


def test_a_version_alone_is_shown_with_its_values() -> None:
    page = Page(render(reports.alone(), none()))
    assert page.said("verdict") == (
        "• Version 4, measured alone ndcg@10 0.612 95% interval 0.581 to 0.640, n = 320 "
        "recall@10 0.781 95% interval 0.750 to 0.809, n = 320 "
        "mrr@10 0.553 95% interval 0.522 to 0.581, n = 320 "
        "index_recall@10 0.987 95% interval 0.956 to 1.015, n = 320 "
        "trustworthiness 0.942 95% interval 0.911 to 0.970, n = 320 "
        "probe_accuracy 0.871 95% interval 0.840 to 0.899, n = 320 "
        "What to do. There is no verdict without a baseline: "
        "evaluate it beside the version that serves."
    )
    assert page.said("changes") == "Changes Nothing to compare with: there is no baseline."
    assert page.said("history") == (
        "History No other version was measured by this suite yet: a history begins with two."
    )


def test_a_metric_has_its_interval_its_difference_its_margin_and_its_notes() -> None:
    said = Page(render(reports.beside("better"), none())).said("metrics")
    assert (
        "ndcg@10 0.612 (0.581 to 0.640) 0.569 +0.0430 (0.0300 to 0.0550) 0.01 better 320 query"
        in said
    )
    assert (
        "intrinsic_dimension1 neither way is better nearest 1 · discarded 0.100 "
        "14.2 not compared 7,640 record" in said
    )
    assert "8 equal vectors are left out of 7,640." in said


def test_losers_come_before_winners_with_their_texts() -> None:
    said = Page(render(reports.beside("worse"), none())).said("changes")
    loser = "1.000 → 0.100 ndcg@10 q3 cache of the least recently used results"
    winner = "0.100 → 1.000 ndcg@10 q3 cache of the least recently used results"
    assert f"Losers {loser}" in said
    assert f"Winners {winner}" in said
    assert said.index(loser) < said.index(winner)


def test_neighbours_that_one_version_alone_has_are_marked() -> None:
    said = Page(render(reports.beside("worse"), none())).said("neighbourhoods")
    assert "63.7% of a record's nearest neighbours are the same" in said
    first = said[said.index("Version 4") : said.index("functools:record_1")]
    marked = re.findall(r"functools:(\w+)( only here)?", first)
    assert [name for name, mark in marked if mark] == [
        "lru_cache_0",
        "cmp_to_key_1",
        "lru_cache_5",
        "cmp_to_key_6",
    ]


def test_labels_cost_and_provenance_are_told_as_the_record_has_them() -> None:
    page = Page(render(reports.beside("better"), none()))
    assert page.said("labels").startswith(
        "Labels How many records of each label (row) are in each column. Darker: a larger share of "
        "the row. probe_accuracy: columns are clusters by name class function method module "
        "property exception class 92 0 7 3 4 4"
    )
    assert "Size of the vectors 11.8 MB 7.87 MB" in page.said("cost")
    assert "35.7 s 7,640 contents, 214 a second" in page.said("cost")
    record = reports.beside("better")
    for told in (record.command, record.id, record.suite_digest, "Seed 0", "Alpha 0.05", "73.2 s"):
        assert told in page.said("provenance")
    assert "3b276e0bb0e8, fingerprint 3333333333333333" in page.said("provenance")


def test_the_map_stands_in_the_page_with_what_is_to_be_said_of_it() -> None:
    drawn = Map(method=MapMethod.PCA, notes=("a <b>note</b>",))
    record = reports.alone(details=Details(map=drawn))
    page = render(record, none(), b"a picture")
    assert f'src="data:image/png;base64,{base64.b64encode(b"a picture").decode()}"' in page
    assert "a <b>note</b>" in Page(page).said("map")
    assert Page(render(record, none())).said("map") == "Map None. a <b>note</b>"


def test_what_is_not_there_is_said_in_a_line() -> None:
    page = Page(render(reports.alone(metrics={}, details=Details(), command=""), none()))
    assert page.said("metrics") == "Metrics The suite measured nothing."
    assert page.said("labels").startswith("Labels No task `labels` in the suite")
    assert page.said("spectrum") == "Spectrum No spectrum: the vectors do not vary."
    assert page.said("neighbourhoods") == "Neighbourhoods None: a neighbourhood takes two records."
    assert page.said("map") == "Map None: the suite asks for no `map`."
    assert "no command was noted" in page.said("provenance")
    assert page.elements["svg", ("aria-label", "height", "role", "viewbox", "width")] == 0


def test_the_history_is_that_of_the_same_suite_and_ends_with_this_evaluation() -> None:
    record = reports.alone()
    told = reports.history(record, [1, 4])
    others = reports.history(record.model_copy(update={"suite_digest": "other"}), range(5))
    page = render(record, pa.concat_tables([told, others]))
    assert len(re.findall(r'aria-label="[^"]* from version 1 to version 4"', page)) == 7
    assert "35 scores by other suites are not drawn" in Page(page).said("history")
    swapped = told.filter(pa.compute.not_equal(told["version"], 4))
    assert page == render(record, pa.concat_tables([swapped, others.slice(0), told.slice(7, 0)]))


def test_figures_are_valid_and_share_no_id() -> None:
    record = reports.beside("worse")
    page = render(record, reports.history(record))
    figures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(figures) == 1 + 7 + 1
    ids = [one.get("id") for svg in figures for one in ElementTree.fromstring(svg).iter()]  # noqa: S314
    known = [id_ for id_ in ids if id_]
    assert len(known) == len(set(known)) > 0
    assert set(re.findall(r"(?:url\(|href=\")#([\w-]+)", "".join(figures))) == set(known)
    assert re.findall(r"#[0-9a-f]{6}\b", "".join(figures)) == []  # colours are the page's own


def forest_names(record: EvaluationRecord) -> list[str]:
    page = render(record, none())
    forest = ElementTree.fromstring(re.findall(r"<svg.*?</svg>", page, re.DOTALL)[0])  # noqa: S314
    texts = ["".join(one.itertext()).strip() for one in forest.iter("text")]
    return [text for text in texts if text in record.metrics]


def test_the_forest_has_the_asked_metrics_first_and_those_with_a_direction_alone() -> None:
    record = reports.beside("worse")
    names = [name for name in record.metrics if name != "intrinsic_dimension"]
    asked = "trustworthiness"
    compared = record.metrics[asked].compared
    assert compared is not None
    changed = record.metrics[asked].model_copy(
        update={"compared": compared.model_copy(update={"margin": 0.01})}
    )
    again = record.model_copy(update={"metrics": record.metrics | {asked: changed}})
    assert forest_names(record) == names
    assert forest_names(again) == [*names[:2], asked, *names[2:4], names[5]]
    assert forest_names(reports.alone()) == names


@pytest.mark.parametrize(
    ("ends", "differences", "limits"),
    [
        ([(-0.01, 0.03), (-0.02, 0.01), (0.0, 0.01)], True, (-0.033, 0.033)),
        ([(-0.01, 0.01), (-0.02, 0.01), (-5.0, 0.01)], True, (-0.176, 0.176)),
        ([(0.0, 0.0), (0.0, 0.0), (0.0, 0.5)], True, (-0.55, 0.55)),
        ([(0.0, 0.0)], True, (-1.1, 1.1)),
        ([(0.5, 0.7), (0.1, 0.2), (11.0, 12.0)], False, (0.0, 1.0)),
        ([(-0.5, 0.7), (0.1, 0.2)], False, (-1.0, 1.0)),
        ([(2.0, 3.0), (5.0, 10.0)], False, (0.0, 11.0)),
    ],
)
def test_an_outlier_does_not_make_the_axis_longer(
    ends: list[tuple[float, float]], differences: bool, limits: tuple[float, float]
) -> None:
    bars = [Bar("any", (low + high) / 2, low, high) for low, high in ends]
    assert limits_of(bars, differences=differences) == pytest.approx(limits)


def test_the_spectrum_says_where_most_of_the_variance_is() -> None:
    details = Details(spectrum=(0.5, 8.5, 1.0), baseline_spectrum=(9.5, 0.5, 0.0, 0.0))
    said = Page(render(reports.beside("worse", details=details), none())).said("spectrum")
    assert said.endswith(
        "90% of the variance, by directions: version 4 in the first 2 of 3, "
        "version 3 in the first 1 of 4."
    )


def test_a_name_of_the_forest_is_cut_where_the_lines_begin() -> None:
    page = render(reports.hostile(["\N{FULLWIDTH LATIN CAPITAL LETTER W}" * 60]), none())
    forest = ElementTree.fromstring(re.findall(r"<svg.*?</svg>", page, re.DOTALL)[0])  # noqa: S314
    edges = {
        clip.get("id"): [float(clip[0].get(key) or 0) for key in ("x", "width")]
        for clip in forest.iter("clipPath")
    }
    for group in forest.iter("g"):
        if "\N{FULLWIDTH LATIN CAPITAL LETTER W}" in "".join(group.itertext()) and group.get(
            "clip-path"
        ):
            left, width = edges[(group.get("clip-path") or "")[5:-1]]
            assert [left, width] == pytest.approx([0, 168 - 0.02 * 480])
            break
    else:
        raise AssertionError("no name")


def test_the_same_evaluation_gives_the_same_page() -> None:
    record = reports.beside("worse")
    again = RECORD.validate_json(record.model_dump_json())
    assert again == record
    assert render(again, reports.history(again)) == render(record, reports.history(record))


@pytest.mark.parametrize("text", reports.RUNS_IF_IT_CAN)
def test_a_text_is_shown_and_makes_no_element(text: str) -> None:
    record = reports.hostile([text])
    page = Page(render(record, none()))
    assert page.kinds - quiet().kinds == set()
    shown = plain(words.shown(text, words.TEXT))
    assert shown in page.said("changes")
    assert shown in page.said("neighbourhoods")
    assert plain(words.shown(text, 600)) in page.said("provenance")


@settings(max_examples=6, deadline=None)
@given(text=st.text(min_size=1, max_size=80) | st.text("<>&\"'/{}%#!-$\\\0\n\u202e", max_size=30))
def test_no_text_makes_an_element(text: str) -> None:
    text = f"a{text}"  # a blank one has no label in a figure
    record = reports.hostile([text])
    page = Page(render(record, reports.history(record)))
    assert page.elements == quiet().elements
    assert plain(words.shown(text, words.TEXT)) in page.said("changes")


def test_all_hostile_texts_at_once_run_nothing_and_ask_for_nothing() -> None:
    record = reports.hostile()
    source = render(record, reports.history(record))
    page = Page(source)
    names = {name for name, _ in page.kinds}
    assert names & {"script", "img", "iframe", "object", "base", "form", "foreignobject"} == set()
    assert [one for one in page.values if one[1].startswith("on")] == []
    addresses = [value for _, name, value in page.values if name in ("href", "src", "xlink:href")]
    assert {one for one in addresses if not one.startswith("#")} == {"data:,"}
    assert re.findall(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e]", source) == []
    source.encode()


@pytest.mark.parametrize("text", ["'", "\N{SLICE OF PIZZA}", "\u202e"])
def test_a_page_stays_below_two_megabytes_whatever_was_found(text: str) -> None:
    record = reports.largest(text * (100_000 // len(text)))
    drawn = dict(list(record.metrics.items())[:24])
    scores = reports.history(record.model_copy(update={"metrics": drawn}), range(-60, 4))
    page = render(record, scores)
    assert len(page.encode()) < LIMIT
    said = Page(page)
    assert "The first 100 of 1,000 metrics; all are in the JSON." in said.said("metrics")
    assert "The first 30 of 1,000 metrics, the asked ones first; all" in said.said("metrics")
    assert "The first 20 of 500 items; all are in the JSON." in said.said("changes")
    assert "24 of 1,000 metrics: the others come after the first 24" in said.said("history")
    assert "The first 20 of 60 labels; all are in the JSON." in said.said("labels")
    assert "The first 15 of 100 records; all are in the JSON." in said.said("neighbourhoods")
    assert "The first 4,000 characters; all are in the JSON." in said.said("provenance")


def test_a_long_history_shows_its_end() -> None:
    record = reports.beside("worse")
    metrics = {name: record.metrics[name] for name in ("ndcg@10", "mrr@10")}
    record = record.model_copy(update={"metrics": metrics})
    page = render(record, reports.history(record, range(-4996, 4)))
    said = Page(page).said("history")
    assert "The last 60 versions of each; 4,941 earlier ones are in the table of scores." in said
    assert page.count('from version -55 to version 4"') == len(metrics)


NUMBERS = st.floats() | st.sampled_from([0.0, -0.0, 5e-324, -1e-300, 1e308, 1e12, 1.0, -1.0])


@settings(max_examples=8, deadline=None)
@given(found=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=4))
def test_a_page_can_be_made_of_any_numbers(found: list[tuple[float, float, float]]) -> None:
    record = reports.beside("worse")
    whole = record.metrics["ndcg@10"]
    metrics = {}
    for number, (value, low, high) in enumerate(found):
        one = Estimate(value=value, low=low, high=high, n=3)
        assert whole.compared is not None
        compared = whole.compared.model_copy(update={"difference": one, "margin": abs(high)})
        metrics[str(number)] = whole.model_copy(update={"estimate": one, "compared": compared})
    values = tuple(itertools.chain.from_iterable(found))
    details = Details(spectrum=values, baseline_spectrum=values[:2])
    record = record.model_copy(update={"metrics": metrics, "details": details})
    Page(render(record, reports.history(record, [3])))
    alone = reports.alone(metrics=metrics, details=details)
    Page(render(alone, none()))


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (0.612, 0.58, 0.643, "0.612 (0.580 to 0.643)"),
        (1.0, 0.98, 1.0, "1.000 (0.980 to 1.000)"),
        (0.0, -0.0312, 0.02, "0.0000 (\N{MINUS SIGN}0.0312 to 0.0200)"),
        (-0.0, -0.0, 0.0, "0 (0 to 0)"),
        (12.34, 11.9, 13.0, "12.3 (11.9 to 13.0)"),
        (1234.5, None, None, "1,234"),
        (1.2e-7, 1e-7, 2e-7, "1.20e-07 (1.00e-07 to 2.00e-07)"),
        (3e10, -1e10, 4e10, "3.00e+10 (\N{MINUS SIGN}1.00e+10 to 4.00e+10)"),
        (float("nan"), None, None, "not a number"),
        (float("-inf"), None, None, "\N{MINUS SIGN}infinite"),
        (-0.00001, -0.2, 0.1, "0.000 (\N{MINUS SIGN}0.200 to 0.100)"),
    ],
)
def test_a_number_has_three_digits_or_four_decimals(
    value: float, low: float | None, high: float | None, said: str
) -> None:
    assert words.with_interval(Estimate(value=value, low=low, high=high, n=1)) == said


@given(st.floats(5e-5, 1e9, exclude_max=True), st.sampled_from([1, -1]))
def test_a_number_is_written_to_half_of_its_last_digit(value: float, sign: int) -> None:
    said = words.number(sign * value)
    read = float(said.replace("\N{MINUS SIGN}", "-").replace(",", ""))
    assert abs(read - sign * value) <= max(0.0051 * value, 5.001e-5)
    assert words.number(value, sign=True).startswith("+")


@pytest.mark.parametrize(
    ("n_bytes", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.000 kB"),
        (11_801_088, "11.8 MB"),
        (10**19, "10,000 PB"),
    ],
)
def test_a_size_has_its_unit(n_bytes: int, said: str) -> None:
    assert words.size(n_bytes) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0, "0 s"), (119.0, "119 s"), (150, "2.50 min"), (9000, "2.50 h")]
)
def test_a_duration_has_its_unit(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


def test_a_character_that_cannot_be_seen_is_shown() -> None:
    assert words.shown("a\0b\x1b\x7f\u202ec\ud800\t\n\U0010ffff") == (
        "a␀b␛⟨U+007F⟩⟨U+202E⟩c⟨U+D800⟩\t\n⟨U+10FFFF⟩"
    )
    assert words.shown("👩\u200d👧 עברית e\u0301") == "👩\u200d👧 עברית e\u0301"
    assert words.shown("abc def", 4) == "abc…"


def test_variance_leaves_out_what_is_noise() -> None:
    nan, infinite = float("nan"), float("inf")
    assert variance([1e-3, 2.0, -1.0, 0.0, nan, infinite, 1e-10]) == [2.0, 1e-3]
    assert variance([0.0, nan]) == []


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_a_missing_library_is_told_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf"{library}.*; pip install 'vectorline\[evaluate\]'"):
        render(reports.alone(), none())


def test_the_template_and_its_style_lie_beside_the_module() -> None:
    folder = Path(sys.modules["tasks.reports.page"].__file__ or "").parent
    assert {path.name for path in folder.iterdir()} >= {"page.html", "page.css"}
