"""Spaces of words: fitted to the texts of any sources, versioned; in one process."""

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from flows.cli import build_parser, main
from flows.display import show
from flows.terminal import Meter, describe
from schemas.config import IndexConfig, Retention
from schemas.manifest import Manifest
from tasks.config import from_dict, read_config
from tasks.drop import drop, droppable
from tasks.encoders.fit_files import FitFile
from tasks.errors import ConfigError, SourceChanged, SourceError
from tasks.estimate import estimate
from tasks.export import export
from tasks.maintain import maintain
from tasks.plan import plan
from tasks.progress import Report
from tasks.run import Options, Run, open_run
from tasks.search import Query, search, term
from tasks.sources.words import WordSource
from tasks.space import Space, open_space
from tasks.store import manifests, models, quarantine
from tasks.train import train
from tasks.verify import verify
from tasks.words.formats import Format, read
from tasks.words.formats import write as write_file
from tests.clock import Clock
from tests.pipeline import books, refresh, write_jsonl

RIVER = "river water boat bank fish"
MONEY = "money loan credit bank rate"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VECTORLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def texts(n: int = 120, seed: int = 0) -> list[str]:
    """Texts of two topics."""
    rng = np.random.default_rng(seed)
    topics = [RIVER.split(), MONEY.split()]
    return [" ".join(rng.choice(topics[number % 2], 12).tolist()) for number in range(n)]


def write(folder: Path, said: list[str], name: str = "notes") -> None:
    rows = [{"id": str(number), "text": text} for number, text in enumerate(said)]
    write_jsonl(folder / f"{name}.jsonl", rows)


def settings(folder: Path, **encoder: object) -> dict[str, Any]:
    return {
        "space": "words",
        "source": {"use": "jsonl", "path": str(folder / "*.jsonl"), "id": "id", "text": "text"},
        "encoder": {"use": "word2vec", "dim": 8, "threads": 1, **encoder},
        "compute": {"use": "serial"},
    }


def space(folder: Path, version: str = "latest") -> Space:
    return open_space("words", str(folder / "v"), version)


def counts(one: Space) -> dict[str, int]:
    table = one.to_arrow(["id", "count"]).to_pydict()
    return dict(zip(table["id"], table["count"], strict=True))


def test_the_words_of_texts_are_a_space_whose_versions_are_fits(tmp_path: Path) -> None:
    config, store, said = settings(tmp_path), tmp_path / "v", texts()
    write(tmp_path, said)
    first = refresh(config, store)
    known = Counter(" ".join(said).split())
    assert books(first) == {"read": 9, "new": 9}
    assert (first["version"], first["rows"], first["encoded"]) == (1, 9, 9)
    assert (first["tokens"], first["unit"]) == (5 * sum(known.values()), "words in all epochs")
    assert counts(space(tmp_path)) == known

    assert refresh(config, store)["version"] == 1

    write(tmp_path, [*said, "River, BOAT; boat: boats boats boats boats", "alone " * 4])
    second = refresh(config, store)
    assert books(second) == {"read": 9, "changed": 2, "unchanged": 7}
    assert second["chunks"] == {"written": 9, "removed": 9, "truncated": 0}
    now = space(tmp_path)
    assert counts(now) == known + Counter({"river": 1, "boat": 2})
    made = manifests.read(str(store), now.entry.table, now.entry.run_id, Manifest)
    assert made is not None
    assert made.fit is not None
    assert made.fit.residual is not None
    assert made.fit.metrics["words"] == 5 * sum(counts(now).values())
    assert [check.detail for check in verify(str(store), "words", None) if not check.ok] == []


def test_words_of_one_topic_are_near(tmp_path: Path) -> None:
    write(tmp_path, texts(600))
    refresh(settings(tmp_path, epochs=20, sample=0.0), tmp_path / "v")
    hits = search(space(tmp_path), Query([term("id:fish")], k=4))
    assert {hit.id for hit in hits} == {*RIVER.split()} - {"bank"}
    with pytest.raises(ConfigError, match="has no record 'Fish', did you mean 'fish'"):
        search(space(tmp_path), Query([term("id:Fish")]))
    with pytest.raises(ConfigError, match=r"has no record 'Fishes'$"):
        search(space(tmp_path), Query([term("id:Fishes")]))
    with pytest.raises(ConfigError, match="knows nothing but its own records"):
        search(space(tmp_path), Query([term("a text")]))


