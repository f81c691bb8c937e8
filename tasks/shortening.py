"""The compression of a sink: fitted to a table the first time, and what it costs."""

import numpy as np

from schemas.config import CompressConfig
from schemas.publication import Recall
from tasks.compression import NEAREST, Compression, fit, recall
from tasks.digests import digest_json
from tasks.errors import ConfigError, LosesTooMuch
from tasks.metrics.intervals import mean_interval
from tasks.sinks.base import Element
from tasks.space import Space
from tasks.store import compressions
from tasks.store.rows import Matrix, to_matrix

SAMPLE = 20_000  # rows that it is fitted to
QUERIES = 200  # rows whose nearest others are looked for


def compression_of(space: Space, config: CompressConfig | None) -> Compression:
    """What the config asks for, fitted to the first version of the table that was published so.

    Raises ConfigError for what cannot be.
    """
    held = held_compression(space, config)
    if held is not None or config is None:
        return held or Compression(space.settings.dim, Element.FLOAT32)
    made = fit(
        _sample(space),
        dim=config.dim,
        pca=config.cut == "pca",
        element=Element(config.to),
        keeps_original=keeps_original(config),
    )
    none = np.empty((0, 0), np.float32)
    arrays = {
        "dim": np.array(made.dim),
        "scale": np.array(made.scale),
        "directions": none if made.directions is None else made.directions,
    }
    compressions.keep(space.store_uri, space.entry.table, _name(config), arrays)
    return made


def held_compression(space: Space, config: CompressConfig | None) -> Compression | None:
    """The same, if it was fitted before; fits and keeps nothing."""
    if config is None:
        return Compression(space.settings.dim, Element.FLOAT32)
    held = compressions.read(space.store_uri, space.entry.table, _name(config))
    if held is None:
        return None
    return Compression(
        int(held["dim"]),
        Element(config.to),
        held["directions"] if held["directions"].size else None,
        float(held["scale"]),
        keeps_original(config),
    )


def keeps_original(config: CompressConfig) -> bool:
    """Whether the float32 original goes along."""
    return config.original if config.original is not None else Element(config.to) is Element.BINARY


def _name(config: CompressConfig) -> str:
    return digest_json([config.to, config.dim, config.cut]).hex()[:12]


def measured(space: Space, compression: Compression) -> Recall:
    """The share of the ten nearest rows that are found, of some rows of the version."""
    n_rows = space.rows
    chosen = np.sort(np.random.default_rng(0).permutation(n_rows)[:QUERIES])
    queries = to_matrix(space.dataset.take(chosen.tolist(), columns=["vector"])["vector"])
    found = recall(
        compression,
        queries,
        lambda: (to_matrix(batch["vector"]) for batch in space.batches(["vector"])),
        min(NEAREST, n_rows),
    )
    value = float(found.mean())
    if len(found) < 2:
        return Recall(value=value, low=0.0, high=1.0, n=len(found))
    ends = mean_interval(found)
    return Recall(value=value, low=ends.low, high=ends.high, n=len(found))


def check_recall(found: Recall, config: CompressConfig, label: str) -> None:
    """Raises LosesTooMuch where the compression loses more than the config allows."""
    loss = 1 - found.value
    if loss > config.max_recall_loss:
        raise LosesTooMuch(
            f"sink {label!r}: with `compress` {found.value:.1%} of the ten nearest rows are found "
            f"({found.low:.1%} to {found.high:.1%}), a loss of {loss:.3f}, and max_recall_loss is "
            f"{config.max_recall_loss:g}: nothing was pushed. Keep more components or bits, or the "
            "`original`, or allow the loss"
        )


def _sample(space: Space) -> Matrix:
    n_rows = space.rows
    if not n_rows:
        raise ConfigError(f"space {space.entry.space!r} has no rows to fit a compression to")
    chosen = np.random.default_rng(0).permutation(n_rows)[:SAMPLE]
    return to_matrix(space.dataset.take(np.sort(chosen).tolist(), columns=["vector"])["vector"])
