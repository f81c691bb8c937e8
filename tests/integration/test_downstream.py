"""What is told of a sink that has another version, or shorter vectors, than the store."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from schemas.config import SinkConfig
from tasks.downstream import downstream, verify_downstream
from tests.pipeline import PROGRAM, config, refresh, write_jsonl
from tests.publishing import SPACE, notes, published


def made(folder: Path, sink: Mapping[str, object]) -> str:
    store, corpus = str(folder / "store"), folder / "corpus"
    write_jsonl(corpus / "a.jsonl", notes(0, 200))
    refresh(config(corpus, publish=[sink]), store)
    published(store, SinkConfig.model_validate(sink))
    return store


def test_a_search_says_where_a_sink_is_behind(tmp_path: Path) -> None:
    sink = {"use": "parquet", "path": str(tmp_path / "out")}
    store = made(tmp_path, sink)
    command = [
        str(PROGRAM),
        "search",
        SPACE,
        "sea",
        "--sink",
        "parquet",
        "--store",
        store,
        "--json",
    ]

    def told() -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return str(done.stderr)

    assert told() == ""
    write_jsonl(tmp_path / "corpus" / "a.jsonl", notes(0, 210))
    refresh(config(tmp_path / "corpus", publish=[sink]), store)
    said = r"note       parquet has version 1 in collection c\w+, and version 2 serves: "
    assert re.fullmatch(rf"{said}`vectorline publish notes` brings it there\n", told())


def test_a_loss_that_compress_may_have_is_no_mistake_of_the_index(tmp_path: Path) -> None:
    lossy = {"to": "binary", "original": False, "max_recall_loss": 1.0}
    sink = {"use": "parquet", "path": str(tmp_path / "out"), "compress": lossy, "recall": 0.8}
    store = made(tmp_path, sink)
    with downstream(store, SPACE, SinkConfig.model_validate(sink)) as there:
        checked = verify_downstream(there)[-1]
        assert there.stamp.recall is not None
        assert there.stamp.recall.value < 0.8
    assert checked.ok
    assert f"and {there.stamp.recall.value:.1%} with `compress` alone" in checked.detail
    fewer = there.stamp.model_copy(update={"recall": None})
    with downstream(store, SPACE, SinkConfig.model_validate(sink)) as there:
        checked = verify_downstream(replace(there, stamp=fewer))[-1]
    assert not checked.ok
    assert checked.detail.endswith("; `recall` is 0.8: give its index more to look at")