def test_several_sources_are_one_corpus_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, texts(40))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.txt").write_text("boat " * 7)
    config = settings(tmp_path, min_count=1)
    config["source"] = [config["source"], {"use": "text", "path": str(tmp_path / "more")}]
    refresh(config, tmp_path / "v")
    known = Counter(" ".join(texts(40)).split())
    assert counts(space(tmp_path)) == known + Counter(boat=7)
    monkeypatch.setattr("tasks.sources.words.build", None)  # what was counted stands
    fewer = {**config, "encoder": {**config["encoder"], "max_words": 3}}
    refresh(fewer, tmp_path / "v", backfill=True)
    assert counts(space(tmp_path)) == dict((known + Counter(boat=7)).most_common(3))


def test_what_is_no_text_goes_to_quarantine_and_a_word_that_stands_alone_has_no_row(
    tmp_path: Path,
) -> None:
    config, store = settings(tmp_path, min_count=2), tmp_path / "v"
    rows: list[dict[str, object]] = [
        {"id": str(number), "text": text} for number, text in enumerate(texts(40))
    ]
    odd: list[dict[str, object]] = [
        {"id": "river", "text": "nul \0"}, {"id": None, "text": "fish fish"},
        {"id": "e", "text": ""},
        {"id": "l", "text": "lonely"}, {"id": "m", "text": "lonely rare"},
    ]  # fmt: skip
    write_jsonl(tmp_path / "notes.jsonl", rows + odd)
    write_jsonl(tmp_path / "other.jsonl", [{"id": None, "text": "fish"}])
    config["limits"] = {"max_quarantined": 0.5}
    made = refresh(config, store)
    assert books(made) == {"read": 14, "new": 9, "quarantined": 4, "isolated": 1}
    found = quarantine.read(str(store), space(tmp_path).entry.table)
    uri, other = ((tmp_path / f"{name}.jsonl").as_posix() for name in ("notes", "other"))
    assert [(entry.id, entry.reason.value, entry.source_uri) for entry in found] == [
        (f"{uri}#e", "empty", uri), (f"{uri}#river", "nul_character", uri),
        (f"{uri}#row=41", "null_id", uri), (f"{other}#row=0", "null_id", other),
    ]  # fmt: skip
    assert counts(space(tmp_path)) == Counter(" ".join(texts(40)).split())
    assert refresh(config, store)["version"] == 1


def test_the_share_of_what_is_no_text_is_one_of_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, store = settings(tmp_path), tmp_path / "v"
    write(tmp_path, [*texts(97), "", "", ""])  # of 9 words
    config["limits"] = {"max_quarantined": 0.02}
    with pytest.raises(SourceError, match=r"3 of 100 texts would go to quarantine \(3 empty\)"):
        refresh(config, store)
    told = ["quarantine", "words", "--store", str(store)]
    assert main(told) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "nothing of words was committed yet",
        "",
        "to try them all again: vectorline quarantine words --replay --config CONFIG",
    ]
    config["limits"] = {"max_quarantined": 0.03}
    assert books(refresh(config, store)) == {"read": 12, "new": 9, "quarantined": 3}
    assert main(told) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "",
        "to try them all again: vectorline quarantine words --replay",
    ]


def test_a_fit_is_estimated_by_its_words(tmp_path: Path) -> None:
    write(tmp_path, texts(40))
    made = Run(from_dict(settings(tmp_path), "a test"), str(tmp_path / "v"), Options(backfill=True))
    with open_run(made, write=False) as run:
        found = estimate(run, plan.fn(run))
    assert (found["to_encode"], found["tokens"]) == (9, 5 * 40 * 12)
    assert found["unit"] == "words in all epochs"
    assert found["seconds_estimate"] > 0


def test_rows_that_are_taken_from_a_fit_have_no_speed_in_words() -> None:
    report = Report("encode", done=0, total=9, unit="words in all epochs")
    assert describe(report, Meter()) == "encode 0/9 records, 0 rows/s"


