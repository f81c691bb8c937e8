"""An SQLite file, read by Python's own sqlite3 in a process of its own.

In one process it must not meet the SQLite that apsw brings: each lets go of the other's locks when
it closes a file, and takes the log away ("disk I/O error").
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pyarrow as pa

KINDS = {"F32_BLOB": np.float32, "I8_BLOB": np.int8, "BIT_BLOB": np.uint8}
READ = """
import json, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
columns = connection.execute("PRAGMA table_info(texts)").fetchall()
rows = connection.execute("SELECT * FROM texts").fetchall() if columns else []
json.dump([[one[1:3] for one in columns], rows], sys.stdout, default=bytes.hex)
"""


class Peer:
    """Nothing is to be started."""

    use = "sqlite-vec"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def arguments(self) -> dict[str, Any]:
        return {"path": str(self.folder / "vectors.db"), "collection": "texts"}

    def visible(self) -> dict[str, dict[str, Any]]:
        if not (self.folder / "vectors.db").exists():
            return {}
        command = [sys.executable, "-c", READ, str(self.folder / "vectors.db")]
        columns, rows = json.loads(subprocess.run(command, check=True, stdout=-1).stdout)
        seen = {}
        for row in rows:
            values: dict[str, Any] = {}
            for (name, kind), value in zip(columns, row, strict=True):
                element = KINDS.get(kind.partition("(")[0])
                values[name] = value if element is None else _numbers(value, element)
            seen[values.pop("id")] = values
        return seen

    def bulk(self, rows: pa.Table) -> None:
        """Into a new table with a primary key."""
        names = rows.schema.names
        dim = rows.schema.field("vector").type.list_size
        flat = rows["vector"].combine_chunks().flatten().to_numpy().reshape(-1, dim)
        columns = [
            flat.view(f"V{4 * dim}")[:, 0].tolist() if name == "vector" else rows[name].to_pylist()
            for name in names
        ]
        connection = apsw.Connection(str(self.folder / "bulk.db"))
        connection.execute("PRAGMA journal_mode = WAL")
        with connection:
            connection.execute("DROP TABLE IF EXISTS bulk")
            connection.execute(f"CREATE TABLE bulk ({', '.join(names)}, PRIMARY KEY (id))")
            marks = ", ".join("?" * len(names))
            connection.executemany(f"INSERT INTO bulk VALUES ({marks})", zip(*columns, strict=True))  # noqa: S608
        connection.close()

    def stop(self) -> None: ...

    def start(self) -> None: ...

    def close(self) -> None: ...


def _numbers(value: str, element: Any) -> np.ndarray[Any, Any]:
    return np.frombuffer(bytes.fromhex(value), element)
