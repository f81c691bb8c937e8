"""How good fitted words are: names of one module of the standard library against names of two.

The corpus is that of the demo: docstrings, each after the name of what it describes. A name counts
that is defined in one module alone and is said mostly there. Of all pairs of names those of one
module should have the higher cosine: the area under the curve (AUC) is the share of such pairs that
do, against all others. The interval is that of a bootstrap over modules; the null has its labels
shuffled.
"""

import argparse
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tasks import plugins
from tasks.encoders.word_encoder import WordEncoder
from tasks.sources.words import WordSource
from tasks.words.vocabulary import Vocabulary

HERE = Path(__file__).parent.parent
CORPUS = HERE / "build" / "demo" / "stdlib.parquet"
TEXT = "{module}. {qualname}. {text}"
# GloVe knows nothing but pairs, and of so small a corpus few: it is given whole texts.
FITS: dict[str, dict[str, object]] = {
    "word2vec": {"epochs": 10},
    "glove": {"dim": 50, "window": 100, "x_max": 1, "word_pattern": r"[^\W\d]\w\w+"},
}
MOSTLY = 0.8  # of what is said of a name is said in its module
DRAWS = 200

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """AUC, the interval of its bootstrap, and what shuffled labels give: the highest of all."""

    names: int
    modules: int
    pairs: int
    auc: float
    low: float
    high: float
    null_high: float
    seconds: float


def names(corpus: Path, vocabulary: Vocabulary) -> dict[str, str]:
    """The names, and the module of each."""
    defined: dict[str, set[str]] = defaultdict(set)
    said: dict[str, Counter[str]] = defaultdict(Counter)
    for row in pq.read_table(corpus).to_pylist():
        for word in vocabulary.words(row["text"]):
            said[word][row["module"]] += 1
        if row["kind"] != "module":
            defined[row["qualname"].rpartition(".")[2].lower()].add(row["module"])
    return {
        name: module
        for name, (module, *others) in ((name, sorted(own)) for name, own in defined.items())
        if not others and said[name][module] >= max(1, MOSTLY * said[name].total())
    }


def fit(corpus: Path, use: str, **arguments: object) -> tuple[list[str], Reals, float]:
    """The words of the corpus, unit vectors of them, and the seconds of the fit."""
    encoder = cast("WordEncoder", plugins.build("encoders", use, {"threads": 1, **arguments}))
    said: dict[str, Any] = {"path": str(corpus), "id": "id", "text": TEXT}
    source = WordSource([plugins.build("sources", "parquet", said)], said, encoder.vocabulary)
    (file,) = source.files()
    words = source.words(file)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        made = encoder.fit(words.sentences, Path(folder)).vectors.astype(np.float64)
        seconds = time.monotonic() - started
    return words.ids().to_pylist(), made / np.linalg.norm(made, axis=1, keepdims=True), seconds


def auc(scores: Reals, same: npt.NDArray[np.bool_], weights: Reals | None = None) -> float:
    """The share of (same, other) pairs in which `same` has the higher score."""
    weights = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(scores)
    same, weights = same[order], weights[order]
    below = np.cumsum(np.where(same, 0, weights))
    return float((below * weights)[same].sum() / (weights[same].sum() * below[-1]))


def judge(words: list[str], vectors: Reals, module_of: dict[str, str], seconds: float) -> Judged:
    """Looks at all pairs of names."""
    rows = [number for number, word in enumerate(words) if word in module_of]
    found, labels = np.unique([module_of[words[row]] for row in rows], return_inverse=True)
    one, other = np.triu_indices(len(rows), 1)
    scores = np.einsum("ij,ij->i", vectors[rows][one], vectors[rows][other])
    same = labels[one] == labels[other]
    rng = np.random.default_rng(0)
    drawn, null = [], []
    for _ in range(DRAWS):
        times = np.bincount(rng.integers(0, len(found), len(found)), minlength=len(found))
        drawn.append(auc(scores, same, (times[labels[one]] * times[labels[other]]).astype(float)))
        shuffled = rng.permutation(labels)
        null.append(auc(scores, shuffled[one] == shuffled[other]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    n_same = int(same.sum())
    return Judged(
        len(rows),
        len(found),
        n_same,
        auc(scores, same),
        float(low),
        float(high),
        max(null),
        seconds,
    )


def compare(corpus: Path = CORPUS) -> dict[str, Any]:
    """Both methods."""
    module_of, found = names(corpus, Vocabulary()), {}
    for use, arguments in FITS.items():
        words, vectors, seconds = fit(corpus, use, **arguments)
        found[use] = asdict(judge(words, vectors, module_of, seconds))
    return found


def show(found: dict[str, Any]) -> None:
    """Prints a line for each."""
    print("\nnames of one module of the standard library against names of two")
    for use, one in found.items():
        print(
            f"  {use:<9} AUC {one['auc']:.3f} ({one['low']:.3f} to {one['high']:.3f}), shuffled at "
            f"most {one['null_high']:.3f}; {one['names']} names of {one['modules']} modules, "
            f"{one['pairs']:,} pairs of one; fitted in {one['seconds']:.1f} s"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, nargs="?", default=CORPUS)
    show(compare(parser.parse_args().corpus))
