import ast
import inspect
import json.decoder
import math
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from examples.letter_encoder import LetterEncoder
from tasks.encoders.base import Encoder

ROOT = Path(__file__).parents[2]
NOT_LIBRARY = {"dist-packages", "idlelib", "lib2to3", "site-packages", "test", "tests"}
NAMED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def write_corpus(out: Path) -> Path:
    script = ROOT / "examples" / "stdlib_docstrings.py"
    subprocess.run([sys.executable, script, "--out", out], check=True)
    return out


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "made" / "stdlib.parquet")


def test_the_corpus_holds_the_docstrings_that_the_interpreter_itself_shows(corpus: Path) -> None:
    rows = {row["id"]: row for row in pq.read_table(corpus).to_pylist()}
    assert rows["json.decoder"] == {
        "id": "json.decoder",
        "module": "json.decoder",
        "qualname": "json.decoder",
        "kind": "module",
        "text": inspect.getdoc(json.decoder),
    }
    assert rows["json.decoder:JSONDecoder.decode"] == {
        "id": "json.decoder:JSONDecoder.decode",
        "module": "json.decoder",
        "qualname": "JSONDecoder.decode",
        "kind": "method",
        "text": inspect.getdoc(json.decoder.JSONDecoder.decode),
    }


def test_the_corpus_misses_no_docstring_of_the_library_and_repeats_no_id(corpus: Path) -> None:
    stdlib = Path(sysconfig.get_path("stdlib"))
    expected: Counter[str] = Counter()
    for path in stdlib.rglob("*.py"):
        if NOT_LIBRARY.isdisjoint(path.relative_to(stdlib).parts):
            nodes = ast.walk(ast.parse(path.read_bytes()))
            expected.update(ast.get_docstring(n) or "" for n in nodes if isinstance(n, NAMED))
    del expected[""]
    rows = pq.read_table(corpus)
    assert Counter(rows["text"].to_pylist()) == expected
    assert len(set(rows["id"].to_pylist())) == expected.total()


def test_the_corpus_written_twice_is_the_same_file_of_several_row_groups(
    corpus: Path, tmp_path: Path
) -> None:
    again = write_corpus(tmp_path / "stdlib.parquet")
    assert again.read_bytes() == corpus.read_bytes()
    rows = pq.ParquetFile(again).metadata
    assert rows.num_row_groups == math.ceil(rows.num_rows / 2_000)


def test_the_letter_encoder_counts_letters_and_all_else() -> None:
    encoder: Encoder = LetterEncoder(damped=False)
    vectors = encoder.encode(encoder.prepare(["Abba!", "cc", "c" * 4 + "?" * 3]))
    expected = np.zeros((3, 27), np.float32)
    expected[0, [0, 1, 26]] = 2 / 3, 2 / 3, 1 / 3
    expected[1, 2] = 1
    expected[2, [2, 26]] = 0.8, 0.6
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)  # float32
    assert vectors.dtype == np.float32
    assert encoder.encode([]).shape == (0, encoder.dim)
    assert encoder.fingerprint() != LetterEncoder().fingerprint()
