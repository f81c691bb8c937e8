"""Which files make a model, what they say, and digests that are kept."""

import hashlib
import importlib
import json
import os
from pathlib import Path

import pytest

from tasks.encoders import model_settings as settings
from tasks.encoders import weights
from tasks.encoders.hub import DEFAULT_MODEL, choose_files, find_model
from tasks.encoders.text_tokens import beginning
from tasks.errors import EncoderError, UnknownModel


def write_model(folder: Path, **files: object) -> Path:
    """A model's JSON files; `__` in a name stands for a slash."""
    for name, value in {"modules": [], "config": {"hidden_size": 8}, **files}.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    return folder


def module(kind: str, path: str) -> dict[str, str]:
    return {"type": f"sentence_transformers.models.{kind}", "path": path}


def test_files_of_other_runtimes_checkpoints_and_older_formats_are_left_out() -> None:
    names = [
        "README.md",
        "config.json",
        "modules.json",
        "model.safetensors",
        "pytorch_model.bin",
        "2_Dense/pytorch_model.bin",
        "2_Dense/config.json",
        "sentencepiece.bpe.model",
        "onnx/config.json",
        "onnx/model.onnx",
        "checkpoint-500/model.safetensors",
        ".cache/config.json",
        "train_script.py",
        "training_args.bin",
    ]
    expected = (
        "2_Dense/config.json",
        "2_Dense/pytorch_model.bin",
        "config.json",
        "model.safetensors",
        "modules.json",
        "sentencepiece.bpe.model",
    )
    assert choose_files(names, with_code=False) == expected
    assert choose_files(names, with_code=True) == (*expected, "train_script.py")


def test_a_digest_is_read_once_and_again_when_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.safetensors"
    first, second = b"1" * (1 << 20), b"2" * (1 << 20)
    path.write_bytes(first)
    assert weights.sha256(path) == hashlib.sha256(first).hexdigest()
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(second)
    os.utime(path, ns=times)
    # The size and the time are those of before: the cache answers, not the file.
    assert weights.sha256(path) == hashlib.sha256(first).hexdigest()
    os.utime(path, ns=(times[0], times[1] + 1))
    assert weights.sha256(path) == hashlib.sha256(second).hexdigest()


@pytest.mark.parametrize("broken", ["", "[]", '{"key": 1}', "\udcff"])
def test_a_broken_cache_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"3" * (1 << 20))
    weights.sha256(path)
    for kept in (tmp_path / "cache" / "sha256").iterdir():
        kept.write_bytes(broken.encode("utf-8", "surrogateescape"))
    assert weights.sha256(path) == hashlib.sha256(b"3" * (1 << 20)).hexdigest()


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "file"))
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"4" * (1 << 20))
    assert weights.sha256(path) == hashlib.sha256(b"4" * (1 << 20)).hexdigest()


