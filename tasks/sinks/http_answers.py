"""What HTTP answers say about trying again."""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from tasks.errors import SinkUnavailable

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
TOO_LARGE = 413


def unavailable(message: str, headers: Mapping[str, str] | None = None) -> SinkUnavailable:
    """The error, with how long the server asked to be left alone."""
    error = SinkUnavailable(message)
    error.retry_after_s = retry_after_s(headers or {})
    return error


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, by a header that has seconds or a date; None where there is none."""
    said = {name.lower(): value for name, value in headers.items()}.get("retry-after", "")
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
