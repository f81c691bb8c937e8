"""NumPy files beside Parquet files of the same rows, as the package embedding-reader reads them."""

import io

import numpy as np
import pyarrow as pa

from tasks.errors import ConfigError
from tasks.sinks import exact
from tasks.sinks.base import FULL, VECTOR, Shape
from tasks.sinks.folder import Draft, Part, Version
from tasks.sinks.parted import (
    PART_ROWS,
    PartedSink,
    Places,
    read_parquet,
    to_parquet,
)

METADATA = "metadata"
ORIGINALS = "originals"


class NumpySink(PartedSink):
    """Row i of `embeddings/embeddings_N.npy` is row i of `metadata/metadata_N.parquet`.

    They are below `<path>/<link>`, and sort alike. Of a part without rows there is none:
    embedding-reader would lose step. It reads float32 and float16; NumPy reads the others too.
    """

    def __init__(
        self,
        *,
        path: str,
        link: str = "current",
        embeddings: str = "embeddings",
        part_rows: int = PART_ROWS,
    ) -> None:
        """`path` is a folder of a local disk, `link` what readers look under in it.

        `embeddings` is the name of the folder with vectors, such as `img_emb`. A pair of files has
        at most `part_rows` rows. A change adds pairs, and writes those anew that have a row which
        changes or goes.
        """
        super().__init__(use="numpy", path=path, link=link, part_rows=part_rows)
        # embedding-reader takes all folders that begin with the name of one.
        taken = [one for one in (METADATA, ORIGINALS) if one.startswith(embeddings)]
        if taken or embeddings.startswith((METADATA, ORIGINALS)) or not embeddings.isidentifier():
            raise ConfigError(
                f"embeddings = {embeddings!r}: must be letters, digits and _, and not begin as "
                f"{METADATA} or {ORIGINALS}"
            )
        self._embeddings = embeddings

    def write(self, draft: Draft, number: int, rows: pa.Table) -> None:
        """A pair of files, or three."""
        beside = [name for name in (VECTOR, FULL) if name in rows.column_names]
        names = self._names(number, draft.token)
        for column, name in zip(beside, names[1:], strict=False):
            array, head = exact.to_array(rows[column]), io.BytesIO()
            np.lib.format.write_array_header_1_0(
                head, np.lib.format.header_data_from_array_1_0(array)
            )
            draft.write(name, [head.getvalue(), array.data], len(rows), number)
        draft.write(names[0], [to_parquet(rows.drop_columns(beside))], len(rows), number)

    def read(self, part: Part, shape: Shape) -> pa.Table:
        """By the files."""
        return self._taken(part, shape, None)

    def _rows(self, version: Version, part: Part, shape: Shape, places: Places) -> pa.Table:
        return self._taken(part, shape, places)

    def _taken(self, part: Part, shape: Shape, places: Places | None) -> pa.Table:
        """All rows of a part, or some; of the others no vector is read."""
        schema = shape.row_schema
        files = {one.path.partition("/")[0]: part.folder / one.path for one in part.files}
        rows = read_parquet(
            files.pop(METADATA), [name for name in schema.names if name not in (VECTOR, FULL)]
        )
        rows = rows if places is None else rows.take(pa.array(places))
        held = {name: rows[name] for name in rows.column_names}
        # The folder with vectors had another name if the config was another.
        columns = {FULL: files.pop(ORIGINALS)} if ORIGINALS in files else {}
        for column, path in {VECTOR: next(iter(files.values())), **columns}.items():
            array = np.load(path, "r" if places is not None else None, allow_pickle=False)
            array = array if places is None else array[places]
            flat = pa.array(array.reshape(-1))
            held[column] = pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
        return pa.table({name: held[name] for name in schema.names}).cast(schema)

    def _names(self, number: int, token: str) -> list[str]:
        end = f"{number:07}_{token}"
        return [
            f"{METADATA}/{METADATA}_{end}.parquet",
            f"{self._embeddings}/{self._embeddings}_{end}.npy",
            f"{ORIGINALS}/{ORIGINALS}_{end}.npy",
        ]
