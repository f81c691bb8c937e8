"""A process that has everything imported and forks for each job, so that a kill costs no second.

It calls nothing of Lance or obstore itself, whose threads would not survive a fork. A job is a line
of JSON on standard input; the answers are the child's pid, and its exit status when it has ended.
"""

import json
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa

from schemas.config import IndexConfig, Retention, SinkConfig
from tasks import cut, failpoints
from tasks.drop import drop, droppable
from tasks.errors import StoreError
from tasks.maintain import maintain
from tasks.outgoing import Outgoing
from tasks.sinks.base import Limits
from tasks.store import epochs, indexes, maintenance
from tasks.store.diff import Indices
from tests.pipeline import refresh
from tests.publishing import published

LEASE_S = 1.0  # a kill leaves one on an object store, and the next job waits for so long
BATCH_ROWS = 100  # so that kills fall between batches, too
STORE_ERROR = 3  # the exit code of a job that ends with one

batches = Outgoing.batches


def work(job: dict[str, Any]) -> None:
    """Does one job: a run, a publication, upkeep, or a drop."""
    os.environ[failpoints.VARIABLE] = job["point"]
    epochs.TTL_S = LEASE_S
    store = job["store"]
    if job["what"] == "run":
        cut.MAX_RECORDS = cut.MIN_RECORDS = job["job_records"]
        refresh(job["config"], store, wait_s=30.0)
    elif job["what"] == "publish":
        Outgoing.batches = small_batches  # type: ignore[method-assign]
        published(store, SinkConfig.model_validate(job["sink"], strict=False))
    elif job["what"] == "drop":
        drop(store, job["space"], droppable(store, job["space"], None), "me", 30.0)
    else:
        maintenance.SPARE_FRAGMENTS = indexes.SPARE_ROWS = 0
        maintenance.GRACE = timedelta(seconds=job["grace_s"])
        wanted = IndexConfig(columns=("year",), rows=20)
        maintain.fn(store, job["table"], Retention(versions=job["keep"], days=0), wanted, 30.0)


def small_batches(self: Outgoing, places: Indices, limits: Limits) -> Iterator[pa.Table]:
    """Stands for `Outgoing.batches`, whatever a sink takes at a time."""
    return batches(self, places, replace(limits, batch_rows=min(limits.batch_rows, BATCH_ROWS)))


def main() -> None:
    """Forks for each line of standard input."""
    warnings.filterwarnings("ignore", "lance is not fork-safe")  # nothing of it runs here
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                work(json.loads(line))
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(STORE_ERROR if isinstance(error, StoreError) else 1)
            os._exit(0)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
