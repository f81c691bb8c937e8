"""Assertions of the helpers of these tests say what they compared, too."""

import pytest

pytest.register_assert_rewrite("tests.faults.machine", "tests.faults.oracle")
