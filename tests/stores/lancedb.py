"""Tables of LanceDB, read with lancedb."""

from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa


class Peer:
    use = "lancedb"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arguments(self) -> dict[str, Any]:
        return {"uri": str(self.folder), "table": "papers"}

    def visible(self) -> dict[str, dict[str, Any]]:
        if not (self.folder / "papers.lance").exists():
            return {}
        rows = lancedb.connect(self.folder).open_table("papers").to_arrow()
        return {
            one.pop("id"): one | {"vector": np.array(one["vector"], np.float32)}
            for one in rows.to_pylist()
        }

    def bulk(self, rows: pa.Table) -> None:
        lancedb.connect(self.folder).create_table("bulk", rows)

    def stop(self) -> None: ...

    def start(self) -> None: ...

    def close(self) -> None: ...
