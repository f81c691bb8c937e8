"""Small random CLAP models against transformers, and sounds of many kinds."""

import io
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr

from tasks.content import Media, Unusable
from tasks.encoders import canaries
from tasks.encoders.base import Precision, Prepared
from tasks.encoders.batching import Batcher, encode_all
from tasks.encoders.clap import ClapEncoder
from tasks.encoders.clap_sounds import Heard
from tasks.encoders.sounds import Sound, read_sound
from tasks.errors import ConfigError, EncoderError

RATE = 48_000
TEXTS = canaries.TEXTS[:14]
Samples = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from tests.media_models import save_clap

    root = tmp_path_factory.mktemp("models")
    return {
        "cut": save_clap(root / "cut", fusion=False),
        "fused": save_clap(root / "fused", fusion=True),
    }


@pytest.fixture(scope="module")
def encoders(folders: dict[str, Path]) -> dict[str, ClapEncoder]:
    return {name: load(ClapEncoder(str(folder))) for name, folder in folders.items()}


def load(encoder: ClapEncoder, precision: str = "float32") -> ClapEncoder:
    encoder.load(Precision(precision), device="cpu", threads=2)
    return encoder


def tones(seconds: float, rate: int = RATE, seed: int = 0) -> Samples:
    """A chord that changes as it goes on."""
    t = np.arange(int(seconds * rate)) / rate
    pitches = np.random.default_rng(seed).uniform(100, 4_000, 3)
    waves = [np.sin(2 * np.pi * pitch * t * (1 + t / 50)) for pitch in pitches]
    return np.asarray(np.mean(waves, axis=0) * 0.8)


def sound_file(samples: Samples, rate: int = RATE, kind: str = "WAV", **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, **options)
    return file.getvalue()


def heard(encoder: ClapEncoder, data: bytes) -> Heard:
    prepared = encoder.prepare([Media("audio", data)])[0]
    assert isinstance(prepared.payload, Heard)
    return prepared.payload


def read(data: bytes, **options: Any) -> Sound:
    found = read_sound(data, **{"rate": RATE, "most_s": 120.0} | options)
    assert isinstance(found, Sound)
    return found


def problem(data: bytes) -> Unusable:
    found = read_sound(data, RATE, 120)
    assert isinstance(found, Unusable)
    return found


@pytest.mark.parametrize("kind", ["cut", "fused"])
def test_vectors_are_those_of_the_library(
    folders: dict[str, Path], encoders: dict[str, ClapEncoder], kind: str
) -> None:
    import torch
    from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

    model: Any = ClapModel.from_pretrained(folders[kind])
    model.eval()
    extractor = ClapFeatureExtractor.from_pretrained(folders[kind])
    tokenizer = AutoTokenizer.from_pretrained(folders[kind])
    sounds = [tones(seconds, seed=n) for n, seconds in enumerate((1.0, 3.7, 10.0))]
    with torch.inference_mode():
        features = extractor(sounds, sampling_rate=RATE, return_tensors="pt").input_features
        # The library marks one of the short ones as long, by chance.
        short = torch.zeros(len(sounds), 1, dtype=torch.bool)
        theirs = model.get_audio_features(features, is_longer=short).pooler_output.numpy()
        texts = [
            model.get_text_features(
                **tokenizer(text, truncation=True, max_length=40, return_tensors="pt")
            )
            .pooler_output[0]
            .numpy()
            for text in TEXTS
        ]
    files = [Media("audio", sound_file(one, subtype="DOUBLE")) for one in sounds]
    assert canaries.cosines(encode_all(encoders[kind], files)[0], theirs).min() >= 0.99999
    for cost in (1, 100_000):
        ours, _ = encode_all(encoders[kind], TEXTS, cost)
        assert canaries.cosines(ours, np.stack(texts)).min() >= 0.99999
    assert encoders[kind].dim == theirs.shape[1]


def test_a_long_sound_is_cut_in_the_middle(
    folders: dict[str, Path], encoders: dict[str, ClapEncoder]
) -> None:
    from transformers import ClapFeatureExtractor

    extractor = ClapFeatureExtractor.from_pretrained(folders["cut"])
    long = tones(14.0)
    middle = extractor(long[2 * RATE : 12 * RATE], sampling_rate=RATE).input_features[0]
    ours = heard(encoders["cut"], sound_file(long, subtype="DOUBLE"))
    np.testing.assert_allclose(ours.mels, middle, atol=0.01)  # decibels, in float32
    assert not ours.long


