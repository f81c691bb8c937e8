"""Texts by the vectors of their words, against loops over the published formulas."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.encoders import canaries
from tasks.encoders.base import Precision
from tasks.encoders.batching import encode_all
from tasks.encoders.fitted import Fit
from tasks.encoders.static_words import StaticWordsEncoder
from tasks.errors import ConfigError, EncoderError
from tasks.store import fits
from tests.words import save_words

TEXTS = ["the cat sat on the mat", "The DOG sat!", "a dog and a cat; and, the the the", "mat"]


def loaded(folder: Path, **arguments: Any) -> StaticWordsEncoder:
    encoder = StaticWordsEncoder(str(folder), **arguments)
    encoder.load(Precision.FLOAT32)
    return encoder


def words(text: str) -> list[str]:
    return [word.strip("!;,") for word in text.lower().split()]


def test_a_text_is_the_mean_of_its_known_words(tmp_path: Path) -> None:
    counts, vectors = save_words(tmp_path, TEXTS)
    rows = dict(zip(counts, vectors.astype(float), strict=True))
    asked = [*TEXTS, "cat zebra cat"]
    want = [np.mean([rows[w] for w in words(text) if w in rows], axis=0) for text in asked]
    found, _ = encode_all(loaded(tmp_path, normalize=False), asked)
    np.testing.assert_allclose(found, want, atol=1e-6)
    unit, _ = encode_all(loaded(tmp_path), asked)
    np.testing.assert_allclose(unit, want / np.linalg.norm(want, axis=1)[:, None], atol=1e-6)


@pytest.mark.parametrize("a", [1e-3, 0.5])
def test_sif_is_the_published_formula_with_the_component_of_the_words(
    tmp_path: Path, a: float
) -> None:
    counts, vectors = save_words(tmp_path, TEXTS)
    rows = dict(zip(counts, vectors.astype(float), strict=True))
    total = sum(counts.values())
    weight = {word: a / (a + count / total) for word, count in counts.items()}
    # Arora, Liang and Ma 2017, algorithm 1, for texts of one word: each word as often as it occurs.
    matrix = np.array([weight[w] * rows[w] for text in TEXTS for w in words(text)])
    common = np.linalg.svd(matrix)[2][0]
    want = []
    for text in TEXTS:
        mean = sum(weight[w] * rows[w] for w in words(text)) / len(words(text))
        want.append(mean - common * float(common @ mean))
    encoder = loaded(tmp_path, pooling="sif", a=a, normalize=False)
    found, _ = encode_all(encoder, TEXTS)
    np.testing.assert_allclose(found, want, atol=1e-6)
    assert np.abs(found @ common).max() < 1e-6
    alone, _ = encode_all(encoder, TEXTS[:1])
    np.testing.assert_allclose(alone, found[:1], atol=1e-7)


def test_a_text_without_a_known_word_cannot_be_encoded(tmp_path: Path) -> None:
    save_words(tmp_path, TEXTS)
    good, bad, none = loaded(tmp_path).prepare(["cat", "zebra zebu", "..."])
    assert good.problem is None
    assert bad.problem is not None
    assert (bad.problem.reason, bad.problem.detail) == (
        "no_known_word",
        "none of its 2 words has a vector",
    )
    assert none.problem is not None
    with pytest.raises(ConfigError, match="content 2 of 2 cannot be encoded: none of its 2 words"):
        encode_all(loaded(tmp_path), ["cat", "zebra zebu"])


def test_canaries_without_a_known_word_are_ones_and_the_others_are_compared(
    tmp_path: Path,
) -> None:
    save_words(tmp_path, TEXTS)
    encoder = loaded(tmp_path)
    stored = canaries.canary_vectors(encoder)
    known = [
        any(w in {w for t in TEXTS for w in words(t)} for w in encoder._vocabulary.words(text))
        for text in canaries.TEXTS
    ]
    assert 0 < sum(known) < len(known)
    assert (stored == 1).all(axis=1).tolist() == [not one for one in known]
    canaries.check(encoder, stored)
    changed = stored.copy()
    changed[known.index(True)] *= -1
    with pytest.raises(EncoderError, match="does not give what the table holds"):
        canaries.check(encoder, changed)


def test_its_fingerprint_is_of_words_and_pooling(tmp_path: Path) -> None:
    for number, texts in enumerate((TEXTS, TEXTS[:2])):
        (tmp_path / str(number)).mkdir()
        save_words(tmp_path / str(number), texts)
    own = StaticWordsEncoder(str(tmp_path / "0")).fingerprint()
    assert StaticWordsEncoder(str(tmp_path / "0"), a=0.1).fingerprint() == own
    others = [
        StaticWordsEncoder(str(tmp_path / "1")),
        StaticWordsEncoder(str(tmp_path / "0"), normalize=False),
        StaticWordsEncoder(str(tmp_path / "0"), "sif"),
        StaticWordsEncoder(str(tmp_path / "0"), "sif", a=0.1),
    ]
    prints = [own, *(encoder.fingerprint() for encoder in others)]
    assert all(prints.count(one) == 1 for one in prints)


def test_what_is_no_model_of_words_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no folder with a fit\.safetensors: give trained:NA"):
        StaticWordsEncoder(str(tmp_path / "none")).fingerprint()
    (tmp_path / "fit.safetensors").write_bytes(b"torn")
    with pytest.raises(ConfigError, match=r"holds no vectors of words: .* cannot be read"):
        StaticWordsEncoder(str(tmp_path)).fingerprint()
    node = Fit(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32), {})
    fits.write(tmp_path, pa.array(["a"]), node)
    with pytest.raises(ConfigError, match="holds no vectors of words: it does not say what a word"):
        StaticWordsEncoder(str(tmp_path)).fingerprint()
    save_words(tmp_path, TEXTS, counted=False)
    loaded(tmp_path)
    uncounted = StaticWordsEncoder(str(tmp_path), pooling="sif")
    for step in (uncounted.fingerprint, lambda: uncounted.load(Precision.FLOAT32)):
        with pytest.raises(ConfigError, match="does not say how often its words occur: train it"):
            step()
    with pytest.raises(ConfigError, match=r"encoder\.a is 0, but must be a positive number"):
        StaticWordsEncoder(str(tmp_path), a=0)
    with pytest.raises(EncoderError, match="is not loaded"):
        StaticWordsEncoder(str(tmp_path)).prepare(["cat"])
