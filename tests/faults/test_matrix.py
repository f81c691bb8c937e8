"""A part of the matrix of kills; `make test-faults` runs all of it."""

from pathlib import Path

import pytest

from tests.faults.matrix import DROP_POINTS, PLACES, RUN_POINTS, UPKEEP_POINTS, run_all
from tests.publishing import PUBLISH_POINTS, SINK_POINTS

TASKS = Path(__file__).parents[2] / "tasks"
NAMED = (*RUN_POINTS, *UPKEEP_POINTS, *DROP_POINTS)
ON_S3 = ("after-receipt", "before-commit", "after-commit", "promote", "at a new file")


def test_no_kill_loses_doubles_or_changes_a_row(tmp_path: Path) -> None:
    outcome = run_all(tmp_path, str(tmp_path), kills_each=1, seed=1)
    assert {place: outcome.kills[place] for place in NAMED} == dict.fromkeys(NAMED, 1)
    assert outcome.kills.keys() == set(PLACES)


@pytest.mark.stores
def test_no_kill_does_so_on_an_object_store(bucket: str, tmp_path: Path) -> None:
    outcome = run_all(tmp_path, bucket, kills_each=1, seed=1, only=ON_S3)
    assert outcome.kills == dict.fromkeys(ON_S3, 1)


FIT_POINTS = ("checkpoint", "fit")
"""Those of fitted spaces, whose runs test_fits.py kills; test_publish_kills.py those of sinks."""


def test_the_matrix_knows_every_place() -> None:
    sources = [path.read_text() for path in TASKS.rglob("*.py")]
    reached = [
        part.split('"')[1] for text in sources for part in text.split("failpoints.reach(")[1:]
    ]
    assert sorted(set(reached)) == sorted([*NAMED, *FIT_POINTS, *PUBLISH_POINTS, *SINK_POINTS])
