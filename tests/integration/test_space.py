"""A space from code, as the README reads one."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from tasks.encoders.hashing import HashingEncoder
from tasks.errors import ConfigError, EncoderError
from tasks.space import open_space
from tasks.store import canaries
from tasks.store.catalog import Catalog
from tests.pipeline import config, refresh, write_jsonl


def test_one_version_is_read_in_every_way_while_others_are_made(tmp_path: Path) -> None:
    store = tmp_path / "vectors"
    notes = [{"id": f"r{n}", "text": f"note {n} on it", "year": 2000 + n} for n in range(30)]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", notes)
    refresh(config(tmp_path / "corpus"), store)
    space = open_space("notes", str(store))
    write_jsonl(tmp_path / "corpus" / "a.jsonl", notes[5:])
    refresh(config(tmp_path / "corpus"), store)

    encoder = HashingEncoder(dim=32)
    made = encoder.encode(encoder.prepare([f"note {n} on it" for n in range(30)]))
    want = {f"r{n}": made[n].tolist() for n in range(30)}
    ids, vectors = space.vectors()
    assert sorted(ids) == sorted(want)
    assert vectors.tolist() == [want[id_] for id_ in ids]
    assert space.to_arrow(["id"])["id"].to_pylist() == ids
    assert space.to_pandas(["id", "year"]).set_index("id")["year"].to_dict() == {
        note["id"]: note["year"] for note in notes
    }
    assert space.lancedb().to_arrow()["id"].to_pylist() == ids
    assert open_space("notes", str(store)).lancedb().count_rows() == 25

    queries = space.embed(["note 2 on it", "note 7 on it"])
    assert queries.tolist() == [want["r2"], want["r7"]]
    (hit,) = space.nearest(queries[0], k=1)
    assert (hit.id, hit.columns) == ("r2", {"year": 2002, "text": "note 2 on it"})
    assert np.isclose(hit.score, 1)


def test_a_version_has_many_names(tmp_path: Path) -> None:
    store = tmp_path / "vectors"
    for n in (1, 2, 3):
        write_jsonl(tmp_path / "corpus" / f"{n}.jsonl", [{"id": f"r{n}", "text": "a", "year": n}])
        refresh(config(tmp_path / "corpus"), store, promote="yes" if n == 2 else "no")
    catalog = Catalog(str(store))
    first, second, _ = catalog.versions("notes")
    open_space("notes", str(store), 1).dataset.tags.create("good", first.lance_version)
    between = second.created_at.isoformat()
    names: dict[str | int, int] = {"serving": 2, "latest": 3, 1: 1, "1": 1, "good": 1}
    names |= {f"run-{second.run_id}": 2, between: 2}
    assert {name: open_space("notes", str(store), name).version for name in names} == names
    with pytest.raises(ConfigError, match="had no version at 1999"):
        open_space("notes", str(store), datetime(1999, 1, 1).isoformat())


def test_an_encoder_that_is_not_the_tables_own_embeds_nothing(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus" / "a.jsonl", [{"id": "a", "text": "a", "year": 1}])
    table = refresh(config(tmp_path / "corpus"), tmp_path / "vectors")["table"]
    store = str(tmp_path / "vectors")
    canaries.write(store, table, canaries.read(store, table)[::-1].copy())
    with pytest.raises(EncoderError, match="does not give what the table holds"):
        open_space("notes", store).embed(["a"])