def test_texts_that_look_as_they_did_are_counted_again_when_it_is_asked_for(
    tmp_path: Path,
) -> None:
    path, store = tmp_path / "notes.jsonl", tmp_path / "v"

    def write_long_ago(said: list[str]) -> None:
        write(tmp_path, said)
        os.utime(path, (1.0e9, 1.0e9))

    write_long_ago(["boat fish"] * 9)
    refresh(settings(tmp_path), store)
    write_long_ago(["fish fish"] * 9)
    assert refresh(settings(tmp_path), store)["version"] == 1
    assert refresh(settings(tmp_path), store, rehash=True, allow_removals=True)["version"] == 2
    assert counts(space(tmp_path)) == {"fish": 18}


def test_texts_that_changed_since_they_were_listed_are_not_counted(tmp_path: Path) -> None:
    write(tmp_path, texts(40))
    run = Run(from_dict(settings(tmp_path), "a test"), str(tmp_path / "v"), Options())
    (source,) = run.sources
    assert isinstance(source, WordSource)
    listed = source.files()
    write(tmp_path, texts(41))
    with pytest.raises(SourceChanged, match="the texts changed since they were listed; run again"):
        source.shards(listed)


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"chunk": {"tokens": 4}}, {}, "leave `chunk` out"),
        ({}, {"limit": 5}, "--limit 5: encoder 'word2vec' is fitted to all records"),
        ({"encoder": {"use": "word2vec", "method": "glove"}}, {}, "'skipgram' or 'cbow'"),
        ({"encoder": {"use": "node2vec"}}, {}, "the source gives text, and encoder 'node2vec'"),
        ({"source": {"use": "images", "path": "."}}, {}, "gives image: words are those of texts"),
        ({"source": {"mode": "append"}}, {}, "source.mode = 'append'.*leave `mode` out"),
    ],
)
def test_what_a_space_of_words_cannot_be_is_told(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    write(tmp_path, texts(4))
    config = settings(tmp_path)
    if "mode" in changes.get("source", {}):
        changes = {"source": {**config["source"], **changes["source"]}}
    with pytest.raises(ConfigError, match=said):
        refresh({**config, **changes}, tmp_path / "v", **options)


@pytest.mark.parametrize("form", Format)
def test_a_space_is_exported_the_most_frequent_word_first(tmp_path: Path, form: Format) -> None:
    write(tmp_path, texts())
    refresh(settings(tmp_path), tmp_path / "v")
    now, path = space(tmp_path), tmp_path / "words.out"
    command = ["export", "words", str(path), "--format", form, "--store", str(tmp_path / "v")]
    assert main(command) == 0
    words, vectors = read(path, form)
    known = counts(now)
    assert words == sorted(known, key=lambda word: (-known[word], word))
    ids, held = now.vectors()
    assert vectors.tobytes() == held[[ids.index(word) for word in words]].tobytes()


def test_any_space_is_exported_by_its_ids_unless_one_has_a_space(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"id": one, "text": f"text {one}"} for one in ("b", "a")])
    hashed = {**settings(tmp_path), "encoder": {"use": "hashing", "dim": 8}}
    refresh(hashed, tmp_path / "v")
    made = export(space(tmp_path), tmp_path / "out", Format.GLOVE)
    assert made == {
        "space": "words", "version": 1, "path": str(tmp_path / "out"), "format": "glove",
        "rows": 2, "dim": 8,
    }  # fmt: skip
    ids, held = space(tmp_path).vectors()
    assert ids == ["b", "a"]
    words, vectors = read(tmp_path / "out", Format.GLOVE)
    assert (words, vectors.tobytes()) == (["a", "b"], held[::-1].tobytes())
    write_jsonl(tmp_path / "a.jsonl", [{"id": "a b", "text": "text"}])
    refresh(hashed, tmp_path / "v", allow_removals=True)
    with pytest.raises(ConfigError, match="'a b' has white space"):
        export(space(tmp_path), tmp_path / "out", Format.GLOVE)
    assert read(tmp_path / "out", Format.GLOVE)[0] == ["a", "b"]
    for folder in (tmp_path, Path()):
        with pytest.raises(ConfigError, match="is a folder: name the file to write"):
            export(space(tmp_path), folder, Format.GLOVE)


