"""The page of a drift report: what it says, and that texts of others stay texts."""

import base64
import io
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from schemas.drift import Density, DriftRecord
from tasks.reports import drift_figures, svg
from tasks.reports.drift_figures import Look
from tasks.reports.drift_page import render
from tasks.store.drifts import LOOKS
from tests import drift_reports
from tests.drift_reports import SECTIONS, looks
from tests.unit.test_report import LIMIT, Page


def page(record: DriftRecord, n: int = 5) -> Page:
    found = Page(render(record, looks(record, n)))
    found.texts = {name: " ".join(text.split()) for name, text in found.texts.items()}
    return found


@pytest.mark.parametrize(
    ("record", "sections"),
    [
        (drift_reports.drift(), SECTIONS),
        (drift_reports.quiet(), SECTIONS),
        (drift_reports.changed(), ["verdict", "provenance"]),
        (drift_reports.hostile(), SECTIONS),
    ],
    ids=["drift", "no drift", "encoder changed", "hostile"],
)
def test_every_section_that_has_something_stands_once_and_in_order(
    record: DriftRecord, sections: list[str]
) -> None:
    found = page(record)
    assert [*found.texts] == sections
    links = [value for _, name, value in found.values if name == "href" and value.startswith("#")]
    assert [link for link in links if link[1:] in SECTIONS] == [f"#{name}" for name in sections]
    assert len({*found.ids}) == len(found.ids)


def test_the_verdict_says_how_sure_how_large_and_what_to_do() -> None:
    said = page(drift_reports.drift()).texts["verdict"]
    assert "Drift: version 9 beside version 4" in said
    assert "AUC of a classifier 0.63 95% interval 0.59 to 0.67; 0.5 is chance; 0.6 matters" in said
    assert "Shift of the mean 0.71 sd" in said
    assert "Rows of another kind 14%" in said
    assert "vectorline drift papers --rebase 9" in said


def test_no_drift_says_what_could_have_been_missed() -> None:
    said = page(drift_reports.quiet()).texts["verdict"]
    assert "No drift: version 9 beside version 4" in said
    assert (
        "Anything below a shift of the law by 0.29 sd in one direction, an AUC of 0.58 to one"
        in said
    )


def test_a_look_of_a_year_is_made_again_as_one_only_while_its_reference_is_there() -> None:
    record = drift_reports.drift()
    said = page(record).texts["provenance"]
    assert (
        "As one of a year's looks it can be made again without --baseline, while version 4 is the "
        "reference and no later version was looked at." in said
    )
    once = page(record.model_copy(update={"watched": False})).texts["provenance"]
    assert "As one of" not in once


def test_another_encoder_is_told_with_how_alike_both_are() -> None:
    found = page(drift_reports.changed())
    said = found.texts["verdict"]
    assert "The encoder has changed" in said
    assert "On the 812 records that both versions have, 31.0% of the 10 nearest neighbours" in said
    assert "linear CKA is 0.722" in said


def test_segments_have_shares_terms_and_rows_of_both_sides() -> None:
    said = page(drift_reports.drift()).texts["segments"]
    assert "new topic 1 quantum · qubits 0.1% 14.7% 0.0004 1e-12 \N{EN DASH} 80%" in said
    assert "Trees in forests" in said
    assert "Qubits that stay" in said


def test_rows_that_went_are_told_beside_those_that_stayed() -> None:
    found = page(drift_reports.went())
    assert "300 went 300 2,000 stayed" in found.texts["evidence"]
    assert "two strongest directions of those that stayed; darker" in found.texts["where"]
    assert "Clusters of the rows that stayed" in found.texts["segments"]
    assert "vanished topic 1 stayed 0.1%, went 14.7% Typical: stayed" in found.texts["segments"]
    assert all("baseline" not in found.texts[name] for name in ("where", "segments"))
    assert all("candidate" not in found.texts[name] for name in ("where", "segments"))


def test_names_of_sides_and_options_are_not_broken_on_a_narrow_page() -> None:
    record = drift_reports.went()
    whole = render(record, looks(record))
    assert '<th scope="col" class="n">stayed</th><th scope="col" class="n">went</th></tr>' in whole
    assert '<span class="option">--rebase 9</span></code>' in whole
    assert '<span class="option">--baseline 4</span> <span class="option">--store' in whole


