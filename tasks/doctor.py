"""Says what is installed, what this machine can do, and what is wrong.

Light: starts neither Ray nor Prefect, and loads no weights.
"""

import fcntl
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from tasks import plugins
from tasks.check import Check
from tasks.encoders.devices import best_device, choose_precision
from tasks.encoders.hub import DEFAULT_MODEL
from tasks.encoders.sentence_transformers import SentenceTransformersEncoder
from tasks.errors import ConfigError, EncoderError, VectorlineError
from tasks.libraries import missing_for, requirements_of
from tasks.store.layout import DEFAULT_STORE, is_local, root
from tasks.store.lease import lease

ENOUGH_DISK_BYTES = 2**30
ENOUGH_SHARED_MEMORY_BYTES = 256 * 2**20  # Ray's object store; it goes to the slower /tmp otherwise
GIB = 2**30
# Each extra, and the package without which it is taken as not wanted.
_EXTRAS = {
    "text": "sentence-transformers",
    "image": "open-clip-torch",
    "audio": "soundfile",
    "graph": "torch-geometric",
    "words": "gensim",
    "evaluate": "matplotlib",
    "umap": "umap-learn",
    "mteb": "mteb",
    "s3": "obstore",
}


def doctor(store_uri: str = DEFAULT_STORE) -> list[Check]:
    """All checks, in the order in which to mend them."""
    return [
        _python(),
        _own_packages(),
        *_requirements(),
        _sinks(),
        _devices(),
        _default_model(),
        _ray(),
        _prefect(),
        *_store(store_uri),
        _shared_memory(),
    ]


def _python() -> Check:
    ok = sys.version_info >= (3, 11)
    return Check("python", ok, platform.python_version() + ("" if ok else ": 3.11 is needed"))


def _own_packages() -> Check:
    """Names as common as ours are easily taken by others."""
    ours = Path(__file__).parent.parent
    for name in ("flows", "tasks", "schemas"):
        spec = find_spec(name)
        origin = Path(spec.origin) if spec and spec.origin else Path()
        if origin.parent != ours / name:
            return Check("own packages", False, f"{name!r} is {origin}: take it from PYTHONPATH")
    return Check("own packages", True, str(ours))


def _requirements() -> Iterator[Check]:
    """The packages that are always needed, then what each extra needs beside those before it."""
    if _version("vectorline") is None:
        yield Check("packages", False, "vectorline is not installed, and its workers need it")
        return
    named: set[str] = set()
    for extra in ("", *_EXTRAS):
        own = [one for one in requirements_of(extra) if one.name not in named]
        named |= {one.name for one in own}
        yield _packages(extra, own)


def _sinks() -> Check:
    """The clients of stores downstream: which are there, and which are not is no mistake."""
    lacking = {use: missing_for(use) for use in plugins.names("sinks")}
    there = [use for use, names in lacking.items() if not names]
    detail = f"publish to {', '.join(there)}"
    if others := [use for use in lacking if use not in there]:
        mend = f"pip install 'vectorline[{','.join(others)}]'"
        detail += f"; to {', '.join(others)} if it is wanted: {mend}"
    return Check("sinks", True, detail)


def _packages(extra: str, requirements: list[Requirement]) -> Check:
    name = f"packages for {extra}" if extra else "packages"
    mend = f"pip install 'vectorline[{extra}]'" if extra else "pip install vectorline"
    found = {one.name: _version(one.name) for one in requirements}
    wrong = [
        f"{one.name} {found[one.name] or 'is missing'} (needs {one.specifier})"
        for one in requirements
        if found[one.name] is None or not one.specifier.contains(found[one.name] or "", True)
    ]
    if extra and _version(_EXTRAS[extra]) is None:
        return Check(name, True, f"none, if they are needed: {mend}")
    if wrong:
        return Check(name, False, f"{', '.join(wrong)}: {mend}")
    return Check(name, True, ", ".join(f"{one} {version}" for one, version in found.items()))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> Check:
    try:
        device, precision = best_device(), choose_precision("auto")
    except ImportError as error:
        return Check("device", False, f"{error}: pip install 'vectorline[text]'")
    return Check("device", True, f"{device} in {precision} ({os.cpu_count()} cores)")


def _default_model() -> Check:
    encoder = SentenceTransformersEncoder()
    try:
        return Check("default model", True, f"{DEFAULT_MODEL}, {encoder.dim} components")
    except (ConfigError, EncoderError) as error:
        return Check("default model", False, str(error))


def _ray() -> Check:
    address = os.environ.get("RAY_ADDRESS")
    return Check("ray", True, f"RAY_ADDRESS is {address}" if address else "starts on this machine")


def _prefect() -> Check:
    url = os.environ.get("PREFECT_API_URL")
    return Check("prefect", True, f"PREFECT_API_URL is {url}" if url else "a server for each run")


def _store(store_uri: str) -> Iterator[Check]:
    try:
        place = root(store_uri)
    except ConfigError as error:
        yield Check("store", False, str(error))
        return
    if is_local(place):
        yield from _disk(Path(place))
    else:
        yield _bucket(place)


def _disk(folder: Path) -> Iterator[Check]:
    existing = next(one for one in (folder, *folder.parents) if one.is_dir())
    free = shutil.disk_usage(existing).free
    enough = free >= ENOUGH_DISK_BYTES
    mend = "" if enough else ": make room, or name another store by --store"
    yield Check("free disk", enough, f"{free / GIB:.1f} GiB for {folder}{mend}")
    yield _locks(existing)


def _bucket(url: str) -> Check:
    """Whether objects can be written, and a lease keeps a second writer out."""
    try:
        with lease(url, "doctor") as held:
            held.check()
    except VectorlineError as error:
        return Check("locks", False, f"{error}: see docs/store.md for what the environment says")
    return Check("locks", True, f"they hold in {url}")


def _locks(folder: Path) -> Check:
    """Whether a lock keeps a second writer out, on which the store relies."""
    try:
        with (
            tempfile.NamedTemporaryFile(dir=folder) as first,
            Path(first.name).open("rb") as second,
        ):
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return Check("locks", True, f"they hold in {folder}")
            mend = "they do not hold, so two runs could write at once: use a local disk"
            return Check("locks", False, f"{folder}: {mend}")
    except OSError as error:
        return Check("locks", False, f"{folder}: {error.strerror}: name another store by --store")


def _shared_memory() -> Check:
    folder = Path("/dev/shm")  # noqa: S108
    if not folder.is_dir():
        return Check("shared memory", True, "this system has no /dev/shm")
    free = shutil.disk_usage(folder).free
    enough = free >= ENOUGH_SHARED_MEMORY_BYTES
    mend = "" if enough else ": in a container, start it with --shm-size=1g"
    return Check("shared memory", enough, f"{free / GIB:.1f} GiB in /dev/shm{mend}")
