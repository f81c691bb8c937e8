"""Trains an image and a text tower into one space, from pictures and their captions.

Model and loss are open_clip's: each picture of a batch is to find its caption among all captions of
the batch, and each caption its picture (InfoNCE, van den Oord et al. 2018, arXiv:1807.03748; over
unit vectors and a temperature NT-Xent, Chen et al. 2020, arXiv:2002.05709; both ways and with a
learned temperature, Radford et al. 2021, arXiv:2103.00020, figure 3). What comes out is a folder
that open_clip loads as `local-dir:FOLDER`.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tasks.encoders.base import Precision
from tasks.encoders.devices import best_device, choose_precision
from tasks.errors import ConfigError, EncoderError
from tasks.trainers.towers import Pictures, Towers
from tasks.trainers.training_state import (
    load_state,
    read_progress,
    replace_file,
    save_state,
)
from tasks.trainers.words import word_tokenizer

if TYPE_CHECKING:
    import torch

Batches: TypeAlias = Callable[[int], tuple[Pictures, Sequence[str]]]
"""The pictures of a step, from 0, and their captions: a function of the step alone."""

IMAGE = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64}
TEXT = {"context_length": 24, "width": 128, "heads": 4, "layers": 2}
LOG = "training.jsonl"
STATE = "training_state.safetensors"
_HIGHEST_LOGIT_SCALE = math.log(100)  # Radford et al. 2021, section 2.5


@dataclass(frozen=True, slots=True)
class Logged:
    """A line of the log: what was measured at a step, counted from 1.

    `validation` is there where the weights were judged.
    """

    step: int
    loss: float
    temperature: float
    learning_rate: float
    validation: float | None = None


class ContrastiveTrainer:
    """Fits open_clip's CLIP on one device: AdamW, a warm-up, then a cosine to zero.

    On a CPU with as many threads, the same arguments and batches give the same weights bit for bit,
    also when a fit was killed and called again.
    """

    def __init__(
        self,
        *,
        caption: str = "caption",
        batch: int = 256,
        validation: float = 0.05,
        embed_dim: int = 128,
        image: Mapping[str, object] | None = None,
        text: Mapping[str, object] | None = None,
        most_words: int = 4_096,
        steps: int = 3_000,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.05,
        warmup: int = 100,
        seed: int = 0,
        judge_every: int = 250,
        log_every: int = 25,
        precision: str = "auto",
        device: str | None = None,
    ) -> None:
        """`image` and `text` are keys of open_clip's `vision_cfg` and `text_cfg`, over ours.

        `caption` is the metadata column with the captions, `batch` how many pairs are learned from
        at once, `validation` the share of the captions by which the best weights are chosen.
        Every `judge_every` steps weights are judged, and what a killed fit goes on from is saved.
        """
        for name, value in (
            ("steps", steps),
            ("judge_every", judge_every),
            ("log_every", log_every),
        ):
            if value < 1:
                raise ConfigError(f"{name} is {value}: it must be at least 1")
        if batch < 2:
            raise ConfigError(f"batch is {batch}: it must be at least 2")
        if not 0 <= validation < 1:
            raise ConfigError(f"validation is {validation}: it must be 0 or more, and below 1")
        if warmup < 0:
            raise ConfigError(f"warmup is {warmup}: it must be at least 0")
        self.caption = caption
        self.batch = batch
        self.validation = validation
        self.embed_dim = embed_dim
        self.image: dict[str, object] = {**IMAGE, **(image or {})}
        self.text: dict[str, object] = {**TEXT, **(text or {})}
        self.most_words = most_words
        self.steps = steps
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.seed = seed
        self.judge_every = judge_every
        self.log_every = log_every
        self.device = device or best_device()
        self.precision = choose_precision(precision, self.device)

    def fit(
        self,
        batches: Batches,
        captions: Iterable[str],
        folder: Path,
        *,
        validate: Callable[[Towers], float] | None = None,
        on_step: Callable[[int, float], None] | None = None,
    ) -> list[Logged]:
        """Trains, writes the model into `folder` and returns its log.

        The vocabulary is that of `captions`. `validate` gives a figure of which more is better: the
        best weights are kept, without it the last ones. `on_step` gets each step and its loss. A
        fit that was killed goes on where `folder` says; ConfigError if that had other settings.
        """
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = word_tokenizer(captions, self.most_words)
        settings = {**vars(self), "vocabulary": sorted(tokenizer.get_vocab())}
        towers = Towers(
            self.embed_dim, self.image, self.text, tokenizer, device=self.device, seed=self.seed
        )
        optimizer = self._optimizer(towers.model)
        log = _resume(folder / STATE, towers.model, optimizer, settings)
        towers.save_tokenizer_and_config(folder)
        for step in range(log[-1].step + 1 if log else 1, self.steps + 1):
            loss = self._learn(towers, optimizer, step, *batches(step - 1))
            if not math.isfinite(loss):
                raise EncoderError(
                    f"the loss of step {step} is {loss}: a lower learning_rate or precision "
                    "float32 may help; nothing of this fit was kept"
                )
            if on_step:
                on_step(step, loss)
            judged = step % self.judge_every == 0 or step == self.steps
            if not judged and step % self.log_every:
                continue
            figure = validate(towers) if judged and validate else None
            log.append(Logged(step, loss, towers.temperature, self._rate(step), figure))
            if judged:
                if figure is None or figure >= _best(log):
                    towers.save_weights(folder)
                # After the weights: a kill between the two makes them once more.
                progress = {"settings": settings, "log": [asdict(line) for line in log]}
                save_state(folder / STATE, towers.model, optimizer, progress)
        lines = "".join(json.dumps(asdict(line)) + "\n" for line in log)
        replace_file(folder / LOG, lines.encode())
        (folder / STATE).unlink()
        return log

    def _learn(
        self,
        towers: Towers,
        optimizer: "torch.optim.Optimizer",
        step: int,
        pictures: Pictures,
        captions: Sequence[str],
    ) -> float:
        """One step; gives its loss."""
        import torch
        from open_clip.loss import ClipLoss
        from torch.nn.attention import SDPBackend, sdpa_kernel

        model = towers.model.train()
        for group in optimizer.param_groups:
            group["lr"] = self._rate(step)
        kind = torch.device(self.device).type
        half = self.precision is Precision.BFLOAT16
        with ExitStack() as stack:
            stack.enter_context(torch.autocast(kind, torch.bfloat16, enabled=half))
            if kind == "cpu":
                # The backward pass of the fused kernel is three times slower.
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            features = model(towers.pixels(pictures), towers.tokens(captions))
            loss: torch.Tensor = ClipLoss()(*features)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            towers.logit_scale.clamp_(0, _HIGHEST_LOGIT_SCALE)
        return loss.item()

    def _rate(self, step: int) -> float:
        """The learning rate of a step."""
        if step <= self.warmup:
            return self.learning_rate * step / self.warmup
        done = (step - self.warmup) / (self.steps - self.warmup)
        return self.learning_rate * (1 + math.cos(math.pi * done)) / 2

    def _optimizer(self, model: "torch.nn.Module") -> "torch.optim.Optimizer":
        """AdamW; gains, biases and the temperature do not decay."""
        import torch

        groups: list[dict[str, Any]] = [
            {"params": [one for one in model.parameters() if one.ndim >= 2]},
            {"params": [one for one in model.parameters() if one.ndim < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(
            groups, lr=self.learning_rate, betas=(0.9, 0.98), weight_decay=self.weight_decay
        )


def _best(log: Sequence[Logged]) -> float:
    return max(line.validation for line in log if line.validation is not None)


def _resume(
    path: Path,
    model: "torch.nn.Module",
    optimizer: "torch.optim.Optimizer",
    settings: Mapping[str, object],
) -> list[Logged]:
    """The log of the fit that was killed, its state loaded; empty if there was none."""
    if not path.exists():
        return []
    progress = read_progress(path)
    before = progress["settings"]
    # As JSON gives them back.
    now = json.loads(json.dumps(settings))
    if before != now:
        other = ", ".join(sorted(name for name in now if before.get(name) != now[name]))
        raise ConfigError(
            f"{path} is of a training with another {other}: go on with the same settings, or "
            "delete that file to begin anew"
        )
    load_state(path, model, optimizer)
    return [Logged(**line) for line in progress["log"]]
