"""Lives of a space, compared with plain dicts after each step."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.machine import Machine


@pytest.mark.parametrize("lives", [25, pytest.param(200, marks=pytest.mark.slow)])
def test_a_space_is_what_plain_dicts_say_after_every_step(lives: int) -> None:
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=lives, stateful_step_count=40)
    )
    done = {what.split()[0] for what in Machine.counts}
    assert done >= {"done", "refused", "killed", "upkeep", "promote", "rollback", "tag"}
