"""The config: what is read, and every way in which a user may get it wrong."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.schedules import CronSchedule
from pydantic import BaseModel, ValidationError

import schemas.config
from schemas.config import Schedule
from tasks import config as configs
from tasks import plugins
from tasks.config_mistakes import all_parts, find_mistakes, sinks_called
from tasks.config_schema import config_json_schema
from tasks.errors import ConfigError
from tasks.secrets import resolve_secrets
from tasks.yaml_lines import parse

Write: TypeAlias = Callable[[str | bytes], str]

GOOD = """\
space: papers
source:
  use: jsonl
  path: data/*.jsonl
  id: paper
  text: "{title}. {abstract}"
encoder: {use: hashing, dim: 8}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes papers.yaml into the working folder, so that messages name it without a folder."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> str:
        Path("papers.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return "papers.yaml"

    return write


def message(path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        configs.read_config(path)
    return str(caught.value)


def test_a_config_is_read_whole_with_its_defaults(write: Write, tmp_path: Path) -> None:
    assert configs.read_config(write(GOOD)).model_dump(mode="json") == {
        "space": "papers",
        "source": [
            {
                "use": "jsonl",
                "mode": "snapshot",
                "on_unreadable": "fail",
                "path": f"{tmp_path}/data/*.jsonl",
                "id": "paper",
                "text": "{title}. {abstract}",
            }
        ],
        "chunk": None,
        "encoder": {"use": "hashing", "dim": 8},
        "train": None,
        "evaluate": None,
        "drift": None,
        "compute": {
            "use": "ray",
            "workers": "auto",
            "device": "auto",
            "stall_s": 300.0,
            "address": None,
        },
        "limits": {
            "max_removed": 0.2,
            "max_quarantined": 0.2,
            "max_content_bytes": 64 * 1024 * 1024,
        },
        "publish": [],
        "retention": {"versions": 10, "days": 30, "tables": 30},
        "index": {"columns": [], "recall": 0.95, "rows": 50_000},
        "schedule": None,
        "store_content": True,
        "precision": "auto",
    }


def test_a_single_sink_is_a_list_of_one_with_its_defaults(write: Write, tmp_path: Path) -> None:
    config = configs.read_config(write(GOOD + "publish: {use: parquet, path: out}\n"))
    assert config.model_dump(mode="json")["publish"] == [
        {
            "use": "parquet",
            "name": None,
            "mode": None,
            "columns": None,
            "text": True,
            "compress": None,
            "max_removed": 0.2,
            "max_refused": 0.0,
            "recall": 0.9,
            "keep": 1,
            "sample": 200,
            "path": f"{tmp_path}/out",
        }
    ]
    assert config.publish[0].label == "parquet"


def test_only_sinks_that_are_asked_need_their_secrets(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        f"{GOOD}publish: [{{use: qdrant, name: a, url: {{env: A_URL}}, collection: c}}, "
        "{use: qdrant, name: b, url: {env: B_URL}, collection: c}]\n"
    )
    monkeypatch.delenv("A_URL", raising=False)
    monkeypatch.setenv("B_URL", "http://h")
    assert [one.label for one in configs.read_config(path, sinks_called("b")).publish] == ["a", "b"]
    for wanted in (sinks_called("a"), sinks_called(None), all_parts):
        with pytest.raises(ConfigError, match="environment variable A_URL: set it"):
            configs.read_config(path, wanted)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("publish: {use: parqet, path: x}", "publish.use: 'parqet' is none of"),
        ("publish: {use: parquet}", "publish.path is missing: expected a string"),
        ("publish: {use: parquet, path: x, shards: 3}", "publish.shards: unknown key"),
        (
            "publish: [{use: parquet, path: x}, {use: parquet, path: y}]",
            "sinks of different names, and parquet stands twice",
        ),
        (
            "publish: [{use: parquet, path: x}, {use: parquet, path: x, name: b, text: false}]",
            "publish[1]: sinks 'parquet' and 'b' are at one place: give one of them another",
        ),
        (
            "publish: [{use: parquet, path: x}, {use: faiss, path: ./x/, index: ivf}]",
            "publish[1]: sinks 'parquet' and 'faiss' are at one place",
        ),
        (
            "publish: [{use: pgvector, port: 1}, {use: pgvector, port: 1, name: b, m: 9}]",
            "publish[1]: sinks 'pgvector' and 'b' are at one place",
        ),
        (
            "publish: {use: parquet, path: x, mode: rowwise}",
            "publish: sink 'parquet' cannot publish in mode 'rowwise', but atomic or switch",
        ),
        ("publish: {use: parquet, path: x, name: A b}", "publish.name = 'A b'"),
        (
            "publish: {use: qdrant, url: 'http://x', collection: c, api_key: s3cr3t}",
            "publish.api_key: a secret must not stand in a config: write {env: NAME} and keep the "
            "secret in the environment variable NAME, or {block: secret/NAME} and keep it in that",
        ),
        ("publish: {use: parquet, path: x, compress: {to: int4}}", "publish.compress.to = 'int4'"),
    ],
)
def test_a_mistake_in_a_sink_is_told_with_its_line(write: Write, written: str, said: str) -> None:
    told = message(write(GOOD + written + "\n"))
    assert said in told
    assert "line " in told
    assert "s3cr3t" not in told


class ElsewhereSink:
    """A plugin that does not say which of its arguments say where it is."""

    def __init__(self, *, url: str, index: str = "", bucket: str = "", path: str = "") -> None:
        del url, index, bucket, path


ELSEWHERE = f"{__name__}:ElsewhereSink"


@pytest.mark.parametrize(
    ("use", "one", "other", "same"),
    [
        ("parquet", {"path": "/x"}, {"path": "/x/y/.."}, True),
        ("parquet", {"path": "/x"}, {"path": "/x", "link": "new"}, True),
        ("parquet", {"path": "/x"}, {"path": "/y"}, False),
        ("duckdb", {"path": "/x"}, {"path": "/x/", "collection": "vectorline"}, True),
        ("duckdb", {"path": "/x"}, {"path": "/x", "collection": "c"}, False),
        ("lancedb", {"uri": "/x", "table": "t"}, {"uri": "/x", "table": "t", "refine": 1}, True),
        ("lancedb", {"uri": "/x", "table": "t"}, {"uri": "/x", "table": "u"}, False),
        ("pgvector", {"host": "h"}, {"host": "h", "schema": "public", "timeout_s": 1}, True),
        ("pgvector", {"host": "h", "user": "a"}, {"host": "h", "user": "b"}, False),
        ("pgvector", {"host": "h", "database": "a"}, {"host": "h", "database": "b"}, False),
        ("qdrant", {"url": "u"}, {"url": "u", "api_key": {"env": "K"}}, True),
        ("qdrant", {"url": "u"}, {"url": "v"}, False),
        ("chroma", {"url": "u"}, {"url": "u", "tenant": "t"}, False),
        ("chroma", {"url": "u"}, {"url": "u", "database": "default_database"}, True),
        ("milvus", {"url": "u"}, {"url": "u", "database": "d"}, False),
        ("elasticsearch", {"url": "u"}, {"url": ["u", "v"]}, False),
        ("weaviate", {"url": "u"}, {"url": "u", "grpc_port": 1}, True),
        ("pinecone", {"index": "a"}, {"index": "b"}, False),
        ("pinecone", {"index": "a"}, {"index": "a", "settle_s": 1.0}, True),
        ("pinecone", {"index": "a"}, {"index": "a", "api_key": {"env": "OTHER"}}, False),
        (ELSEWHERE, {"url": "u", "index": "a"}, {"url": "u", "index": "b"}, False),
        (ELSEWHERE, {"url": "u", "path": "p"}, {"url": "u", "path": "p", "bucket": "b"}, False),
        (ELSEWHERE, {"url": "u"}, {"url": "u", "columns": ["year"]}, True),
    ],
)
def test_sinks_are_at_one_place_where_all_is_equal_that_says_where_they_are(
    use: str, one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    remotes = ("qdrant", "chroma", "milvus", "elasticsearch", "weaviate")
    known: dict[str, dict[str, Any]] = {remote: {"collection": "c"} for remote in remotes}
    known["pinecone"] = {"collection": "c", "api_key": {"env": "K"}}
    common = {"use": use, **known.get(use, {})}
    sinks = [{**common, "name": "a", **one}, {**common, "name": "b", **other}]
    good = yaml.safe_load(GOOD)
    data = {**good, "source": [good["source"]], "publish": sinks}
    told = "publish[1]: sinks 'a' and 'b' are at one place: give one of them another"
    assert [str(found) for found in find_mistakes(data)] == [told] * same


def test_a_gate_on_what_cannot_be_judged_is_told_with_its_line(
    write: Write, tmp_path: Path
) -> None:
    (tmp_path / "s.yaml").write_text("tasks:\n- {use: geometry}\n")
    gate = "evaluate:\n  suite: s.yaml\n  gate:\n"
    gate += "    two_nn: {max_drop: 0.1}\n    rank: {max_drop: 1}\n"
    said = message(write(GOOD + gate)).splitlines()
    assert said[0] == (
        "papers.yaml line 11: evaluate.gate.two_nn: no gate can ask for it: neither way is better"
    )
    assert said[1].startswith("papers.yaml line 12: evaluate.gate.rank: suite ")


def test_a_typo_inside_a_gate_is_told_with_its_line(write: Write) -> None:
    gate = "evaluate:\n  suite: s.yaml\n  gate:\n    ndcg@10: {max_dorp: 0.02}\n"
    assert message(write(GOOD + gate)) == (
        "papers.yaml line 11: evaluate.gate.ndcg@10.max_dorp: unknown key, did you mean "
        "'max_drop'? (allowed: max_drop)\n"
        "papers.yaml line 11: evaluate.gate.ndcg@10.max_drop is missing: expected a number >= 0"
    )


def test_relative_paths_start_at_the_folder_of_the_config(write: Write, tmp_path: Path) -> None:
    paths = "[../up.jsonl, /root.jsonl, 's3://bucket/x.jsonl', 'zip::s3://bucket/x', ~/own.jsonl]"
    (tmp_path / "sub" / "models" / "tiny").mkdir(parents=True)
    text = GOOD.replace("data/*.jsonl", paths).replace(
        "{use: hashing, dim: 8}", "{model: models/tiny}"
    )
    Path(write(text)).rename(tmp_path / "sub" / "papers.yaml")
    config = configs.read_config("sub/papers.yaml")
    assert config.source[0].arguments["path"] == [
        f"{tmp_path}/up.jsonl",
        "/root.jsonl",
        "s3://bucket/x.jsonl",
        "zip::s3://bucket/x",
        f"{Path.home()}/own.jsonl",
    ]
    assert config.encoder.arguments == {"model": f"{tmp_path}/sub/models/tiny"}


def test_all_paths_of_a_source_start_there(write: Write, tmp_path: Path) -> None:
    source = "{use: parquet, path: a.parquet, id: id, image_path: at, root: ../images}"
    others = "{use: urls, path: list.txt, cache: cache, allow: [127.0.0.1]}"
    folder = "{use: images, path: b, sidecar: b.csv, metadata: [x]}"
    lines = f"space: papers\nsource: [{source}, {others}, {folder}]\n"
    config = configs.read_config(write(lines + "encoder: {use: hashing, dim: 8}\n"))
    given = [{**one.arguments} for one in config.source]
    assert [one["path"] for one in given] == [
        f"{tmp_path}/a.parquet",
        f"{tmp_path}/list.txt",
        f"{tmp_path}/b",
    ]
    assert given[0]["root"] == f"{tmp_path.parent}/images"
    assert given[1]["cache"] == f"{tmp_path}/cache"
    assert given[2]["sidecar"] == f"{tmp_path}/b.csv"
    limit = config.limits.max_content_bytes
    assert [one.max_content_bytes for one in configs.build_sources(config)] == [limit] * 3


def test_a_model_that_is_no_folder_here_stays_a_name(write: Write) -> None:
    config = configs.read_config(write(GOOD.replace("{use: hashing, dim: 8}", "{model: a/b}")))
    assert config.encoder.arguments == {"model": "a/b"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("space: papers", "", "line 1: space is missing: expected a string"),
        (
            "space: papers",
            "space: a.b",
            "line 1: space = 'a.b': expected 1 to 64 letters, digits, - or _",
        ),
        (
            "encoder:",
            "compute:\n  device: cpu\n  workers: many\nencoder:",
            "line 9: compute.workers = 'many': expected 'auto' or an integer >= 1",
        ),
        (
            "encoder:",
            "compute: {workers: 0}\nencoder:",
            "line 7: compute.workers = 0: expected 'auto' or an integer >= 1",
        ),
        (
            "encoder:",
            "compute: {device: gpu}\nencoder:",
            "line 7: compute.device = 'gpu': expected 'auto', 'cpu', 'cuda' or 'mps'",
        ),
        (
            "encoder:",
            "limits: {max_remove: 1}\nencoder:",
            "line 7: limits.max_remove: unknown key, did you mean 'max_removed'? "
            "(allowed: max_content_bytes, max_quarantined, max_removed)",
        ),
        (
            "encoder:",
            "limits: {max_removed: 20}\nencoder:",
            "line 7: limits.max_removed = 20: expected a number >= 0 and <= 1",
        ),
        (
            "encoder:",
            "chunk: {tokens: 8, overlap: 8}\nencoder:",
            "line 7: chunk.overlap = 8: expected less than tokens (8)",
        ),
        ("encoder:", "chunk: 256\nencoder:", "line 7: chunk = 256: expected a mapping or null"),
        (
            "encoder:",
            "store_content: 1\nencoder:",
            "line 7: store_content = 1: expected true or false",
        ),
        (
            "encoder:",
            'schedule: "61 3 * * *"\nencoder:',
            "line 7: schedule = '61 3 * * *': expected a time as cron writes it, such as "
            "'0 3 * * *' for three each night: bad minute",
        ),
        (
            "encoder:",
            'schedule:\n  run: "0 3 * *"\nencoder:',
            "line 8: schedule.run = '0 3 * *': expected a time as cron writes it, such as "
            "'0 3 * * *' for three each night: minute hour day month weekday",
        ),
        (
            "encoder:",
            'schedule: {maintain: "0 0 30 2 *"}\nencoder:',
            "line 7: schedule.maintain = '0 0 30 2 *': expected a time as cron writes it, such as "
            "'0 3 * * *' for three each night: bad day-of-month",
        ),
        (
            "encoder:",
            'schedule: {run: "0 3 * * *", timezone: Berlin}\nencoder:',
            "line 7: schedule.timezone = 'Berlin': expected a time zone such as 'Europe/Berlin' "
            "or 'UTC'",
        ),
        (
            "encoder:",
            'schedule: {rn: "0 3 * * *"}\nencoder:',
            "line 7: schedule.rn: unknown key, did you mean 'run'? "
            "(allowed: drift, evaluate, maintain, publish, run, timezone)",
        ),
        (
            "encoder:",
            "schedule: 3\nencoder:",
            "line 7: schedule = 3: expected a string or a mapping or null",
        ),
        ("dim: 8", "dim: wide", "line 7: encoder.dim = 'wide': expected an integer"),
        ("dim: 8", "dim: true", "line 7: encoder.dim = true: expected an integer"),
        (
            "dim: 8",
            "dims: 8",
            "line 7: encoder.dims: unknown key, did you mean 'dim'? "
            "(allowed: dim, ngrams, seed, use)",
        ),
        ("dim: 8", "dim: 0", "line 7: encoder: dim is 0, but must be 1 or more"),
        (
            "use: hashing",
            "use: hash",
            "line 7: encoder.use: 'hash' is none of sentence-transformers, hashing, "
            "open-clip, timm, clap, node2vec, deepwalk, word2vec, glove, static-words, "
            "did you mean 'hashing'? "
            "A plugin of your own is named package.module:Attribute",
        ),
        ("  id: paper\n", "", "line 2: source.id is missing: expected a string"),
        (
            "id: paper",
            "id: [paper]",
            """line 5: source.id = ["paper"]: expected a string""",
        ),
        ("id: paper", "id: paper\n  id: doi", "line 6: source.id: stands twice, first in line 5"),
        ("id: paper", "? [a, b]\n  : c", "line 2: source: a key must be plain text"),
        ("dim: 8", "dim: &a [*a]", "line 7: encoder.dim[0]: refers to itself"),
        (
            "use: hashing",
            "use: !!python/object:os.system x",
            "line 7: encoder.use: the tag !!python/object:os.system has no use here",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_key_value_and_what_is_allowed(
    write: Write, old: str, new: str, expected: str
) -> None:
    assert old in GOOD
    found = message(write(GOOD.replace(old, new, 1))).splitlines()
    assert f"papers.yaml {expected}" in found


def test_all_mistakes_are_told_in_the_order_of_their_lines(write: Write) -> None:
    text = "space: papers\nsource:\n  - {use: jsonl, path: x, id: a, text: b, mode: replace}\n"
    text += "  - 4\nprecision: half\nencoder: {use: hashing, dim: x, seed: y}\n"
    assert message(write(text)).splitlines() == [
        "papers.yaml line 3: source[0].mode = 'replace': expected 'snapshot' or 'append'",
        "papers.yaml line 4: source[1] = 4: expected a mapping",
        "papers.yaml line 5: precision = 'half': expected 'auto', 'float32', 'bfloat16' "
        "or 'float16'",
        "papers.yaml line 6: encoder.dim = 'x': expected an integer",
        "papers.yaml line 6: encoder.seed = 'y': expected an integer",
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "papers.yaml line 1: it is empty; `vectorline init` writes one to start from"),
        (
            b"- a\n",
            "papers.yaml line 1: it is no mapping of keys to values; `vectorline init` writes one "
            "to start from",
        ),
        (b"a: [1\nb: 2\n", "papers.yaml line 2: not YAML: expected ',' or ']', but got ':'"),
        (
            b"a: 1\n\tb: 2\n",
            "papers.yaml line 2: not YAML: found character '\\t' that cannot start any token",
        ),
        (b"a: 1\n---\nb: 2\n", "papers.yaml line 2: not YAML: but found another document"),
        (b"a: \xff\n", "config papers.yaml: byte 3 is not UTF-8"),
    ],
)
def test_a_file_that_is_no_yaml_mapping_is_one_clear_error(
    write: Write, content: bytes, expected: str
) -> None:
    assert message(write(content)) == expected


def test_a_config_that_is_not_there_is_one_clear_error(write: Write) -> None:
    assert message("gone.yaml") == "config gone.yaml: No such file or directory"


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("storage_options: {key: AKIA-123}", "source.storage_options.key"),
        ("storage_options: {secret: AKIA-123}", "source.storage_options.secret"),
        (
            "storage_options: {client_kwargs: {aws_session_token: AKIA-123}}",
            "source.storage_options.client_kwargs.aws_session_token",
        ),
        (
            "storage_options: {endpoint: 'https://me:AKIA-123@s3'}",
            "source.storage_options.endpoint",
        ),
        ("api_key: AKIA-123", "source.api_key"),
        ("metadata: ['https://me:AKIA-123@s3']", "source.metadata[0]"),
    ],
)
def test_a_literal_secret_is_refused_and_not_repeated(write: Write, line: str, key: str) -> None:
    found = message(write(GOOD.replace("id: paper", f"id: paper\n  {line}")))
    assert found.splitlines()[0] == (
        f"papers.yaml line 6: {key}: a secret must not stand in a config: write {{env: NAME}} and "
        "keep the secret in the environment variable NAME"
    )
    assert "AKIA-123" not in found


def test_names_of_columns_and_plain_options_are_no_secrets(write: Write) -> None:
    line = "rename: {token: tok}\n  metadata: [token, password]\n  storage_options: {anon: true}"
    config = configs.read_config(write(GOOD.replace("id: paper", f"id: paper\n  {line}")))
    assert config.source[0].arguments["rename"] == {"token": "tok"}


def test_the_pattern_of_words_is_no_secret(write: Write) -> None:
    said = 'encoder: {use: word2vec, word_pattern: "[a-z]+"}'
    config = configs.read_config(write(GOOD.replace("encoder: {use: hashing, dim: 8}", said)))
    assert config.encoder.arguments == {"word_pattern": "[a-z]+"}


def test_a_secret_stays_a_reference_until_a_plugin_is_built(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEED", "the seed")
    data = yaml.safe_load(GOOD) | {"encoder": {"use": "hashing", "seed": {"env": "SEED"}}}
    config = configs.from_dict(data, "the catalog")
    kept = json.loads(json.dumps(config.model_dump(mode="json")))
    assert kept["encoder"] == {"use": "hashing", "seed": {"env": "SEED"}}
    assert configs.from_dict(kept, "the catalog") == config
    assert resolve_secrets(config.encoder.arguments) == {"seed": "the seed"}
    monkeypatch.delenv("SEED")
    with pytest.raises(ConfigError, match="from environment variable SEED: set it"):
        resolve_secrets(config.encoder.arguments)


def test_a_config_from_the_catalog_names_where_it_comes_from() -> None:
    data = yaml.safe_load(GOOD) | {"compute": {"workers": 0}}
    with pytest.raises(ConfigError) as caught:
        configs.from_dict(data, "the config of papers")
    assert str(caught.value) == (
        "the config of papers: compute.workers = 0: expected 'auto' or an integer >= 1"
    )


def test_the_chunker_gets_its_own_arguments(write: Write) -> None:
    text = GOOD + "chunk: {use: markdown, tokens: 256, overlap: 32}\n"
    chunker = configs.chunker_plugin(configs.read_config(write(text)))
    assert chunker == ("markdown", {"tokens": 256, "overlap": 32})
    assert configs.chunker_plugin(configs.read_config(write(GOOD))) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1), json_values, min_size=1), st.booleans())
def test_yaml_is_read_as_pyyaml_reads_it(data: dict[str, object], flow: bool) -> None:
    text = yaml.safe_dump(data, default_flow_style=flow, allow_unicode=True)
    document = parse(text)
    assert (document.data, document.mistakes) == (yaml.safe_load(text), [])


def test_what_looks_like_a_date_stays_text() -> None:
    assert parse("a: 2024-01-31\n2024-01-31: b\n").data == {"a": "2024-01-31", "2024-01-31": "b"}


@pytest.mark.parametrize(
    ("old", "new", "valid"),
    [
        ("", "", True),
        ("hashing, dim: 8", "sentence-transformers, revision: abc", True),
        ("use: hashing, dim: 8", "revision: abc", True),
        ("hashing, dim: 8", "'my.module:Encoder', anything: 8", True),
        ("dim: 8", "dim: {env: DIM}", True),
        ("dim: 8", "dim: wide", False),
        ("dim: 8", "dims: 8", False),
        ("use: hashing, dim: 8", "dim: 8, ngrams: 2", False),
        ("  id: paper\n", "", False),
        ("space: papers", "spaces: papers", False),
        ("encoder:", 'schedule: "0 3 * * *"\nencoder:', True),
        ("encoder:", 'schedule: {run: "0 3 * * *", timezone: UTC}\nencoder:', True),
        ("encoder:", 'schedule: {runs: "0 3 * * *"}\nencoder:', False),
    ],
)
def test_the_schema_for_editors_tells_good_from_bad(old: str, new: str, valid: bool) -> None:
    assert old in GOOD
    data = yaml.safe_load(GOOD.replace(old, new, 1))
    validator = jsonschema.Draft202012Validator(config_json_schema())
    assert validator.is_valid(data) is valid
    assert validator.is_valid(data | {"source": [data["source"]]}) is valid


def test_editors_are_told_what_each_key_of_a_sink_is() -> None:
    schema: Any = config_json_schema()
    kinds = schema["$defs"]["SinkConfig"]["allOf"]
    told = {
        one["if"]["properties"]["use"]["const"]: {
            name: key.get("description") for name, key in one["then"]["properties"].items()
        }
        for one in kinds
    }
    assert [*told] == [*plugins.names("sinks")]
    assert {use: [*keys] for use, keys in told.items() if None in keys.values()} == {}
    assert told["sqlite-vec"] == {
        "path": "The file.",
        "collection": "`collection` is the view that readers know",
        "timeout_s": "`timeout_s` is for others that write.",
    }
    nodes = schema["$defs"]["EncoderConfig"]["allOf"]
    (node2vec,) = (one for one in nodes if one["if"]["properties"]["use"]["const"] == "node2vec")
    assert node2vec["then"]["properties"]["walk_length"]["description"] == "Nodes of a walk."


def test_every_key_has_a_description() -> None:
    models = [one for one in vars(schemas.config).values() if isinstance(one, type)]
    bare = [
        f"{model.__name__}.{name}"
        for model in models
        if issubclass(model, BaseModel) and not model.__name__.startswith("_")
        for name, key in model.model_fields.items()
        if not key.description
    ]
    assert bare == []


FIELDS = [
    *("*", "0", "1", "7", "12", "31", "59", "60", "01", "-1", "", "x", "1.5", "?", "R", "H", "h"),
    *("*/7", "*/0", "5/15", "1-5", "5-1", "1-5/2", "1,3", "1,,3", "0-59/0", "L", "LW", "15W"),
    *("JAN", "jan-mar", "MON", "mon-fri", "sun", "sun-mon", "5L", "2#1", "MON#2", "1#6"),
]


def test_prefect_understands_each_time_that_a_config_may_have() -> None:
    accepted = []
    for place in range(5):
        for field in FIELDS:
            fields = ["0", "3", "*", "*", "*"]
            fields[place] = field
            with contextlib.suppress(ValidationError):
                accepted.append(str(Schedule(run=" ".join(fields)).run))
    assert [CronSchedule(cron=one).cron for one in accepted] == accepted
    assert len(accepted) > 60
