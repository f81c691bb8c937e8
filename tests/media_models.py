"""Small random models of pictures and sounds, as their libraries write them.

Import it inside a fixture: what it imports takes ten seconds.
"""

import json
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from safetensors.torch import save_file
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from tests.text_models import wordpiece

CLIP = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "layers": 2, "width": 64, "head_width": 32},
    "text_cfg": {
        "context_length": 20,
        "vocab_size": 400,
        "width": 32,
        "heads": 2,
        "layers": 2,
        "hf_tokenizer_name": "beside",
        "pool_type": "last",
    },
}
SIGLIP = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 160,
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "map",
        "timm_proj": "none",
    },
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 400,
        "width": 64,
        "heads": 2,
        "layers": 2,
        "hf_tokenizer_name": "beside",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "no_causal_mask": True,
        "pool_type": "last",
        "proj_bias": True,
    },
}
SIGLIP_PICTURES = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}


def save_clip(folder: Path, config: dict[str, Any], pictures: dict[str, Any]) -> Path:
    """A folder that open_clip loads by `local-dir:`; its weights are drawn wide: they differ."""
    folder.mkdir()
    settings = {"model_cfg": config, "preprocess_cfg": pictures}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    wordpiece(list(_texts())).save_pretrained(folder)
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(std=0.2)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def save_timm(folder: Path, name: str) -> Path:
    """A folder that timm loads by `local-dir:`."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5)
    timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    return folder


def save_clap(folder: Path, *, fusion: bool) -> Path:
    """A folder that transformers loads, with a tower of sounds of four narrow stages."""
    tokenizer = wordpiece(list(_texts()))
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.model_max_length = 40
    config = ClapConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 60,
            "pad_token_id": 0,
            "initializer_range": 0.2,
        },
        audio_config={
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 2, 2],
            "patch_embeds_hidden_size": 16,
            "hidden_size": 128,
            "enable_fusion": fusion,
            "initializer_range": 0.2,
        },
        projection_dim=24,
    )
    torch.manual_seed(0)
    ClapModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ClapFeatureExtractor(
        sampling_rate=48_000, truncation="fusion" if fusion else "rand_trunc", max_length_s=10
    ).save_pretrained(folder)
    return folder


def _texts() -> tuple[str, ...]:
    from tasks.encoders.canaries import TEXTS

    return TEXTS
