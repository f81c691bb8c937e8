"""What a verdict says to do, in words."""

import shlex
from dataclasses import dataclass

from schemas.evaluation import EvaluationRecord


@dataclass(frozen=True)
class Advice:
    """The verdict for whom reads one line.

    Attributes:
        tone: `good`, `bad`, `unsure` or `plain`: the colour.
        sign: One character of the same meaning, for whom sees no colours.
        headline: The verdict with both versions.
        next_step: What to do now.
        command: The command that does it; empty where there is none.
    """

    tone: str
    sign: str
    headline: str
    next_step: str
    command: str = ""


def advice(record: EvaluationRecord) -> Advice:
    """What the page says first."""
    this = record.candidate.version
    if record.baseline is None:
        return Advice(
            "plain",
            "•",
            f"Version {this}, measured alone",
            "There is no verdict without a baseline: evaluate it beside the version that serves.",
        )
    other = record.baseline.version
    serves = record.serving == this
    promote = "" if serves else shlex.join(["vectorline", "promote", record.space, str(this)])
    if record.verdict == "better":
        return Advice(
            "good",
            "▲",
            f"Version {this} is better than version {other}",
            "It serves already." if serves else "Promote it, if its cost is right.",
            promote,
        )
    if record.verdict == "not worse":
        return Advice(
            "good",
            "=",
            f"Version {this} is not worse than version {other}",
            "It serves already."
            if serves
            else "It may serve: promote it if it costs less or is wanted for another reason.",
            promote,
        )
    if record.verdict == "worse":
        return Advice(
            "bad",
            "▼",
            f"Version {this} is worse than version {other}",
            f"{'It serves already: go back to' if serves else 'Keep'} version {other}. "
            "Look at what was lost, under Changes.",
            shlex.join(["vectorline", "promote", record.space, str(other)]) if serves else "",
        )
    if record.verdict == "cannot tell":
        return Advice(
            "unsure",
            "?",
            f"Cannot tell whether version {this} is worse than version {other}",
            "Add queries or labels to the suite: with more items the intervals get narrower.",
        )
    return Advice(
        "plain",
        "•",
        f"Version {this} beside version {other}, without a verdict",
        "No metric of the suite was asked for one.",
    )
