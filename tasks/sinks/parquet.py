"""Parquet files that any tool reads: for each version a folder of them, with parts of the rows."""

import pyarrow as pa

from tasks.sinks.base import FULL, VECTOR, Shape
from tasks.sinks.folder import Draft, Part
from tasks.sinks.parted import PART_ROWS, PartedSink, read_parquet, to_parquet


class ParquetSink(PartedSink):
    """Readers read all `*.parquet` under `<path>/<link>`; searches compare with every row."""

    def __init__(self, *, path: str, link: str = "current", part_rows: int = PART_ROWS) -> None:
        """`path` is a folder of a local disk, `link` what readers look under in it.

        A file has at most `part_rows` rows. A change adds files, and writes those anew that have a
        row which changes or goes.
        """
        super().__init__(use="parquet", path=path, link=link, part_rows=part_rows)

    def write(self, draft: Draft, number: int, rows: pa.Table) -> None:
        """One file."""
        data = to_parquet(rows, plain=(VECTOR, FULL))
        draft.write(f"part-{number:07}-{draft.token}.parquet", [data], len(rows), number)

    def read(self, part: Part, shape: Shape) -> pa.Table:
        """By the file."""
        (file,) = part.files
        names = shape.row_schema.names
        return read_parquet(part.folder / file.path, names).cast(shape.row_schema)
