"""Clusters of a version, by the command line and as a column."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows import cli
from tasks.clusters import Method, clusters
from tasks.errors import ConfigError
from tasks.space import open_space
from tests.pipeline import config, refresh, write_jsonl

TOPICS = {"sea": "boat wave sail harbour", "soup": "onion salt pepper broth"}


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Notes on two topics, each in words of its own; every text has another last word."""
    rows = [
        {"id": f"{topic}{number}", "text": f"{words} {words} {topic}{number}", "year": 2000}
        for topic, words in TOPICS.items()
        for number in range(9 if topic == "sea" else 6)
    ]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", rows)
    store = str(tmp_path / "vectors")
    refresh(config(tmp_path / "corpus", encoder={"use": "hashing", "dim": 128}), store)
    return store


@pytest.mark.parametrize("method", Method)
def test_records_on_one_topic_are_in_one_cluster(method: Method, store: str) -> None:
    found = clusters(open_space("notes", store), method, 2)
    assert [(one.name, sorted(one.ids)) for one in found] == [
        ("c1", [f"sea{number}" for number in range(9)]),
        ("c2", [f"soup{number}" for number in range(6)]),
    ]
    for one, (topic, words) in zip(found, TOPICS.items(), strict=True):
        assert len(one.typical) == 5
        assert all(typical.id.startswith(topic) for typical in one.typical)
        assert all((typical.text or "").startswith(words) for typical in one.typical)


def test_the_cluster_of_each_record_is_written_into_a_column(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["clusters", "notes", "-n", "2", "--column", "topic", "--store", store]
    assert cli.main([*command, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["records"]) for one in told["clusters"]] == [("c1", 9), ("c2", 6)]
    rows = open_space("notes", store).to_arrow(["id", "topic"]).to_pylist()
    assert {row["id"]: row["topic"] for row in rows} == {
        id_: one["name"] for one in told["clusters"] for id_ in one["ids"]
    }
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert "2 clusters of 15 records by k-means" in said
    assert "column 'topic' of the newest version has the cluster of each record" in said


@pytest.mark.parametrize("n", [1, 16])
def test_as_many_clusters_as_there_are_not_is_an_error(n: int, store: str) -> None:
    with pytest.raises(ConfigError, match=f"-n {n}: expected 2 to 15, the number of records"):
        clusters(open_space("notes", store), Method.K_MEANS, n)
