"""What holds for every test: no network, quiet libraries, the same examples each time."""

import os

from hypothesis import HealthCheck, settings

# Before any import of the libraries that read them; processes that tests start inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"

settings.register_profile(
    "vectorline",
    derandomize=True,
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("vectorline")
