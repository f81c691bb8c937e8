"""The embedded Prefect server, in processes of its own as in a real run."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from flows.server import LOG, Server
from tasks.errors import VectorlineError

pytestmark = pytest.mark.prefect

START = """
    import os, signal, time
    from flows.server import client_environment, embedded_server
    with embedded_server() as server:
        os.environ.update(client_environment(server))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    (tmp_path / "tmp").mkdir()
    return clean | {"TMPDIR": str(tmp_path / "tmp")}


def start(body: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    script = textwrap.dedent(START) + textwrap.indent(textwrap.dedent(body), "    ")
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until_gone(pid: int, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


def test_a_flow_prints_only_its_own_words_and_leaves_nothing_behind(
    environment: dict[str, str], tmp_path: Path
) -> None:
    parent = start(
        """
        from prefect import flow, task
        @task
        def double(n):
            return 2 * n
        @flow
        def sums(n):
            return sum(double(i) for i in range(n))
        @flow
        def fails():
            raise ValueError("on purpose")
        server.wait_ready()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.killpg(0, signal.SIGINT)  # a Ctrl-C of the terminal reaches the whole group
        print(server.process.pid, sums(4))
        try:
            fails()
        except ValueError as error:
            print(error)
        """,
        environment,
    )
    out, err = parent.communicate(timeout=120)
    pid = int(out.split()[0])
    assert (out, err, parent.returncode) == (f"{pid} 12\non purpose\n", "", 0)
    assert not Path(f"/proc/{pid}").exists()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert len(list(Path(environment["VECTORLINE_CACHE"]).glob("prefect-*.db"))) == 1


def test_the_server_ends_with_a_killed_parent_even_if_a_forked_child_lives_on(
    environment: dict[str, str], tmp_path: Path
) -> None:
    parent = start(
        """
        child = os.fork()
        if child:
            print(server.process.pid, child, flush=True)
        time.sleep(60)
        """,
        environment,
    )
    assert parent.stdout is not None
    pid, child = map(int, parent.stdout.readline().split())
    parent.kill()
    try:
        wait_until_gone(pid)
        assert Path(f"/proc/{child}").exists()
        assert list((tmp_path / "tmp").iterdir()) == []
    finally:
        os.kill(child, signal.SIGKILL)
        parent.communicate()


def test_a_server_that_ends_for_want_of_room_names_tmpdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    home = tmp_path / "home"
    home.mkdir()
    (home / LOG).touch()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for free, said in (
        (300, f"ended; {tmp_path} has only 300 bytes free, and TMPDIR names another; try again"),
        (2**30, "ended; try again"),
    ):
        usage = shutil.disk_usage(home)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        with pytest.raises(VectorlineError) as caught:
            Server(1, home, ended).wait_ready()
        assert str(caught.value) == (
            f"the embedded Prefect server {said}, or set PREFECT_API_URL to a server that runs. "
            "Its log is empty"
        )


def test_a_server_that_ends_early_is_an_error_with_its_log_and_a_broken_cache_is_dropped(
    environment: dict[str, str], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    body = """
        from tasks.errors import VectorlineError
        import flows.server
        flows.server._cached_database().write_text("no database at all")
        with flows.server.embedded_server() as broken:
            try:
                broken.wait_ready()
            except VectorlineError as error:
                print(error)
    """
    own = environment | {"VECTORLINE_CACHE": str(cache)}
    out, err = start(body, own).communicate(timeout=120)
    assert out.startswith("the embedded Prefect server ended; try again, or set PREFECT_API_URL")
    assert "file is not a database" in out
    assert err == ""
    assert list(cache.iterdir()) == []
