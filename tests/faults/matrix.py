"""kill -9 at every named place and at random ones; after each, what readers and the next run find.

A plain dict is what the store is compared with, version by version. `python -m tests.faults.matrix`
runs all of it, on a local disk and on an object store, and prints a table; the tests run a part.
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
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tasks.encoders import canaries
from tasks.space import open_space
from tasks.store import files
from tasks.store.catalog import Catalog
from tasks.store.indexes import vector_index
from tasks.store.layout import is_local
from tasks.verify import verify
from tests import s3
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
LOOK_S = 0.005
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

STORES = ("disk", "s3")
MARK = "VECTORLINE_TRIAL"  # a variable by which all are known that came of a zygote

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
def zygote(errors: IO[str], **environment: str) -> Iterator[Zygote]:
    """Starts the process that forks the others; what these complain of goes to `errors`.

    At the end no process that came of it is left.
    """
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.zygote"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, **environment, MARK: mark},
    ) as process:
        yield Zygote(process)
    assert marked(mark) == [], "processes are left behind"


def marked(mark: str) -> list[int]:
    """The processes that were started, by whomever, with this in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # ended just now, or another user's
            if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


@dataclass
class Outcome:
    """Kills and the most contents that the next run encoded again, by where it was killed."""

    kills: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)


class Trial:
    """One store, its corpus, and the dicts that say what each of its versions must hold."""

    def __init__(self, folder: Path, store: str, zygote: Zygote, seed: int) -> None:
        self.store, self._corpus, self._counts = store, folder / "corpus", folder / "encoded"
        self.random = random.Random(seed)  # noqa: S311 (repeatable, not secret)
        self.versions: dict[int, Model] = {}
        self._n_dropped = 0
        self._zygote = zygote
        self.job_s = 0.0
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

    def an_upkeep(self, point: str = "", grace_s: float = 1e-6, keep: int = KEPT) -> dict[str, Any]:
        """A zygote's job: upkeep, by default without an hour for readers."""
        table = Catalog(self.store).versions("notes")[-1].table
        return self._job(what="maintain", point=point, table=table, keep=keep, grace_s=grace_s)

    def a_drop(self, point: str) -> dict[str, Any]:
        """A zygote's job: dropping the space."""
        return self._job(what="drop", point=point, space="notes")

    def dropped(self) -> None:
        """Says that no version is left, and checks it."""
        self._n_dropped, self.versions = max(self.versions), {}
        assert Catalog(self.store).versions("notes") == []

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
        return {"store": self.store, **job}

    def do(self, job: dict[str, Any], kill: Kill | None = None) -> bool:
        """A job, killed at its point or by `kill`; gives whether it was killed."""
        started = time.monotonic()
        pid = self._zygote.start(job)
        if kill is not None:
            kill(pid)
        code = self._zygote.wait()
        if not code:
            self.job_s = time.monotonic() - started
        assert code in (0, -signal.SIGKILL), f"{job['what']} ended with {code}"
        assert not job["point"] or code, f"{job['point']} was not reached"
        return code != 0

    def check(self, *, finished: bool) -> None:
        """Each version holds what it must; that of the last change is there, if `finished`."""
        catalog, number = Catalog(self.store), self._newest + (not finished)
        found = [entry.version for entry in catalog.versions("notes")]
        newest = max(found, default=self._n_dropped)
        assert newest in ((number,) if finished else (number - 1, number)), "an extra version"
        assert len(found) >= min(newest - self._n_dropped, KEPT), "a version is missing"
        for version in found:
            wanted = self.versions.get(version, self.model)
            assert self.content(version) == wanted, f"version {version} is not what it was"
        if found:
            version = self.random.choice(found)
            self._check_indexes(version, self.versions.get(version, self.model))
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
        rows = open_space("notes", self.store, version).to_arrow(["id", "text", "year"])
        content = {row["id"]: (row["text"], row["year"]) for row in rows.to_pylist()}
        assert len(content) == rows.num_rows, f"an id stands twice in version {version}"
        return content

    def verify(self) -> None:
        """All checks of the store itself agree, and none had to leave something out."""
        for check in verify(self.store, "notes"):
            assert check.ok, check
            assert "not checked" not in check.detail, check

    def _check_indexes(self, version: int, wanted: Model) -> None:
        """Filters and neighbours are the same by indexes and without."""
        space = open_space("notes", self.store, version)
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
    skipped = trial.random.randrange(12)

    def kill(pid: int) -> None:
        arrivals = (on_disk if is_local(trial.store) else on_s3)(trial.store)
        next(arrivals)
        n_new = 0
        while not ended(pid) and n_new <= skipped:
            time.sleep(LOOK_S)
            n_new += next(arrivals)
        time.sleep(trial.random.uniform(0, WINDOW_S))
        end(pid)

    return kill


