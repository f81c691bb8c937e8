"""What holds for every test: no network, quiet libraries, the same examples each time."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests import s3

if TYPE_CHECKING:
    from tests.clock import Clock

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


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server that Lance and obstore find in the environment, also in processes of tests."""
    with s3.server() as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment(endpoint).items():
            patch.setenv(name, value)
        yield endpoint


@pytest.fixture
def bucket(s3_endpoint: str, tmp_path: Path) -> str:
    """An empty store on an object store."""
    del s3_endpoint
    return f"{s3.BUCKET}/{tmp_path.name}"


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.stores)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store, once on a local disk and once on an object store."""
    if request.param == "disk":
        return str(tmp_path)
    return str(request.getfixturevalue("bucket"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def notes_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with versions to publish, which tests copy."""
    from tests.publishing import make

    return make(tmp_path_factory.mktemp("notes"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> "Clock":
    """The program's clock, which shows the right time until a test turns it."""
    from tests.clock import install

    return install(monkeypatch)