def test_a_long_sound_is_fused_of_the_whole_and_the_middle_of_each_third(
    encoders: dict[str, ClapEncoder],
) -> None:
    long = tones(14.0)
    ours = heard(encoders["fused"], sound_file(long, subtype="DOUBLE"))
    assert (ours.mels.shape, ours.long) == (((4, 1001, 64)), True)
    # 1401 frames in all; a cut of 1001 begins at one of 401, in thirds of 134, 134 and 133.
    whole = heard(encoders["fused"], sound_file(long[: 10 * RATE], subtype="DOUBLE")).mels[0]
    np.testing.assert_allclose(ours.mels[1][:-80], whole[67:-13], atol=0.2)
    for cut, start in ((2, 134 + 67), (3, 268 + 66)):
        later = long[start * 480 : start * 480 + 10 * RATE]
        expected = heard(encoders["fused"], sound_file(later, subtype="DOUBLE")).mels[0]
        np.testing.assert_allclose(ours.mels[cut][5:-5], expected[5:-5], atol=0.2)


@pytest.mark.parametrize("kind", ["cut", "fused"])
def test_rows_depend_on_nothing_else_and_on_no_chance(
    encoders: dict[str, ClapEncoder], kind: str
) -> None:
    encoder = encoders[kind]
    long = Media("audio", sound_file(tones(12.0)))
    known = [*canaries.contents(encoder)[::4], long]
    alone = encode_all(encoder, known, batch_cost=1)[0]
    order = np.random.default_rng(1).permutation(len(known))
    np.random.seed(7)  # noqa: NPY002
    together = encoder.encode(encoder.prepare([known[i] for i in order]))
    assert canaries.cosines(together, alone[order]).min() >= 1 - 1e-6
    assert np.abs(np.linalg.norm(together.astype(np.float64), axis=1) - 1).max() <= 1e-7
    assert encoder.encode([]).shape == (0, 24)


def test_formats_rates_and_channels_come_out_as_one_channel_at_the_models_rate() -> None:
    wave = tones(2.0, 44_100)
    stereo = np.stack([wave, wave / 2], 1)
    expected = soxr.resample(wave.astype(np.float32) * 0.75, 44_100, RATE)
    for kind, off in (("WAV", 1e-4), ("FLAC", 1e-4), ("OGG", 0.1), ("MP3", 0.1)):
        sound = read(sound_file(stereo, 44_100, kind))
        inside = slice(4_000, len(expected) - 4_000)  # MP3 pads, and fades at its ends
        assert abs(len(sound.samples) - len(expected)) <= 3_000, kind
        assert np.abs(sound.samples[inside] - expected[inside]).max() <= off, kind
        assert not sound.cut
    for subtype in ("PCM_U8", "PCM_24", "FLOAT"):
        sound = read(sound_file(tones(1.0), subtype=subtype))
        assert np.abs(sound.samples - tones(1.0)).max() <= 0.01, subtype


def test_only_the_beginning_of_an_endless_sound_is_read(folders: dict[str, Path]) -> None:
    data = sound_file(np.zeros(3_600 * 8_000), 8_000, "FLAC")
    sound = read(data, most_s=2.5)
    assert (len(sound.samples), sound.cut) == (int(2.5 * RATE), True)
    exact = read(sound_file(tones(2.5)), most_s=2.5)
    assert (len(exact.samples), exact.cut) == (int(2.5 * RATE), False)
    encoder = load(ClapEncoder(str(folders["cut"]), max_seconds=2))
    prepared: list[Prepared] = encoder.prepare([Media("audio", data), Media("audio", data)])
    assert [item.truncated for item in prepared] == [True, True]


