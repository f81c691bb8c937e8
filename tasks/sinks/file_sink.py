"""What stores have in common that are a database in one file, each collection a table of it."""

import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy.typing as npt

from tasks.errors import SinkError
from tasks.sinks.base import (
    FULL,
    HASH,
    ID,
    VECTOR,
    Element,
    Metric,
    Mode,
    Near,
    Originals,
    Queries,
    Shape,
)
from tasks.sinks.file_tables import READERS, FileTables, Run, quoted

CANDIDATES = 8  # times k, of which the original chooses
VIEW = "readers' view"
SCORES = {Metric.COSINE: "1 - far", Metric.DOT: "-far", Metric.EUCLIDEAN: "-far"}

C = TypeVar("C")


class FileSink(Generic[C]):
    """A sink over connections of one library; what is left to a subclass is how that is asked."""

    place: ClassVar[tuple[str, ...]] = ("path", "collection")
    modes: tuple[Mode, ...] = (Mode.ATOMIC, Mode.SWITCH)
    _checkpoint: str
    """Brings what was written from the log into the file."""

    def __init__(self, use: str, path: str, collection: str, relations: str) -> None:
        """Opens nothing. `relations` is that of FileTables."""
        self._path, self._place = path, f"{use} {path}"
        self._tables = FileTables(self._place, collection, relations)

    def _asking(self, what: str) -> AbstractContextManager[C]:
        """A connection outside of any transaction; what goes wrong is told of `what`."""
        raise NotImplementedError

    def _changing(self, what: str) -> AbstractContextManager[C]:
        """One transaction, which is undone if the block does not end."""
        raise NotImplementedError

    def _run(self, connection: C) -> Run:
        """Executes statements there."""
        raise NotImplementedError

    def _make(self, connection: C, name: str, shape: Shape) -> None:
        """Makes an empty table."""
        raise NotImplementedError

    def _distance(self, column: str, dim: int, element: Element, metric: Metric) -> str:
        """Of a column and a value, smaller for what is nearer."""
        raise NotImplementedError

    def _value(self, query: npt.NDArray[Any]) -> object:
        """A vector as that value."""
        raise NotImplementedError

    def collections(self) -> dict[str, str]:
        """Of a table of its own in the file."""
        with self._asking("its collections") as connection:
            return self._tables.stamps(self._run(connection))

    def create(self, name: str, shape: Shape) -> None:
        """In one transaction."""
        self._tables.check_names(shape.row_schema.names)
        with self._changing(name) as connection:
            self._tables.remove(self._run(connection), name)
            self._make(connection, name, shape)
            self._tables.put(self._run(connection), name, "")

    def stamp(self, name: str, text: str) -> None:
        """A row of the file's own table."""
        with self._changing(name) as connection:
            self._tables.check_there(self._run(connection), name)
            self._tables.put(self._run(connection), name, text)

    def finish(self, name: str, shape: Shape) -> None:
        """Brings what was written from the log into the file, as far as readers let it."""
        with self._asking(name) as connection:
            self._tables.check_there(self._run(connection), name)
            self._run(connection)(self._checkpoint, ())

    def count(self, name: str) -> int:
        """By a scan, or what the store knows of it."""
        with self._asking(name) as connection:
            rows = self._run(connection)(f"SELECT count(*) FROM {self._tables.of(name)}", ())  # noqa: S608
        return int(rows[0][0])

    def search(
        self, name: str, shape: Shape, queries: Queries, k: int, originals: Originals | None = None
    ) -> list[list[Near]]:
        """Exactly, where no original decides."""
        table, id_ = self._tables.of(name), quoted(ID)
        first = self._distance(VECTOR, shape.dim, shape.element, shape.metric)
        is_bits = shape.element is Element.BINARY
        last, those = first, ""
        score = f"{shape.dim} - far" if is_bits else SCORES[shape.metric]
        if originals is not None:
            last = self._distance(FULL, shape.full_dim, Element.FLOAT32, shape.metric)
            score = SCORES[shape.metric]
            nearest = f"SELECT {id_} FROM {table} ORDER BY {first} LIMIT {CANDIDATES * k}"  # noqa: S608
            those = f"WHERE {id_} IN ({nearest})"
        statement = (
            f"SELECT {id_}, CAST({score} AS DOUBLE) "  # noqa: S608
            f"FROM (SELECT {id_}, {last} AS far FROM {table} {those}) "
            f"ORDER BY far NULLS LAST LIMIT {k}"
        )
        found = []
        with self._asking(name) as connection:
            for number, query in enumerate(queries):
                values = [self._value(query)]
                if originals is not None:
                    values.insert(0, self._value(originals[number]))
                rows = self._run(connection)(statement, values)
                found.append([Near(one, math.nan if far is None else far) for one, far in rows])
        return found

    def drop(self, name: str) -> None:
        """What readers' view shows is not removed."""
        with self._changing(name) as connection:
            self._tables.remove(self._run(connection), name)

    def serving(self) -> str | None:
        """What the view was made of."""
        with self._asking(VIEW) as connection:
            return self._tables.served(self._run(connection))

    def serve(self, name: str) -> None:
        """In one transaction."""
        view, table = self._tables.view, self._tables.of(name)
        with self._changing(VIEW) as connection:
            run = self._run(connection)
            self._tables.served(run)
            self._tables.check_there(run, name)
            known = [str(one[1]) for one in run(f"PRAGMA table_info({table})", ())]
            columns = ", ".join(quoted(one) for one in known if one != HASH)
            run(f"DROP VIEW IF EXISTS {view}", ())
            run(f"CREATE VIEW {view} AS SELECT {columns} FROM {table}", ())  # noqa: S608
            self._tables.put(run, READERS, name)

    def _make_folder(self) -> None:
        try:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{self._place}: no folder for it ({error})") from error
