"""Numbers from arrays: how good vectors are, how sure that is, and how two sets of them differ.

Pure functions: they need numpy, scipy and, where they say so, scikit-learn; nothing of Ray,
Prefect, LanceDB or pydantic. Each gives a `Score`; intervals and tests are taken in `intervals.py`,
`significance.py` and `verdict.py` alone.
"""
