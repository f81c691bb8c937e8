"""Small random backbones of timm against timm itself, one picture at a time."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tasks.content import Media
from tasks.encoders import canaries
from tasks.encoders.base import Precision
from tasks.encoders.batching import encode_all
from tasks.encoders.timm import TimmEncoder
from tasks.errors import ConfigError, EncoderError
from tests.pictures import picture_files


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from tests.media_models import save_timm

    root = tmp_path_factory.mktemp("models")
    names = ("test_vit", "test_resnet", "test_convnext")
    return {name: save_timm(root / name, name) for name in names}


def load(encoder: TimmEncoder, precision: str = "float32") -> TimmEncoder:
    encoder.load(Precision(precision), device="cpu", threads=2)
    return encoder


def library(folder: Path) -> tuple[Any, Any]:
    """The model without its classifier, and its transform."""
    import timm

    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    model.reset_classifier(0)
    data = timm.data.resolve_model_data_config(model)
    return model, timm.data.create_transform(**data, is_training=False)


def pixels_of_canaries(transform: Any) -> Any:
    import io

    import torch
    from PIL import Image

    images = [Image.open(io.BytesIO(one.data)).convert("RGB") for one in canaries.images()]
    return torch.stack([transform(image) for image in images])


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
def test_vectors_are_those_of_the_library(folders: dict[str, Path], name: str) -> None:
    import torch

    encoder = load(TimmEncoder(str(folders[name]), jpeg_draft=False))
    model, transform = library(folders[name])
    # The smallest of the three sees all, the others one size of each kind.
    files = [f for f in picture_files() if name == "test_vit" or f.name.endswith("111x259")]
    assert len(files) >= (200 if name == "test_vit" else 30)
    with torch.inference_mode():
        theirs = model(torch.stack([transform(file.shown) for file in files])).numpy()
    ours, _ = encode_all(encoder, [Media("image", file.data) for file in files])
    assert canaries.cosines(ours, theirs).min() >= 0.999
    assert encoder.dim == theirs.shape[1]


def test_rows_depend_on_nothing_else_in_the_batch(folders: dict[str, Path]) -> None:
    encoder = load(TimmEncoder(str(folders["test_vit"])))
    alone = encode_all(encoder, canaries.images(), batch_cost=1)[0]
    together = encoder.encode(encoder.prepare(canaries.images()[::-1]))[::-1]
    assert canaries.cosines(together, alone).min() >= 1 - 1e-6
    assert np.abs(np.linalg.norm(together.astype(np.float64), axis=1) - 1).max() <= 1e-7
    assert encoder.encode([]).shape == (0, 64)


def slow_poolings(model: Any, pixels: Any, *, is_vit: bool) -> dict[str, Any]:
    """Each pooling by its definition, on what timm gives, in float64."""
    last = model.forward_features(pixels).double().numpy()
    stages = [one.double().numpy() for one in model.forward_intermediates(pixels, norm=True)[1]]
    means = [one.mean(axis=(2, 3)) for one in stages]
    places = last[:, 1:] if is_vit else last.reshape(*last.shape[:2], -1).swapaxes(1, 2)
    half, three_quarters = -(-len(means) // 2) - 1, -(-len(means) * 3 // 4) - 1
    chosen = [means[stage] for stage in sorted({half, three_quarters, len(means) - 1})]
    found = {
        "patches": places.mean(axis=1),
        "gem": (np.maximum(places, 1e-6) ** 3).mean(axis=1) ** (1 / 3),
        "last-stage": means[-1],
        "multi-scale": np.hstack([m / np.linalg.norm(m, axis=1, keepdims=True) for m in chosen]),
    }
    return found | ({"class": last[:, 0]} if is_vit else {})


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_each_pooling_is_what_its_definition_says(folders: dict[str, Path], name: str) -> None:
    import torch

    model, transform = library(folders[name])
    with torch.inference_mode():
        expected = slow_poolings(model, pixels_of_canaries(transform), is_vit=name == "test_vit")
    assert len(expected) >= 4
    for pooling, vectors in expected.items():
        encoder = load(TimmEncoder(str(folders[name]), pooling=pooling, normalize=False))
        ours = canaries.canary_vectors(encoder)
        np.testing.assert_allclose(ours, vectors, rtol=1e-3, atol=1e-4, err_msg=pooling)
        assert encoder.dim == vectors.shape[1]


def test_stages_and_powers_are_the_users(folders: dict[str, Path]) -> None:
    import torch

    model, transform = library(folders["test_resnet"])
    with torch.inference_mode():
        pixels = pixels_of_canaries(transform)
        maps = [one.numpy() for one in model.forward_intermediates(pixels)[1]]
        places = model.forward_features(pixels).double().flatten(2).numpy()
    parts = [maps[stage].mean(axis=(2, 3)) for stage in (3, 0)]
    joined = np.hstack([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts])
    make = TimmEncoder
    folder = str(folders["test_resnet"])
    two = load(make(folder, pooling="multi-scale", stages=[3, 0], normalize=False))
    np.testing.assert_allclose(canaries.canary_vectors(two), joined, rtol=1e-3, atol=1e-5)
    sharp = load(make(folder, pooling="gem", gem_power=7.0, normalize=False))
    expected = (np.maximum(places, 1e-6) ** 7).mean(axis=2) ** (1 / 7)
    np.testing.assert_allclose(canaries.canary_vectors(sharp), expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ConfigError, match=r"encoder\.stages has 9, but test_resnet has 5 stages"):
        _ = make(folder, pooling="multi-scale", stages=[9]).dim


def test_backbones_of_many_kinds_have_the_dimension_that_they_say() -> None:
    kinds = {
        ("test_vit3", "patches"): 96,
        ("test_efficientnet", "multi-scale"): 144,
        ("test_byobnet", "gem"): 256,
        ("test_nfnet", "patches"): 192,
        ("test_mambaout", "patches"): 64,
    }
    for (name, pooling), dim in kinds.items():
        encoder = load(TimmEncoder(name, pooling=pooling, seed=0))
        vectors = encode_all(encoder, canaries.images()[:2])[0]
        assert (encoder.dim, vectors.shape) == (dim, (2, dim)), name


def test_a_class_token_that_is_not_there_is_told(folders: dict[str, Path]) -> None:
    with pytest.raises(EncoderError, match="test_resnet has no class token: choose another"):
        _ = TimmEncoder(str(folders["test_resnet"]), pooling="class").dim


def test_what_timm_says_is_asked_without_torch_here_and_once(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders["test_vit"], tmp_path / "model")
    code = f"""
