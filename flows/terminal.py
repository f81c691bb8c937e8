"""Progress on standard error, and libraries that keep quiet."""

import contextlib
import logging
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator

from tasks.progress import Listener, Report, listener

PLAIN_EVERY_S = 10.0
WINDOW_S = 20.0
COUNTED = ("rows", "tasks")  # units of stages that do not count shards


class Meter:
    """Rates over the last twenty seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int]] = deque()

    def rates(self, records: int, tokens: int) -> tuple[float, float]:
        """Records and tokens a second, given their totals now."""
        now = time.monotonic()
        self._seen.append((now, records, tokens))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        first = self._seen[0]
        seconds = max(now - first[0], 1e-3)
        return (records - first[1]) / seconds, (tokens - first[2]) / seconds


def describe(report: Report, meter: Meter) -> str:
    """One line: what is done, how fast, how long it will take."""
    if report.stage == "fit" and report.workers.expected:
        return _describe_fit(report, meter)
    if report.stage != "encode" or not report.total:
        parts = report.unit if report.unit in COUNTED else "shards"
        count = f" {report.done}/{report.total} {parts}" if report.total else ""
        return f"{report.stage}{count}"
    contents = max(report.done, min(report.workers.contents, report.total))
    rows, tokens = meter.rates(contents, report.workers.tokens)
    left = f", {_clock((report.total - contents) / rows)} left" if rows > 0 else ""
    speed = f", {tokens:,.0f} {report.unit}/s" if tokens else ""  # rows of a fit cost none
    return f"encode {contents}/{report.total} records, {rows:,.0f} rows/s{speed}{left}"


def _describe_fit(report: Report, meter: Meter) -> str:
    now = report.workers
    _, rate = meter.rates(0, now.tokens)
    left = f", {_clock((now.expected - now.tokens) / rate)} left" if rate > 0 else ""
    return (
        f"fit {now.tokens:,} of {now.expected:,} {report.unit}, "
        f"{rate:,.0f}/s, loss {now.loss:.3f}{left}"
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Shows progress and our own warnings on standard error; what libraries say is silenced."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("vectorline: %(message)s"))
    handler.addFilter(lambda record: record.name.split(".")[0] in ("flows", "tasks", "schemas"))
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(handler)
    warnings.simplefilter("ignore")
    show = _on_terminal() if sys.stderr.isatty() else _in_lines()
    # Ray prints what its workers die of: not into what a script reads.
    with show as listen, contextlib.redirect_stdout(sys.stderr):
        others = listener.get()

        def both(report: Report) -> None:
            others(report)
            listen(report)

        token = listener.set(both)
        try:
            yield
        finally:
            listener.reset(token)


@contextlib.contextmanager
def _on_terminal() -> Iterator[Listener]:
    from rich.console import Console

    meter = Meter()
    with Console(stderr=True).status("start") as status:
        yield lambda report: status.update(describe(report, meter))


@contextlib.contextmanager
def _in_lines() -> Iterator[Listener]:
    """For logs: a line for each stage, and every ten seconds where there is a count."""
    meter, shown_at = Meter(), 0.0
    seen: set[str] = set()
    print("start", file=sys.stderr, flush=True)

    def listen(report: Report) -> None:
        nonlocal shown_at
        line = describe(report, meter)
        now = time.monotonic()
        due = bool(report.total) and now - shown_at > PLAIN_EVERY_S
        if report.stage not in seen or due:
            seen.add(report.stage)
            shown_at = now
            print(line, file=sys.stderr, flush=True)

    yield listen