def test_dimensions_follow_the_modules(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain")
    old = write_model(
        tmp_path / "old",
        modules=[
            module("Transformer", ""),
            module("Pooling", "1_Pooling"),
            module("Normalize", "2"),
        ],
        **{
            "1_Pooling__config": {
                "word_embedding_dimension": 8,
                "pooling_mode_cls_token": True,
                "pooling_mode_mean_tokens": True,
            }
        },
    )
    new = write_model(
        tmp_path / "new",
        modules=[module("Transformer", ""), module("Pooling", "p"), module("Dense", "d")],
        p__config={"embedding_dimension": 8, "pooling_mode": ["cls", "max", "mean"]},
        d__config={"in_features": 24, "out_features": 5},
    )
    unknown = write_model(tmp_path / "unknown", modules=[module("StaticEmbedding", "")])
    found = [
        settings.dimension(find_model(str(folder), None, with_code=False))
        for folder in (plain, old, new, unknown)
    ]
    assert found == [8, 16, 5, None]


def test_the_longest_text_is_what_the_settings_or_the_tokenizer_say(tmp_path: Path) -> None:
    said = write_model(tmp_path / "said", sentence_bert_config={"max_seq_length": 77})
    capped = write_model(
        tmp_path / "capped",
        config={"max_position_embeddings": 512},
        tokenizer_config={"model_max_length": 1e30},
    )
    tokenizer = write_model(tmp_path / "tokenizer", tokenizer_config={"model_max_length": 99})
    endless = write_model(tmp_path / "endless")
    found = [
        settings.longest_text(find_model(str(folder), None, with_code=False))
        for folder in (said, capped, tokenizer, endless)
    ]
    assert found == [77, 512, 99, None]


def test_prompts_are_taken_by_role_by_name_or_literally(tmp_path: Path) -> None:
    prompts = {"query": "query: ", "passage": "passage: ", "sts": "same? ", "document": ""}
    e5 = find_model(
        str(write_model(tmp_path / "e5", config_sentence_transformers={"prompts": prompts})),
        None,
        with_code=False,
    )
    default = find_model(
        str(
            write_model(
                tmp_path / "default",
                config_sentence_transformers={
                    "prompts": {"sts": "same? "},
                    "default_prompt_name": "sts",
                },
            )
        ),
        None,
        with_code=False,
    )
    assert settings.document_prompt(e5, None) == "passage: "
    assert settings.query_prompt(e5, None) == "query: "
    assert settings.query_prompt(e5, "sts") == "same? "
    assert settings.query_prompt(e5, "Find: ") == "Find: "
    assert settings.query_prompt(e5, "") == ""
    assert settings.query_prompt(default, None) == "same? "


def test_a_folder_without_a_model_and_a_folder_that_is_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"neither modules\.json nor config\.json"):
        find_model(str(tmp_path), None, with_code=False)
    with pytest.raises(EncoderError, match="no such folder"):
        find_model(str(tmp_path / "nothing"), None, with_code=False)
    with pytest.raises(EncoderError, match="no revision 'main'"):
        find_model(str(write_model(tmp_path / "model")), "main", with_code=False)


def test_the_beginning_of_a_long_text_has_tokens_to_spare() -> None:
    text = "ab " * 10_000
    part = beginning(text, 10, lambda words: len(words.split()))
    assert text.startswith(part)
    assert len(part.split()) >= 10 + 64
    assert len(part) < 2_000
    assert beginning("short text", 10, len) == "short text"
    # One endless word: 4,096 characters for each token are looked at, not more.
    assert beginning("x" * 100_000, 10, lambda _: 1) == "x" * 40_960


def test_the_packaged_model_stands_for_its_own_commits_alone() -> None:
    packaged = find_model(DEFAULT_MODEL, None, with_code=False)
    assert find_model(DEFAULT_MODEL, "8b3219a", with_code=False) == packaged
    for other in ("8b3219", "0123456"):  # too short to be sure, another one: the hub is asked
        with pytest.raises(EncoderError, match="HF_HUB_OFFLINE is set"):
            find_model(DEFAULT_MODEL, other, with_code=False)


@pytest.mark.parametrize(
    ("module", "attribute", "arguments"),
    [
        ("timm", "TimmEncoder", {"model": "vit_base_patch14_dinov33"}),
        ("timm", "TimmEncoder", {"model": "resnet18", "checkpoint": "no.pt"}),
        ("open_clip", "OpenClipEncoder", {"model": "ViT-B-33", "pretrained": "openai"}),
        ("open_clip", "OpenClipEncoder", {"model": "ViT-B-32", "pretrained": "laion2b_s34"}),
        ("sentence_transformers", "SentenceTransformersEncoder", {"model": "./nothing"}),
    ],
)
def test_a_model_that_is_not_to_be_had_is_a_mistake_in_the_config(
    module: str, attribute: str, arguments: dict[str, str]
) -> None:
    encoder = getattr(importlib.import_module(f"tasks.encoders.{module}"), attribute)(**arguments)
    with pytest.raises(UnknownModel) as failed:
        encoder.fingerprint()
    assert failed.value.exit_code == 2
