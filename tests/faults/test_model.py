"""Lives of a space, compared with plain dicts after each step."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.machine import Machine

UPKEEP = ("upkeep", "upkeep refused", "upkeep with columns", "upkeep with vectors")


def live(lives: int) -> None:
    wanted = settings(max_examples=lives, stateful_step_count=30, report_multiple_bugs=False)
    run_state_machine_as_test(Machine, settings=wanted)
    done = {what.split()[0] for what in Machine.counts} | {*Machine.counts}
    assert done >= {"done", "refused", "killed", "promote", "rollback", "tag", *UPKEEP}


@pytest.mark.parametrize("lives", [16, pytest.param(400, marks=pytest.mark.slow)])
def test_a_space_is_what_plain_dicts_say_after_every_step(lives: int) -> None:
    live(lives)


@pytest.mark.slow
@pytest.mark.stores
def test_so_is_one_on_an_object_store(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "stores", bucket)
    live(20)
