"""A sink that is asked again where its store does not answer."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import pyarrow as pa

from tasks.pushing import Patience
from tasks.sinks.base import Held, Near, Originals, Queries, Shape, Sink, Writer


class PatientSink:
    """The same sink with patience.

    Not with `connect`, where a store that is down is to be told at once, nor with the parts of
    `held` and what is written in `writing`: who reads and writes these begins again by itself.
    A stop is heard between any two calls.
    """

    def __init__(self, sink: Sink, patience: Patience) -> None:
        """`sink` may be closed."""
        self.modes = sink.modes
        self.limits = sink.limits
        self._sink = sink
        self._again = patience.again
        self._check = patience.check

    def connect(self) -> None:
        """As the sink does; what it can do may be known only now."""
        self._sink.connect()
        self.modes, self.limits = self._sink.modes, self._sink.limits

    def close(self) -> None:
        """As the sink does."""
        self._sink.close()

    def collections(self) -> dict[str, str]:
        """As the sink says."""
        return self._again(self._sink.collections)

    def create(self, name: str, shape: Shape) -> None:
        """As the sink does."""
        self._again(lambda: self._sink.create(name, shape))

    def stamp(self, name: str, text: str) -> None:
        """As the sink does."""
        self._again(lambda: self._sink.stamp(name, text))

    def writing(self, name: str, shape: Shape, stamp: str) -> AbstractContextManager[Writer]:
        """As the sink does."""
        return self._sink.writing(name, shape, stamp)

    def finish(self, name: str, shape: Shape) -> None:
        """As the sink does."""
        self._again(lambda: self._sink.finish(name, shape))

    def count(self, name: str) -> int:
        """As the sink says."""
        return self._again(lambda: self._sink.count(name))

    def held(self, name: str) -> Iterator[list[Held]]:
        """As the sink says."""
        for part in self._sink.held(name):
            self._check()
            yield part

    def fetch(self, name: str, shape: Shape, ids: Sequence[str]) -> pa.Table:
        """As the sink says."""
        return self._again(lambda: self._sink.fetch(name, shape, ids))

    def search(
        self, name: str, shape: Shape, queries: Queries, k: int, originals: Originals | None = None
    ) -> list[list[Near]]:
        """As the sink finds them."""
        return self._again(lambda: self._sink.search(name, shape, queries, k, originals))

    def drop(self, name: str) -> None:
        """As the sink does."""
        self._again(lambda: self._sink.drop(name))

    def serving(self) -> str | None:
        """As the sink says."""
        return self._again(self._sink.serving)

    def serve(self, name: str) -> None:
        """As the sink does."""
        self._again(lambda: self._sink.serve(name))
