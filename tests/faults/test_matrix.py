"""A part of the matrix of kills; `make test-faults` runs all of it."""

from pathlib import Path

from tests.faults.matrix import DROP_POINTS, PLACES, RUN_POINTS, UPKEEP_POINTS, run_all

TASKS = Path(__file__).parents[2] / "tasks"


def test_no_kill_loses_doubles_or_changes_a_row(tmp_path: Path) -> None:
    outcome = run_all(tmp_path, kills_each=1, seed=1)
    named = (*RUN_POINTS, *UPKEEP_POINTS, *DROP_POINTS)
    assert {place: outcome.kills[place] for place in named} == dict.fromkeys(named, 1)
    assert outcome.kills.keys() == set(PLACES)


def test_the_matrix_knows_every_place() -> None:
    sources = [path.read_text() for path in TASKS.rglob("*.py")]
    reached = [
        part.split('"')[1] for text in sources for part in text.split("failpoints.reach(")[1:]
    ]
    assert sorted(set(reached)) == sorted((*RUN_POINTS, *UPKEEP_POINTS, *DROP_POINTS))