def test_what_was_odd_about_any_test_is_told_once() -> None:
    record = drift_reports.drift().model_copy(update={"notes": ("numerics changed",)})
    other = record.tests[1].model_copy(update={"warnings": ("all rows are equal",)})
    record = record.model_copy(update={"tests": (record.tests[0], record.tests[1], other)})
    said = page(record).texts["evidence"]
    drawn = "2,000 of the baseline's 10,000 rows were drawn and compared"
    assert said.endswith(f" numerics changed {drawn} all rows are equal")


def test_one_look_has_no_timeline() -> None:
    record = drift_reports.drift()
    assert "No other version was looked at" in page(record, 1).texts["timeline"]
    assert "Red squares were alarms" in page(record, 2).texts["timeline"]


Point = tuple[float, float]
TICK = r'x="(\S+)" y="(\S+)" style="fill: var\(--rule\); .*?text-anchor: (\w+).*?>(\S+)</text>'
MARK = r'x="(\S+)" y="(\S+)" style="fill: var\(--(baseline|bad|candidate)\)'


def in_units(figure: str, points: list[Point]) -> list[Point]:
    """Places in a figure as what its axes say there; without an axis, as they are."""
    axes: dict[str, list[Point]] = {"middle": [], "end": []}
    for x, y, axis, said in re.findall(TICK, figure):
        place = float(x if axis == "middle" else y)
        axes[axis].append((place, float(said.replace("\N{MINUS SIGN}", "-"))))
    told = []
    for ticks, places in zip(axes.values(), zip(*points, strict=True), strict=True):
        (start, low), (end, high) = (ticks[0], ticks[-1]) if ticks else ((0.0, 0.0), (1.0, 1.0))
        told.append([low + (one - start) * (high - low) / (end - start) for one in places])
    return [(round(x, 3), round(y, 3)) for x, y in zip(*told, strict=True)]


def marks(figure: str) -> list[tuple[str, Point]]:
    """The colour of each look, and what stands for it: its version and its statistic."""
    found = re.findall(MARK, figure)
    points = in_units(figure, [(float(x), float(y)) for x, y, _ in found])
    return [(colour, point) for (*_, colour), point in zip(found, points, strict=True)]


def timeline(record: DriftRecord, rows: list[dict[str, Any]]) -> list[tuple[str, Point]]:
    """The looks that a page draws."""
    whole = render(record, pa.Table.from_pylist(rows, LOOKS))
    section = whole.partition('<section id="timeline"')[2].partition("</section>")[0]
    return marks(section)


def test_the_timeline_has_each_look_over_its_own_band_and_alarms_are_red() -> None:
    found = [
        Look(3, 0.5, -1.0, 1.5, alarm=False),
        Look(5, 2.5, -1.25, 1.75, alarm=True),
        Look(6, 1.0, -0.75, 1.25, alarm=False),
    ]
    figure = drift_figures.timeline(found, 6, "looks")
    assert marks(figure) == [
        ("baseline", (3, 0.5)),
        ("bad", (5, 2.5)),
        ("candidate", (6, 1.0)),
    ]
    path = re.findall(r'<path id="timeline-\w+" d="([^"]+)" />', figure)[0]
    height = 170  # the band is drawn from its bottom
    corners = [(float(x), height + float(y)) for x, y in re.findall(r"(\S+) (-\S+)", path)]
    below, above = [(3, -1.0), (5, -1.25), (6, -0.75)], [(3, 1.5), (5, 1.75), (6, 1.25)]
    assert set(in_units(figure, corners)) == {*below, *above}
    assert [colour for colour, _ in marks(drift_figures.timeline(found, 5, "looks"))] == [
        "baseline",
        "bad",
        "baseline",
    ]


def test_the_timeline_is_of_the_looks_beside_the_same_baseline() -> None:
    record = drift_reports.drift()
    rows = looks(record).to_pylist()
    others = [
        {**rows[0], "baseline": 3, "statistic": 5.0},
        {**rows[0], "baseline": None, "statistic": 5.0},
        {**rows[1], "version": 2, "statistic": None, "null_low": None, "null_high": None},
        {**rows[2], "watched": False, "statistic": 5.0},
    ]
    points = [(5, 0.5), (6, 0.6), (7, 0.7), (8, 0.8), (9, 8.4)]
    colours = ["baseline", "baseline", "baseline", "baseline", "bad"]
    assert timeline(record, [*rows, *others]) == [*zip(colours, points, strict=True)]
    alone = [{**row, "watched": False, "verdict": "no drift"} for row in rows]
    again = {**alone[2], "statistic": 5.0, "verdict": "drift"}
    points[2] = (7, 5)
    colours = ["baseline", "baseline", "bad", "baseline", "candidate"]
    assert timeline(record, [*alone, again]) == [*zip(colours, points, strict=True)]


