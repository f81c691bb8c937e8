"""Small random models of every kind, against SentenceTransformer itself, one text at a time."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
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

from tasks.encoders import canaries
from tasks.encoders.base import Precision, Vectors
from tasks.encoders.batching import Batcher, encode_all
from tasks.encoders.sentence_transformers import SentenceTransformersEncoder
from tasks.errors import ConfigError, EncoderError

PROMPTS = {"query": "Find what answers: ", "document": "passage: "}
TEXTS = [*canaries.TEXTS[:14], "x " * 30, "passage"]


def train_tokenizer(
    model: models.Model, trainer: trainers.Trainer, *, byte_level: bool
) -> Tokenizer:
    tokenizer = Tokenizer(model)
    split = pre_tokenizers.ByteLevel() if byte_level else pre_tokenizers.BertPreTokenizer()
    tokenizer.pre_tokenizer = split
    if byte_level:
        tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([*canaries.TEXTS, *PROMPTS.values()], trainer)
    return tokenizer


@pytest.fixture(scope="module")
def wordpiece() -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = train_tokenizer(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=400, special_tokens=special),
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


@pytest.fixture(scope="module")
def byte_pairs() -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer(
        models.BPE(),
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=["<pad>", "<end>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
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


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory,
    wordpiece: PreTrainedTokenizerFast,
    byte_pairs: PreTrainedTokenizerFast,
) -> dict[str, Path]:
    """One folder for each kind of model, as SentenceTransformer.save writes it."""
    root = tmp_path_factory.mktemp("models")
    bert = partial(Transformer, save_bert(root / "bert", wordpiece))
    decoder = partial(Transformer, save_decoder(root / "decoder", byte_pairs))
    torch.manual_seed(3)
    kinds: dict[str, Callable[[], SentenceTransformer]] = {
        "mean": lambda: SentenceTransformer(
            modules=[bert(max_seq_length=24), Pooling(32, "mean"), Normalize()], device="cpu"
        ),
        "class": lambda: SentenceTransformer(
            modules=[bert(), Pooling(32, "cls"), Dense(32, 12)], device="cpu"
        ),
        "prompts": lambda: SentenceTransformer(
            modules=[bert(), Pooling(32, "mean")], prompts=PROMPTS, device="cpu"
        ),
        "instructor": lambda: SentenceTransformer(
            modules=[bert(), Pooling(32, "mean", include_prompt=False)],
            prompts=PROMPTS,
            device="cpu",
        ),
        "last token": lambda: SentenceTransformer(
            modules=[decoder(), Pooling(32, "lasttoken"), Normalize()],
            prompts={"query": PROMPTS["query"], "document": ""},
            device="cpu",
        ),
        "static": lambda: SentenceTransformer(
            modules=[StaticEmbedding(wordpiece, embedding_dim=20)], device="cpu"
        ),
    }
    for name, make in kinds.items():
        make().save(str(root / name), create_model_card=False)
    return {name: root / name for name in kinds}


def load(encoder: SentenceTransformersEncoder, precision: str = "float32") -> None:
    encoder.load(Precision(precision), device="cpu", threads=2)


def lowest_cosine(ours: Vectors, theirs: Vectors) -> float:
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float((np.einsum("ij,ij->i", ours, theirs) / norms).min())


KINDS = ["mean", "class", "prompts", "instructor", "last token", "static"]


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_the_library_one_text_at_a_time(
    folders: dict[str, Path], kind: str
) -> None:
    encoder = SentenceTransformersEncoder(str(folders[kind]))
    load(encoder)
    oracle = SentenceTransformer(str(folders[kind]), device="cpu", local_files_only=True)
    documents = np.stack([oracle.encode_document([text])[0] for text in TEXTS])
    queries = np.stack([oracle.encode_query([text])[0] for text in TEXTS])
    for batch_cost in (1, 10_000):
        batcher = Batcher(encoder, batch_cost)
        assert lowest_cosine(batcher.encode(encoder.prepare(TEXTS)), documents) >= 0.999999
        assert lowest_cosine(batcher.encode(encoder.prepare_query(TEXTS)), queries) >= 0.999999
    assert encoder.dim == documents.shape[1]


def test_only_the_static_model_is_read_by_the_library(folders: dict[str, Path]) -> None:
    readers = {}
    for kind in KINDS:
        encoder = SentenceTransformersEncoder(str(folders[kind]))
        load(encoder)
        payload = encoder.prepare(["text"])[0].payload
        readers[kind] = type(getattr(payload, "reader", None)).__name__
    assert readers == {kind: "TokenReader" for kind in KINDS} | {"static": "LibraryReader"}


def test_a_matryoshka_cut_is_of_unit_norm_only_if_asked(folders: dict[str, Path]) -> None:
    oracle = SentenceTransformer(str(folders["mean"]), device="cpu", local_files_only=True)
    whole = oracle.encode(TEXTS)
    unit = SentenceTransformersEncoder(str(folders["mean"]), dim=8)
    plain = SentenceTransformersEncoder(str(folders["mean"]), dim=8, normalize=False)
    load(unit)
    load(plain)
    cut = whole[:, :8]
    expected = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    # Sums in another order: a few units in the last place of float32.
    np.testing.assert_allclose(encode_all(unit, TEXTS)[0], expected, atol=2e-6)
    np.testing.assert_allclose(encode_all(plain, TEXTS)[0], cut, atol=2e-6)
    assert (unit.dim, plain.dim) == (8, 8)
    with pytest.raises(ConfigError, match=r"encoder\.dim is 33, but .* gives 32 at most"):
        _ = SentenceTransformersEncoder(str(folders["mean"]), dim=33).dim


def test_prompts_of_the_config_come_before_those_of_the_model(folders: dict[str, Path]) -> None:
    own = SentenceTransformersEncoder(str(folders["prompts"]), prompt="query", query_prompt="Q: ")
    plain = SentenceTransformersEncoder(str(folders["prompts"]), prompt="", query_prompt="")
    load(own)
    load(plain)
    by_hand = [PROMPTS["query"] + text for text in TEXTS]
    assert lowest_cosine(encode_all(own, TEXTS)[0], encode_all(plain, by_hand)[0]) >= 0.999999
    queries = Batcher(own).encode(own.prepare_query(TEXTS))
    by_hand = ["Q: " + text for text in TEXTS]
    assert lowest_cosine(queries, encode_all(plain, by_hand)[0]) >= 0.999999


def test_documents_and_queries_cannot_share_a_batch(folders: dict[str, Path]) -> None:
    encoder = SentenceTransformersEncoder(str(folders["prompts"]))
    load(encoder)
    with pytest.raises(ValueError, match="one call of prepare"):
        encoder.encode([*encoder.prepare(["a"]), *encoder.prepare_query(["a"])])


@pytest.mark.parametrize("kind", ["mean", "last token"])
def test_texts_are_cut_at_the_limit_and_said_to_be(folders: dict[str, Path], kind: str) -> None:
    encoder = SentenceTransformersEncoder(str(folders[kind]), max_tokens=10)
    load(encoder)
    tokenizer = encoder.tokenizer()
    assert tokenizer.limit is not None
    text = "The cat sat on the mat. Is water wet? " * 3
    ends = [at for at in range(len(text)) if tokenizer.count(text[:at]) <= tokenizer.limit]
    within, beyond = text[: ends[-1]], text[: ends[-1] + 12]
    items = encoder.prepare([within, beyond, text * 100_000])
    assert [item.truncated for item in items] == [False, True, True]
    assert [item.cost for item in items] == [10, 10, 10]
    vectors = encoder.encode(items)
    oracle = SentenceTransformer(str(folders[kind]), device="cpu", local_files_only=True)
    oracle.max_seq_length = 10
    assert lowest_cosine(vectors, oracle.encode([within, beyond, text * 3])) >= 0.999999


def test_a_limit_beyond_the_models_positions_is_refused(folders: dict[str, Path]) -> None:
    encoder = SentenceTransformersEncoder(str(folders["mean"]), max_tokens=65)
    with pytest.raises(ConfigError, match=r"max_tokens is 65, but .* reads 64 at most"):
        encoder.fingerprint()


def test_bfloat16_gives_the_same_directions(folders: dict[str, Path]) -> None:
    encoder = SentenceTransformersEncoder(str(folders["mean"]))
    load(encoder)
    stored = canaries.canary_vectors(encoder)
    load(encoder, "bfloat16")
    canaries.check(encoder, stored, floor=0.999)
    assert np.abs(np.linalg.norm(canaries.canary_vectors(encoder), axis=1) - 1).max() <= 1e-6


def test_a_fingerprint_follows_files_and_arguments_but_not_the_place(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(folders["mean"], tmp_path / "copy")
    (copy / "README.md").write_text("other words")
    make = SentenceTransformersEncoder
    own = make(str(folders["mean"])).fingerprint()
    assert make(str(copy)).fingerprint() == own
    others = [
        make(str(copy), dim=8).fingerprint(),
        make(str(copy), normalize=False).fingerprint(),
        make(str(copy), prompt="p: ").fingerprint(),
        make(str(copy), query_prompt="q: ").fingerprint(),
        make(str(copy), max_tokens=20).fingerprint(),
    ]
    pooling = copy / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace('"mean"', '"cls"'))
    others.append(make(str(copy)).fingerprint())
    assert len({json.dumps(one, sort_keys=True) for one in [own, *others]}) == 7


def test_weights_with_nan_are_named_by_the_canaries(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    broken = shutil.copytree(folders["mean"], tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if "layer.1" in name)
    weights[name][0] = torch.nan
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    encoder = SentenceTransformersEncoder(str(broken))
    load(encoder)
    with pytest.raises(EncoderError, match=r"broken.*16 of 16 canaries are NaN.*weights"):
        canaries.canary_vectors(encoder)


def test_damaged_weights_are_an_encoder_error(folders: dict[str, Path], tmp_path: Path) -> None:
    broken = shutil.copytree(folders["mean"], tmp_path / "broken")
    with (broken / "model.safetensors").open("r+b") as file:
        file.truncate(1_000)
    with pytest.raises(EncoderError, match="broken cannot be loaded"):
        load(SentenceTransformersEncoder(str(broken)))


def test_loading_and_encoding_print_nothing(
    folders: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = SentenceTransformersEncoder(str(folders["last token"]))
    load(encoder)
    encode_all(encoder, TEXTS)
    assert capfd.readouterr() == ("", "")


def test_running_out_of_memory_is_a_memory_error(folders: dict[str, Path]) -> None:
    encoder = SentenceTransformersEncoder(str(folders["mean"]))
    load(encoder)
    assert encoder._loaded is not None
    first = encoder._loaded._model[0]
    first.register_forward_pre_hook(lambda *_: (torch.empty(1 << 50), None)[1])
    with pytest.raises(MemoryError, match=r"1 texts on cpu: .*can't allocate memory"):
        encode_all(encoder, ["a"])


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """A model hub with one model, `org/tiny`, at one commit; its weights are large files."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        paths = parse_qs(self.rfile.read(length).decode())["paths"]
        self.asked.append(f"digests of {paths}")
        self.answer(200, json.dumps([self.entry(self.folder / path) for path in paths]).encode())

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.asked.append(f"{self.command} {path}")
        known, _, rest = path.removeprefix("/api/models").removeprefix("/org/tiny").partition("/")
        kind, _, rest = rest.partition("/")
        commit, _, name = rest.partition("/")
        if "/org/tiny" not in path or known:
            self.answer(404, error="RepoNotFound")
        elif kind and commit not in ("main", COMMIT, COMMIT[:7]):
            self.answer(404, error="RevisionNotFound")
        elif kind in ("", "revision"):
            self.answer(200, json.dumps({"id": "org/tiny", "sha": COMMIT}).encode())
        elif kind == "tree":
            files = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
            self.answer(200, json.dumps([self.entry(path) for path in files]).encode())
        else:
            content = (self.folder / name).read_bytes()
            self.answer(200, content, etag=self.entry(self.folder / name)["oid"])

    def entry(self, path: Path) -> dict[str, object]:
        content = path.read_bytes()
        entry: dict[str, object] = {
            "type": "file",
            "path": path.relative_to(self.folder).as_posix(),
            "size": len(content),
            "oid": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
        }
        if path.suffix == ".safetensors":
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
        return entry

    def answer(self, status: int, content: bytes = b"", **headers: object) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        for name, key in (("etag", "ETag"), ("error", "X-Error-Code")):
            if name in headers:
                self.send_header(key, str(headers[name]))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def hub(folders: dict[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """Address of a hub that has the `mean` model, and the requests that it gets."""
    asked: list[str] = []
    handler = type("TinyHub", (Hub,), {"folder": folders["mean"], "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def run_with_hub(code: str, address: str, home: Path, **environment: str) -> Any:
    """What `code` prints as JSON in a process of its own, as the hub's address is read once."""
    own = {"HF_ENDPOINT": address, "HF_HOME": str(home), "VECTORLINE_CACHE": str(home / "ours")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | own | {"HF_HUB_OFFLINE": "0"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


FINGERPRINT = """
import json, sys
from tasks.encoders.sentence_transformers import SentenceTransformersEncoder
encoder = SentenceTransformersEncoder("org/tiny", revision={revision!r})
print(json.dumps([encoder.fingerprint(), encoder.dim, encoder.tokenizer().limit]))
assert "torch" not in sys.modules
"""
ENCODE = """
import json
from tasks.encoders.base import Precision
from tasks.encoders.batching import encode_all
from tasks.encoders.sentence_transformers import SentenceTransformersEncoder
encoder = SentenceTransformersEncoder("org/tiny")
encoder.load(Precision.FLOAT32, device="cpu", threads=2)
print(json.dumps([encode_all(encoder, ["The cat sat."])[0].tolist(), encoder.fingerprint()]))
"""
ERROR = """
import json
from tasks.encoders.sentence_transformers import SentenceTransformersEncoder
from tasks.errors import EncoderError
try:
    SentenceTransformersEncoder({name!r}, revision={revision!r}).fingerprint()
except EncoderError as error:
    print(json.dumps(str(error)))
"""


def test_a_published_model_is_known_before_its_weights_and_loads_when_needed(
    folders: dict[str, Path], hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, asked = hub
    local = SentenceTransformersEncoder(str(folders["mean"]))
    load(local)
    expected = [local.fingerprint(), 32, 22]
    before = run_with_hub(FINGERPRINT.format(revision=COMMIT[:7]), address, tmp_path)
    assert before == expected
    assert [request for request in asked if "safetensors" in request] == [
        "digests of ['model.safetensors']"
    ]
    vectors, after = run_with_hub(ENCODE, address, tmp_path)
    assert after == expected[0]
    theirs = np.array(vectors, np.float32)
    assert lowest_cosine(theirs, encode_all(local, ["The cat sat."])[0]) >= 0.999999
    asked.clear()
    offline = run_with_hub(FINGERPRINT.format(revision=None), address, tmp_path, HF_HUB_OFFLINE="1")
    assert offline == expected
    assert asked == []


def test_an_unknown_model_a_wrong_revision_and_no_network_are_told_apart(
    hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, _ = hub
    run = partial(run_with_hub, address=address, home=tmp_path)
    assert run(ERROR.format(name="org/none", revision=None)) == (
        f"model 'org/none': not a folder here, and {address} has no such model;"
        " check the name, or set HF_TOKEN if it is private or gated"
    )
    assert run(ERROR.format(name="org/tiny", revision="v9")) == (
        f"model 'org/tiny', revision 'v9': {address} has the model but no such revision"
    )
    missing = run(ERROR.format(name="org/tiny", revision=None), HF_HUB_OFFLINE="1")
    assert missing == (
        f"model 'org/tiny': not a folder here, not in the cache {tmp_path}/hub, and {address}"
        " cannot be reached (HF_HUB_OFFLINE is set); check name and revision, go online once,"
        " or give a folder that holds the model"
    )
    named = run(ERROR.format(name="no model/at/all", revision=None))
    assert named == (
        "model 'no model/at/all': neither a folder here nor a name as a hub has them,"
        " like 'sentence-transformers/all-MiniLM-L6-v2'"
    )
