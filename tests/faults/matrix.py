"""kill -9 at every named place and at random ones; after each, what readers and the next run find.

A plain dict is what the store is compared with, version by version. `python -m tests.faults.matrix`
runs all of it and prints a table; the tests run a part.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tasks.encoders import canaries
from tasks.space import open_space
from tasks.store.catalog import Catalog
from tasks.store.indexes import vector_index
from tasks.verify import verify
from tests.pipeline import config, write_jsonl

RUN_POINTS = (
    "plan",
    "fragment",
    "before-receipt",
    "after-receipt",
    "before-commit",
    "after-commit",
    "after-tag",
    "promote",
)
UPKEEP_POINTS = ("retire", "cleanup", "index", "compaction", "recall", "move")
DROP_POINTS = ("drop", "drop-data")

JOB_RECORDS = 8
FILES = 3
KEPT = 4  # versions that upkeep leaves
ROUNDS = 20  # in one store
WINDOW_S = 0.05
LONGEST_S = 0.3
UPKEEP_SHARE = 0.3  # of the kills anywhere
WATCHED = (
    "*/_versions/*",
    "*/_transactions/*",
    "*/_refs/tags/*",
    "*/_indices/*",
    "_*/*/_versions/*",
    "runs/*/receipts/*",
    "runs/*/*/manifest.json",
)

Model = dict[str, tuple[str, int]]
Kill = Callable[[int], None]


class Zygote:
    """Processes that can be killed, one at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, job: dict[str, Any]) -> int:
        """Gives the pid of a process that does the job."""
        assert self._process.stdin is not None
        print(json.dumps(job), file=self._process.stdin, flush=True)
        return int(self._answer())

    def wait(self) -> int:
        """The exit code of the process, negative for a signal."""
        return os.waitstatus_to_exitcode(int(self._answer()))

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        assert answer, "the zygote ended"
        return answer


