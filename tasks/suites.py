"""Reads the suite that a user wrote, and builds the evaluations that it names.

Every mistake is told with its line, as in a config.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from schemas.config import EvaluateConfig
from schemas.suite import MapConfig, MapMethod, Suite, SuiteTask
from tasks import mistakes, plugins
from tasks.config_mistakes import Data, find_in_part
from tasks.digests import digest_json
from tasks.documents import read_document, refuse, refuse_at
from tasks.errors import ConfigError
from tasks.evaluations.base import Evaluation, Measurement, Version
from tasks.mistakes import Mistake, did_you_mean
from tasks.paths import absolute, each_changed

NEEDED = ("jinja2", "matplotlib", "sklearn")
PATHS = ("queries", "qrels", "pairs", "path", "edges", "known", "labels")


@dataclass(frozen=True)
class Task:
    """An evaluation with the name that stands before its metrics, if it has one."""

    evaluation: Evaluation
    name: str | None
    use: str

    @property
    def prefix(self) -> str:
        """What stands before its metrics."""
        return f"{self.name}." if self.name else ""

    @property
    def metrics(self) -> tuple[str, ...]:
        """As they are called in the suite."""
        return tuple(self.prefix + name for name in self.evaluation.metrics)

    @property
    def ungated(self) -> dict[str, str]:
        """Those of which no gate can ask, by their names in the suite, and why."""
        known: Mapping[str, str] = getattr(self.evaluation, "ungated", {})
        return {self.prefix + name: why for name, why in known.items()}

    def measure(self, version: Version) -> Iterator[tuple[str, Measurement]]:
        """All metrics of a version, by their names in the suite."""
        for one in self.evaluation.measure(version):
            yield self.prefix + one.name, one


@dataclass(frozen=True)
class BuiltSuite:
    """A suite whose evaluations are ready; `digest` changes with all that they measure.

    Not where it is not `repeatable`: code and files of a user's own evaluation, and MTEB's data,
    may change without it.
    """

    path: str
    tasks: tuple[Task, ...]
    digest: str
    map: MapConfig | None = None
    repeatable: bool = True

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all metrics, in order."""
        return tuple(name for task in self.tasks for name in task.metrics)

    @property
    def main(self) -> tuple[str, ...]:
        """The metric of each evaluation that says most."""
        return tuple(task.metrics[0] for task in self.tasks if task.metrics)


def read_suite(path: str | Path) -> BuiltSuite:
    """The suite of a YAML file; relative paths in it start at the file's folder.

    Raises ConfigError: all mistakes that were found, one a line.
    """
    document = read_document(path, "suite")
    data = document.data
    if not isinstance(data, dict) or not any(data.values()):
        raise ConfigError(
            f"{path} line 1: an empty suite: expected `tasks:`, a list such as "
            "`- {use: retrieval, queries: queries.jsonl, qrels: qrels.tsv}`"
        )
    refuse_at(path, document, [*document.mistakes, *_find_mistakes(data)])
    folder = Path(path).absolute().parent
    written = each_changed(cast("list[Any]", data["tasks"]), PATHS, partial(absolute, folder))
    suite = Suite.model_validate_json(json.dumps({**data, "tasks": written}))
    built: list[Task] = []
    refused: list[Mistake] = []
    for number, task in enumerate(suite.tasks):
        try:
            evaluation = plugins.build("evaluations", task.use, task.arguments)
            built.append(Task(evaluation, task.name, task.use))
        except ConfigError as error:
            refused.append(Mistake(("tasks", number), f": {error}"))
    if suite.map and suite.map.method is MapMethod.UMAP and find_spec("umap") is None:
        text = ": umap-learn is not installed: pip install 'vectorline[umap]'"
        refused.append(Mistake(("map", "method"), text))
    refuse_at(path, document, refused)
    refuse_at(path, document, _measured_twice(built))
    files = [_file_digest(Path(one)) for one in _paths(written)]
    own = {task.use for task in suite.tasks} - (plugins.names("evaluations").keys() - {"mteb"})
    digest = digest_json([data, files]).hex()
    return BuiltSuite(str(path), tuple(built), digest, suite.map, repeatable=not own)


def check_suite(
    settings: EvaluateConfig,
    refuse_all: Callable[[Iterable[Mistake]], None] = lambda found: refuse(map(str, found)),
) -> BuiltSuite:
    """The suite of a config, whose gate asks for nothing that cannot be judged by it.

    `refuse_all` raises where there are mistakes in the config. Raises ConfigError as `read_suite`,
    where the packages are missing that measure, and for a gate on a metric that the suite does not
    measure, or of which none can ask.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"evaluate needs {', '.join(missing)}: pip install 'vectorline[evaluate]'"
        )
    suite = read_suite(settings.suite)
    refuse_all(_mistakes_of_gate(settings, suite))
    return suite


def _mistakes_of_gate(settings: EvaluateConfig, suite: BuiltSuite) -> Iterator[Mistake]:
    ungated = {name: why for task in suite.tasks for name, why in task.ungated.items()}
    for name in settings.gate:
        path = ("evaluate", "gate", name)
        if name not in suite.metrics:
            meant = did_you_mean(name, suite.metrics) or "."
            yield Mistake(
                path,
                f": suite {settings.suite} does not measure it{meant} "
                f"It measures {', '.join(suite.metrics)}",
            )
        elif name in ungated:
            yield Mistake(path, f": no gate can ask for it: {ungated[name]}")


def _find_mistakes(data: Data) -> Iterator[Mistake]:
    found: dict[mistakes.Path, Mistake] = {}
    tasks = data.get("tasks")
    for number, part in enumerate(tasks if isinstance(tasks, list) else []):
        if isinstance(part, dict) and "use" in part:
            for mistake in find_in_part("evaluations", SuiteTask, part):
                placed = mistake.under("tasks", number)
                found.setdefault(placed.path, placed)
    for mistake in mistakes.find_mistakes(Suite, data):
        found.setdefault(mistake.path, mistake)
    yield from found.values()


def _measured_twice(built: list[Task]) -> Iterator[Mistake]:
    """Each task that has a metric of one before it."""
    for number, task in enumerate(built):
        for before, other in enumerate(built[:number]):
            if shared := [name for name in task.metrics if name in other.metrics]:
                more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
                yield Mistake(
                    ("tasks", number),
                    f" ({task.use}) measures {shared[0]}{more} as tasks[{before}] ({other.use}) "
                    "does: give one of them a `name`",
                )


def _paths(tasks: list[Any]) -> Iterator[str]:
    for task in tasks:
        if isinstance(task, Mapping):
            for key in PATHS:
                value = task.get(key)
                yield from value if isinstance(value, list) else [value] if value else []


def _file_digest(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
