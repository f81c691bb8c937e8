"""Small models of every kind, as SentenceTransformer.save writes them.

Import it inside a fixture: what it imports takes ten seconds, and each process of the tests
collects all of them.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    StaticEmbedding,
    Transformer,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
)


def train_tokenizer(
    model: models.Model, trainer: trainers.Trainer, texts: list[str], *, byte_level: bool
) -> Tokenizer:
    tokenizer = Tokenizer(model)
    split = pre_tokenizers.ByteLevel() if byte_level else pre_tokenizers.BertPreTokenizer()
    tokenizer.pre_tokenizer = split
    if byte_level:
        tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def wordpiece(texts: list[str]) -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = train_tokenizer(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=400, special_tokens=special),
        texts,
        byte_level=False,
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def byte_pairs(texts: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer(
        models.BPE(),
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=["<pad>", "<end>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
        texts,
        byte_level=True,
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <end>", special_tokens=[("<end>", 1)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", padding_side="left"
    )


def save_bert(folder: Path, tokenizer: PreTrainedTokenizerFast) -> str:
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def save_decoder(folder: Path, tokenizer: PreTrainedTokenizerFast) -> str:
    torch.manual_seed(2)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        max_position_embeddings=256,
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=1,
    )
    Qwen3Model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def save_models(root: Path, texts: list[str], prompts: dict[str, str]) -> dict[str, Path]:
    """One folder for each kind of model, whose tokenizers are trained on these texts."""
    words = wordpiece(texts)
    bert = partial(Transformer, save_bert(root / "bert", words))
    decoder = partial(Transformer, save_decoder(root / "decoder", byte_pairs(texts)))
    torch.manual_seed(3)
    kinds: dict[str, Callable[[], SentenceTransformer]] = {
        "mean": lambda: SentenceTransformer(
            modules=[bert(max_seq_length=24), Pooling(32, "mean"), Normalize()], device="cpu"
        ),
        "class": lambda: SentenceTransformer(
            modules=[bert(), Pooling(32, "cls"), Dense(32, 12)], device="cpu"
        ),
        "prompts": lambda: SentenceTransformer(
            modules=[bert(), Pooling(32, "mean")], prompts=prompts, device="cpu"
        ),
        "instructor": lambda: SentenceTransformer(
            modules=[bert(), Pooling(32, "mean", include_prompt=False)],
            prompts=prompts,
            device="cpu",
        ),
        "last token": lambda: SentenceTransformer(
            modules=[decoder(), Pooling(32, "lasttoken"), Normalize()],
            prompts={"query": prompts["query"], "document": ""},
            device="cpu",
        ),
        "static": lambda: SentenceTransformer(
            modules=[StaticEmbedding(words, embedding_dim=20)], device="cpu"
        ),
    }
    for name, make in kinds.items():
        make().save(str(root / name), create_model_card=False)
    return {name: root / name for name in kinds}
