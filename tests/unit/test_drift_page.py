"""The page of a drift report: what it says, and that texts of others stay texts."""

import pytest

from schemas.drift import DriftRecord
from tasks.reports.drift_page import render
from tests import drift_reports
from tests.drift_reports import SECTIONS, looks
from tests.unit.test_report import LIMIT, Page


def page(record: DriftRecord, n: int = 5) -> Page:
    found = Page(render(record, looks(record, n)))
    found.texts = {name: " ".join(text.split()) for name, text in found.texts.items()}
    return found


@pytest.mark.parametrize(
    "record",
    [
        drift_reports.drift(),
        drift_reports.quiet(),
        drift_reports.changed(),
        drift_reports.hostile(),
    ],
    ids=lambda record: record.verdict,
)
def test_every_section_stands_once_and_in_order(record: DriftRecord) -> None:
    found = page(record)
    assert [*found.texts] == SECTIONS
    assert len({*found.ids}) == len(found.ids)


def test_the_verdict_says_how_sure_how_large_and_what_to_do() -> None:
    said = page(drift_reports.drift()).texts["verdict"]
    assert "Drift since version 4" in said
    assert "AUC of a classifier 0.63 95% interval 0.59 to 0.67; 0.5 is chance; 0.6 matters" in said
    assert "Shift of the mean 0.71 sd" in said
    assert "Rows of another kind 14%" in said
    assert "vectorline drift papers --rebase 9" in said


def test_no_drift_says_what_could_have_been_missed() -> None:
    said = page(drift_reports.quiet()).texts["verdict"]
    assert "No drift since version 4" in said
    assert "Anything below a shift of 0.29 sd, an AUC of 0.58" in said


def test_another_encoder_is_told_with_how_alike_both_are() -> None:
    found = page(drift_reports.changed())
    said = found.texts["verdict"]
    assert "The encoder has changed" in said
    assert "On the 812 records that both versions have, 31.0% of the 10 nearest neighbours" in said
    assert "linear CKA is 0.722" in said
    assert "No test was done." in found.texts["evidence"]
    assert "None were looked at." in found.texts["segments"]


def test_segments_have_shares_terms_and_rows_of_both_sides() -> None:
    said = page(drift_reports.drift()).texts["segments"]
    assert "new topic 1 quantum · qubits 0.1% 14.7% 0.0004 1e-12 \N{EN DASH} 80%" in said
    assert "Trees in forests" in said
    assert "Qubits that stay" in said


def test_one_look_has_no_timeline() -> None:
    record = drift_reports.drift()
    assert "No other version was looked at" in page(record, 1).texts["timeline"]
    assert "Red squares were alarms" in page(record, 2).texts["timeline"]


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
