"""What people read of a look: titles, sentences, and what the terminal shows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import display
from flows.cli import build_parser
from schemas.config import DriftConfig
from schemas.drift import DriftRecord
from tasks.detect import Detected, detect
from tasks.progress import listener
from tasks.reports.words import chance
from tasks.store import layout
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


@pytest.fixture
def parts() -> Iterator[list[str]]:
    """The names of parts of looks, as they begin."""
    told: list[str] = []
    token = listener.set(lambda report: told.append(report.stage))
    yield told
    listener.reset(token)


def detected(store: Path) -> Detected:
    found: Detected = detect.fn(str(store), "papers", DriftConfig(), "2", "1")
    return found


def test_a_look_tells_its_parts_and_is_not_made_again(tmp_path: Path, parts: list[str]) -> None:
    versions(tmp_path, (some(0, 130), ()), (some(130, 60), ()))
    first = detected(tmp_path)
    came = "rows added or changed since version 1"
    assert parts == [
        "drift: the encoder",
        "drift: which rows came and went",
        f"drift: test of {came}",
        f"drift: size of {came}",
        "drift: how small a drift would have been found",
        "drift: segments",
    ]
    parts.clear()
    again = detected(tmp_path)
    assert parts == ["drift: the encoder"]
    assert again == Detected(first.record, first.page or "", made_anew=False)
    assert (first.told()["seconds"], again.told()["seconds"]) == (first.record.seconds, 0.0)


def test_other_libraries_look_again(tmp_path: Path, parts: list[str]) -> None:
    versions(tmp_path, (some(0, 130), ()), (some(130, 60), ()))
    record = detected(tmp_path).record
    place = layout.drift_path(str(tmp_path), record.candidate.table, record.id, "json")
    other = record.model_copy(update={"libraries": record.libraries | {"numpy": "1.0"}})
    Path(place).write_text(other.model_dump_json())
    parts.clear()
    assert detected(tmp_path).made_anew
    assert parts[-1] == "drift: segments"


def test_a_verdict_is_told_where_the_store_takes_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, two = versions(tmp_path, (some(0, 130), ()), (some(130, 60), ()))
    folder = Path(layout.drift_path(str(tmp_path), two.entry.table, "any", "json")).parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()  # root may write into any folder
    found = detected(tmp_path)
    assert (found.record.verdict, found.page) == ("no drift", None)
    assert found.record.notes[-1].startswith(f"the report is not kept: writing {folder}/2-since-1-")
    args = build_parser().parse_args(["drift", "papers"])
    display.show(args, found.summary())
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith("verdict    NO DRIFT: rows added")
    assert printed[-1] == f"note       {found.record.notes[-1]}"


def test_notes_of_tests_are_notes_of_the_look_for_scripts_too() -> None:
    record = drift_reports.drift().model_copy(update={"notes": ("numerics changed",)})
    found = Detected(record, "page.html")
    drawn = "2,000 of the baseline's 10,000 rows were drawn and compared"
    assert found.summary()["notes"] == ["numerics changed", drawn]


def test_prefect_shows_the_verdict_and_the_path_as_code() -> None:
    record = drift_reports.drift()
    assert Detected(record, "/srv/vectors/9.html").markdown == (
        f"**papers version 9 beside version 4: drift**: {record.reason}\n\n`/srv/vectors/9.html`"
    )


def test_help_says_what_a_look_costs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["drift", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Exit code 3: drift, or another encoder." in said
    assert "Beside the reference it is one of 365 that have alpha together" in said
