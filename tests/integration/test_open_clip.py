"""Small random models of open_clip against open_clip itself, one content at a time."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from tasks.content import Content, Media
from tasks.encoders import canaries
from tasks.encoders.base import Precision, Vectors
from tasks.encoders.batching import Batcher, encode_all
from tasks.encoders.open_clip import OpenClipEncoder
from tasks.errors import ConfigError, EncoderError
from tests.pictures import drawing, picture_files, save

TEXTS = [*canaries.TEXTS, "a red circle", "A  Red, circle!", "naïve café &amp; crème"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from tests import media_models as models

    root = tmp_path_factory.mktemp("models")
    return {
        "clip": models.save_clip(root / "clip", models.CLIP, {}),
        "siglip": models.save_clip(root / "siglip", models.SIGLIP, models.SIGLIP_PICTURES),
    }


def load(encoder: OpenClipEncoder, precision: str = "float32") -> OpenClipEncoder:
    encoder.load(Precision(precision), device="cpu", threads=2)
    return encoder


class Library:
    """A model, its transform and its tokenizer, as open_clip loads them."""

    def __init__(self, folder: str) -> None:
        import open_clip

        name = f"local-dir:{folder}"
        self.model, _, self.transform = open_clip.create_model_and_transforms(name)
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(name)

    def images(self, images: list[Image.Image]) -> Any:
        import torch

        with torch.inference_mode():
            pixels = torch.stack([self.transform(image) for image in images])
            return self.model.encode_image(pixels, normalize=True).numpy()

    def text(self, text: str) -> Any:
        import torch

        with torch.inference_mode():
            return self.model.encode_text(self.tokenizer([text]), normalize=True)[0].numpy()


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_vectors_are_those_of_the_library(folders: dict[str, Path], kind: str) -> None:
    folder = str(folders[kind])
    encoder, library = load(OpenClipEncoder(folder, jpeg_draft=False)), Library(folder)
    # The model of larger pictures is slower: it sees one size of each kind.
    files = [f for f in picture_files() if kind == "clip" or f.name.endswith("111x259")]
    assert len(files) >= (200 if kind == "clip" else 30)
    theirs = library.images([file.shown for file in files])
    ours, _ = encode_all(encoder, [Media("image", file.data) for file in files])
    assert canaries.cosines(ours, theirs).min() >= 0.999
    texts = np.stack([library.text(text) for text in TEXTS])
    assert canaries.cosines(encode_all(encoder, TEXTS)[0], texts).min() >= 0.999999
    assert encoder.dim == theirs.shape[1]


def test_pictures_and_texts_may_stand_in_one_batch_in_any_order(folders: dict[str, Path]) -> None:
    encoder = load(OpenClipEncoder(str(folders["clip"])))
    known = canaries.contents(encoder)
    alone = encode_all(encoder, known, batch_cost=1)[0]
    order = np.random.default_rng(0).permutation(len(known))
    together = encoder.encode(encoder.prepare([known[i] for i in order]))
    assert canaries.cosines(together, alone[order]).min() >= 1 - 1e-6
    assert np.abs(np.linalg.norm(together.astype(np.float64), axis=1) - 1).max() <= 1e-7
    assert encoder.encode([]).shape == (0, 24)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_texts_are_counted_as_the_library_cuts_them(folders: dict[str, Path], kind: str) -> None:
    folder = str(folders[kind])
    encoder, library = load(OpenClipEncoder(folder)), Library(folder)
    tokenizer, inner = encoder.tokenizer(), library.tokenizer
    for text in TEXTS:
        ids = inner.tokenizer.encode(inner.clean_fn(text), add_special_tokens=False, verbose=False)
        assert tokenizer.count(text) == len(ids), text
    assert tokenizer.limit is not None
    assert tokenizer.limit == inner.context_length - 2
    ends = [n for n in range(1, 200) if tokenizer.count("ab " * n) <= tokenizer.limit]
    within, beyond = "ab " * ends[-1], "ab " * (ends[-1] + 1)
    items = encoder.prepare([within, beyond, beyond * 100_000])
    assert [item.truncated for item in items] == [False, True, True]
    vectors = encoder.encode(items)
    assert canaries.cosines(vectors[2:], library.text(beyond * 10)[None])[0] >= 0.999999


def test_the_tokenizer_that_open_clip_brings_is_counted_without_torch(tmp_path: Path) -> None:
    import open_clip

    texts = [*TEXTS, "<start_of_text> it's <end_of_text>", "it's we're I'd 12345 ²½ ǅ x" * 3]
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    code = f"""
import json, pathlib, sys
from tasks.encoders.open_clip import OpenClipEncoder
encoder = OpenClipEncoder("ViT-B-32", seed=0)
texts = json.loads(pathlib.Path({str(tmp_path / "texts.json")!r}).read_text())
tokenizer = encoder.tokenizer()
print(json.dumps([encoder.dim, tokenizer.limit, [tokenizer.count(text) for text in texts]]))
assert encoder.fingerprint()["weights"] is None
assert not {{"torch", "open_clip", "timm", "transformers"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    tokenizer = open_clip.SimpleTokenizer()
    assert json.loads(done.stdout) == [512, 75, [len(tokenizer.encode(text)) for text in texts]]


def test_prompts_are_put_around_texts_or_before_them(folders: dict[str, Path]) -> None:
    make = OpenClipEncoder
    plain = load(make(str(folders["clip"])))
    asked = load(make(str(folders["clip"]), prompt="now: ", query_prompt="a photo of a {}, bright"))
    texts = ["cat", "mat"]
    by_hand = encode_all(plain, [f"now: {text}" for text in texts])[0]
    assert canaries.cosines(encode_all(asked, texts)[0], by_hand).min() >= 0.999999
    queries = Batcher(asked).encode(asked.prepare_query(texts))
    by_hand = encode_all(plain, [f"a photo of a {text}, bright" for text in texts])[0]
    assert canaries.cosines(queries, by_hand).min() >= 0.999999
    limit = plain.tokenizer().limit
    assert limit is not None
    assert asked.tokenizer().limit == limit - plain.tokenizer().count("now: ")


def test_a_jpeg_decoded_small_has_nearly_the_same_vector() -> None:
    shapes = [(1280, 960), (960, 1280), (700, 2000), (520, 390)]
    contents = [
        Media("image", save(Image.fromarray(drawing(*shape, seed)), "JPEG", quality=85))
        for seed, shape in enumerate(shapes * 2)
    ]
    # The weights that come with vectorline: random ones say nothing of what a model overlooks.
    small, whole = (
        encode_all(load(OpenClipEncoder(jpeg_draft=draft)), contents)[0] for draft in (True, False)
    )
    assert 0.999 <= canaries.cosines(small, whole).min() < 1 - 1e-7


def test_a_content_of_another_kind_and_a_broken_one_are_told(folders: dict[str, Path]) -> None:
    encoder = load(OpenClipEncoder(str(folders["clip"]), max_pixels=100))
    contents: list[Content] = [
        Media("audio", b"x"),
        "text",
        Media("image", b""),
        canaries.images()[0],
    ]
    problems = [item.problem for item in encoder.prepare(contents)]
    assert [problem and problem.reason for problem in problems] == [
        "wrong_type",
        None,
        "empty",
        "too_many_pixels",
    ]
    with pytest.raises(TypeError, match="not prepared by this encoder"):
        encoder.encode(encoder.prepare(contents[:1]))


def test_bfloat16_gives_the_same_directions(folders: dict[str, Path]) -> None:
    encoder = load(OpenClipEncoder(str(folders["clip"])))
    stored = canaries.canary_vectors(encoder)
    canaries.check(load(encoder, "bfloat16"), stored, floor=0.999)


def test_a_fingerprint_follows_files_and_arguments_but_not_the_place(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(folders["clip"], tmp_path / "copy")
    (copy / "README.md").write_text("other words")
    (copy / "results.json").write_text("{}")
    make = OpenClipEncoder
    own = make(str(folders["clip"])).fingerprint()
    assert make(f"local-dir:{copy}").fingerprint() == own
    assert make(str(copy), max_pixels=7).fingerprint() == own
    others = [
        make(str(copy), prompt="p ").fingerprint(),
        make(str(copy), query_prompt="q ").fingerprint(),
        make(str(copy), jpeg_draft=False).fingerprint(),
    ]
    config = copy / "open_clip_config.json"
    said = json.loads(config.read_text())
    for change in ({"resize_mode": "squash"}, {"mean": [0.5] * 3}, {"interpolation": "bilinear"}):
        config.write_text(json.dumps({**said, "preprocess_cfg": change}))
        others.append(make(str(copy)).fingerprint())
    weights = load_file(copy / "open_clip_model.safetensors")
    weights["logit_scale"] += 1
    save_file(weights, copy / "open_clip_model.safetensors", {"format": "pt"})
    others.append(make(str(copy)).fingerprint())
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    (copy / "tokenizer.json").write_text(json.dumps({**tokenizer, "version": "1.1"}))
    others.append(make(str(copy)).fingerprint())
    assert len({json.dumps(one, sort_keys=True) for one in [own, *others]}) == 9


def test_weights_are_taken_from_a_file_and_must_fit(tmp_path: Path) -> None:
    import open_clip
    import torch

    torch.manual_seed(3)
    model = open_clip.create_model("ViT-S-32-alt")
    file = tmp_path / "weights.safetensors"
    save_file({name: one.numpy() for name, one in model.state_dict().items()}, file)
    encoder = load(OpenClipEncoder("ViT-S-32-alt", pretrained=str(file)))
    random = load(OpenClipEncoder("ViT-S-32-alt", seed=3))
    picture = [canaries.images()[1]]
    same = canaries.cosines(encode_all(encoder, picture)[0], encode_all(random, picture)[0])[0]
    assert same >= 0.999999
    other = load(OpenClipEncoder("ViT-S-32-alt", seed=4))
    assert canaries.cosines(encode_all(other, picture)[0], encode_all(random, picture)[0])[0] < 0.9
    fingerprints = [one.fingerprint() for one in (encoder, random, other)]
    assert len({json.dumps(one) for one in fingerprints}) == 3
    with pytest.raises(EncoderError, match="cannot be loaded"):
        load(OpenClipEncoder("ViT-B-32", pretrained=str(file)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "ViT-B-32"}, ConfigError, "give `pretrained`, .* or `seed`"),
        ({"model": "ViT-B-32", "pretrained": "x", "seed": 1}, ConfigError, "give `pretrained`"),
        ({"model": "ViT-B32", "seed": 1}, EncoderError, "did you mean ViT-B-32"),
        (
            {"model": "ViT-B-32", "pretrained": "laion"},
            EncoderError,
            "nor a tag .*laion2b_s34b_b79k",
        ),
        (
            {"model": "ViT-B-32", "pretrained": "openai"},
            ConfigError,
            "another activation function: use model 'ViT-B-32-quickgelu'",
        ),
        (
            {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"},
            EncoderError,
            "laion/CLIP-ViT-B-32-laion2B-s34B-b79K'.*HF_HUB_OFFLINE is set",
        ),
        ({"model": "hf-hub:no/model"}, EncoderError, "'no/model'.*HF_HUB_OFFLINE is set"),
        ({"model": "./nothing"}, EncoderError, "no such folder"),
        ({"model": "local-dir:nothing/here"}, EncoderError, "nothing/here"),
        ({"max_pixels": 0}, ConfigError, r"encoder\.max_pixels is 0"),
    ],
)
def test_a_model_that_cannot_be_is_told_with_what_to_do(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        OpenClipEncoder(**arguments).fingerprint()


def test_a_folder_that_is_no_model_and_weights_of_its_own_are_told(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(EncoderError, match=r"no open_clip_config\.json, so it is no model"):
        OpenClipEncoder(str(tmp_path)).fingerprint()
    shutil.copy(folders["clip"] / "open_clip_config.json", tmp_path)
    with pytest.raises(EncoderError, match="has no weights"):
        OpenClipEncoder(str(tmp_path)).fingerprint()
    with pytest.raises(ConfigError, match="has weights of its own: leave it out"):
        OpenClipEncoder(str(folders["clip"]), seed=1).fingerprint()
    broken = shutil.copytree(folders["clip"], tmp_path / "broken")
    with (broken / "open_clip_model.safetensors").open("r+b") as file:
        file.truncate(1_000)
    with pytest.raises(EncoderError, match="broken cannot be loaded"):
        load(OpenClipEncoder(str(broken)))


def test_loading_and_encoding_print_nothing(
    folders: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = load(OpenClipEncoder(str(folders["siglip"])))
    encode_all(encoder, canaries.contents(encoder))
    assert capfd.readouterr() == ("", "")


def test_running_out_of_memory_is_a_memory_error(folders: dict[str, Path]) -> None:
    import torch

    encoder = load(OpenClipEncoder(str(folders["clip"])))
    assert encoder._loaded is not None
    visual = encoder._loaded._model.visual
    visual.register_forward_pre_hook(lambda *_: (torch.empty(1 << 50), None)[1])
    with pytest.raises(MemoryError, match=r"1 contents on cpu: .*can't allocate memory"):
        encode_all(encoder, [canaries.images()[0]])
    vectors: Vectors = encode_all(encoder, ["a"])[0]
    assert vectors.shape == (1, 24)
