"""Tasks of mteb: found by name without the network, and loaded from the hub or from its cache."""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tasks.errors import ConfigError
from tasks.mistakes import did_you_mean

if TYPE_CHECKING:
    from mteb import AbsTask

Names: TypeAlias = Sequence[str] | None
LOUD = ("datasets", "huggingface_hub", "mteb")
TIMEOUT_S = 3.0


def find_task(name: str, splits: Names = None, subsets: Names = None) -> "AbsTask":
    """The task of that name, a new one at each call; all splits and subsets unless some are named.

    Raises ConfigError where mteb is missing, for a name that it does not know, and for a task that
    is not of texts.
    """
    try:
        with quiet():
            import mteb
            from mteb.abstasks.aggregated_task import AbsTaskAggregate
            from mteb.get_tasks import TASK_LIST
    except ImportError as error:
        raise ConfigError(
            f"mteb cannot be imported ({error}): pip install 'vectorline[mteb]'"
        ) from error
    with quiet():
        try:
            task = mteb.get_task(name)
        except KeyError:
            close = did_you_mean(name, [one.metadata.name for one in TASK_LIST])
            raise ConfigError(f"mteb {mteb.__version__} has no task {name!r}{close}") from None
    if isinstance(task, AbsTaskAggregate):
        raise ConfigError(
            f"task {name!r} of mteb stands for several: name them one by one, "
            f"{', '.join(task.taskname_to_task)}"
        )
    if (kinds := sorted(task.modalities)) != ["text"]:
        raise ConfigError(f"task {name!r} of mteb is of {' and '.join(kinds)}: expected text alone")
    if splits is not None:
        _check(name, "split", splits, task.eval_splits)
        task.filter_eval_splits(splits)
    if subsets is not None:
        _check(name, "subset", subsets, task.hf_subsets)
        task.filter_languages(None, hf_subsets=subsets)
    return task


def _check(task: str, what: str, wanted: Sequence[str], known: Sequence[str]) -> None:
    for name in wanted:
        if name not in known:
            raise ConfigError(
                f"task {task!r} of mteb has no {what} {name!r}{did_you_mean(name, known) or '.'} "
                f"It has {', '.join(known)}"
            )
    if not wanted:
        raise ConfigError(f"an empty list of {what}s of task {task!r} of mteb: leave it out")


def load(task: "AbsTask") -> None:
    """Reads the task's data; raises ConfigError where they are neither here nor on the hub."""
    from datasets.exceptions import DatasetsError
    from httpx2 import HTTPError
    from huggingface_hub import constants

    with _offline_where_unreached() as reached:
        try:
            task.load_data()
        except (DatasetsError, HTTPError, OSError, RuntimeError, ValueError, LookupError) as error:
            source = task.metadata.dataset.get("path", "")
            said = str(error).strip().split("\n")[0] or type(error).__name__
            why = (
                f"the hub was asked for {source!r}"
                if reached
                else f"{source!r} is not in the cache, and {constants.ENDPOINT} cannot be reached: "
                "go online once"
            )
            raise ConfigError(
                f"the data of task {task.metadata.name!r} of mteb cannot be loaded: {why} ({said})"
            ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """What mteb and its libraries print, log, warn of or draw is not shown, nor counted by a hub.

    Some of their progress bars cannot be turned off: what they write to standard error is dropped.
    """
    loggers = [logging.getLogger(name) for name in LOUD]
    levels = [one.level for one in loggers]
    with ExitStack() as stack:
        nowhere = stack.enter_context(Path(os.devnull).open("w"))
        stack.enter_context(redirect_stdout(nowhere))
        stack.enter_context(redirect_stderr(nowhere))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for one in loggers:
            one.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for one, level in zip(loggers, levels, strict=True):
                one.setLevel(level)


@contextmanager
def _offline_where_unreached() -> Iterator[bool]:
    """Whether the hub answers; if not, its libraries look into their caches only.

    Left alone they ask five times for each file, which takes 23 s.
    """
    import datasets
    from httpx2 import HTTPError
    from huggingface_hub import constants, get_session

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    counted = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT_S)
        reached = True
    except (HTTPError, OSError):
        reached = False
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        yield reached
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counted
