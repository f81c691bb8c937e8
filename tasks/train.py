"""Train: fit an encoder's weights to a corpus and keep them in the store."""

import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.config import Config, TrainConfig
from tasks import plugins
from tasks.config import build_sources
from tasks.digests import digest_json
from tasks.encoders.remembered import cache_folder
from tasks.errors import ConfigError
from tasks.pairs import Drawn, gather
from tasks.progress import Report, listener
from tasks.sources.base import Described, File, Record, Source
from tasks.store import models
from tasks.store.lease import lease
from tasks.trainers.contrastive import ContrastiveTrainer
from tasks.trainers.towers import Towers

GALLERY = 200  # pairs of a gallery, in which a caption is to find its picture
GALLERIES = 5


@task(name="train", persist_result=False, cache_policy=NO_CACHE)
def train(config: Config, store_uri: str, wait_s: float) -> dict[str, Any]:
    """Fits what `train:` names, and gives what is kept of it.

    A fit that was killed goes on where it was when it is called again with the same config and
    corpus. Raises ConfigError for a config without `train:`, SourceError for a corpus without a
    pair, LeaseHeld while the same name is trained.
    """
    started = time.monotonic()
    wanted = config.train
    if wanted is None:
        raise ConfigError("the config has no `train:`: it says what to fit, and its name")
    with lease(store_uri, f"models.{wanted.name}", wait_s) as held:
        sources = build_sources(config)
        listed = [source.files() for source in sources]
        places = [one.model_dump(mode="json") for one in config.source]
        corpus = digest_json([places, [[_seen(one) for one in own] for own in listed]])
        written = wanted.model_dump(mode="json")
        key = digest_json([written, corpus.hex()]).hex()
        folder = cache_folder() / "train" / key
        made, metrics, n_records = _fit(wanted, sources, listed, folder)
        held.check()
        model = models.put(
            store_uri,
            made,
            {
                "name": wanted.name,
                "train": written,
                "sources": places,
                "corpus_digest": corpus.hex(),
                "records": n_records,
                "metrics": metrics,
                "created_at": datetime.now(UTC).isoformat(),
            },
        )
        shutil.rmtree(folder)
    return {
        "name": model.name,
        "digest": model.digest,
        "records": n_records,
        "metrics": metrics,
        "seconds": time.monotonic() - started,
        "use": f"trained:{model.name}",
    }


def _fit(
    wanted: TrainConfig, sources: Sequence[Source], listed: Sequence[list[File]], folder: Path
) -> tuple[Path, dict[str, float], int]:
    """The folder with the weights, what was measured, and how many records were learned from."""
    trainer = plugins.load("trainers", wanted.use)(**wanted.arguments)
    if not isinstance(trainer, ContrastiveTrainer):
        raise ConfigError(f"train.use = {wanted.use!r} is no trainer of pictures and captions")
    _tell("read the corpus")
    pairs = gather(
        _records(sources, listed),
        wanted.caption,
        int(str(trainer.image["image_size"])),
        folder / "pairs",
    )
    learned, judged = pairs.split(wanted.validation, trainer.seed)
    if len(learned.numbers) < 2:
        raise ConfigError(f"train.validation = {wanted.validation} leaves nothing to learn from")
    log = trainer.fit(
        lambda step: learned.draw(wanted.batch, (trainer.seed, step)),
        learned.captions(),
        folder / "model",
        validate=(lambda towers: recall(towers, judged)) if len(judged.numbers) > 1 else None,
        on_step=lambda step, loss: _tell(f"step {step} of {trainer.steps}, loss {loss:.3f}"),
    )
    best = max(log, key=lambda line: (line.validation or 0.0, line.step))
    metrics = {"steps": float(best.step), "loss": best.loss, "temperature": best.temperature}
    if best.validation is not None:
        metrics[f"recall@1 of {min(GALLERY, len(judged.numbers))}"] = best.validation
    return folder / "model", metrics | {"skipped": float(pairs.skipped)}, len(pairs.captions)


def recall(towers: Towers, judged: Drawn) -> float:
    """Text-to-image recall@1 in random galleries; equal captions may stand for each other."""
    figures = []
    for number in range(GALLERIES):
        pictures, captions = judged.draw(GALLERY, (number,))
        found = (towers.texts(captions) @ towers.images(pictures).T).argmax(axis=1)
        right = [captions[place] == caption for place, caption in zip(found, captions, strict=True)]
        figures.append(np.mean(right))
    return float(np.mean(figures))


def _records(sources: Sequence[Source], listed: Sequence[list[File]]) -> Iterator[Record]:
    for source, files in zip(sources, listed, strict=True):
        for shard in source.shards(files):
            yield from source.read(shard)


def _seen(file: File) -> list[object]:
    """What changes with a file, and with what a table says of it."""
    records = file.records if isinstance(file, Described) else ()
    told = [[one.id, dict(one.metadata), str(one.problem)] for one in records]
    return [file.uri, file.state or file.stamp, told]


def _tell(stage: str) -> None:
    listener.get()(Report(stage))
