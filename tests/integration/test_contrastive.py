import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.encoders.base import Vectors
from tasks.errors import ConfigError
from tasks.trainers.contrastive import LOG, STATE, ContrastiveTrainer, Logged
from tasks.trainers.towers import CONFIG, TOKENIZER, WEIGHTS, Towers
from tasks.trainers.words import word_tokenizer
from tests.training import CAPTIONS, SETTINGS, batch, train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Such small models are fastest so, and equal to the bit to those of the killed processes."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Logged]]:
    """A training that ran through, and its log."""
    folder = tmp_path_factory.mktemp("made")
    return folder, train(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_captions_find_their_pictures_and_the_log_says_how_it_went(
    made: tuple[Path, list[Logged]],
) -> None:
    folder, log = made
    assert sorted(contents(folder)) == sorted([CONFIG, WEIGHTS, TOKENIZER, LOG])
    lines = (folder / LOG).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [asdict(line) for line in log]
    assert [line.step for line in log] == [10, 20, 30, 40, 50, 60]
    assert [line.step for line in log if line.validation is not None] == [20, 40, 60]
    assert log[0].loss > 5 * log[-1].loss
    assert log[-1].loss < 0.1  # of a model that guesses: log(16)
    assert log[-1].validation is not None
    assert log[-1].validation > 0.5


def test_the_rate_climbs_and_then_follows_a_cosine_to_zero(
    made: tuple[Path, list[Logged]],
) -> None:
    _, log = made
    expected = [2e-3 * (1 + math.cos(math.pi * (step - 5) / 55)) / 2 for step in range(10, 61, 10)]
    assert [line.learning_rate for line in log] == pytest.approx(expected, abs=1e-12)


def test_the_first_loss_is_that_of_a_slow_loop_over_the_batch(tmp_path: Path) -> None:
    trained = train(tmp_path, steps=1, log_every=1, warmup=0, precision="float32")
    settings = {name: SETTINGS[name] for name in ("embed_dim", "image", "text")}
    shape = ContrastiveTrainer(**settings)
    tokenizer = word_tokenizer(CAPTIONS, 100)
    towers = Towers(32, shape.image, shape.text, tokenizer, device="cpu", seed=0)
    pictures, captions = batch(0)
    import torch

    with torch.no_grad():
        images, texts, scale = towers.model.train()(
            towers.pixels(pictures), towers.tokens(captions)
        )
    logits = (scale * images @ texts.T).double().numpy()
    each = [
        math.log(sum(math.exp(other) for other in row)) - row[i]
        for table in (logits, logits.T)
        for i, row in enumerate(table)
    ]
    assert trained[0].loss == pytest.approx(np.mean(each), abs=1e-5)
    assert 1 / float(scale) == pytest.approx(0.07)


def test_the_same_seed_gives_the_same_files_and_another_one_other_weights(
    made: tuple[Path, list[Logged]], tmp_path: Path
) -> None:
    train(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(made[0])
    train(tmp_path / "other", seed=1)
    assert contents(tmp_path / "other")[WEIGHTS] != contents(made[0])[WEIGHTS]


@pytest.mark.parametrize("place", ["step 33", "judging 40", "step 60"])
def test_a_fit_that_was_killed_goes_on_and_gives_the_same_files(
    made: tuple[Path, list[Logged]], tmp_path: Path, place: str
) -> None:
    command = [sys.executable, "-m", "tests.training", str(tmp_path), place]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / STATE).exists()
    assert train(tmp_path) == made[1]
    assert contents(tmp_path) == contents(made[0])


def test_a_fit_does_not_go_on_with_other_settings(tmp_path: Path) -> None:
    def stop(step: int, loss: float) -> None:
        del loss
        if step == 2:
            raise KeyboardInterrupt

    settings = SETTINGS | {"judge_every": 1}
    with pytest.raises(KeyboardInterrupt):
        ContrastiveTrainer(**settings).fit(batch, CAPTIONS, tmp_path, on_step=stop)
    with pytest.raises(ConfigError) as caught:
        ContrastiveTrainer(**(settings | {"steps": 40, "seed": 1})).fit(batch, CAPTIONS, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / STATE} is of a training with another seed, steps: go on with the "
        "same settings, or delete that file to begin anew"
    )


