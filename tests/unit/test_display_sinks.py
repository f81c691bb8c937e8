"""What people read of sinks beside versions: which has which, and which are behind."""

import argparse
from typing import Any

import pytest

from flows.display import show

MOVED = {"space": "papers", "from_version": 3, "to_version": 2, "hold": False}
ENTRY: dict[str, Any] = {
    "rows": 40,
    "created_at": "2026-05-01T12:00:00+00:00",
    "encoder": "hashing",
    "fingerprint": "0123456789abcdef",
}


@pytest.mark.parametrize(
    ("behind", "told"),
    [
        ([], []),
        (
            [{"sink": "qdrant", "version": 3}, {"sink": "files", "version": 1}],
            [
                "downstream qdrant has version 3, files has version 1: "
                "`vectorline publish papers` brings this one there"
            ],
        ),
    ],
)
def test_who_moves_what_serves_is_told_which_sinks_are_behind(
    behind: list[dict[str, Any]], told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = argparse.Namespace(command="rollback", json=False)
    show(asked, {**MOVED, "sinks_behind": behind})
    first = "space papers: version 2 serves (before: 3)"
    assert capsys.readouterr().out.splitlines() == [first, *told]


def test_versions_name_their_sinks_and_hide_tags_of_bookkeeping(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tags = ["run-0", "synced-qdrant-c0_a", "gold"]
    rows = [
        {**ENTRY, "version": 1, "serving": False, "sinks": [], "tags": tags},
        {**ENTRY, "version": 2, "serving": True, "sinks": ["files", "qdrant"], "tags": []},
    ]
    asked = argparse.Namespace(command="versions", json=False)
    show(asked, rows)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[-2:] for line in lines] == [
        ["sinks", "tags"],
        ["0123456789ab", "gold"],
        ["files,", "qdrant"],
    ]
    show(asked, [{**row, "sinks": []} for row in rows])
    assert "sinks" not in capsys.readouterr().out
