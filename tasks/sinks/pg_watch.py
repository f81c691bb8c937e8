"""A connection to PostgreSQL that is given up where its server answers nobody any more.

psycopg waits for an answer without end, since an index may take hours. What a server is that takes
what is sent and says nothing, only another connection tells.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tasks.errors import SinkUnavailable

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.abc import PQGen


def connect(arguments: dict[str, Any], place: str, wait_s: float) -> "Connection[Any]":
    """A connection that asks whether anybody is there each time that it heard nothing for `wait_s`.

    Raises psycopg.Error where there is none; later, where nobody is there, calls of it raise
    SinkUnavailable.
    """
    import psycopg

    def is_there() -> bool:
        try:
            psycopg.connect(**arguments).close()
        except psycopg.OperationalError as error:
            return "FATAL" in str(error)  # an answer, as of one that has too many connections
        return True

    class Watched(psycopg.Connection[Any]):
        def wait(self, gen: "PQGen[Any]", *args: Any, **more: Any) -> Any:  # noqa: ANN401
            return super().wait(_watched(gen, is_there, self._given_up, wait_s), *args, **more)

        def _given_up(self) -> SinkUnavailable:
            self.pgconn.finish()
            return SinkUnavailable(f"{place} does not answer any more: look at the server")

    return Watched.connect(**arguments)


def _watched(
    gen: "PQGen[Any]",
    is_there: Callable[[], bool],
    given_up: Callable[[], SinkUnavailable],
    wait_s: float,
) -> "PQGen[Any]":
    """The same steps; psycopg looks in ten times a second, also where nothing came."""
    heard = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                heard = time.monotonic()
            elif time.monotonic() - heard > wait_s:
                if not is_there():
                    raise given_up()
                heard = time.monotonic()
            wanted = gen.send(ready)
    except StopIteration as done:
        return done.value