import json, sys
from tasks.encoders.timm import TimmEncoder
encoder = TimmEncoder({str(folder)!r}, pooling="patches")
print(json.dumps([encoder.fingerprint(), encoder.dim]))
assert not {{"torch", "timm", "transformers"}} & set(sys.modules)
"""

    def ask(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "VECTORLINE_CACHE": str(tmp_path / "cache"), **environment},
        )

    encoder = TimmEncoder(str(folder), pooling="patches")
    asked = ask()
    assert (asked.returncode, asked.stderr) == (0, "")
    assert json.loads(asked.stdout) == [encoder.fingerprint(), encoder.dim]
    # A timm that cannot be imported shows whether it is asked again.
    (tmp_path / "shadow" / "timm").mkdir(parents=True)
    (tmp_path / "shadow" / "timm" / "__init__.py").write_text("raise ImportError('asked again')")
    shadow = os.pathsep.join([str(tmp_path / "shadow"), os.environ.get("PYTHONPATH", ".")])
    assert ask(PYTHONPATH=shadow).stdout == asked.stdout
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["crop_pct"] = 0.5
    (folder / "config.json").write_text(json.dumps(config))
    changed = ask(PYTHONPATH=shadow)
    assert (changed.returncode, "asked again" in changed.stderr) == (1, True)


def test_a_fingerprint_follows_weights_and_arguments_but_not_the_place(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(folders["test_vit"], tmp_path / "copy")
    make = TimmEncoder
    own = make(str(folders["test_vit"])).fingerprint()
    assert make(f"local-dir:{copy}").fingerprint() == own
    assert make(str(copy), max_pixels=9).fingerprint() == own
    others = [
        make(str(copy), pooling="class").fingerprint(),
        make(str(copy), pooling="gem").fingerprint(),
        make(str(copy), pooling="gem", gem_power=2.0).fingerprint(),
        make(str(copy), pooling="multi-scale", stages=[0, 1]).fingerprint(),
        make(str(copy), normalize=False).fingerprint(),
        make(str(copy), jpeg_draft=False).fingerprint(),
    ]
    weights = load_file(copy / "model.safetensors")
    weights["cls_token"] += 1
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    others.append(make(str(copy)).fingerprint())
    assert len({json.dumps(one, sort_keys=True) for one in [own, *others]}) == 8


def test_a_checkpoint_is_loaded_whole_or_not_at_all(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    file = folders["test_vit"] / "model.safetensors"
    by_name = load(TimmEncoder("test_vit", checkpoint=str(file)))
    by_folder = load(TimmEncoder(str(folders["test_vit"])))
    vectors = [canaries.canary_vectors(one) for one in (by_name, by_folder)]
    assert canaries.cosines(*vectors).min() >= 0.999999
    weights = load_file(file)
    del weights["blocks.0.attn.qkv.weight"]
    save_file(weights, tmp_path / "part.safetensors")
    with pytest.raises(
        EncoderError, match=r"cannot be loaded: (?s:.*)blocks\.0\.attn\.qkv\.weight"
    ):
        load(TimmEncoder("test_vit", checkpoint=str(tmp_path / "part.safetensors")))


def test_bfloat16_gives_the_same_directions(folders: dict[str, Path]) -> None:
    for name in folders:
        encoder = load(TimmEncoder(str(folders[name])))
        stored = canaries.canary_vectors(encoder)
        canaries.check(load(encoder, "bfloat16"), stored, floor=0.999)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "resnet5"}, EncoderError, "did you mean resnet50 or"),
        (
            {"model": "test_vit", "pretrained": False},
            ConfigError,
            "give `checkpoint`, .* or `seed`",
        ),
        ({"model": "test_vit", "checkpoint": "x"}, EncoderError, "no such file"),
        ({"model": "test_vit", "checkpoint": "x", "seed": 1}, ConfigError, "give one of both"),
        ({"model": "test_vit", "seed": 1, "pooling": "mean"}, ConfigError, "one of model, class,"),
        ({"model": "test_vit", "seed": 1, "gem_power": 0.0}, ConfigError, "gem_power is 0.0"),
        ({"model": "resnet18.a1_in1k"}, EncoderError, "timm/resnet18.a1_in1k'.*HF_HUB_OFFLINE"),
        ({"model": "hf-hub:no/model"}, EncoderError, "'no/model'.*HF_HUB_OFFLINE is set"),
        ({"model": "./nothing"}, EncoderError, "no such folder"),
    ],
)
def test_a_model_that_cannot_be_is_told_with_what_to_do(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        TimmEncoder(**arguments).fingerprint()


def test_text_is_not_read(folders: dict[str, Path]) -> None:
    encoder = load(TimmEncoder(str(folders["test_vit"])))
    problem = encoder.prepare(["a text"])[0].problem
    assert problem is not None
    assert problem.detail == "content of kind 'text', the encoder reads image"
    with pytest.raises(ConfigError, match="reads no text: leave `chunk` out"):
        encoder.tokenizer()


def test_running_out_of_memory_is_a_memory_error(folders: dict[str, Path]) -> None:
    import torch

    encoder = load(TimmEncoder(str(folders["test_vit"])))
    assert encoder._loaded is not None
    encoder._loaded.model.register_forward_pre_hook(lambda *_: (torch.empty(1 << 50), None)[1])
    with pytest.raises(MemoryError, match=r"1 pictures on cpu: .*can't allocate memory"):
        encode_all(encoder, [canaries.images()[0]])