def test_a_long_timeline_has_the_last_looks() -> None:
    record = drift_reports.drift()
    row = looks(record, 1).to_pylist()[0]
    many = [{**row, "version": version, "statistic": version % 7} for version in range(1, 301)]
    drawn = [point for _, point in timeline(record, many)]
    assert drawn == [(version, version % 7) for version in range(181, 301)]


def test_the_rule_is_where_the_statistic_is_and_the_ends_of_chance_are_left_out() -> None:
    one = drift_reports.found("rows", 0.01, 2.5).model_copy(
        update={"null": (-90.0, *np.linspace(-1, 2, 99).tolist(), 90.0)}
    )
    figure = drift_figures.null(one, "chance")
    path = re.findall(r'd="M (\S+) \S+  L \1 [^"]*" [^>]*stroke: var\(--candidate\)', figure)
    assert [x for x, _ in in_units(figure, [(float(x), 0.0) for x in path])] == [2.5]
    bars = re.findall(r'd="M (\S+) 120  L (\S+) 120  L \S+ (\S+) [^>]*--baseline', figure)
    edges = in_units(figure, [(float(x), 0.0) for bar in bars for x in bar[:2]])
    assert (len(bars), edges[0][0], edges[-1][0]) == (30, -1.0, 2.0)
    heights = np.array([120 - float(top) for *_, top in bars])
    counts = np.histogram(one.null[1:-1], 30)[0]
    np.testing.assert_allclose(heights / heights.max(), counts / counts.max(), atol=1e-4)


def test_both_sides_and_their_difference_are_drawn_each_in_its_colour() -> None:
    """A square is the darker the larger its share is, by the root; the first axis lies flat."""
    baseline, candidate = ((6, 2), (0, 0)), ((1, 1), (1, 1))
    figure = drift_figures.density(
        Density(low=(0, 0), high=(1, 1), baseline=baseline, candidate=candidate),
        ("stayed", "went"),
        "rows",
    )
    titles = re.findall(r'x="(\S+)" y="\S+" [^>]*>([a-z (),]+)</text>', figure)
    assert [title for _, title in sorted(titles, key=lambda one: float(one[0]))] == [
        "stayed",
        "went",
        "more (blue), fewer (brown)",
    ]
    images = re.findall(r'href="data:image/png;base64,([^"]+)" transform="scale\(1 -1\)', figure)
    shares = [np.array(counts) / np.sum(counts) for counts in (baseline, candidate)]
    wanted = [shares[0] / 0.75, shares[1] / 0.75, (shares[1] - shares[0]) / 0.5]
    for data, values in zip(images, wanted, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))
        high, wide = pixels.shape[:2]
        for first in (0, 1):
            for second in (0, 1):
                seen = pixels[(2 * second + 1) * high // 4, (2 * first + 1) * wide // 4]
                value = values[first, second]
                colour = svg.CANDIDATE if value >= 0 else "#9a6200"
                part = np.sqrt(abs(value))
                full = np.array([*bytes.fromhex(colour[1:]), 255])
                np.testing.assert_allclose(seen[3], 255 * part, atol=3)
                if part:
                    expected = part * full[:3] + (1 - part) * 255
                    np.testing.assert_allclose(seen[:3], expected, atol=4)


def test_hostile_texts_make_no_element_and_ask_for_nothing() -> None:
    found, plain = (
        page(drift_reports.hostile()),
        page(drift_reports.hostile([f"a{n}" for n in range(12)])),
    )
    assert found.elements == plain.elements
    addresses = [value for _, name, value in found.values if name in ("src", "href", "xlink:href")]
    assert all(value.startswith(("#", "data:")) for value in addresses)


@pytest.mark.parametrize("text", ["x" * 50_000, "\N{SLICE OF PIZZA}" * 50_000, "<&\"'" * 20_000])
def test_a_page_stays_below_two_megabytes_whatever_was_found(text: str) -> None:
    record = drift_reports.largest(text)
    assert len(render(record, looks(record, 300)).encode()) < LIMIT


def test_the_same_report_gives_the_same_page() -> None:
    record = drift_reports.drift()
    assert render(record, looks(record)) == render(record, looks(record))