@contextmanager
def zygote(errors: IO[str]) -> Iterator[Zygote]:
    """Starts the process that forks the others; what these complain of goes to `errors`."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.zygote"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    ) as process:
        yield Zygote(process)


@dataclass
class Outcome:
    """Kills and the most contents that the next run encoded again, by where it was killed."""

    kills: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)


class Trial:
    """One store, its corpus, and the dicts that say what each of its versions must hold."""

    def __init__(self, folder: Path, zygote: Zygote, seed: int) -> None:
        self.store, self._corpus, self._counts = (
            folder / name for name in ("vectors", "corpus", "encoded")
        )
        self.random = random.Random(seed)  # noqa: S311 (repeatable, not secret)
        self.versions: dict[int, Model] = {}
        self._n_dropped = 0
        self._zygote = zygote
        self.model: Model = {}
        self._n_ids = 0
        encoder = {"use": "tests.encoders:CountingEncoder", "counts": str(self._counts)}
        self._settings = config(self._corpus, encoder=encoder)

    def change(self) -> None:
        """Adds, changes and removes records, some by their metadata only."""
        model = dict(self.model)
        for id_ in self.random.sample(sorted(model), min(len(model), 12)):
            text, year = model.pop(id_)
            kind = self.random.choice(["text", "year", "gone"])
            if kind != "gone":
                model[id_] = (self._text(), year) if kind == "text" else (text, year + 1)
        for _ in range(20):
            self._n_ids += 1
            model[f"r{self._n_ids}"] = (self._text(), 2000)
        self.model = model
        for number in range(FILES):
            rows = [
                {"id": id_, "text": text, "year": year}
                for id_, (text, year) in sorted(model.items())
                if int(id_[1:]) % FILES == number
            ]
            write_jsonl(self._corpus / f"{number}.jsonl", rows)
        self._counts.unlink(missing_ok=True)

    def _text(self) -> str:
        return f"text {self.random.randrange(10**9)}"

    def a_run(self, point: str = "") -> dict[str, Any]:
        """A zygote's job: a run."""
        return self._job(what="run", point=point, config=self._settings, job_records=JOB_RECORDS)

    def an_upkeep(self, point: str = "", grace_s: float = 1e-6) -> dict[str, Any]:
        """A zygote's job: upkeep, by default without an hour for readers."""
        table = Catalog(str(self.store)).versions("notes")[-1].table
        return self._job(what="maintain", point=point, table=table, keep=KEPT, grace_s=grace_s)

    def a_drop(self, point: str) -> dict[str, Any]:
        """A zygote's job: dropping the space."""
        return self._job(what="drop", point=point, space="notes")

    def dropped(self) -> None:
        """Says that no version is left, and checks it."""
        self._n_dropped, self.versions = max(self.versions), {}
        assert Catalog(str(self.store)).versions("notes") == []

    def fill(self) -> None:
        """Makes something for upkeep to do."""
        for _ in range(KEPT + 1):
            self.change()
            self.do(self.a_run())
            self.finish()

    @property
    def _newest(self) -> int:
        return max(self.versions, default=self._n_dropped)

    def _job(self, **job: object) -> dict[str, Any]:
        return {"store": str(self.store), **job}

    def do(self, job: dict[str, Any], kill: Kill | None = None) -> bool:
        """A job, killed at its point or by `kill`; gives whether it was killed."""
        pid = self._zygote.start(job)
        if kill is not None:
            kill(pid)
        code = self._zygote.wait()
        assert code in (0, -signal.SIGKILL), f"{job['what']} ended with {code}"
        assert not job["point"] or code, f"{job['point']} was not reached"
        return code != 0

    def check(self, *, finished: bool) -> None:
        """Each version holds what it must; that of the last change is there, if `finished`."""
        catalog, number = Catalog(str(self.store)), self._newest + (not finished)
        found = [entry.version for entry in catalog.versions("notes")]
        newest = max(found, default=self._n_dropped)
        assert newest in ((number,) if finished else (number - 1, number)), "an extra version"
        assert len(found) >= min(newest - self._n_dropped, KEPT), "a version is missing"
        for version in found:
            wanted = self.versions.get(version, self.model)
            assert self.content(version) == wanted, f"version {version} is not what it was"
            self._check_indexes(version, wanted)
        if finished:
            serving = catalog.serving("notes")
            assert serving is not None
            assert serving.version == newest

    def finish(self) -> None:
        """Says that the last change is a version by now, and checks it."""
        self.versions[self._newest + 1] = self.model
        self.check(finished=True)

    def content(self, version: int) -> Model:
        """What a version holds; no id twice."""
        rows = open_space("notes", str(self.store), version).to_arrow(["id", "text", "year"])
        content = {row["id"]: (row["text"], row["year"]) for row in rows.to_pylist()}
        assert len(content) == rows.num_rows, f"an id stands twice in version {version}"
        return content

    def verify(self) -> None:
        """All checks of the store itself agree, and none had to leave something out."""
        for check in verify(str(self.store), "notes"):
            assert check.ok, check
            assert "not checked" not in check.detail, check

    def _check_indexes(self, version: int, wanted: Model) -> None:
        """Filters and neighbours are the same by indexes and without."""
        space = open_space("notes", str(self.store), version)
        year = self.random.choice(sorted(wanted.values()))[1]
        found = space.dataset.to_table(["id"], filter=f"year = {year}")["id"].to_pylist()
        assert sorted(found) == sorted(id_ for id_, row in wanted.items() if row[1] == year)
        vector = self.random.choice(space.vectors()[1])
        by_index, by_scan = (space.nearest(vector, 5, exact=exact) for exact in (False, True))
        assert by_index == by_scan, f"an index of version {version} is wrong"

    def repeated(self) -> int:
        """How many contents were encoded more than once since the last change."""
        seen = Counter(self._counts.read_text().splitlines())
        for text in canaries.TEXTS:
            del seen[json.dumps(text)]
        return sum(times - 1 for times in seen.values())


