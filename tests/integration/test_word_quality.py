"""Words that are fitted to the docstrings of Python's library know of its modules."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import words
from tasks.words.vocabulary import Vocabulary

ROOT = Path(__file__).parents[2]


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    rng = np.random.default_rng(0)
    scores, same = rng.normal(size=60), rng.random(60) < 0.4
    weights = rng.integers(0, 4, 60).astype(float)
    right = total = 0.0
    for one in np.flatnonzero(same):
        for other in np.flatnonzero(~same):
            total += weights[one] * weights[other]
            right += weights[one] * weights[other] * (scores[one] > scores[other])
    assert words.auc(scores, same, weights) == pytest.approx(right / total, abs=1e-12)
    assert words.auc(np.arange(4.0), np.array([False, False, True, True])) == 1


def test_names_of_one_module_are_nearer_than_names_of_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(words, "DRAWS", 50)
    corpus = tmp_path / "stdlib.parquet"
    script = ROOT / "examples" / "stdlib_docstrings.py"
    subprocess.run([sys.executable, script, "--out", corpus], check=True, capture_output=True)
    found, vectors, seconds = words.fit(corpus, "word2vec", epochs=6)
    judged = words.judge(found, vectors, words.names(corpus, Vocabulary()), seconds)
    assert judged.names > 200
    assert judged.auc > 0.8
    assert judged.low > 0.7
    assert judged.null_high < 0.55
