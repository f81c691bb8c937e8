"""How often a topic that the baseline lacks is the first segment, and how often there is none.

The corpus is on every machine: docstrings of the standard library and of the installed packages,
encoded with all-MiniLM-L6-v2. Each draw takes 10,000 rows a side from one pool, none twice; 3 % of
the candidate's are of one package that the pool lacks. `python -m benchmarks.drift_segments`
encodes once (some minutes), prints the table and writes it to docs/drift_segments.md after each
draw; 100 draws with a topic and 100 without take half an hour of a core.
"""

import argparse
import ast
import hashlib
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.drift.segments import Kind, segments

TOPICS = ("fontTools", "matplotlib", "networkx", "redis", "sqlalchemy", "sympy")
POOL = 40_000  # docstrings of all other packages
OF_TOPIC = 1_350
SHORTEST, LONGEST = 40, 400  # characters of a docstring
MAX_TOKENS = 64
ROWS = 10_000  # of a side
PLANTED = 300
ALPHA = 0.05
HERE = Path(__file__).parent.parent
KEPT = HERE / "build" / "drift"
WRITTEN = HERE / "docs" / "drift_segments.md"
SKIPPED = {"dist-packages", "idlelib", "lib2to3", "site-packages", "test", "tests"}
Vectors = npt.NDArray[np.float32]


def docstrings() -> Iterator[tuple[str, str]]:
    """Package and docstring, on one line, of all modules that can be parsed; none is imported."""
    for name in ("stdlib", "purelib"):
        root = Path(sysconfig.get_path(name))
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).parts
            if not SKIPPED.isdisjoint(parts):
                continue
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):
                continue  # a template, or of another version of Python
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    text = " ".join((ast.get_docstring(node) or "").split())[:LONGEST]
                    if len(text) >= SHORTEST:
                        yield parts[0] if name == "purelib" else "stdlib", text


def corpus() -> dict[str, list[str]]:
    """Different texts of each topic, and of the pool under ""; the same ones on equal installs."""
    found: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        for package, text in docstrings():
            found.setdefault(text, package)
    by_hash = sorted(found, key=lambda text: hashlib.blake2b(text.encode()).digest())
    parts: dict[str, list[str]] = {"": [], **{topic: [] for topic in TOPICS}}
    for text in by_hash:
        part = parts[found[text] if found[text] in TOPICS else ""]
        if len(part) < (POOL if part is parts[""] else OF_TOPIC):
            part.append(text)
    return parts


def encoded(texts: list[str]) -> Vectors:
    """The vector of each text."""
    from tasks.encoders.base import Precision
    from tasks.encoders.sentence_transformers import SentenceTransformersEncoder

    encoder = SentenceTransformersEncoder(max_tokens=MAX_TOKENS)
    encoder.load(Precision.BFLOAT16, device="cpu", threads=1)
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    vectors = np.empty((len(texts), encoder.dim), np.float32)
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        vectors[rows] = encoder.encode(encoder.prepare([texts[row] for row in rows]))
        if start % 6400 == 0:
            print(f"{start:,} of {len(order):,} encoded", file=sys.stderr, flush=True)
    return vectors


def kept(folder: Path) -> dict[str, tuple[list[str], Vectors]]:
    """Texts and vectors of each part, encoded if the folder has none."""
    file = folder / "docstrings.npz"
    if not file.exists():
        parts = corpus()
        print({name or "pool": len(texts) for name, texts in parts.items()}, file=sys.stderr)
        texts = [text for part in parts.values() for text in part]
        names = [name for name, part in parts.items() for _ in part]
        np.savez(file, names=names, texts=texts, vectors=encoded(texts))
    with np.load(file) as held:
        names, texts, vectors = held["names"], held["texts"], held["vectors"]
    return {
        str(name): (texts[names == name].tolist(), vectors[names == name])
        for name in np.unique(names)
    }