def test_words_that_are_all_too_rare_are_told(tmp_path: Path) -> None:
    write(tmp_path, texts(4))
    rare = settings(tmp_path)
    rare["encoder"]["min_count"] = 1_000
    with pytest.raises(ConfigError, match=r"min_count = 1000: the texts have \d+ words"):
        refresh(rare, tmp_path / "v")


def test_texts_without_a_word_are_told(tmp_path: Path) -> None:
    write(tmp_path, ["...", "!!! ---"])
    with pytest.raises(ConfigError, match=r"word_pattern = .* finds no word in 2 texts: is `text`"):
        refresh(settings(tmp_path), tmp_path / "v")


@pytest.mark.parametrize(
    ("said", "note"), [([], "the source has no word"), (["alone"] * 5, "each word is isolated")]
)
def test_a_corpus_from_which_nothing_can_be_learned_makes_no_version_and_says_so(
    tmp_path: Path, said: list[str], note: str
) -> None:
    write(tmp_path, said)
    made = refresh(settings(tmp_path), tmp_path / "v")
    assert (made["version"], made["notes"]) == (None, [f"there is nothing to fit: {note}"])


def folder_of_texts(folder: Path, said: list[str]) -> dict[str, Any]:
    """A space `texts` that is encoded with the words of the space `words`."""
    write_jsonl(
        folder / "own" / "t.jsonl", [{"id": f"t{n}", "text": t} for n, t in enumerate(said)]
    )
    return {
        **settings(folder),
        "space": "texts",
        "source": {
            "use": "jsonl",
            "path": str(folder / "own" / "t.jsonl"),
            "id": "id",
            "text": "text",
        },
        "encoder": {"use": "static-words", "model": "trained:words"},
        "limits": {"max_quarantined": 0.5},
    }


def test_texts_are_encoded_with_the_words_of_a_space(tmp_path: Path) -> None:
    write(tmp_path, texts(600))
    store = str(tmp_path / "v")
    refresh(settings(tmp_path, epochs=20, sample=0.0), store)
    asked = ["the river and a boat", "water, fish", "A LOAN", "no such thing", "credit rate rate"]
    made = refresh(folder_of_texts(tmp_path, asked), store)
    assert books(made) == {"read": 5, "new": 4, "quarantined": 1}
    found = open_space("texts", store)
    (entry,) = quarantine.read(store, found.entry.table)
    assert (entry.id, entry.reason.value) == ("t3", "no_known_word")
    assert entry.detail == "none of its 3 words has a vector"
    hits = search(found, Query([term("some money, please")], k=4))
    assert {hit.id for hit in hits[:2]} == {"t2", "t4"}
    now = manifests.read(store, space(tmp_path).entry.table, space(tmp_path).entry.run_id, Manifest)
    assert now is not None
    assert now.fit is not None
    pinned = f"trained:{space(tmp_path).entry.table}@{now.fit.model}"
    assert found.settings.encoder["model"] == pinned
    assert [check.detail for check in verify(store, "texts", None) if not check.ok] == []
    assert refresh(folder_of_texts(tmp_path, asked), store)["version"] == 1
    write(tmp_path, texts(601))
    refresh(settings(tmp_path, epochs=20, sample=0.0), store)
    said = "; trained:words is version 2 of words now, and that table was made with version 1 of w"
    with pytest.raises(ConfigError, match=said):
        refresh(folder_of_texts(tmp_path, asked), store)


def test_a_name_that_is_neither_model_nor_space_is_told_with_those_that_are(
    tmp_path: Path,
) -> None:
    write(tmp_path, texts(60))
    store, config = str(tmp_path / "v"), folder_of_texts(tmp_path, ["a boat"])
    wanted = {"use": "word2vec", "dim": 8, "epochs": 1, "threads": 1, "name": "own"}
    train.fn(from_dict(training(tmp_path, **wanted), "a test"), store, 0.0)
    refresh(settings(tmp_path), store, promote="no")
    with pytest.raises(ConfigError, match="space 'words' serves no version yet, see `vectorline p"):
        refresh(config, store)
    config["encoder"]["model"] = "trained:wordz"
    said = r"has no model 'wordz', did you mean 'words'\? It has: own, words\. `vectorline train`"
    with pytest.raises(ConfigError, match=said):
        refresh(config, store)


def test_a_fit_stays_while_texts_are_encoded_with_it(tmp_path: Path, clock: Clock) -> None:
    write(tmp_path, texts(60))
    store = str(tmp_path / "v")
    refresh(settings(tmp_path), store)
    refresh(folder_of_texts(tmp_path, ["a boat"]), store)
    table = space(tmp_path).entry.table
    for number in range(61, 66):
        clock.days += 10
        write(tmp_path, texts(number))
        refresh(settings(tmp_path), store)
    assert len(models.fits(store, table)) == 6
    for _ in range(2):
        clock.days += 100
        maintain.fn(store, table, Retention(versions=1, days=1), IndexConfig(), 0.0)
    used = open_space("texts", store).settings.encoder["model"]
    kept = [f"trained:{table}@{model.digest}" for model in models.fits(store, table)]
    assert used in kept
    assert len(kept) < 6
    assert search(open_space("texts", store), Query([term("fish")]))[0].id == "t0"
    with pytest.raises(ConfigError, match=r"encodes texts\.\w+: drop that first"):
        droppable(store, "words", None)
    texts_table = open_space("texts", store).entry.table
    versions = tmp_path / "v" / f"{texts_table}.lance" / "_versions"
    versions.rename(tmp_path / "aside")
    assert droppable(store, "words", None) == [table]  # what is damaged holds up no drop
    clock.days += 100
    write(tmp_path, texts(70))
    refresh(settings(tmp_path), store)
    maintain.fn(store, table, Retention(versions=1, days=1), IndexConfig(), 0.0)
    assert used in [f"trained:{table}@{model.digest}" for model in models.fits(store, table)]
    (tmp_path / "aside").rename(versions)
    drop(store, "texts", droppable(store, "texts", None), "a test", 0.0)
    assert droppable(store, "words", None) == [table]


def training(folder: Path, **wanted: object) -> dict[str, Any]:
    encoder = {"use": "static-words", "model": f"trained:{wanted['name']}"}
    return {**settings(folder), "space": "texts", "encoder": encoder, "train": wanted}


@pytest.mark.parametrize("method", ["word2vec", "glove"])
def test_words_are_trained_by_name_and_texts_encoded_with_them(
    tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "v")
    write(tmp_path, [*texts(60), ""])
    wanted = {"use": method, "name": "own", "dim": 8, "epochs": 2, "threads": 1}
    config = training(tmp_path, **wanted)
    made = train.fn(from_dict(config, "a test"), store, 0.0)
    assert (made["use"], made["encoder"], made["records"]) == ("trained:own", "static-words", 60)
    assert (made["metrics"]["words"], made["metrics"]["skipped"]) == (2 * 60 * 12, 1)
    assert train.fn(from_dict(config, "a test"), store, 0.0)["digest"] == made["digest"]
    model = models.find(store, "own")
    assert [one.path for one in model.files] == ["fit.safetensors"]
    file = FitFile(models.fetch(store, model))
    known = Counter(" ".join(texts(60)).split())
    assert dict(zip(file.ids(), file.table("counts").tolist(), strict=True)) == known
    done = refresh({**config, "limits": {"max_quarantined": 0.5}}, store)
    assert (done["rows"], books(done)["quarantined"]) == (60, 1)
    used = open_space("texts", store).settings.encoder["model"]
    assert used == f"trained:own@{made['digest']}"
    other = training(tmp_path, **wanted | {"epochs": 3})
    now = train.fn(from_dict(other, "a test"), store, 0.0)["digest"]
    said = f"trained:own is the fit {now[:12]} of own now, and .* the fit {made['digest'][:12]} of"
    with pytest.raises(ConfigError, match=said):
        refresh(other, store)
    show(build_parser().parse_args(["train", "c.yaml"]), made)
    told = capsys.readouterr().out
    assert 'next: encoder: {use: static-words, model: "trained:own"}' in told


def test_a_fitted_space_and_a_model_cannot_have_one_name(tmp_path: Path) -> None:
    write(tmp_path, texts(60))
    store = str(tmp_path / "v")
    refresh(settings(tmp_path), store)
    wanted = {"use": "word2vec", "dim": 8, "epochs": 1, "threads": 1}
    config = from_dict(training(tmp_path, **wanted, name="words"), "a test")
    with pytest.raises(ConfigError, match="'words': the store has a space 'words' that is"):
        train.fn(config, store, 0.0)
    refresh(folder_of_texts(tmp_path, ["a boat"]), store)
    for name in ("texts", "own"):  # of a space that is not fitted it may be
        train.fn(from_dict(training(tmp_path, **wanted, name=name), "a test"), store, 0.0)
    with pytest.raises(ConfigError, match="space = 'own': the store has a model 'own'"):
        refresh({**settings(tmp_path), "space": "own"}, store)


def test_vectors_of_a_file_are_a_model_with_the_counts_of_another_one(tmp_path: Path) -> None:
    words, vectors = ["the", "river", "boat", "nothing"], np.eye(4, 3, dtype=np.float32)
    write_file(tmp_path / "glove.txt", words, vectors, Format.GLOVE)
    (tmp_path / "vocab.txt").write_text("the 90\nriver 5\nboat 4\nnothing 1\nelse 1\n")
    write(tmp_path, ["the river", "the boat the"])
    wanted = {
        "use": "word-vectors", "name": "glove", "path": "glove.txt", "format": "glove",
        "counts": "vocab.txt",
    }  # fmt: skip
    config = training(tmp_path, **wanted)
    config["encoder"] |= {"pooling": "sif", "normalize": False}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    store, read_in = str(tmp_path / "v"), read_config(tmp_path / "c.yaml")
    made = train.fn(read_in, store, 0.0)
    assert (made["metrics"], made["records"]) == ({"words": 4, "zero": 1}, 4)
    model = models.find(store, "glove")
    data = (tmp_path / "glove.txt").read_bytes()
    assert (model.sources, model.corpus_digest) == ([], hashlib.sha256(data).hexdigest())
    file = FitFile(models.fetch(store, model))
    assert (file.ids(), file.table("vectors").tolist()) == (words[:3], vectors[:3].tolist())
    assert (file.has("contexts"), file.table("counts").tolist()) == (False, [90, 5, 4])
    refresh(read_in.model_dump(mode="json"), store)
    ids, rows = open_space("texts", store).vectors()
    share = {"the": 90 / 99, "river": 5 / 99, "boat": 4 / 99}
    weight = {word: 1e-3 / (1e-3 + one) for word, one in share.items()}
    # The vectors are at right angles, so the common component is that of the heaviest word: river.
    heaviest = max(share, key=lambda word: share[word] * weight[word] ** 2)
    weight[heaviest] = 0.0
    want = {
        "0": [weight["the"] / 2, weight["river"] / 2, 0],
        "1": [2 * weight["the"] / 3, 0, weight["boat"] / 3],
    }
    assert [rows[ids.index(one)].tolist() for one in want] == [
        pytest.approx(one, abs=1e-7) for one in want.values()
    ]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"use": "word2vec", "min_count": 99}, "no word occurs 99 times: see train.min_count"),
        ({"use": "word-vectors", "path": "none", "format": "glove"}, "No such file"),
        (
            {"use": "word-vectors", "path": "{}/g", "format": "glove", "counts": "{}/c"},
            "'b' occurs",
        ),
        ({"use": "word-vectors", "path": "{}/zero", "format": "glove"}, "no word with a vector"),
        ({"use": "word-vectors", "path": "{}/g", "format": "glove", "counts": "{}/g"}, "g line 1"),
        ({"use": "word-vectors", "path": "g", "format": "fast"}, "'word2vec', 'word2vec-binary'"),
        ({"use": "tasks.encoders.hashing:HashingEncoder"}, "is no trainer"),
    ],
)
def test_what_cannot_be_trained_is_told(tmp_path: Path, wanted: dict[str, str], said: str) -> None:
    write(tmp_path, texts(4))
    (tmp_path / "g").write_text("a 1.5\nb 2.5\n")
    (tmp_path / "c").write_text("a 7\n")
    (tmp_path / "zero").write_text("a 0.0\n")
    written = {
        key: value.format(tmp_path) if isinstance(value, str) else value
        for key, value in wanted.items()
    }
    with pytest.raises((ConfigError, SourceError), match=said):
        train.fn(
            from_dict(training(tmp_path, **written, name="n"), "a test"), str(tmp_path / "v"), 0.0
        )
