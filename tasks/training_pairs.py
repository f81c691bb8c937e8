"""Training on pictures and their captions."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tasks.errors import ConfigError
from tasks.pairs import Drawn, gather
from tasks.sources.base import Record
from tasks.trainers.contrastive import ContrastiveTrainer
from tasks.trainers.towers import Towers
from tasks.training import Corpus, Made, tell

GALLERY = 200  # pairs of a gallery, in which a caption is to find its picture
GALLERIES = 5


def fit_pairs(trainer: ContrastiveTrainer, corpus: Corpus, folder: Path) -> Made:
    """The folder with the weights; SourceError for a corpus without a pair."""
    tell("read the corpus")
    pairs = gather(
        _records(corpus),
        trainer.caption,
        int(str(trainer.image["image_size"])),
        folder / "pairs",
    )
    learned, judged = pairs.split(trainer.validation, trainer.seed)
    if len(learned.numbers) < 2:
        raise ConfigError(f"train.validation = {trainer.validation} leaves nothing to learn from")
    log = trainer.fit(
        lambda step: learned.draw(trainer.batch, (trainer.seed, step)),
        learned.captions(),
        folder / "model",
        validate=(lambda towers: recall(towers, judged)) if len(judged.numbers) > 1 else None,
        on_step=lambda step, loss: tell(f"step {step} of {trainer.steps}, loss {loss:.3f}"),
    )
    best = max(log, key=lambda line: (line.validation or 0.0, line.step))
    metrics = {"steps": float(best.step), "loss": best.loss, "temperature": best.temperature}
    if best.validation is not None:
        metrics[f"recall@1 of {min(GALLERY, len(judged.numbers))}"] = best.validation
    metrics["skipped"] = float(pairs.skipped)
    return Made(folder / "model", metrics, len(pairs.captions), "open-clip")


def recall(towers: Towers, judged: Drawn) -> float:
    """Text-to-image recall@1 in random galleries; equal captions may stand for each other."""
    figures = []
    for number in range(GALLERIES):
        pictures, captions = judged.draw(GALLERY, (number,))
        found = (towers.texts(captions) @ towers.images(pictures).T).argmax(axis=1)
        right = [captions[place] == caption for place, caption in zip(found, captions, strict=True)]
        figures.append(np.mean(right))
    return float(np.mean(figures))


def _records(corpus: Corpus) -> Iterator[Record]:
    for source, files in zip(corpus.sources, corpus.listed, strict=True):
        for shard in source.shards(files):
            yield from source.read(shard)
