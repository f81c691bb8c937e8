"""What `vectorline init` writes, and what stands in front of our packages."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from tasks import config as configs
from tasks.errors import ConfigError
from tasks.starter import init


def test_what_init_writes_is_a_config_that_reads_its_own_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "notes"
    written = init(folder)
    names = ["vectorline.yaml", "notes.jsonl", "vectorline.schema.json"]
    assert written == [folder / name for name in names]
    config = configs.read_config(folder / "vectorline.yaml")
    (source,) = configs.build_sources(config)
    records = [one for shard in source.shards(source.files()) for one in source.read(shard)]
    notes = [json.loads(line) for line in (folder / "notes.jsonl").read_text().splitlines()]
    assert [(one.id, one.content, dict(one.metadata)) for one in records] == [
        (note["id"], note["text"], {"topic": note["topic"]}) for note in notes
    ]
    assert len({note["id"] for note in notes}) == len({note["text"] for note in notes}) == 40


def test_the_config_names_its_schema_and_keeps_to_it(tmp_path: Path) -> None:
    init(tmp_path)
    text = (tmp_path / "vectorline.yaml").read_text()
    first = text.splitlines()[0]
    assert first == "# yaml-language-server: $schema=vectorline.schema.json"
    schema = json.loads((tmp_path / "vectorline.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(text), schema)


def test_the_commented_lines_of_the_config_work_when_they_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3_KEY", "k")
    monkeypatch.setenv("S3_SECRET", "s")
    monkeypatch.setenv("QDRANT_KEY", "k")
    config, *_ = init(tmp_path)
    head, _, body = config.read_text().partition("\nspace:")
    config.write_text(head + "\nspace:" + re.sub(r"(?m)^( *)# ", r"\1", body))
    used = configs.read_config(config)
    assert used.chunk is not None
    assert (used.chunk.tokens, used.source[0].mode, used.limits.max_removed) == (200, "append", 0.2)
    assert [one.label for one in used.publish] == ["parquet", "qdrant"]
    assert used.encoder.arguments == {"model": "intfloat/e5-small-v2"}


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds notes\.jsonl already, and nothing is"):
        init(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.jsonl"]
    assert (tmp_path / "notes.jsonl").read_text() == "mine"


def test_init_into_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write into .*file: (File exists|Not a dir)"):
        init(tmp_path / "file")


@pytest.mark.parametrize("name", ["tasks", "schemas"])
@pytest.mark.parametrize("is_folder", [True, False])
def test_another_package_of_our_name_is_told_with_both_places(
    tmp_path: Path, name: str, is_folder: bool
) -> None:
    other = tmp_path / name / "__init__.py" if is_folder else tmp_path / f"{name}.py"
    other.parent.mkdir(exist_ok=True)
    other.write_text("raise RuntimeError('imported')")
    ran = subprocess.run(
        [sys.executable, "-P", "-c", "from flows.shadow import shadowed; print(shadowed())"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    ours = Path(configs.__file__).parent.parent / name
    found = other.parent if is_folder else other
    assert (ran.stderr, ran.stdout) == (
        "",
        f"another {name!r} stands in front of vectorline's own: Python finds {found}, and "
        f"vectorline needs {ours}. Take {tmp_path} from PYTHONPATH, or install vectorline into an "
        "environment of its own\n",
    )


def test_nothing_is_said_where_our_packages_are_found(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-P", "-c", "from flows.shadow import shadowed; print(shadowed())"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (ran.stderr, ran.stdout) == ("", "None\n")