def test_sounds_that_cannot_be_heard_give_a_reason() -> None:
    wave = sound_file(tones(1.0))
    flac = sound_file(tones(1.0), kind="FLAC")
    not_finite = np.array([0.1] * 9_000 + [np.nan])
    infinite = np.array([0.1] * 9_000 + [-np.inf])
    header = b"RIFF" + struct.pack("<I", 36) + wave[8:40] + struct.pack("<I", 0)
    assert {
        name: problem(data).reason
        for name, data in {
            "no bytes": b"",
            "no samples": sound_file(np.empty(0)),
            "a header alone": header,
            "a few samples": sound_file(np.ones(5)),
            "NaN": sound_file(not_finite, subtype="FLOAT"),
            "infinity": sound_file(infinite, subtype="DOUBLE"),
            "beyond all measure": sound_file(np.full(9_000, 1e30), subtype="FLOAT"),
            "half a header": wave[:20],
            "half a FLAC header": flac[:20],
            "text": b"This is no sound at all, whatever its name says.",
            "a picture": canaries.images()[0].data,
        }.items()
    } == {
        "no bytes": "empty",
        "no samples": "empty",
        "a header alone": "empty",
        "a few samples": "empty",
        "NaN": "not_finite",
        "infinity": "not_finite",
        "beyond all measure": "undecodable",
        "half a header": "undecodable",
        "half a FLAC header": "undecodable",
        "text": "unsupported_format",
        "a picture": "unsupported_format",
    }


def test_silence_has_a_vector(encoders: dict[str, ClapEncoder]) -> None:
    vectors, _ = encode_all(encoders["cut"], [Media("audio", sound_file(np.zeros(RATE)))])
    assert np.isfinite(vectors).all()


def test_texts_are_counted_cut_and_put_into_prompts(folders: dict[str, Path]) -> None:
    plain = load(ClapEncoder(str(folders["cut"])))
    asked = load(ClapEncoder(str(folders["cut"]), query_prompt="the sound of a {}."))
    limit = plain.tokenizer().limit
    assert limit == 38
    ends = [n for n in range(100) if plain.tokenizer().count("ab " * n) <= limit]
    items = plain.prepare(["ab " * ends[-1], "ab " * (ends[-1] + 1), "ab " * 1_000_000])
    assert [item.truncated for item in items] == [False, True, True]
    queries = Batcher(asked).encode(asked.prepare_query(["cat", "mat"]))
    by_hand = encode_all(plain, ["the sound of a cat.", "the sound of a mat."])[0]
    assert canaries.cosines(queries, by_hand).min() >= 0.999999


def test_bfloat16_gives_the_same_directions(folders: dict[str, Path]) -> None:
    encoder = load(ClapEncoder(str(folders["cut"])))
    stored = canaries.canary_vectors(encoder)
    canaries.check(load(encoder, "bfloat16"), stored, floor=0.999)


def test_a_fingerprint_follows_files_and_arguments_but_not_the_place(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(folders["cut"], tmp_path / "copy")
    make = ClapEncoder
    own = make(str(folders["cut"])).fingerprint()
    assert make(str(copy)).fingerprint() == own
    others = [
        make(str(copy), prompt="p ").fingerprint(),
        make(str(copy), query_prompt="q ").fingerprint(),
        make(str(copy), max_seconds=7).fingerprint(),
        make(str(folders["fused"])).fingerprint(),
    ]
    assert len({json.dumps(one, sort_keys=True) for one in [own, *others]}) == 5


def test_a_model_of_another_kind_and_wrong_arguments_are_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(EncoderError, match="of kind 'bert', not 'clap'"):
        ClapEncoder(str(tmp_path)).fingerprint()
    with pytest.raises(ConfigError, match=r"encoder\.max_seconds is 0"):
        ClapEncoder("any", max_seconds=0)


def test_loading_and_encoding_print_nothing(
    folders: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = load(ClapEncoder(str(folders["fused"])))
    encode_all(encoder, [canaries.sounds()[0], "text"])
    assert capfd.readouterr() == ("", "")


def test_running_out_of_memory_is_a_memory_error(folders: dict[str, Path]) -> None:
    import torch

    encoder = load(ClapEncoder(str(folders["cut"])))
    assert encoder._loaded is not None
    tower = encoder._loaded._model.text_model
    tower.register_forward_pre_hook(lambda *_: (torch.empty(1 << 50), None)[1])
    with pytest.raises(MemoryError, match=r"1 contents on cpu: .*can't allocate memory"):
        encode_all(encoder, ["a"])