def sides(
    parts: dict[str, tuple[list[str], Vectors]], topic: str | None, rng: np.random.Generator
) -> tuple[Vectors, Vectors]:
    """One draw: both sides of the pool, and the topic's rows at the candidate's end."""
    pool = parts[""][1]
    taken = rng.permutation(len(pool))
    n_topic = 0 if topic is None else PLANTED
    rest = pool[taken[ROWS : 2 * ROWS - n_topic]]
    if topic is None:
        return pool[taken[:ROWS]], rest
    of_topic = parts[topic][1]
    planted = of_topic[rng.choice(len(of_topic), n_topic, replace=False)]
    return pool[taken[:ROWS]], np.concatenate([rest, planted])


class Draw(NamedTuple):
    """What came of one draw: is the first segment the topic, and how many of its rows are it?"""

    topic: str | None
    significant: int
    first: bool
    held: int
    rows: int
    seconds: float


def draw(parts: dict[str, tuple[list[str], Vectors]], topic: str | None, seed: int) -> Draw:
    """The segments of one draw."""
    rng = np.random.default_rng(seed)
    baseline, candidate = sides(parts, topic, rng)
    begun = time.process_time()
    found = segments(baseline, candidate, rng, alpha=ALPHA).found
    taken = time.process_time() - begun
    significant = sum(segment.p_value <= ALPHA for segment in found)
    best = found[0]
    held = int((best.candidate >= ROWS - PLANTED).sum()) if topic is not None else 0
    most = best.kind is Kind.NEW and 2 * held > len(best.candidate)
    first = most and best.p_value <= ALPHA
    return Draw(topic, significant, first, held, len(best.candidate), taken)


def report(draws: list[Draw], n_pool: int) -> str:
    """The page that is written."""
    still = [one for one in draws if one.topic is None]
    planted = [one for one in draws if one.topic is not None]
    quiet = sum(one.significant == 0 for one in still)
    lines = [
        "# Where drift sits: a topic that the baseline lacks",
        "",
        f"Made by `python -m benchmarks.drift_segments`: docstrings of the standard library and of "
        f"the installed packages ({n_pool:,}, without those of six packages), encoded with "
        f"all-MiniLM-L6-v2. Each draw has {ROWS:,} rows a side, all different; of the candidate's "
        f"{PLANTED} are of one of the six packages. Clusters are fitted on the baseline alone, "
        f"alpha = {ALPHA}, {np.mean([one.seconds for one in draws]):.0f} s of a core each.",
        "",
        "| planted | draws | first segment is the topic | its rows in it, of 300 | rows in it |",
        "| --- | --- | --- | --- | --- |",
    ]
    for topic in (*TOPICS, "all"):
        of = [one for one in planted if topic in (one.topic, "all")]
        held = f"{np.mean([one.held for one in of]):.0f}" if of else ""
        rows = f"{np.mean([one.rows for one in of]):.0f}" if of else ""
        lines.append(f"| {topic} | {len(of)} | {sum(one.first for one in of)} | {held} | {rows} |")
    lines += [
        "",
        f"Without a planted topic no segment is significant in {quiet} of {len(still)} draws.",
        "",
        "The first segment is the topic where it is significant, is called a new topic, and most "
        "of the candidate's rows in it were planted.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100, help="with a topic, and without one")
    parser.add_argument("--keep", type=Path, default=KEPT, help="folder of the vectors")
    parser.add_argument("--write", type=Path, default=WRITTEN)
    asked = parser.parse_args()
    asked.keep.mkdir(parents=True, exist_ok=True)
    parts = kept(asked.keep)
    draws = []
    for seed in range(asked.draws):
        for topic in (TOPICS[seed % len(TOPICS)], None):
            draws.append(draw(parts, topic, seed))
            print(draws[-1], file=sys.stderr, flush=True)
        asked.write.write_text(report(draws, len(parts[""][0])))
    print(report(draws, len(parts[""][0])))


if __name__ == "__main__":
    main()
