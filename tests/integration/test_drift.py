"""Looks for drift in a space: what came, what went, another encoder, a year of looks."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import cli
from schemas.config import DriftConfig
from schemas.drift import DriftRecord
from tasks.detect import Detected, detect
from tasks.errors import ConfigError, StoreError
from tasks.space import open_space
from tasks.store import drifts, reference, tags
from tasks.store.catalog import Catalog
from tasks.store.table import Table
from tests.drift import notes
from tests.pipeline import PROGRAM, config, refresh, write_config, write_jsonl

N = 240
DRIFT: dict[str, Any] = {"columns": ["year"], "group": None}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return tmp_path / "corpus"


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "vectors")


def run(corpus: Path, store: str, rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    write_jsonl(corpus / "a.jsonl", rows)
    return refresh(config(corpus, **{"drift": DRIFT} | changes), store)


def look(
    store: str,
    version: str = "latest",
    baseline: str | None = None,
    *,
    by_sketches: bool = False,
    **more: Any,
) -> Detected:
    settings = DriftConfig.model_validate_json(json.dumps(DRIFT | more))
    found: Detected = detect.fn(
        store, "notes", settings, version, baseline, by_sketches=by_sketches
    )
    return found


@pytest.fixture
def grown(corpus: Path, store: str) -> str:
    """Version 1 of three topics; 2 with more of them, 3 with many of a new one."""
    held = notes(0, N)
    run(corpus, store, held, drift=None)
    held += notes(N, 120)
    run(corpus, store, held, drift=None)
    held += notes(N + 120, 120, ("bees",))
    run(corpus, store, held, drift=None)
    return store


def test_more_of_the_same_is_no_drift_and_says_what_could_be_missed(grown: str) -> None:
    record = look(grown, "2", "1").record
    assert record.verdict == "no drift"
    assert [(one.n_baseline, one.n_candidate) for one in record.tests] == [(N, 120)]
    assert record.tests[0].p_value > 0.05
    assert record.detectable is not None
    assert 0 < record.detectable.shift_sd < 3
    assert "in four cases of five" in record.reason


def test_a_new_topic_is_drift_and_the_first_segment(grown: str) -> None:
    record = look(grown, "3", "1").record
    assert record.verdict == "drift"
    assert record.effect is not None
    assert record.effect.share > 0.3
    first = record.segments[0]
    assert first.kind == "new topic"
    assert first.n_baseline < 5
    assert first.n_candidate > 60
    assert first.p_value <= 0.05
    assert all("bees" in (one.text or "") for one in first.now)
    assert first.terms == ("bees",)
    assert record.command == (f"vectorline drift notes --candidate 3 --baseline 1 --store {grown}")


def test_rows_that_went_are_compared_with_those_that_stayed(corpus: Path, store: str) -> None:
    held = notes(0, N) + notes(N, 80, ("bees",))
    run(corpus, store, held, drift=None)
    run(corpus, store, held[:N], drift=None)
    record = look(store, "2", "1").record
    assert record.verdict == "drift"
    assert [one.what for one in record.tests] == ["rows removed or changed since version 1"]
    assert [(one.n_baseline, one.n_candidate) for one in record.tests] == [(N, 80)]
    assert [one.sides for one in record.tests] == [("stayed", "went")]
    assert [*record.quality] == ["stayed", "went"]
    first = record.segments[0]
    assert (first.kind, first.name) == ("vanished topic", "vanished topic 1")
    assert all("bees" in (one.text or "") for one in first.now)


def test_rows_that_went_before_the_last_look_alarm_once(corpus: Path, store: str) -> None:
    held = notes(0, N) + notes(N, 80, ("bees",))
    run(corpus, store, held, drift=None)
    run(corpus, store, held[:N], drift=None)
    assert look(store).record.verdict == "drift"
    run(corpus, store, held[40:N], drift=None)
    quiet = look(store).record
    assert quiet.verdict == "no drift"
    assert [(one.what, one.since, one.n_baseline, one.n_candidate) for one in quiet.tests] == [
        ("rows removed or changed since version 2", 2, N - 40, 40)
    ]


def test_what_went_is_measured_from_the_reference_where_the_last_look_is_not_there_anymore(
    corpus: Path, store: str
) -> None:
    held = notes(0, N)
    run(corpus, store, held, drift=None)
    for first in (30, 60, 90, 120):
        run(corpus, store, held[first:], drift=None)
        if first == 30:
            look(store)
    catalog = Catalog(store)
    assert catalog.retire(catalog.resolve("notes", "2"))
    tests = look(store).record.tests
    assert [(one.what, one.n_candidate) for one in tests] == [
        ("rows removed or changed since version 1", 120)
    ]


def test_what_is_too_small_to_matter_is_told_and_hides_nothing(corpus: Path, store: str) -> None:
    held = notes(0, N) + notes(N, 80, ("bees",))
    run(corpus, store, held, drift=None)
    mixed = notes(400, 120) + notes(520, 60, ("law",))
    run(corpus, store, held + mixed, drift=None)
    limits: Any = {"effect": {"auc": 0.95, "share": 0.7, "shift_sd": 9.0}}
    small = look(store, "2", "1", **limits).record
    assert small.verdict == "no drift"
    assert small.tests[0].adjusted <= 0.05
    assert "differ (p" in small.reason
    assert "but too little to matter: AUC" in small.reason
    run(corpus, store, held[:N] + mixed, drift=None)
    found = look(store, "3", "1", **limits).record
    assert found.verdict == "drift"
    assert [one.what for one in found.tests] == [
        "rows removed or changed since version 1",
        "rows added or changed since version 1",
    ]
    assert [one.adjusted <= 0.05 for one in found.tests] == [True, True]
    assert "of the rows that went are of another kind" in found.reason


def test_chunks_of_a_document_change_sides_together(corpus: Path, store: str) -> None:
    def documents(first: int, n: int) -> list[dict[str, Any]]:
        return [
            {**one, "text": " ".join([one["text"]] * 6)} for one in notes(first, n, ("sea", "law"))
        ]

    held = documents(0, 50)
    chunk = {"tokens": 16}
    run(corpus, store, held, drift=None, chunk=chunk)
    run(corpus, store, held + documents(50, 40), drift=None, chunk=chunk)
    record = look(store, "2", "1").record
    assert [one.units for one in record.tests] == [(50, 40)]
    assert record.tests[0].n_candidate > 120
    assert record.verdict == "no drift"
    one = documents(90, 1)[0]
    long = [{**one, "text": " ".join([one["text"]] * 20)}]
    run(corpus, store, held + documents(50, 40) + long, drift=None, chunk=chunk)
    few = look(store, "3", "2").record
    assert few.verdict == "cannot tell"
    assert few.reason.endswith("changed since version 2: 1 beside 90)")


def test_what_is_seen_in_quality_and_density_is_that_of_the_rows(grown: str) -> None:
    record = look(grown, "3", "2").record
    assert record.density is not None
    sums = [sum(map(sum, side)) for side in (record.density.baseline, record.density.candidate)]
    assert sums[0] > 0.9 * 360
    assert 0.9 * 120 < sums[1] <= 120
    for name, version in (("baseline", "2"), ("candidate", "3")):
        space = open_space("notes", grown, version)
        texts = space.to_arrow(["text", "id"]).to_pylist()
        own = [one["text"] for one in texts if (one["id"] >= "d00360") == (name == "candidate")]
        assert record.quality[name].length == float(np.median([len(text) for text in own]))
        assert record.quality[name].empty == 0.0
        assert record.quality[name].quarantined == 0.0


def test_a_window_needs_no_reference(corpus: Path, store: str) -> None:
    dated = [{**one, "day": "2024-01-01"} for one in notes(0, N)]
    dated += [{**one, "day": "2024-03-01"} for one in notes(N, 100, ("bees",))]
    write_jsonl(corpus / "a.jsonl", dated)
    source = config(corpus)["source"] | {"metadata": ["year", "day"]}
    refresh(config(corpus, source=source), store, promote="no")
    record = look(store, "1", window={"column": "day", "days": 7}).record
    assert record.verdict == "drift"
    assert record.tests[0].what == "rows of the last 7 days by day up to 2024-03-01"
    assert record.baseline is None


def test_what_a_block_kept_back_does_not_serve_with_the_next_good_rows(
    corpus: Path, store: str
) -> None:
    blocking = {"drift": DRIFT | {"block": True}}
    held = notes(0, 400)
    run(corpus, store, held, **blocking)
    bad = notes(400, 200, ("bees",))
    assert not run(corpus, store, held + bad, **blocking)["promoted"]
    more = notes(600, 200)
    kept_back = run(corpus, store, held + bad + more, **blocking)
    assert not kept_back["promoted"]
    assert "rows added or changed since version 1" in kept_back["drift"]["reason"]
    mended = run(corpus, store, held + more, **blocking)
    assert (mended["drift"]["verdict"], mended["promoted"]) == ("no drift", True)


def test_what_a_block_kept_from_going_goes_with_no_later_version(corpus: Path, store: str) -> None:
    blocking = {"drift": DRIFT | {"block": True}}
    bees = notes(200, 80, ("bees",))
    held = notes(0, 200)
    run(corpus, store, held + bees, **blocking)
    assert not run(corpus, store, held, **blocking)["promoted"]
    kept_back = run(corpus, store, held + notes(300, 60), **blocking)
    assert not kept_back["promoted"]
    assert "rows removed or changed since version 1" in kept_back["drift"]["reason"]
    mended = run(corpus, store, held + bees + notes(300, 60), **blocking)
    assert mended["promoted"]


def test_a_change_of_metadata_alone_is_no_news(corpus: Path, store: str) -> None:
    held = notes(0, N) + notes(N, 100, ("bees",))
    run(corpus, store, held[:N], drift=None)
    run(corpus, store, held, drift=None)
    assert look(store).record.verdict == "drift"
    run(corpus, store, [{**one, "year": 9} for one in held], drift=None)
    quiet = look(store).record
    assert (quiet.verdict, quiet.reason) == (
        "no drift",
        "of what version 1 lacks nothing came since version 2, and of what it has nothing went; "
        "metadata of 340 records changed, which drift does not look at",
    )
    assert (quiet.tests, quiet.effect, quiet.detectable) == ((), None, None)
    once = look(store, "3", "2").record
    assert once.reason == (
        "nothing came and nothing went between versions 2 and 3; metadata of 340 records changed, "
        "which drift does not look at"
    )


def test_a_damaged_report_is_made_anew(corpus: Path, store: str) -> None:
    first = run(corpus, store, notes(0, 400))
    run(corpus, store, notes(0, 600))
    place = next(Path(store).glob("runs/*/drift/2-*.json"))
    whole = place.read_text()
    place.write_text(whole[:100])
    again = run(corpus, store, notes(0, 600))
    assert (again["version"], again["drift"]["verdict"]) == (first["version"] + 1, "no drift")
    assert DriftRecord.model_validate_json(place.read_text()).tests[0].p_value > 0.05


def test_a_reference_that_is_too_small_is_named(corpus: Path, store: str) -> None:
    held = notes(0, 20)
    run(corpus, store, held, drift=None)
    run(corpus, store, held + notes(20, 100), drift=None)
    reason = look(store).record.reason
    assert "rows added or changed since version 1: 100 beside 20" in reason
    assert reason.endswith("`vectorline drift notes --rebase 2` takes this version")


def test_few_rows_are_no_evidence(corpus: Path, store: str) -> None:
    held = notes(0, N)
    run(corpus, store, held, drift=None)
    run(corpus, store, held + notes(N, 20, ("bees",)), drift=None)
    record = look(store, "2", "1").record
    assert record.verdict == "cannot tell"
    assert record.reason == (
        "at least 30 rows or blocks on each side are needed, and there are fewer (rows added or "
        "changed since version 1: 20 beside 240)"
    )


def test_the_reference_is_the_first_that_served_until_someone_rebases(
    grown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = look(grown)
    assert found.record.baseline is not None
    assert (found.record.baseline.version, found.record.watched) == (1, True)
    catalog = Catalog(grown)
    assert catalog.tags(catalog.resolve("notes", "1"))[0] == reference.TAG
    assert cli.main(["drift", "notes", "--rebase", "2", "--store", grown, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"space": "notes", "reference": 2, "before": 1}
    again = look(grown)
    assert again.record.baseline is not None
    assert again.record.baseline.version == 2
    assert look(grown, "2").record.reason == "version 2 is the baseline"


def test_a_reference_that_is_no_version_is_told_and_not_replaced_by_another(grown: str) -> None:
    assert cli.main(["drift", "notes", "--rebase", "2", "--store", grown]) == 0
    table = Table(grown, Catalog(grown).resolve("notes", "2").table)
    tags.put(table, reference.TAG, 1)  # as after maintenance that was cut off
    with pytest.raises(StoreError) as caught:
        look(grown)
    assert str(caught.value) == (
        f"tag 'reference' of table '{table.name}' is on Lance version 1, which is no version of "
        "space 'notes': `vectorline maintain notes` mends it, or `vectorline drift notes --rebase "
        "V` tags another one"
    )
    assert table.tags()[reference.TAG] == 1
    assert cli.main(["drift", "notes", "--rebase", "2", "--store", grown]) == 0
    assert look(grown, "2").record.reason == "version 2 is the baseline"


def test_looks_are_remembered_and_the_same_look_spends_nothing(grown: str) -> None:
    first = look(grown, "2").record
    assert [(one.since, one.looks) for one in first.tests] == [(1, 1)]
    assert first.command == f"vectorline drift notes --candidate 2 --baseline 1 --store {grown}"
    again = look(grown, "2").record
    assert (again.id, again.tests) == (first.id, first.tests)
    second = look(grown, "3").record
    assert [(one.since, one.looks) for one in second.tests] == [(2, 1)]
    assert second.tests[0].adjusted > second.tests[0].p_value
    told = drifts.looks(grown, "notes").to_pylist()
    assert [(one["version"], one["baseline"], one["watched"]) for one in told] == [
        (2, 1, True),
        (3, 1, True),
    ]
    assert not look(grown, "2").record.watched  # a later version was looked at


def test_a_run_looks_and_drift_blocks_only_if_that_is_asked(corpus: Path, store: str) -> None:
    held = notes(0, 400)
    assert run(corpus, store, held)["drift"]["verdict"] == "cannot tell"
    noted = run(corpus, store, held + notes(400, 300, ("bees",)))
    assert (noted["drift"]["verdict"], noted["drift"]["blocked"]) == ("drift", False)
    assert noted["promoted"]
    blocking = {"drift": DRIFT | {"block": True}}
    held = held + notes(400, 300, ("bees",)) + notes(700, 300, ("bees",), seed=1)
    blocked = run(corpus, store, held, **blocking)
    assert (blocked["drift"]["verdict"], blocked["drift"]["blocked"]) == ("drift", True)
    assert not blocked["promoted"]
    assert blocked["notes"][-1].startswith("drift keeps version 2 serving: rows added or changed")
    serving = Catalog(store).serving("notes")
    assert serving is not None
    assert serving.version == 2


def test_a_version_serves_unseen_only_where_drift_does_not_block(corpus: Path, store: str) -> None:
    unknown = {"baseline": "golden"}
    assert run(corpus, store, notes(0, 20), drift=unknown)["promoted"]
    seen = run(corpus, store, notes(0, 40), drift=unknown)
    assert (seen["promoted"], seen["drift"]) == (True, None)
    assert seen["notes"][-1].startswith(
        "drift was not looked for: 'golden' is no version of space 'notes': give a number up to 2"
    )
    with pytest.raises(ConfigError, match="'golden' is no version of space") as raised:
        run(corpus, store, notes(0, 60), drift=unknown | {"block": True})
    assert "version 3 is made, and does not serve, since drift" in raised.value.__notes__[0]
    serving = Catalog(store).serving("notes")
    assert serving is not None
    assert (serving.version, open_space("notes", store, "latest").version) == (2, 3)


def test_some_records_alone_are_not_looked_at(corpus: Path, store: str) -> None:
    write_jsonl(corpus / "a.jsonl", notes(0, 60))
    assert refresh(config(corpus, drift=DRIFT), store, limit=40)["drift"] is None
    assert drifts.looks(store, "notes").num_rows == 0


def test_another_encoder_is_not_called_drift(corpus: Path, store: str) -> None:
    held = notes(0, N)
    run(corpus, store, held, drift=None)
    wide = {"use": "hashing", "dim": 64}
    write_jsonl(corpus / "a.jsonl", held + notes(N, 100))
    refresh(config(corpus, encoder=wide), store, backfill=True)
    record = look(store, "2").record
    assert record.verdict == "not comparable"
    assert record.encoders is not None
    assert record.encoders.records == N
    assert record.encoders.neighbour_overlap is not None
    assert not record.tests


def test_a_column_that_is_not_there_is_told(grown: str) -> None:
    with pytest.raises(ConfigError, match="no metadata column 'yeer', did you mean 'year'"):
        look(grown, "3", "1", columns=["yeer"])
    with pytest.raises(ConfigError, match="column 'year' of space 'notes' has no times"):
        look(grown, "3", "1", window={"column": "year", "days": 3})


def test_the_program_prints_the_verdict_and_exits_with_3(
    corpus: Path, store: str, tmp_path: Path
) -> None:
    path = write_config(tmp_path, corpus, drift=DRIFT)
    held = notes(0, 400)
    for rows in (held, held + notes(400, 300, ("bees",))):
        write_jsonl(corpus / "a.jsonl", rows)
        done = subprocess.run(
            [PROGRAM, "run", path, "--store", store], capture_output=True, text=True, check=True
        )
    assert "drift      drift: rows added or changed since version 1" in done.stdout
    found = subprocess.run(
        [PROGRAM, "drift", "notes", "--store", store, "--json"], capture_output=True, text=True
    )
    assert found.returncode == 3, found.stderr
    told = json.loads(found.stdout)
    assert (told["verdict"], told["version"], told["baseline"]) == ("drift", 2, 1)
    assert {name: one["rows"] for name, one in told["versions"].items()} == {
        "baseline": 400,
        "candidate": 700,
    }
    assert told["p_value"] <= 0.05
    assert {"auc", "shift_sd", "share"} <= told["effect"].keys()
    assert (told["n_baseline"], told["n_candidate"]) == (400, 300)
    assert told["segments"][0]["kind"] == "new topic"
    page = Path(told["report"])
    assert page.stat().st_size < 2e6
    assert "Drift: version 2 beside version 1" in page.read_text()
    DriftRecord.model_validate_json(page.with_suffix(".json").read_text())
