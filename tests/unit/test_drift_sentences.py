"""What people read of a look: titles, sentences, and what the terminal shows."""

from pathlib import Path

import pytest

from flows import display
from flows.cli import build_parser
from schemas.drift import DriftRecord
from tasks.detect import Detected
from tasks.reports.words import chance
from tests import drift_reports
from tests.unit.test_drift_detection import look, some, versions


def terminal(record: DriftRecord, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that a look prints."""
    args = build_parser().parse_args(["drift", "papers"])
    display.show(args, Detected(record, "page.html").summary())
    return capsys.readouterr().out.splitlines()


def test_the_terminal_says_of_which_rows_a_test_is(capsys: pytest.CaptureFixture[str]) -> None:
    record = drift_reports.drift()
    bound = record.tests[0].model_copy(update={"p_value": 2.5e-5, "at_most": True})
    lines = terminal(record.model_copy(update={"tests": (bound, record.tests[1])}), capsys)
    assert lines[0] == "space papers: version 9 beside version 4"
    assert [" ".join(line.split()) for line in lines[3:6]] == [
        "rows p counts as compared beside",
        "rows added or changed since version 8 (not in version 4) at most 2.5e-05 at most 0.012 "
        "300 candidate 2,000 baseline",
        "rows removed or changed since version 8 0.4 1 300 went 2,000 stayed",
    ]


def test_a_version_beside_itself_is_one_version(capsys: pytest.CaptureFixture[str]) -> None:
    record = drift_reports.changed().model_copy(update={"candidate": drift_reports.side(4)})
    assert terminal(record, capsys)[0] == "space papers: version 4"
    assert record.looked_at == "version 4"
    assert Detected(record, "page.html").title == "papers version 4: encoder changed"


def test_rows_of_an_earlier_version_did_not_come_since_a_later_one(tmp_path: Path) -> None:
    first, second = versions(tmp_path, (some(0, 90), ()), (some(90, 60), ("r000", "r001")))
    record = look(first, second)
    assert [one.what for one in record.tests] == [
        "rows of version 2 that version 1 lacks or has otherwise"
    ]
    few = "rows of version 1 that version 2 lacks or has otherwise: 2 beside 148"
    assert f"too few to say anything of {few}" in record.notes


@pytest.mark.parametrize(
    ("value", "at_most", "said"),
    [
        (0.0, False, "< 1e-300"),
        (0.0, True, "< 1e-300"),
        (3e-5, False, "3e-05"),
        (0.025, True, "at most 0.025"),
        (1.0, True, "1"),
    ],
)
def test_a_p_value_may_be_a_bound_or_too_small_to_be_held(
    value: float, said: str, *, at_most: bool
) -> None:
    assert chance(value, at_most=at_most) == said