def at_a_new_file(trial: Trial) -> Kill:
    """Kills up to 50 ms after a file came under versions, transactions, tags or receipts."""

    def files() -> set[Path]:
        return {path for pattern in WATCHED for path in trial.store.glob(pattern)}

    skipped = trial.random.randrange(12)

    def kill(pid: int) -> None:
        known, n_new = files(), 0
        while not ended(pid) and n_new <= skipped:
            found = files()
            n_new += len(found - known)
            known |= found
        time.sleep(trial.random.uniform(0, WINDOW_S))
        end(pid)

    return kill


def at_random(trial: Trial) -> Kill:
    """Kills at any moment of a run."""

    def kill(pid: int) -> None:
        time.sleep(trial.random.uniform(0, LONGEST_S))
        end(pid)

    return kill


def ended(pid: int) -> bool:
    """Whether it is a zombie, or gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def end(pid: int) -> None:
    """kill -9, if it runs still; the zygote waits for it, so that the pid is nobody else's."""
    if not ended(pid):
        os.kill(pid, signal.SIGKILL)


ANYWHERE: dict[str, Callable[[Trial], Kill]] = {
    "at a new file": at_a_new_file,
    "at any moment": at_random,
}
PLACES = (*RUN_POINTS, *UPKEEP_POINTS, *DROP_POINTS, *ANYWHERE)


def try_out(trial: Trial, outcome: Outcome, where: str) -> None:
    """A change, and a run, upkeep or drop that is killed there; then one that is not."""
    anywhere = ANYWHERE.get(where)
    kill, point = (anywhere(trial), "") if anywhere else (None, where)
    trial.change()
    if where in UPKEEP_POINTS or (kill is not None and trial.random.random() < UPKEEP_SHARE):
        trial.do(trial.a_run())
        trial.finish()
        outcome.kills[where] += trial.do(trial.an_upkeep(point), kill)
        trial.check(finished=True)
        trial.do(trial.an_upkeep())
        trial.check(finished=True)
        newest = open_space("notes", str(trial.store), "latest")
        assert vector_index(newest.dataset) is not None, "upkeep left no index"
        return
    if where in DROP_POINTS:
        outcome.kills[where] += trial.do(trial.a_drop(point), kill)
        trial.dropped()
        trial.fill()  # by runs that first remove what was left
        return
    outcome.kills[where] += trial.do(trial.a_run(point), kill)
    trial.check(finished=False)
    trial.do(trial.a_run())
    trial.finish()
    repeated = trial.repeated()
    assert repeated <= JOB_RECORDS, f"{repeated} contents were encoded again"
    outcome.repeated[where] = max(outcome.repeated[where], repeated)


def run_all(folder: Path, kills_each: int, seed: int) -> Outcome:
    """So many rounds at each place, in an order of their own, over stores of some rounds each."""
    outcome = Outcome()
    places = [place for place in PLACES for _ in range(kills_each)]
    random.Random(seed).shuffle(places)  # noqa: S311
    with (folder / "errors.log").open("w") as errors, zygote(errors) as runner:
        trial: Trial | None = None
        for number, place in enumerate(places):
            if trial is None or number % ROUNDS == 0:
                (folder / str(number)).mkdir()
                trial = Trial(folder / str(number), runner, seed + number)
                trial.fill()
            try:
                try_out(trial, outcome, place)
                if number % ROUNDS == ROUNDS - 1 or number == len(places) - 1:
                    trial.verify()
            except AssertionError as error:
                said = (folder / "errors.log").read_text()
                error.add_note(f"round {number}, killed {place!r}, seed {seed}; {folder}\n{said}")
                raise
    return outcome


def main() -> None:
    """Reads the command line, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25, help="at each place")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vectorline-faults-") as folder:
        outcome = run_all(Path(folder), args.kills, args.seed)
    print(f"{'killed':<16}{'kills':>7}{'encoded again, at most':>25}")
    for place in PLACES:
        again = str(outcome.repeated[place]) if place in outcome.repeated else "-"
        print(f"{place:<16}{outcome.kills[place]:>7}{again:>25}")
    print(f"{'all':<16}{outcome.kills.total():>7}   in {time.monotonic() - started:.0f} s")
    print("0 rows lost, doubled or changed; 0 extra or unreadable versions")


if __name__ == "__main__":
    main()
