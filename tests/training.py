"""A training of seconds, also as a process that kills itself: -m tests.training FOLDER PLACE."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tasks.trainers.contrastive import ContrastiveTrainer, Logged
from tasks.trainers.towers import Pictures, Towers

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 200, 30),
    "blue": (30, 30, 220),
    "grey": (90, 90, 90),
}
HALVES = {
    "left": np.s_[:, :16],
    "right": np.s_[:, 16:],
    "top": np.s_[:16],
    "bottom": np.s_[16:],
}
CAPTIONS = [f"{colour} at the {half}" for colour in COLOURS for half in HALVES]
SETTINGS: dict[str, Any] = {
    "embed_dim": 32,
    "image": {"image_size": 32, "width": 8},
    "text": {"context_length": 8, "width": 32, "heads": 2, "layers": 1},
    "steps": 60,
    "warmup": 5,
    "judge_every": 20,
    "log_every": 10,
    "device": "cpu",
}


def batch(step: int) -> tuple[Pictures, list[str]]:
    """All captions in another order, and for each half a square in its colour on noise."""
    rng = np.random.default_rng(step)
    pictures = rng.integers(180, 256, (len(CAPTIONS), 32, 32, 3), dtype=np.uint8)
    captions = [CAPTIONS[i] for i in rng.permutation(len(CAPTIONS))]
    for one, caption in zip(pictures, captions, strict=True):
        colour, *_, half = caption.split()
        one[HALVES[half]] = COLOURS[colour]
    return pictures, captions


def found(towers: Towers) -> float:
    """Share of captions that find their picture."""
    pictures, captions = batch(10_000)
    scores = towers.texts(captions) @ towers.images(pictures).T
    return float(np.mean(scores.argmax(1) == np.arange(len(captions))))


def train(folder: Path, kill_at: str = "", **settings: object) -> list[Logged]:
    """The log; `kill_at` is "step N", or "judging N" for between a step and its saving."""
    step_now = 0

    def on_step(step: int, loss: float) -> None:
        nonlocal step_now
        del loss
        step_now = step
        kill(f"step {step}")

    def judge(towers: Towers) -> float:
        kill(f"judging {step_now}")
        return found(towers)

    def kill(place: str) -> None:
        if place == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    trainer = ContrastiveTrainer(**(SETTINGS | settings))
    return trainer.fit(batch, CAPTIONS, folder, validate=judge, on_step=on_step)


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2])
