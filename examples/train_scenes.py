"""Trains the small image-text model that comes with vectorline, on scenes that it draws itself.

    python -m examples.train_scenes DIR

About 20 minutes on two cores with bfloat16; killed and started again it goes on. The weights are
those with the highest validation figure; the test split is not touched here.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from examples.scene_pictures import Pictures
from examples.scene_questions import CLASSES_120, classified, gallery
from examples.scenes import Family, Split, training_batch, vocabulary
from tasks.encoders.base import Vectors
from tasks.trainers.contrastive import ContrastiveTrainer
from tasks.trainers.towers import Towers

BATCH = 256
SEED = 20_261_121


def batch(step: int) -> tuple[Pictures, list[str]]:
    """The pictures and captions of a step."""
    return training_batch(BATCH, np.random.default_rng((SEED, step)))


def recall(pictures: Vectors, texts: Vectors) -> float:
    """Recall@1 of text to image: text i is to find picture i."""
    return float(np.mean((texts @ pictures.T).argmax(1) == np.arange(len(texts))))


def accuracy(pictures: Vectors, classes: Vectors, labels: list[int]) -> float:
    """Share of pictures whose nearest class is theirs."""
    return float(np.mean((pictures @ classes.T).argmax(1) == labels))


def validation(towers: Towers) -> float:
    """Mean of recall@1 of 200 in each family and accuracy over 120 classes; validation split."""
    rng = np.random.default_rng(SEED)
    figures = []
    for family in Family:
        scenes, pictures = gallery(family, Split.VALIDATION, 200, rng)
        texts = towers.texts([scene.caption for scene in scenes])
        figures.append(recall(towers.images(pictures), texts))
    _, pictures, labels = classified(CLASSES_120, Split.VALIDATION, 400, rng)
    classes = sum(towers.texts(list(texts)) for texts in zip(*CLASSES_120.prompts, strict=True))
    figures.append(accuracy(towers.images(pictures), np.asarray(classes), labels))
    print("validation", *(f"{figure:.3f}" for figure in figures), file=sys.stderr)
    return float(np.mean(figures))


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description="Train the small image-text model.")
    parser.add_argument("folder", type=Path, help="where the model goes; made if it is not there")
    parser.add_argument("--steps", type=int, default=3_000)
    given = parser.parse_args()

    def tell(step: int, loss: float) -> None:
        if step % 25 == 0:
            print(f"step {step} of {given.steps}: loss {loss:.3f}", file=sys.stderr)

    trainer = ContrastiveTrainer(steps=given.steps, judge_every=100)
    trainer.fit(batch, vocabulary(), given.folder, validate=validation, on_step=tell)


if __name__ == "__main__":
    main()
