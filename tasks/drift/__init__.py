"""Whether two sets of vectors are of one kind: calibrated tests, sizes, places and watching.

Pure functions of arrays: they need numpy and scipy, nothing of Ray, Prefect, LanceDB or pydantic.
`default_test()` is the test to use; how often it errs and what it finds, beside the others, is in
docs/drift_calibration.md and docs/drift_power.md.
"""

from tasks.drift.default import default_test

__all__ = ["default_test"]
