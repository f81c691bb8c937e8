"""Classify: each record gets the label whose description is nearest (zero-shot).

As Radford et al. 2021 (arXiv:2103.00020, section 3.1.4) do it: a label's vector is the mean of the
unit vectors of its descriptions in all templates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import yaml

from tasks.encoders.base import Vectors
from tasks.errors import ConfigError
from tasks.mistakes import did_you_mean
from tasks.space import Space
from tasks.store.rows import metadata_schema, to_matrix, unit

Labels = Mapping[str, Sequence[str]]
"""Labels and their descriptions."""
PLAIN = ("{}",)
Scores: TypeAlias = npt.NDArray[np.floating[Any]]
"""Cosines with all labels, in their order."""
STRUCTURED = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A record with its label, the cosine with it, and how far the second best is behind."""

    id: str
    label: str
    score: float
    margin: float


def read_labels(path: Path) -> Labels:
    """Labels from a file: YAML or JSON by its name, else one in each line.

    A list of labels, a mapping to a description or to several; in a line a tab stands before the
    description. Without one a label describes itself. Raises ConfigError.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = yaml.safe_load(text) if path.suffix in STRUCTURED else _lines(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"--labels = {str(path)!r} cannot be read: {error}") from error
    if isinstance(found, dict):
        found = [*found.items()]
    if not isinstance(found, list):
        raise ConfigError(f"--labels = {str(path)!r}: expected a list, or labels and descriptions")
    labels: dict[str, list[str]] = {}
    for one in found:
        label, said = one if isinstance(one, tuple) else (one, one)
        described = [said] if isinstance(said, str) else said
        if not isinstance(label, str) or not _texts(described):
            raise ConfigError(
                f"--labels = {str(path)!r}: {label!r} is no label with a description of it"
            )
        if label in labels:
            raise ConfigError(
                f"--labels = {str(path)!r}: label {label!r} is there twice; a label with several "
                "descriptions is a YAML list: `circle: [a circle, a round thing]`"
            )
        labels[label] = [*described]
    if len(labels) < 2:
        raise ConfigError(f"--labels = {str(path)!r}: expected two labels or more")
    return labels


def classify(
    space: Space, labels: Labels, templates: Sequence[str] = PLAIN, where: str | None = None
) -> list[Labelled]:
    """All records that `where` holds for, by id; ties go to the label that comes first.

    Of a record in chunks the mean of their scores counts. Raises ConfigError for a template without
    `{}`, for a filter that the table does not understand, or an encoder that reads no text.
    """
    names, vectors = [*labels], label_vectors(space, labels, templates)
    found: list[Labelled] = []
    chunked: dict[str, list[Scores]] = {}
    for batch in space.batches(["record_id", "span", "vector"], where=where):
        scores = unit(to_matrix(batch["vector"])) @ vectors.T
        alone = batch["span"].is_null().to_pylist()
        for id_, row, whole in zip(batch["record_id"].to_pylist(), scores, alone, strict=True):
            if whole:
                found.append(_labelled(id_, row, names))
            else:
                chunked.setdefault(id_, []).append(row)
    found += [
        _labelled(id_, np.mean(rows, axis=0, dtype=np.float64), names)
        for id_, rows in chunked.items()
    ]
    return sorted(found, key=lambda one: one.id)


def _labelled(id_: str, scores: Scores, names: Sequence[str]) -> Labelled:
    second, best = np.sort(scores)[-2:]
    return Labelled(id_, names[int(np.argmax(scores))], float(best), float(best - second))


def label_vectors(space: Space, labels: Labels, templates: Sequence[str]) -> Vectors:
    """Unit vectors of the labels, shape (labels, dim)."""
    said = prompts(labels, templates)
    made = unit(space.embed([prompt for own in said for prompt in own]))
    ends = np.cumsum([len(own) for own in said])[:-1]
    means = [part.mean(axis=0, dtype=np.float64) for part in np.split(made, ends)]
    vectors: Vectors = unit(np.array(means, np.float32))
    return vectors


def prompts(labels: Labels, templates: Sequence[str]) -> list[list[str]]:
    """The descriptions of each label in all templates; ConfigError for one without `{}`."""
    for template in templates:
        if "{}" not in template:
            raise ConfigError(f"--template = {template!r}: expected a text with {{}} for the label")
    return [
        [template.replace("{}", said) for said in described for template in templates]
        for described in labels.values()
    ]


def _lines(text: str) -> list[tuple[str, str]]:
    found = [line.strip().partition("\t") for line in text.splitlines() if line.strip()]
    return [(label.strip(), said.strip() or label.strip()) for label, _, said in found]


def _texts(described: object) -> bool:
    return (
        isinstance(described, list)
        and bool(described)
        and all(isinstance(one, str) and one.strip() for one in described)
    )


def accuracy(space: Space, found: Sequence[Labelled], column: str) -> float | None:
    """The share of these records whose label is what a metadata column says.

    Records for which it says nothing do not count; None of none.
    """
    known = metadata_schema(space.dataset.schema).names
    if column not in known:
        raise ConfigError(
            f"--truth = {column!r} is no metadata column{did_you_mean(column, known) or ';'} "
            f"there are: {', '.join(known) or 'none'}"
        )
    truth = {
        id_: str(value)
        for batch in space.batches(["record_id", column])
        for id_, value in zip(
            batch["record_id"].to_pylist(), batch[column].to_pylist(), strict=True
        )
        if value is not None
    }
    right = [truth[one.id] == one.label for one in found if one.id in truth]
    return sum(right) / len(right) if right else None
