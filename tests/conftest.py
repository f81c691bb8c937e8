"""What holds for every test: no network, quiet libraries, the same examples each time."""

import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

# Before any import of the libraries that read them; processes that tests start inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["LANCE_LOG"] = "error"  # a test may import lance before the store says so
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
OWN_CACHE = "VECTORLINE_CACHE" not in os.environ  # not so in workers, which share the first one's
if OWN_CACHE:
    os.environ["VECTORLINE_CACHE"] = tempfile.mkdtemp(prefix="vectorline-tests-")

settings.register_profile(
    "vectorline",
    derandomize=True,
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("vectorline")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leaves no cache behind."""
    del config
    if OWN_CACHE:
        shutil.rmtree(os.environ["VECTORLINE_CACHE"], ignore_errors=True)
