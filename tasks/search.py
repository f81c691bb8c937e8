"""Search: a question in texts, files and ids of records, against one version of a space."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.content import TEXT, Content, Media
from tasks.encoders.base import Vectors
from tasks.errors import ConfigError
from tasks.mistakes import did_you_mean
from tasks.space import Hit, Space
from tasks.store.rows import metadata_schema, to_matrix, unit

WEIGHTED = re.compile(r"(?P<weight>\d+(?:\.\d*)?|\.\d+)\*(?P<rest>.*)", re.DOTALL)
ID, FILES = "id", ("image", "audio")
RECORD = "record_id"


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a question: a `text`, the `id` of a record, the path of an `image` or `audio`."""

    kind: str
    value: str
    weight: float = 1.0


def term(said: str, sign: int = 1) -> Term:
    """What a user writes for one: `[WEIGHT*][id:|image:|audio:]VALUE`, a text without a prefix."""
    weighted = WEIGHTED.fullmatch(said)
    weight, rest = (float(weighted["weight"]), weighted["rest"]) if weighted else (1.0, said)
    kind, colon, value = rest.partition(":")
    if colon and kind in (ID, *FILES):
        return Term(kind, value, sign * weight)
    return Term(TEXT, rest, sign * weight)


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: one term for its neighbours, several for the sum of their unit vectors.

    Records that are terms of a sum are no answer to it (Mikolov et al. 2013, arXiv:1301.3781).
    `where` is a filter in Lance's SQL, applied before the search. `chunks` gives rows, not records.
    `exact` uses no index.
    """

    terms: Sequence[Term]
    k: int = 10
    where: str | None = None
    modality: str | None = None
    chunks: bool = False
    exact: bool = False


def search(space: Space, query: Query) -> list[Hit]:
    """The `k` best hits, best first, ties by id.

    Raises ConfigError for a question that cannot be asked, EncoderError if this machine's encoder
    is not the one that made the table, StoreError if the table's canaries are missing.
    """
    if query.k < 1:
        raise ConfigError(f"-k = {query.k}: expected 1 or more")
    where = condition(space, query)
    columns = [*metadata_schema(space.dataset.schema).names, "text"]
    held = [name for name in columns if name in space.dataset.schema.names]
    return space.nearest(
        question(space, query.terms),
        query.k,
        where=where,
        columns=held,
        chunks=query.chunks,
        exact=query.exact,
    )


def question(space: Space, terms: Sequence[Term]) -> Vectors:
    """The vector of some terms, shape (dim,): that of one, or the weighted sum of unit vectors."""
    if not terms:
        raise ConfigError("a search takes a text, --id, --image or --audio, --plus or --minus")
    asked = [(place, one) for place, one in enumerate(terms) if one.kind != ID]
    vectors = np.empty((len(terms), space.settings.dim), np.float32)
    if asked:
        vectors[[place for place, _ in asked]] = space.embed([_content(one) for _, one in asked])
    for place, one in enumerate(terms):
        if one.kind == ID:
            vectors[place] = _vector_of(space, one.value)
    if len(terms) == 1 and terms[0].weight > 0:
        alone: Vectors = vectors[0]
        return alone
    weights = np.array([one.weight for one in terms], np.float32)
    summed: Vectors = weights @ unit(vectors)
    return summed


def condition(space: Space, query: Query) -> str | None:
    """What rows must fulfil to be an answer, in Lance's SQL; None for nothing.

    That is the question's restriction, and that records which are terms of a sum are none.
    """
    where = restriction(space, query.where, query.modality)
    ids = [one.value for one in query.terms if one.kind == ID]
    return where if len(query.terms) < 2 or not ids else _both(where, f"NOT {among(RECORD, ids)}")


def among(column: str, values: Iterable[str]) -> str:
    """That a column has one of these values, in Lance's SQL."""
    doubled = (one.replace("'", "''") for one in values)
    quoted = ", ".join(f"'{one}'" for one in doubled)
    return f"({column} IN ({quoted}))"


def restriction(space: Space, where: str | None, modality: str | None) -> str | None:
    """The filter of a question: `where`, of one modality alone if it is given.

    Looks at both before an encoder is loaded: ConfigError for a filter that the table does not
    understand, and for a modality of which there is no record.
    """
    space.check_filter(where)
    if modality is None:
        return where
    there = space.modalities()
    if modality not in there:
        raise ConfigError(
            f"--modality = {modality!r}: space {space.entry.space!r} version {space.version} has "
            f"{' and '.join(there) or 'no records'}"
        )
    return _both(where, f"modality = '{modality}'")


def _both(one: str | None, other: str) -> str:
    return other if one is None else f"({one}) AND {other}"


def _content(one: Term) -> Content:
    if one.kind == TEXT:
        if not one.value.strip():
            raise ConfigError("the text to search for is empty")
        return one.value
    try:
        return Media(one.kind, Path(one.value).read_bytes())
    except OSError as error:
        why = error.strerror or error
        raise ConfigError(f"{one.kind} {one.value!r} cannot be read: {why}") from error


def _vector_of(space: Space, record_id: str) -> Vectors:
    rows = space.rows_of(record_id)
    if not rows.num_rows:
        near = [record_id.lower()] if space.rows_of(record_id.lower()).num_rows else []
        raise ConfigError(
            f"space {space.entry.space!r} version {space.version} has no record {record_id!r}"
            + did_you_mean(record_id.lower(), near)
            + (
                "; an isolated node has no row"
                if not near and space.modalities() == ["node"]
                else ""
            )
        )
    mean: Vectors = to_matrix(rows["vector"]).mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean
