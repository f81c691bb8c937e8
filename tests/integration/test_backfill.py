"""A new encoder beside the one that serves, and vectors that need no encoder."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import failpoints
from tasks.config import from_dict
from tasks.encoders import canaries
from tasks.encoders.hashing import HashingEncoder
from tasks.errors import ConfigError
from tasks.estimate import estimate
from tasks.plan import plan
from tasks.run import Options, Run, open_run
from tasks.search import Query, search, term
from tasks.space import open_space
from tasks.store import canaries as stored_canaries
from tasks.store.catalog import Catalog
from tests.encoders import CutEncoder
from tests.pipeline import books, config, refresh, write_jsonl

Row = dict[str, Any]

JOB_RECORDS = 20

KILLED = """
import json, sys
from pathlib import Path
from tasks import cut
from tests.pipeline import refresh
cut.MAX_RECORDS = cut.MIN_RECORDS = int(sys.argv[3])
refresh(json.loads(sys.argv[1]), Path(sys.argv[2]), backfill=True, promote="no")
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return tmp_path / "corpus"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "vectors"


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    return tmp_path / "counts"


def counting(corpus: Path, counts: Path, **changes: object) -> Row:
    encoder = {"use": "tests.encoders:CountingEncoder", "counts": str(counts)}
    return config(corpus, encoder=encoder, **changes)


def cutting(corpus: Path, counts: Path, keep: int, words: int) -> Row:
    use = "tests.encoders:CutEncoder"
    encoder = {"use": use, "counts": str(counts), "keep": keep, "words": words}
    return config(corpus, encoder=encoder)


def encoded(counts: Path) -> list[str]:
    """The texts that the encoder saw, without canaries, since the last look."""
    seen = [json.loads(line) for line in counts.read_text().splitlines()] if counts.exists() else []
    counts.unlink(missing_ok=True)
    return sorted(text for text in seen if text not in canaries.TEXTS)


def notes(n: int, word: str = "note") -> list[Row]:
    return [{"id": f"r{i}", "text": f"{word} {i} on it", "year": 2000 + i % 7} for i in range(n)]


def vectors(space: str, store: Path, version: int) -> dict[str, list[float]]:
    ids, found = open_space(space, str(store), version).vectors()
    return dict(zip(ids, found.tolist(), strict=True))


def test_a_new_encoder_waits_beside_the_old_one_until_someone_promotes_it(
    corpus: Path, store: Path
) -> None:
    write_jsonl(corpus / "0.jsonl", notes(30))
    old, new = config(corpus), config(corpus, encoder={"use": "hashing", "dim": 64})
    refresh(old, store)
    made = refresh(new, store, backfill=True, promote="no")
    assert (made["version"], made["promoted"], made["encoded"]) == (2, False, 30)
    assert books(made) == {"read": 30, "new": 30}
    catalog = Catalog(str(store))

    def serving() -> tuple[int, int]:
        space = open_space("notes", str(store))
        return space.version, space.settings.dim

    assert serving() == (1, 32)
    write_jsonl(corpus / "0.jsonl", notes(31))
    again = refresh(old, store)
    assert (again["version"], again["promoted"], books(again)["new"]) == (3, True, 1)
    assert serving() == (3, 32)
    caught_up = refresh(new, store, promote="auto")
    assert (caught_up["version"], caught_up["promoted"]) == (4, False)
    assert caught_up["notes"] == [
        "version 4 is of another encoder than the one that serves, and no gate has judged it: "
        "compare them, then `vectorline promote notes 4` lets it serve, or give the config "
        "`evaluate:` with a `gate:`"
    ]
    catalog.promote("notes", 4, who="me", why="better", expected_from=3)
    assert serving() == (4, 64)
    best = search(open_space("notes", str(store)), Query([term("note 7 on it")], k=1))
    assert [(hit.id, round(hit.score, 6)) for hit in best] == [("r7", 1.0)]
    write_jsonl(corpus / "0.jsonl", notes(32))
    for made, encoder in ((again, old["encoder"]), (caught_up, new["encoder"])):
        kept = catalog.config("notes", made["fingerprint"])
        assert kept is not None
        assert kept.config["encoder"] == encoder
    stale = refresh(old, store)  # a schedule that nobody stopped
    assert (stale["version"], stale["promoted"]) == (5, False)
    assert serving() == (4, 64)
    assert catalog.rollback("notes", who="me").to_version == 3
    assert serving() == (3, 32)


def test_run_says_what_a_backfill_would_cost_and_plan_how_long_it_takes(
    corpus: Path, store: Path
) -> None:
    write_jsonl(corpus / "0.jsonl", notes(2048))
    refresh(config(corpus), store)
    new = config(corpus, encoder={"use": "hashing", "dim": 128})
    quote = "`vectorline backfill` brings in a new one. It would make about 2,048 vectors, 1.0 MiB"
    with pytest.raises(ConfigError, match=quote):
        refresh(new, store)
    run = Run(from_dict(new, "a test"), str(store), Options(backfill=True))
    with open_run(run, write=False):
        assert estimate(run, plan.fn(run))["to_encode"] == 2048
    assert run.new_encoder is not None
    tried = refresh(new, store, limit=5)
    assert (tried["space"], tried["rows"], tried["promoted"]) == ("notes.try", 5, True)
    other = config(corpus, encoder={"use": "hashing", "dim": 16})
    tried = refresh(other, store, limit=5)
    assert (tried["version"], tried["promoted"]) == (2, True)


def test_a_backfill_killed_three_times_encodes_nothing_twice_beyond_a_shard(
    corpus: Path, store: Path, counts: Path, tmp_path: Path
) -> None:
    rows = notes(200)
    write_jsonl(corpus / "0.jsonl", rows[:100])
    write_jsonl(corpus / "1.jsonl", rows[100:])
    refresh(config(corpus), store)
    new = counting(corpus, counts)
    for place in ("after-receipt:3", "fragment:4", "before-commit"):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, json.dumps(new), str(store), str(JOB_RECORDS)],
            env={**os.environ, failpoints.VARIABLE: place},
            capture_output=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        if place == "fragment:4":
            rows[42]["text"] = "another one"
            write_jsonl(corpus / "0.jsonl", rows[:100])
    made = refresh(new, store, backfill=True, promote="no")
    assert (made["version"], made["rows"]) == (2, 200)
    seen = encoded(counts)
    assert set(seen) == {row["text"] for row in rows} | {"note 42 on it"}
    assert len(seen) - len(set(seen)) <= JOB_RECORDS
    through = tmp_path / "through"
    refresh(counting(corpus, tmp_path / "others"), through)
    assert vectors("notes", store, 2) == vectors("notes", through, 1)


def test_a_record_that_returns_is_not_encoded_again(
    corpus: Path, store: Path, counts: Path
) -> None:
    settings = counting(corpus, counts)
    write_jsonl(corpus / "0.jsonl", notes(30))
    refresh(settings, store)
    write_jsonl(corpus / "0.jsonl", notes(20))
    refresh(settings, store)
    encoded(counts)
    back = [{**row, "id": f"again {row['id']}"} for row in notes(31)[20:]]
    write_jsonl(corpus / "0.jsonl", notes(20) + back)
    made = refresh(settings, store)
    assert (books(made), made["encoded"]) == ({"read": 31, "new": 11, "unchanged": 20}, 1)
    assert encoded(counts) == ["note 30 on it"]
    assert made["notes"] == ["10 records have contents whose vectors the store has already"]
    first, third = vectors("notes", store, 1), vectors("notes", store, 3)
    assert [third[f"again r{i}"] for i in range(20, 30)] == [first[f"r{i}"] for i in range(20, 30)]


def test_a_second_space_with_the_same_encoder_copies(
    corpus: Path, store: Path, counts: Path
) -> None:
    write_jsonl(corpus / "0.jsonl", notes(30))
    refresh(counting(corpus, counts), store)
    assert len(encoded(counts)) == 30
    write_jsonl(corpus / "1.jsonl", [{"id": "x", "text": "one more", "year": 1}])
    settings = counting(corpus, counts, space="others")
    with open_run(Run(from_dict(settings, "a test"), str(store), Options()), write=False) as run:
        assert estimate(run, plan.fn(run))["to_encode"] == 1
    assert set(encoded(counts)) == {"one more"}  # to see how long it takes
    made = refresh(settings, store)
    assert (made["encoded"], encoded(counts)) == (1, ["one more"])
    assert {**vectors("notes", store, 1)}.items() <= vectors("others", store, 1).items()


def test_other_precision_or_missing_files_cost_time_only(
    corpus: Path, store: Path, tmp_path: Path
) -> None:
    write_jsonl(corpus / "0.jsonl", notes(30))
    rounding = {"use": "tests.encoders:RoundingEncoder"}
    first = refresh(config(corpus, encoder=rounding), store)
    half = config(corpus, space="half", encoder=rounding, precision="float16")
    assert refresh(half, store)["encoded"] == 30
    third = config(corpus, space="third", encoder=rounding)
    for file in (store / f"{first['table']}.lance" / "data").iterdir():
        shutil.copy(file, tmp_path)
        file.unlink()
    assert refresh(third, store)["encoded"] == 30


def test_a_table_whose_canaries_are_others_gives_nothing(
    corpus: Path, store: Path, counts: Path
) -> None:
    write_jsonl(corpus / "0.jsonl", notes(30))
    table = refresh(counting(corpus, counts), store)["table"]
    stored_canaries.write(str(store), table, stored_canaries.read(str(store), table)[::-1].copy())
    assert refresh(counting(corpus, counts, space="others"), store)["encoded"] == 30


def test_chunks_that_stay_as_they_were_are_copied(corpus: Path, store: Path, counts: Path) -> None:
    settings = counting(corpus, counts, chunk={"tokens": 4})
    texts = [[f"{word} sat {i} still." for word in ("cat", "dog", "hen")] for i in range(4)]

    def write() -> None:
        rows = [{"id": f"r{i}", "text": " ".join(text), "year": 1} for i, text in enumerate(texts)]
        write_jsonl(corpus / "0.jsonl", rows)

    write()
    assert refresh(settings, store)["encoded"] == 12
    encoded(counts)
    texts[1][1] = "fox ran 1 home."
    texts[2].append("emu flew 2 away.")
    write()
    made = refresh(settings, store)
    assert (books(made), made["encoded"]) == ({"read": 4, "changed": 2, "unchanged": 2}, 2)
    assert [text.strip() for text in encoded(counts)] == ["emu flew 2 away.", "fox ran 1 home."]
    found = open_space("notes", str(store), 2).to_arrow(["text", "vector"]).to_pylist()
    encoder = HashingEncoder(dim=8)
    want = encoder.encode(encoder.prepare([row["text"] for row in found])).tolist()
    assert [row["vector"] for row in found] == want
    assert len(found) == 13


def test_a_cut_is_computed_and_a_longer_maximum_touches_what_was_cut_off(
    corpus: Path, store: Path, counts: Path
) -> None:
    texts = [" ".join(f"w{i}x{j}" for j in range(i)) for i in range(3, 12)]
    write_jsonl(corpus / "0.jsonl", [{"id": t.split()[0], "text": t, "year": 1} for t in texts])

    def check(version: int, keep: int, words: int) -> None:
        encoder = CutEncoder(str(counts) + ".oracle", keep, words)
        want = encoder.encode(encoder.prepare(texts))
        ids, found = open_space("notes", str(store), version).vectors()
        assert sorted(ids) == sorted(t.split()[0] for t in texts)
        order = [ids.index(t.split()[0]) for t in texts]
        np.testing.assert_allclose(found[order], want, atol=1e-6)

    assert refresh(cutting(corpus, counts, 32, 6), store)["encoded"] == 9
    check(1, 32, 6)
    shorter = refresh(cutting(corpus, counts, 16, 6), store, backfill=True)
    assert (shorter["encoded"], shorter["version"]) == (0, 2)
    check(2, 16, 6)
    encoded(counts)
    longer = refresh(cutting(corpus, counts, 24, 8), store, backfill=True)
    assert (longer["encoded"], encoded(counts)) == (5, sorted(texts[4:]))
    check(3, 24, 8)
    wider = refresh(cutting(corpus, counts, 32, 8), store, backfill=True)
    assert (wider["encoded"], encoded(counts)) == (5, sorted(texts[4:]))  # of the first one
    check(4, 32, 8)
    same = refresh({**cutting(corpus, counts, 32, 8), "space": "others"}, store)
    assert same["encoded"] == 0
    refresh({**cutting(corpus, counts, 32, 20), "space": "others"}, store, backfill=True)
    again = refresh(cutting(corpus, counts, 32, 12), store, backfill=True)
    assert again["encoded"] == 0  # nothing has more words, and one table has read them all
