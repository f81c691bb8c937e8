"""Parquet files that any tool reads: for each version a folder of them, with parts of the rows."""

import pyarrow as pa

from tasks.sinks.base import FULL, VECTOR, Shape
from tasks.sinks.folder import Draft, Version
from tasks.sinks.parted import PartedSink, read_parquet, to_parquet


class ParquetSink(PartedSink):
    """Readers read all `*.parquet` under `<path>/<link>`; searches compare with every row."""

    def __init__(self, *, path: str, link: str = "current", parts: int = 64) -> None:
        """`path` is a folder of a local disk, `link` what readers look under in it.

        Rows are spread over so many files as `parts` says, when a collection is made. A change
        writes those files anew that have a row which changes.
        """
        super().__init__(use="parquet", path=path, link=link, parts=parts)

    def _write(self, draft: Draft, bucket: int, rows: pa.Table) -> None:
        data = to_parquet(rows, plain=(VECTOR, FULL))
        draft.write(f"part-{bucket:05}-{draft.token}.parquet", [data], len(rows), bucket)

    def _read(self, version: Version, shape: Shape, bucket: int, columns: list[str]) -> pa.Table:
        schema = pa.schema([shape.row_schema.field(name) for name in columns])
        found = [read_parquet(version.path / file.path, columns) for file in version.part(bucket)]
        return pa.concat_tables([schema.empty_table(), *(one.cast(schema) for one in found)])
