"""What HTTP answers that are errors mean, or that there is none, and when to ask again."""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from tasks.sinks.remote import Failure, Why

MEANINGS = {
    Why.BUSY: (408, 425, 429, 500, 502, 503, 504, *range(520, 530)),  # the last of a CDN
    Why.GONE: (404,),
    Why.LOGIN: (401, 403),
    Why.ROWS: (400, 413, 422),
}


def failure_of(status: int, said: str, headers: Mapping[str, str] | None = None) -> Failure:
    """What an answer of this status means; `said` is its text, or what there is of it."""
    why = next((one for one, statuses in MEANINGS.items() if status in statuses), Why.OTHER)
    return Failure(why, f"{status} {said}", retry_after_s(headers or {}))


def unanswered(error: Exception) -> Failure:
    """What it means that httpx raised this instead of giving an answer."""
    from httpx import (
        ConnectTimeout,
        InvalidURL,
        LocalProtocolError,
        TimeoutException,
        UnsupportedProtocol,
    )

    if isinstance(error, (InvalidURL, UnsupportedProtocol)):
        return Failure(Why.OTHER, f"{error}; check url")
    said = f"{type(error).__name__} {error}".rstrip()
    if isinstance(error, LocalProtocolError):  # nothing was sent, and never will be
        return Failure(Why.OTHER, said)
    is_late = isinstance(error, TimeoutException) and not isinstance(error, ConnectTimeout)
    return Failure(Why.SLOW if is_late else Why.AWAY, said)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, by a header that has seconds or a date; None where there is none."""
    said = {name.lower(): value for name, value in headers.items()}.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(said).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
