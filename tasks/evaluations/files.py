"""The files of a suite: queries and qrels as TREC and BEIR have them, tables of pairs and labels.

A line that cannot be read stops the evaluation, with its number: a score over the rest would be one
of another question.
"""

import csv
import gzip
import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np

from tasks.errors import ConfigError
from tasks.metrics.score import Reals
from tasks.mistakes import did_you_mean

Qrels: TypeAlias = dict[str, dict[str, int]]
"""Query -> record -> grade of relevance; above 0 is relevant."""
BEIR_HEADER = ["query-id", "corpus-id", "score"]
TREC_FIELDS = 4
JSONL = (".jsonl", ".ndjson", ".json")
DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


def read_queries(path: str) -> dict[str, str]:
    """Query id -> text: JSON lines with `_id` or `id` and `text`, else lines of id and text.

    A first line `id<TAB>text` is a header. Raises ConfigError for a bad line, an id that stands
    twice, or no query.
    """
    queries: dict[str, str] = {}
    for number, (id_, text) in _queries(path):
        if not id_ or not text.strip():
            raise ConfigError(f"{path} line {number}: a query needs an id and a text")
        if id_ in queries:
            raise ConfigError(f"{path} line {number}: query {id_!r} stands twice")
        queries[id_] = text
    if not queries:
        raise ConfigError(f"{path} has no query")
    return queries


def _queries(path: str) -> Iterator[tuple[int, tuple[str, str]]]:
    if not _ending(path).startswith(JSONL):
        for number, fields in lines_of(path):
            if len(fields) < 2:
                raise ConfigError(f"{path} line {number}: expected an id, a tab and a text")
            if number > 1 or [field.lower() for field in fields[:2]] != ["id", "text"]:
                yield number, (fields[0], fields[1])
        return
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                id_ = row["_id"] if "_id" in row else row["id"]
                yield number, (str(id_), str(row["text"]))
            except (ValueError, KeyError, TypeError) as error:
                odd = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
                raise ConfigError(
                    f"{path} line {number}: expected an object with `_id` (or `id`) and `text`: "
                    f"{odd}"
                ) from error


def read_qrels(path: str) -> Qrels:
    """Judgements: TREC's four fields, or BEIR's three with or without their header.

    Raises ConfigError for a bad line, a pair that is judged twice, or no judgement.
    """
    qrels: Qrels = {}
    for number, fields in lines_of(path):
        if number == 1 and fields == BEIR_HEADER:
            continue
        fields = fields if len(fields) > 1 else fields[0].split()
        if len(fields) == TREC_FIELDS:
            fields = [fields[0], *fields[2:]]
        if len(fields) != len(BEIR_HEADER):
            raise ConfigError(
                f"{path} line {number}: expected `query 0 record grade` as TREC has it, or "
                "`query<TAB>record<TAB>grade` as BEIR has it"
            )
        query, record, said = fields
        try:
            grade = int(said)
        except ValueError as error:
            raise ConfigError(f"{path} line {number}: the grade {said!r} is no integer") from error
        judged = qrels.setdefault(query, {})
        if record in judged:
            raise ConfigError(f"{path} line {number}: {query!r} judges {record!r} twice")
        judged[record] = grade
    if not qrels:
        raise ConfigError(f"{path} has no judgement")
    return qrels


def read_columns(path: str, columns: Sequence[str]) -> list[list[str]]:
    """The fields under some column names of a file with a header; at least one row.

    Raises ConfigError for a column that is not there and for a line of another length.
    """
    with closing(lines_of(path)) as rows:
        header = next(rows, (0, []))[1]
        for name in columns:
            if name not in header:
                raise ConfigError(
                    f"{path} has no column {name!r}{did_you_mean(name, header) or '.'} "
                    f"It has {', '.join(header) or 'none'}"
                )
        places = [header.index(name) for name in columns]
        found: list[list[str]] = []
        for number, fields in rows:
            if len(fields) != len(header):
                raise ConfigError(
                    f"{path} line {number} has {len(fields)} fields, the header {len(header)}"
                )
            found.append([fields[place] for place in places])
    if not found:
        raise ConfigError(f"{path} has no row below its header")
    return found


def read_numbers(path: str, columns: Sequence[str]) -> tuple[list[list[str]], Reals]:
    """The same, the last column apart and as numbers."""
    rows = read_columns(path, columns)
    try:
        return [row[:-1] for row in rows], np.array([float(row[-1]) for row in rows])
    except ValueError as error:
        raise ConfigError(f"{path}: column {columns[-1]!r} holds no number: {error}") from error


def lines_of(path: str) -> Generator[tuple[int, list[str]], None, None]:
    """Line number and fields of each line that is not blank: commas in .csv, tabs elsewhere."""
    delimiter = DELIMITERS.get(_ending(path), "\t")
    with _open(path) as file:
        reader = csv.reader(
            file,
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE,
        )
        try:
            for fields in reader:
                if any(field.strip() for field in fields):
                    yield reader.line_num, [field.strip() for field in fields]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} line {reader.line_num + 1}: {error}") from error


def _ending(path: str) -> str:
    return Path(path.removesuffix(".gz")).suffix.lower()


def _open(path: str) -> IO[str]:
    try:
        if path.endswith(".gz"):
            return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
        return Path(path).open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
