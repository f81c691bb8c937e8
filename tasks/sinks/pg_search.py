"""What pgvector searches by: distances, scores and indexes, as SQL has them."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from tasks.sinks.base import Element, Metric
from tasks.sinks.pg_server import name_in

WITH_HALVES = (0, 7)  # the first pgvector with halfvec, and with an index and a distance of bits
MOST_SEARCHED = 1_000  # more than ef_search may be
TYPES = {Element.FLOAT32: "vector", Element.FLOAT16: "halfvec", Element.BINARY: "bit"}
INDEXED_DIM = {Element.FLOAT32: 2_000, Element.FLOAT16: 4_000, Element.BINARY: 64_000}
OPERATORS = {Metric.COSINE: "<=>", Metric.DOT: "<#>", Metric.EUCLIDEAN: "<->"}
CLASSES = {Metric.COSINE: "cosine", Metric.DOT: "ip", Metric.EUCLIDEAN: "l2"}
SCORES = {Metric.COSINE: "1 - ({})", Metric.DOT: "-({})", Metric.EUCLIDEAN: "-({})"}


@dataclass(frozen=True, slots=True)
class Near:
    """How near a column is to a query: smaller for what is nearer, and as a score."""

    distance: str
    score: str


def near(
    column: str, element: Element, metric: Metric, query: npt.NDArray[Any], *, halves: bool
) -> Near:
    """By the operator that the index knows; `halves` says that pgvector has one for bits."""
    held = name_in(column)
    if element is Element.BINARY:
        bits = "".join(f"{byte:08b}" for byte in query.tolist())
        asked = f"B'{bits}'::bit({len(bits)})"
        distance = f"{held} <~> {asked}" if halves else f"bit_count({held} # {asked})"
        return Near(distance, f"({len(bits)} - ({distance}))::float8")
    asked = f"'{query.tolist()}'::{TYPES[element]}({len(query)})"
    distance = f"{held} {OPERATORS[metric]} {asked}"
    return Near(distance, SCORES[metric].format(distance))


def index_of(column: str, element: Element, metric: Metric, kind: str, options: list[str]) -> str:
    """What follows CREATE INDEX ON and the table."""
    of_type = TYPES[element]
    by = "hamming" if element is Element.BINARY else CLASSES[metric]
    return f"USING {kind} ({name_in(column)} {of_type}_{by}_ops) WITH ({', '.join(options)})"
