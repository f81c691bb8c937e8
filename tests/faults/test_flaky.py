"""Runs and upkeep through a server that answers late, twice, or not at all after the write."""

from pathlib import Path

import pytest

from tasks.store.catalog import Catalog
from tests import flaky, s3
from tests.faults.matrix import Model, Trial, zygote
from tests.faults.zygote import STORE_ERROR

pytestmark = pytest.mark.stores

KEPT = 1000  # versions: all
DECISIVE = r"_versions/.*manifest|_leases/|_refs/tags/"


@pytest.mark.parametrize("fault", [flaky.Fault.LOST, flaky.Fault.TWICE_SECOND])
def test_what_is_decided_is_decided_once_whatever_the_answer(
    s3_endpoint: str, bucket: str, tmp_path: Path, fault: flaky.Fault
) -> None:
    """Commits, leases and tags take place, and the store says nothing, or that they did before."""
    log = tmp_path / "errors.log"
    with (
        log.open("w") as errors,
        flaky.server(s3_endpoint, 0, DECISIVE, fault) as between,
        zygote(errors, **s3.environment(between.endpoint)) as ill,
    ):
        trial = Trial(tmp_path, bucket, ill, seed=3)
        for _ in range(2):
            trial.change()
            trial.do(trial.a_run())
            trial.finish()
    assert log.read_text() == ""
    assert between.faults[fault] > 10


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [3, 20])
def test_a_flaky_object_store_costs_runs_but_no_row(
    s3_endpoint: str, bucket: str, tmp_path: Path, rounds: int
) -> None:
    """A run or upkeep may fail with a StoreError; then its version is there, or it is not."""
    log = tmp_path / "errors.log"
    made: list[tuple[Model, bool]] = []
    with (
        log.open("w") as errors,
        flaky.server(s3_endpoint, seed=7) as between,
        zygote(errors, **s3.environment(between.endpoint)) as ill,
        zygote(errors) as well,
    ):
        trial = Trial(tmp_path, bucket, well, seed=7)
        for _ in range(rounds):
            trial.change()
            ill.start(trial.a_run())
            ended = ill.wait()
            made.append((trial.model, ended == 0))
            if Catalog(bucket).versions("notes"):
                ill.start(trial.an_upkeep(keep=KEPT))
                assert ill.wait() in (0, STORE_ERROR), log.read_text()
            assert ended in (0, STORE_ERROR), log.read_text()
        trial.change()
        trial.do(trial.a_run())
        made.append((trial.model, True))
    numbers = [entry.version for entry in Catalog(bucket).versions("notes")]
    found = [trial.content(number) for number in numbers]
    assert numbers == list(range(1, len(numbers) + 1))
    assert found == [model for model, committed in made if committed or model in found]
    trial.verify()
    assert between.faults.keys() == {"requests", *flaky.Fault}
