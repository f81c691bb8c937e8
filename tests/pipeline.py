"""The verbs of a run one after the other, without Prefect's engine: what the flow does."""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks.commit import check, commit
from tasks.config import from_dict
from tasks.detect import watch
from tasks.encode import encode
from tasks.evaluate import judge
from tasks.plan import plan
from tasks.promote import promote
from tasks.run import Options, Run, open_run

Rows = Iterable[Mapping[str, Any]]

PROGRAM = Path(sys.executable).parent / "vectorline"


def config(folder: Path, **changes: object) -> dict[str, Any]:
    """A space `notes` of the JSONL files of a folder, encoded by hashing in this process."""
    made: dict[str, Any] = {
        "space": "notes",
        "source": {
            "use": "jsonl",
            "path": str(folder / "*.jsonl"),
            "id": "id",
            "text": "text",
            "metadata": ["year"],
        },
        "encoder": {"use": "hashing", "dim": 32},
        "compute": {"use": "serial"},
        "limits": {"max_removed": 0.9, "max_quarantined": 0.9},
    }
    return {**made, **changes}


def write_jsonl(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_config(folder: Path, corpus: Path, **changes: object) -> Path:
    path = folder / "notes.yaml"
    path.write_text(json.dumps(config(corpus, **changes)))
    return path


def refresh(
    settings: Mapping[str, Any],
    store: str | Path,
    **options: Any,
) -> dict[str, Any]:
    """One run; gives its summary."""
    made = Run(from_dict(dict(settings), "a test"), str(store), Options(**options))
    with open_run(made) as run:
        planned = plan.fn(run)
        check.fn(run, planned)
        encoded = encode.fn(run, planned) if planned.changes else None
        committed = commit.fn(run, planned, encoded)
        judged = judge.fn(run, committed.version)
        watched = watch.fn(run, committed.version)
        promoted = promote.fn(run, committed.version, judged, watched)
        gate, told = (None, None) if judged is None else (judged.gate(), judged.told())
        drift = None if watched is None else watched.told()
        found = committed.summary(promoted, run.notes, gate, drift)
        return found | {"evaluated": told, "published": []}


def books(summary: Mapping[str, Any]) -> dict[str, int]:
    """The records of a run by outcome, without the outcomes that none had."""
    return {name: count for name, count in summary["records"].items() if count}
