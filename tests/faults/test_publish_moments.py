"""kill -9 of a process that publishes, at any moment, one after the other: nothing between is seen.

`python -m tests.faults.test_publish_moments STORE ROUNDS [MODE]` tries more than the test does.
"""

import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.config import SinkConfig
from tasks.plugins import build, names
from tasks.sinks.base import Mode
from tests.faults.matrix import Zygote, zygote
from tests.publishing import copied, last_for, make, seen, serve, sink_of, wanted
from tests.stores.peer import Peer, peer

SCALE = 60  # 2,400 rows and more
ROUNDS = 12
AGAIN = 0.3  # of all kills are followed by another one
FIRST_S = 0.5  # what a publication takes, until one has ended
MOST_COLLECTIONS = 3  # two that take turns, and one that is kept


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("publish"), SCALE)


@pytest.fixture(params=[pytest.param(use, marks=pytest.mark.stores) for use in names("sinks")])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    found = peer(request.param, tmp_path / "place")
    yield found
    found.close()


@dataclass
class Life:
    """A place downstream whose publisher is killed again and again."""

    store: str
    place: Peer
    sink: SinkConfig
    zygote: Zygote
    rng: np.random.Generator
    counts: Counter[str] = field(default_factory=Counter)
    whole_s: list[float] = field(default_factory=list)

    def live(self, rounds: int) -> None:
        """Kills, looks, and publishes, so many times."""
        versions = [*range(1, last_for(self.place) + 1)]
        rowwise = build("sinks", self.place.use, self.place.arguments()).modes[0] is Mode.ROWWISE
        version, old = 1, dict[str, Any]()
        for _ in range(rounds):
            version = int(self.rng.choice([one for one in versions if one != version]))
            serve(self.store, version)
            new = wanted(self.store)
            was_killed = self._kill()
            found = seen(self.place)
            self.counts["killed" if was_killed else "ended"] += 1
            self.counts["new" if found == new else "old" if found == old else "between"] += 1
            assert rowwise or found in (old, new)
            old = found
            if not was_killed or self.rng.random() >= AGAIN:
                self._publish()
                old = seen(self.place)
                assert old == new
                assert len(self._collections()) <= MOST_COLLECTIONS

    def _collections(self) -> dict[str, str]:
        sink = build("sinks", self.place.use, self.place.arguments())
        with closing(sink):
            sink.connect()
            return sink.collections()

    def _job(self) -> dict[str, Any]:
        sink = self.sink.model_dump(mode="json", exclude_unset=True)
        return {"what": "publish", "point": "", "store": self.store, "sink": sink}

    def _publish(self) -> None:
        begun = time.monotonic()
        self.zygote.start(self._job())
        assert self.zygote.wait() == 0
        self.whole_s.append(time.monotonic() - begun)

    def _kill(self) -> bool:
        """Whether the process was still at it."""
        pid = self.zygote.start(self._job())
        time.sleep(self.rng.uniform(0.05, 1.0) * float(np.median(self.whole_s or FIRST_S)))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        code = self.zygote.wait()
        assert code in (0, -signal.SIGKILL)
        return code != 0


@pytest.mark.slow
def test_no_kill_at_any_moment_leaves_anything_between(
    made: str, place: Peer, tmp_path: Path
) -> None:
    with (tmp_path / "errors").open("w+") as errors, zygote(errors) as started:
        rng = np.random.default_rng(0)
        Life(copied(made, tmp_path), place, sink_of(place), started, rng).live(ROUNDS)


def main(use: str, rounds: int, mode: str | None = None) -> None:
    """Prints what came of it."""
    with tempfile.TemporaryDirectory() as folder, zygote(sys.stderr) as started:
        place = peer(use, Path(folder) / "place")
        rng = np.random.default_rng()
        life = Life(make(Path(folder), SCALE), place, sink_of(place, mode=mode), started, rng)
        try:
            life.live(rounds)
        finally:
            print(use, dict(life.counts), f"{np.median(life.whole_s):.2f} s each")
            print(sum(1 for _ in Path(folder, "place").rglob("*")), "files")
            place.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