def test_the_best_weights_are_kept_the_later_ones_if_two_are_equal(tmp_path: Path) -> None:
    figures = iter([0.5, 0.9, 0.9, 0.2])
    rows = []

    def judge(towers: Towers) -> float:
        rows.append(towers.texts(CAPTIONS))
        return next(figures)

    trainer = ContrastiveTrainer(**(SETTINGS | {"steps": 20, "judge_every": 5}))
    trainer.fit(batch, CAPTIONS, tmp_path, validate=judge)
    differences = [np.abs(texts(tmp_path, CAPTIONS) - one).max() for one in rows]
    assert differences[2] < 2e-3 < 0.01 < min(*differences[:2], differences[3])


def texts(folder: Path, said: list[str]) -> Vectors:
    """Unit vectors as open_clip gives them."""
    import open_clip
    import torch

    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(said)
    with torch.inference_mode():
        return np.asarray(model.encode_text(tokens, normalize=True).numpy())


def test_open_clip_loads_the_folder_and_gives_the_vectors_that_were_judged(tmp_path: Path) -> None:
    import open_clip
    import torch

    kept: list[Towers] = []

    def keep(towers: Towers) -> float:
        kept.append(towers)
        return 0

    ContrastiveTrainer(**SETTINGS).fit(batch, CAPTIONS, tmp_path, validate=keep)
    towers = kept[-1]
    said = ["Red at the LEFT", "a blue thing, at the top", "", "red " * 20]
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    assert tokenizer(said).tolist() == towers.tokens(said).tolist()
    np.testing.assert_allclose(texts(tmp_path, said), towers.texts(said), atol=2e-3)

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    pictures, _ = batch(0)
    tensor = torch.stack([preprocess(Image.fromarray(one)) for one in pictures])
    with torch.inference_mode():
        vectors = model.eval().encode_image(tensor, normalize=True).numpy()
    np.testing.assert_allclose(vectors, towers.images(pictures), atol=2e-3)


def test_tokens_are_the_words_of_the_captions_the_rest_is_unknown() -> None:
    tokenizer = word_tokenizer(["A red-hot circle", "a RED star."], 4)
    known = sorted(tokenizer.get_vocab(), key=lambda word: tokenizer.get_vocab()[word])
    assert known == ["<pad>", "<unknown>", "<start>", "<end>", "a", "red", "-", "."]
    assert tokenizer.encode("a red, Red cat").ids == [2, 4, 5, 1, 5, 1, 3]


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        ContrastiveTrainer(**SETTINGS).fit(batch, ["", " "], tmp_path)
    assert str(caught.value) == "no caption has a word: there is nothing to learn from"
    trainer = ContrastiveTrainer(**(SETTINGS | {"image": {"image_size": 64, "width": 8}}))
    with pytest.raises(ConfigError) as caught:
        trainer.fit(batch, CAPTIONS, tmp_path)
    assert str(caught.value) == (
        "pictures are uint8 of shape (32, 32, 3), the model reads uint8 of shape (64, 64, 3): "
        "resize them, or set image_size"
    )
    with pytest.raises(ConfigError) as caught:
        ContrastiveTrainer(steps=0)
    assert str(caught.value) == "steps is 0: it must be at least 1"
    with pytest.raises(ConfigError, match="batch is 1: it must be at least 2"):
        ContrastiveTrainer(batch=1)
    with pytest.raises(ConfigError, match="validation is 1: it must be 0 or more, and below 1"):
        ContrastiveTrainer(validation=1)
