"""A process that has everything imported and forks for each job, so that a kill costs no second.

It calls nothing of Lance or obstore itself, whose threads would not survive a fork. A job is a line
of JSON on standard input; the answers are the child's pid, and its exit status when it has ended.
"""

import json
import os
import sys
import warnings
from datetime import timedelta
from typing import Any

from schemas.config import IndexConfig, Retention
from tasks import cut, failpoints
from tasks.drop import drop, droppable
from tasks.errors import StoreError
from tasks.maintain import maintain
from tasks.store import epochs, indexes, maintenance
from tests.pipeline import refresh

LEASE_S = 1.0  # a kill leaves one on an object store, and the next job waits for so long
STORE_ERROR = 3  # the exit code of a job that ends with one


def work(job: dict[str, Any]) -> None:
    """Does one job: a run, upkeep, or a drop."""
    os.environ[failpoints.VARIABLE] = job["point"]
    epochs.TTL_S = LEASE_S
    store = job["store"]
    if job["what"] == "run":
        cut.MAX_RECORDS = cut.MIN_RECORDS = job["job_records"]
        refresh(job["config"], store, wait_s=30.0)
    elif job["what"] == "drop":
        drop(store, job["space"], droppable(store, job["space"], None), "me", 30.0)
    else:
        maintenance.SPARE_FRAGMENTS = indexes.SPARE_ROWS = 0
        maintenance.GRACE = timedelta(seconds=job["grace_s"])
        wanted = IndexConfig(columns=("year",), rows=20)
        maintain.fn(store, job["table"], Retention(versions=job["keep"], days=0), wanted, 30.0)


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
