"""Parquet files that any tool reads: for each version a folder of them, with parts of the rows."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa

from tasks.errors import ColumnMissing, ConfigError, RowsRefused, SinkError
from tasks.mistakes import did_you_mean
from tasks.sinks.base import FULL, VECTOR, Shape
from tasks.sinks.block import Block
from tasks.sinks.folder import Draft, Part, Version
from tasks.sinks.parted import PART_ROWS, PartedSink, read_parquet, to_parquet

NULL = "__HIVE_DEFAULT_PARTITION__"  # as Hive, Spark, DuckDB and Arrow have it
NAME_BYTES = 255  # of a folder's name, on the file systems of today
MOST_FOLDERS = 1_000  # of the rows of one call
PLACE = "_place"
KINDS: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_string,
    pa.types.is_integer,
    pa.types.is_boolean,
    pa.types.is_date32,
)
"""Types whose text says all."""


class ParquetSink(PartedSink):
    """Readers read all `*.parquet` under `<path>/<link>`; searches compare with every row."""

    def __init__(
        self,
        *,
        path: str,
        link: str = "current",
        partition_by: Sequence[str] = (),
        part_rows: int = PART_ROWS,
    ) -> None:
        """`path` is a folder of a local disk, `link` what readers look under in it.

        A file has at most `part_rows` rows. A change adds files, and writes those anew that have a
        row which changes or goes. By the columns of `partition_by` files are in folders such as
        `year=2026/venue=ICML`, as Hive does it; it is in force when a collection is made.
        """
        super().__init__(use="parquet", path=path, link=link, part_rows=part_rows)
        self._where = {"path": path, "link": link}
        self._keys = [*partition_by]
        self.limits = replace(self.limits, check=self._check)

    def create(self, name: str, shape: Shape) -> None:
        """An empty version."""
        self._check(shape)
        super().create(name, shape)

    def _check(self, shape: Shape) -> None:
        for key in self._keys:
            if key not in shape.columns.names:
                has = ", ".join(shape.columns.names) or "none"
                raise ColumnMissing(
                    f"partition_by: {key!r} is no metadata column; there are: {has}"
                    f"{did_you_mean(key, shape.columns.names)}"
                )
            kind = shape.columns.field(key).type
            if not any(is_one(kind) for is_one in KINDS):
                raise ConfigError(
                    f"partition_by: {key!r} is {kind}: must be text, whole numbers, bool or dates"
                )

    def split(self, rows: pa.Table) -> list[pa.Table]:
        """By the values of the columns that name folders."""
        if not self._keys:
            return [rows]
        keys = rows.select(self._keys).append_column(PLACE, pa.array(np.arange(len(rows))))
        groups = keys.group_by(self._keys, use_threads=False).aggregate([(PLACE, "list")])
        if len(groups) > MOST_FOLDERS:
            raise SinkError(
                f"partition_by: {len(groups):,} folders for {len(rows):,} rows, more than "
                f"{MOST_FOLDERS:,}: take columns with fewer values than {', '.join(self._keys)}"
            )
        pieces = [rows.take(places.values) for places in groups[f"{PLACE}_list"]]
        for piece in pieces:
            longest = max(self._folder_of(piece).split("/"), key=len)
            if len(longest) > NAME_BYTES:
                raise RowsRefused(
                    f"partition_by: {longest[:40]}... would be a folder, whose name has at most "
                    f"{NAME_BYTES} bytes: leave the column out of it"
                )
        return pieces

    def group(self, part: Part) -> str:
        """Files of one folder."""
        return Path(part.files[0].path).parent.as_posix()

    def write(self, draft: Draft, number: int, rows: pa.Table) -> None:
        """One file."""
        name = f"part-{number:07}-{draft.token}.parquet"
        if self._keys:
            name = f"{self._folder_of(rows)}/{name}"
        data = to_parquet(rows.drop_columns(self._keys), plain=(VECTOR, FULL))
        draft.write(name, [data], len(rows), number)

    def read(self, part: Part, shape: Shape) -> pa.Table:
        """By the file, and its folders' names."""
        (file,) = part.files
        schema, named = shape.row_schema, _named(part)
        inside = [name for name in schema.names if name not in named]
        rows = read_parquet(part.folder / file.path, inside)
        held = {name: rows[name] for name in inside}
        for name, text in named.items():
            value = pa.scalar(text, pa.string()).cast(schema.field(name).type)
            held[name] = pa.repeat(value, len(rows))
        return pa.table({name: held[name] for name in schema.names}).cast(schema)

    def _block(self, old: Version | None, draft: Draft, shape: Shape) -> Block:
        keys = [*_named(old.parts[0])] if old and old.parts else self._keys
        if keys == self._keys:
            return super()._block(old, draft, shape)
        as_made = ParquetSink(**self._where, partition_by=keys, part_rows=self._part_rows)
        return as_made._block(old, draft, shape)

    def _folder_of(self, rows: pa.Table) -> str:
        """Of rows that are alike in the columns that name it."""
        (first,) = rows.slice(0, 1).select(self._keys).to_pylist()
        return "/".join(f"{quote(key, safe='')}={_text(first[key])}" for key in self._keys)


def _named(part: Part) -> dict[str, str | None]:
    """What folders say, as text."""
    pairs = [one.split("=", 1) for one in part.files[0].path.split("/")[:-1]]
    return {unquote(key): None if text == NULL else unquote(text) for key, text in pairs}


def _text(value: object) -> str:
    if value is None:
        return NULL
    if value == NULL:
        raise RowsRefused(f"partition_by: {NULL} as a folder's name stands for no value at all")
    return quote(str(value).lower() if isinstance(value, bool) else str(value), safe="")
