"""Writes a search task of the standard library's docstrings: a first sentence finds the rest.

Three files beside each other:

    documents.parquet   id, module, kind and text: a docstring without its first sentence
    queries.jsonl       _id and text: the first sentence, as BEIR has it
    qrels.tsv           query-id, corpus-id, score: the one document that it was taken from

Docstrings count whose first sentence has four words and whose rest has ten, each sentence once.
"""

import argparse
import json
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from examples.stdlib_docstrings import Docstring, docstrings

QUERY_WORDS, DOCUMENT_WORDS = 4, 10
_END = re.compile(r"[.!?](?=\s)|\n\s*\n")


def questions(found: Iterator[Docstring]) -> Iterator[tuple[Docstring, str, str]]:
    """Docstring, first sentence and the rest of those that have both."""
    cut = []
    for one in found:
        if (end := _END.search(one.text)) is None:
            continue
        query, rest = one.text[: end.end()], one.text[end.end() :]
        if len(query.split()) >= QUERY_WORDS and len(rest.split()) >= DOCUMENT_WORDS:
            cut.append((one, " ".join(query.split()), rest.strip()))
    said = Counter(query for _, query, _ in cut)
    documents = Counter(rest for _, _, rest in cut)
    yield from (one for one in cut if said[one[1]] == 1 and documents[one[2]] == 1)


def write(folder: Path, n: int | None = None) -> int:
    """Writes the task below a folder, evenly thinned to `n` documents; gives their number."""
    found = [*questions(docstrings(Path(sysconfig.get_paths()["stdlib"])))]
    if n is not None and n < len(found):
        found = [found[number * len(found) // n] for number in range(n)]
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": one.id, "module": one.module, "kind": one.kind, "text": rest}
        for one, _, rest in found
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "documents.parquet")
    asked = [json.dumps({"_id": one.id, "text": query}) for one, query, _ in found]
    (folder / "queries.jsonl").write_text("\n".join(asked) + "\n", encoding="utf-8")
    judged = [f"{one.id}\t{one.id}\t1" for one, _, _ in found]
    lines = ["query-id\tcorpus-id\tscore", *judged]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(rows)


def main() -> None:
    """Writes the task where it was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--documents", type=int, help="so many of them (default: all)")
    args = parser.parse_args()
    print(f"{args.out}: {write(args.out, args.documents):,} documents and questions")


if __name__ == "__main__":
    main()
