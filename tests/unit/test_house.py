import itertools
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ["requirements.lock", "requirements-uv.lock"]
PIN = re.compile(r"[a-z0-9-]+==[^ ]+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+")


def pins(lock: str) -> list[str]:
    text = (ROOT / lock).read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return re.split(r"\n(?=\S)", "\n".join(lines))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_is_pinned_by_version_and_hash(lock: str) -> None:
    assert [pin for pin in pins(lock) if not PIN.fullmatch(pin)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_address_and_no_path(lock: str) -> None:
    addresses = re.compile(r"://|\bfile:|^-|^ +--(?!hash=)| @ |^[./]", re.MULTILINE)
    assert addresses.findall((ROOT / lock).read_text()) == []


def test_the_lock_holds_every_package_that_pyproject_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    named = itertools.chain(project["dependencies"], *extras)
    names = {re.split(r"[\[<>=]", name)[0].lower() for name in named}
    locked = {pin.split("==")[0] for pin in pins("requirements.lock")}
    assert names - locked == set()


def test_make_alone_lists_every_target() -> None:
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(["make"], cwd=ROOT, env=environment, capture_output=True, text=True)
    listed = re.findall(r"^  make (\S+) ", done.stdout, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert listed == phony[1].split()


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    folders = ["docs", "examples", "flows", "schemas", "tasks"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.*")]
    machine = re.compile(rb"/(work|root|home/\w+)/")
    sources = [path for path in files if path.is_file() and path.parent.name != "__pycache__"]
    assert [path for path in sources if machine.search(path.read_bytes())] == []


def test_every_link_between_the_pages_leads_to_a_file() -> None:
    pages = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]
    links = [
        (page.name, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text())
        if not (page.parent / link).exists()
    ]
    assert links == []
