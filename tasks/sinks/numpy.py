"""NumPy files beside Parquet files of the same rows, as the package embedding-reader reads them."""

import io

import numpy as np
import pyarrow as pa

from tasks.errors import ConfigError
from tasks.sinks.base import FULL, VECTOR, Shape
from tasks.sinks.folder import COLLECTIONS, Draft, Version
from tasks.sinks.parted import PartedSink, read_parquet, to_parquet, vectors

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
        parts: int = 64,
    ) -> None:
        """`path` is a folder of a local disk, `link` what readers look under in it.

        `embeddings` is the name of the folder with vectors, such as `img_emb`. Rows are spread over
        so many pairs of files as `parts` says, when a collection is made. A change writes those
        pairs anew that have a row which changes.
        """
        super().__init__(use="numpy", path=path, link=link, parts=parts)
        # embedding-reader takes all folders that begin with the name of one.
        taken = [one for one in (METADATA, ORIGINALS) if one.startswith(embeddings)]
        if taken or embeddings.startswith((METADATA, ORIGINALS)) or not embeddings.isidentifier():
            raise ConfigError(
                f"embeddings = {embeddings!r}: must be letters, digits and _, and not begin as "
                f"{METADATA} or {ORIGINALS}"
            )
        self._embeddings = embeddings

    def _write(self, draft: Draft, bucket: int, rows: pa.Table) -> None:
        beside = [name for name in (VECTOR, FULL) if name in rows.column_names]
        names = self._names(bucket, draft.token)
        for column, name in zip(beside, names[1:], strict=False):
            array, head = vectors(rows, column), io.BytesIO()
            np.lib.format.write_array_header_1_0(
                head, np.lib.format.header_data_from_array_1_0(array)
            )
            draft.write(name, [head.getvalue(), array.data], len(rows), bucket)
        draft.write(names[0], [to_parquet(rows.drop_columns(beside))], len(rows), bucket)

    def _read(self, version: Version, shape: Shape, bucket: int, columns: list[str]) -> pa.Table:
        schema = pa.schema([shape.row_schema.field(name) for name in columns])
        files = {one.path.partition("/")[0]: one for one in version.part(bucket)}
        if not files:
            return schema.empty_table()
        inside = [name for name in columns if name not in (VECTOR, FULL)]
        rows = read_parquet(version.path / files[METADATA].path, inside)
        kinds = {VECTOR: self._kind(version), FULL: ORIGINALS}
        held = {name: rows[name] for name in inside}
        for column in (name for name in columns if name in kinds):
            array = np.load(version.path / files[kinds[column]].path, allow_pickle=False)
            flat = pa.array(array.reshape(-1))
            held[column] = pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
        return pa.table({name: held[name] for name in columns}).cast(schema)

    def _names(self, bucket: int, token: str) -> list[str]:
        ends = (
            f"{METADATA}/{METADATA}_{bucket:05}_{token}.parquet",
            f"{self._embeddings}/{self._embeddings}_{bucket:05}_{token}.npy",
            f"{ORIGINALS}/{ORIGINALS}_{bucket:05}_{token}.npy",
        )
        return [*ends]

    def _kind(self, version: Version) -> str:
        """The folder with vectors, which had another name if the config was another."""
        folders = {one.path.partition("/")[0] for one in version.manifest.files}
        return next(iter(folders - {METADATA, ORIGINALS, COLLECTIONS}), self._embeddings)