def on_disk(store: str) -> Iterator[int]:
    """How many watched files are new, each time that it is asked."""
    known: set[Path] = set()
    while True:
        found = {path for pattern in WATCHED for path in Path(store).glob(pattern)}
        yield len(found - known)
        known |= found


def on_s3(store: str) -> Iterator[int]:
    """The same, by what the server says that it was given: to list all objects takes too long."""
    folder, n_known = store.removeprefix("s3://"), 0
    while True:
        written = s3.written(n_known)
        own = [PurePosixPath(path) for path in written if path.startswith(f"{folder}/")]
        yield sum(any(path.match(pattern) for pattern in WATCHED) for path in own)
        n_known += len(written)


def at_random(trial: Trial) -> Kill:
    """Kills at any moment of the time that the last job took."""

    def kill(pid: int) -> None:
        time.sleep(trial.random.uniform(0, trial.job_s))
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
        newest = open_space("notes", trial.store, "latest")
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


def run_all(
    folder: Path, root: str, kills_each: int, seed: int, only: Sequence[str] = PLACES
) -> Outcome:
    """So many rounds at each place, in an order of their own, over stores of some rounds each.

    The stores are below `root`, and removed when they have served.
    """
    outcome = Outcome()
    places = [place for place in only for _ in range(kills_each)]
    random.Random(seed).shuffle(places)  # noqa: S311
    with (folder / "errors.log").open("w") as errors, zygote(errors) as runner:
        for first in range(0, len(places), ROUNDS):
            (folder / str(first)).mkdir()
            store = f"{root}/{first}/vectors"
            trial = Trial(folder / str(first), store, runner, seed + first)
            done: list[str] = []
            try:
                if not set(places).isdisjoint((*UPKEEP_POINTS, *DROP_POINTS)):
                    trial.fill()
                for place in places[first : first + ROUNDS]:
                    done.append(place)
                    try_out(trial, outcome, place)
                trial.verify()
            except AssertionError as error:
                said = (folder / "errors.log").read_text()
                error.add_note(f"killed {done}, seed {seed}; {store}\n{said}")
                raise
            files.of(store).remove_folder(store)
            print(f"{root}: {first + len(done)} of {len(places)}", file=sys.stderr, flush=True)
    return outcome


@contextmanager
def place_for(kind: str, folder: Path) -> Iterator[str]:
    """Where stores of this kind may be: below a folder, or on a server that ends with this."""
    if kind == "disk":
        yield str(folder)
    else:
        with s3.server() as endpoint:
            os.environ.update(s3.environment(endpoint))
            yield s3.BUCKET


def main() -> None:
    """Reads the command line, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=[*STORES, "both"], default="both")
    parser.add_argument("--kills", type=int, default=10, help="at each place")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    kinds = STORES if args.store == "both" else (args.store,)
    outcomes, seconds = {}, {}
    for kind in kinds:
        started = time.monotonic()
        with (
            tempfile.TemporaryDirectory(prefix="vectorline-faults-") as name,
            place_for(kind, Path(name)) as root,
        ):
            outcomes[kind] = run_all(Path(name), root, args.kills, args.seed)
        seconds[kind] = time.monotonic() - started
    print_table(outcomes, seconds)


def print_table(outcomes: Mapping[str, Outcome], seconds: Mapping[str, float]) -> None:
    """For each place and kind of store its kills, and the contents that were encoded again."""
    again = "again, at most"
    print(" " * 16 + "".join(f"{f'kills on {kind}':>16}{again:>16}" for kind in outcomes))
    for place in PLACES:
        cells = [
            f"{one.kills[place]:>16}{one.repeated.get(place, '-'):>16}" for one in outcomes.values()
        ]
        print(f"{place:<16}" + "".join(cells))
    totals = [
        f"{one.kills.total():>16}{f'in {seconds[kind]:.0f} s':>16}"
        for kind, one in outcomes.items()
    ]
    print(f"{'all':<16}" + "".join(totals))
    print("0 rows lost, doubled or changed; 0 extra, missing or unreadable versions;")
    print("0 failed reads; 0 processes left behind")


if __name__ == "__main__":
    main()
