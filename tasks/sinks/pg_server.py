"""A PostgreSQL server: connections to it, statements with names in them, and what errors mean.

No words of the client about a connection are repeated: they have held a part of a password.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tasks.errors import ConfigError, RowsRefused, SinkError, SinkUnavailable
from tasks.sinks import pg_watch
from tasks.sinks.pg_copy import count_times

if TYPE_CHECKING:
    from psycopg import Connection, Cursor, Error

UNREADABLE = (
    "url cannot be read: write postgresql://user:password@host:port/database, "
    "special characters of user and password as %XX"
)
PASSING_STATES = ("08", "40", "53200", "53300", "55P03", "57")
PASSING_REFUSALS = (
    "starting up",
    "shutting down",
    "recovery",
    "system is not",  # yet accepting connections
    "too many",
    "connection slots",
)
UNLIMITED = dict.fromkeys(("statement_timeout", "idle_in_transaction_session_timeout"), "0")
"""What a database may set for those who ask small questions: as pg_dump does."""
MENDS = {
    "42P01": "somebody else removed it: publish it anew",
    "42703": "somebody altered it: `vectorline publish --repair` makes it anew",
    "42501": "grant it to this user",
    "25006": "this is a replica, or in read-only mode: name the primary",
    "53100": "the server's disk is full: free some, and start the server if it ended",
    "2BP01": "readers' view or other objects need it: remove those first",
    "23505": "another process wrote the same rows meanwhile: publish again",
    "55P03": "others hold it: publish again",
    "57014": "let `settings: {statement_timeout: '0'}` allow more, or ask who cancelled it",
}


class Server:
    """Where a database is, and one connection to it for all that is short."""

    def __init__(
        self,
        url: str | None,
        parts: Mapping[str, str | int | None],
        schema: str,
        settings: Mapping[str, str],
        timeout_s: float,
    ) -> None:
        """Opens nothing. `parts` are libpq's and go before those of `url`."""
        self._url, self._parts, self._schema = url, parts, schema
        self._settings, self._timeout_s = settings, timeout_s
        self._main: Connection[Any] | None = None
        self._extension_schema = "public"
        self.place = "pgvector"

    def connect(self) -> tuple[int, ...]:
        """The version of pgvector that is there, or could be."""
        main = self.main  # says what is missing where psycopg is, which telling errors needs
        with self.errors_of("the server"):
            rows = run(
                main,
                "SELECT coalesce(e.extversion, a.default_version), n.nspname "
                "FROM pg_available_extensions a LEFT JOIN pg_extension e ON e.extname = a.name "
                "LEFT JOIN pg_namespace n ON n.oid = e.extnamespace WHERE a.name = 'vector'",
            ).fetchall()
            if not rows:
                raise SinkError(f"{self.place} has no pgvector: install it on the server")
            self._extension_schema = rows[0][1] or "public"
            self._find_types(main)
        return tuple(int(part) for part in re.findall(r"\d+", rows[0][0]))

    def close(self) -> None:
        """Lets go of the connection."""
        if self._main is not None:
            self._main.close()
        self._main = None

    @property
    def main(self) -> "Connection[Any]":
        """One connection for all that is short, made anew after it was lost.

        It lies idle while rows are written, and servers and firewalls cut what is idle.
        """
        if self._main is None or _is_lost(self._main):
            self._main = self._open()
        return self._main

    @contextmanager
    def opened(self) -> Iterator["Connection[Any]"]:
        """A connection for one long transaction."""
        connection = self._open()
        try:
            yield connection
        finally:
            connection.close()

    def prepare(self) -> None:
        """Makes the extension and the schema where they are missing."""
        for kind, what, catalog in (
            ("SCHEMA", self._schema, "pg_namespace WHERE nspname"),
            ("EXTENSION", "vector", "pg_extension WHERE extname"),
        ):
            with self.errors_of(f"{kind.lower()} {what}"):
                if not run(self.main, f"SELECT 1 FROM {catalog} = %s", [what]).fetchall():  # noqa: S608
                    at = " WITH SCHEMA public" if kind == "EXTENSION" else ""
                    run(self.main, f"CREATE {kind} IF NOT EXISTS {name_in(what)}{at}")

    @contextmanager
    def errors_of(self, what: str, *, rows: bool = False) -> Iterator[None]:
        """Tells what went wrong with something; with `rows`, whether they are to blame."""
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            raise _meaning(error, f"{self.place} {what}", rows=rows) from error

    def _open(self) -> "Connection[Any]":
        try:
            import psycopg
            from psycopg import conninfo
        except ImportError as error:
            raise ConfigError(
                f"pgvector needs psycopg ({error}): pip install 'vectorline[pgvector]'"
            ) from None
        wait_s = max(2, int(self._timeout_s))
        try:
            given = {key: value for key, value in self._parts.items() if value is not None}
            known = conninfo.conninfo_to_dict(self._url or "", **given)
        except psycopg.ProgrammingError:
            raise ConfigError(UNREADABLE) from None
        host, port, database = (str(known.get(key) or "") for key in ("host", "port", "dbname"))
        if "@" in host + database or not re.fullmatch(r"[\d,]*", port):
            raise ConfigError(UNREADABLE)  # libpq took a part of the password for another part
        where = f"{host or 'localhost'}{port and ':'}{port}/{database}"
        self.place = f"pgvector at {where}"
        ours = {
            "connect_timeout": wait_s,
            "tcp_user_timeout": 1000 * wait_s,
            "keepalives_idle": wait_s,
            "application_name": "vectorline",
            "client_encoding": "utf8",
        }
        try:
            more = {"autocommit": True, "prepare_threshold": None}
            connection = pg_watch.connect({**ours, **known, **more}, self.place, wait_s)
        except psycopg.Error as error:
            raise _refusal(error, self.place) from None
        try:
            with self.errors_of("settings"):
                usual = {"lock_timeout": f"{wait_s}s", **UNLIMITED}
                self._set(connection, {**usual, **self._settings})
                self._find_types(connection)
                count_times(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _find_types(self, connection: "Connection[Any]") -> None:
        path = f"{name_in(self._schema)}, {name_in(self._extension_schema)}"
        self._set(connection, {"search_path": alone(path).decode()})

    @staticmethod
    def _set(connection: "Connection[Any]", settings: Mapping[str, str]) -> None:
        for key, value in settings.items():
            run(connection, "SELECT set_config(%s, %s, false)", [key, value])


def run(
    connection: "Connection[Any]",
    statement: str,
    values: Sequence[object] = (),
    *,
    binary: bool = False,
) -> "Cursor[Any]":
    """Executes a statement, whose names and texts come from `name_in` and `text_in`."""
    if not values:
        return connection.execute(alone(statement), binary=binary)
    return connection.execute(statement.encode(), values, binary=binary)


def alone(statement: str) -> bytes:
    """A statement as psycopg wants it where no values come with it."""
    return statement.replace("%%", "%").encode()


def name_in(*parts: str) -> str:
    """A name in a statement of `run` or `alone`, whatever is in it."""
    return ".".join('"' + one.replace('"', '""').replace("%", "%%") + '"' for one in parts)


def text_in(words: str) -> str:
    """A text in such a statement."""
    quoted = words.replace("\\", "\\\\").replace("'", "''").replace("%", "%%")
    return f"E'{quoted}'"


def _is_lost(connection: "Connection[Any]") -> bool:
    import psycopg
    from psycopg.pq import TransactionStatus

    if connection.info.transaction_status is TransactionStatus.IDLE:
        with suppress(psycopg.OperationalError):
            connection.execute(b"")
    return connection.closed


def _meaning(error: "Error", what: str, *, rows: bool) -> SinkError:
    import psycopg

    state, words = error.sqlstate or "", error.diag.message_primary
    if isinstance(error, psycopg.OperationalError) and not state:
        return SinkUnavailable(f"{what}: the connection was lost; publish again")
    told = f"{what}: {words or str(error).splitlines()[0]}"
    is_theirs = isinstance(error, psycopg.DataError | psycopg.errors.ProgramLimitExceeded)
    if rows and (is_theirs or state in ("23502", "23514")):
        column = re.search(r"column (.*)$", error.diag.context or "")
        return RowsRefused(f"{told}{f' in column {column[1]}' if column else ''}; mend the rows")
    told += f"; {MENDS.get(state, 'publish again when that is mended')}"
    if state == "23505" or state.startswith(PASSING_STATES):
        return SinkUnavailable(told)
    return SinkError(told)


def _refusal(error: "Error", place: str) -> SinkError:
    """Of the server's own words only: the client's can hold a part of an URL."""
    _, fatal, words = str(error).partition("FATAL:")
    if fatal:
        said = words.strip().splitlines()[0]
        if any(one in said for one in PASSING_REFUSALS):
            return SinkUnavailable(f"{place} takes no connection now: {said}; publish again")
        return SinkError(f"{place} refuses: {said}; check user, password and database")
    reasons = ("Connection refused", "timeout expired", "No such file", "resolve host", "SSL")
    reason = next((one for one in reasons if one in str(error)), "no connection")
    return SinkUnavailable(f"{place} does not answer ({reason}): check host and port, or start it")
