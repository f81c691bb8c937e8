"""How numbers and other people's texts are written on a page."""

import math
import re

from schemas.evaluation import Estimate

TEXT, NAME = 240, 60  # characters that are shown of a text, and of an id or a name
_MINUS = "\N{MINUS SIGN}"
_CONTROL_PICTURES = 0x2400  # then one for each of the 32 control characters
_UNSEEN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f"  # controls, but for tab and line feed
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"  # what turns the direction of writing
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"  # no characters at all
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(1, 17))
    + "]"
)


def shown(text: str, characters: int = NAME) -> str:
    """The start of a text, with a sign for each character that cannot be seen or is none.

    Nor longer than so many characters and an ellipsis. Not escaped: the template does that.
    """
    seen = _UNSEEN.sub(lambda found: _sign(ord(found[0])), text[: characters + 1])
    return seen if len(seen) <= characters else seen[:characters].rstrip() + "…"


def number(value: float, *, sign: bool = False) -> str:
    """Three significant digits, at most four decimals."""
    return _written(value, _decimals(value), sign=sign)


def chance(value: float, *, at_most: bool = False) -> str:
    """A p-value, which may be a bound; 0 is one that is too small for a float."""
    if value <= 0:
        return "< 1e-300"
    return f"at most {value:.2g}" if at_most and value < 1 else f"{value:.2g}"


def part(value: float) -> str:
    """A number that may be a count."""
    return f"{value:,.0f}" if abs(value) < 1e9 and value == int(value) else number(value)


def with_interval(found: Estimate, *, sign: bool = False) -> str:
    """Such as `0.612 (0.580 to 0.643)`; the number alone where it has no interval."""
    ends = interval(found)
    if not ends:
        return number(found.value, sign=sign)
    return f"{_written(found.value, _places(found), sign=sign)} ({ends})"


def interval(found: Estimate) -> str:
    """Such as `0.580 to 0.643`, with as many decimals as its value; empty where it has none."""
    if found.low is None or found.high is None:
        return ""
    return " to ".join(_written(end, _places(found)) for end in (found.low, found.high))


def size(n_bytes: int) -> str:
    """Bytes by the unit that leaves one to four digits."""
    if n_bytes < 1000:
        return f"{n_bytes} B"
    power = min(int(math.log10(n_bytes) / 3), 5)
    return f"{number(n_bytes / 1000**power)} {' kMGTP'[power]}B"


def duration(seconds: float) -> str:
    """Seconds below two minutes, then minutes, then hours."""
    if seconds < 120:
        return f"{number(seconds)} s"
    if seconds < 7200:
        return f"{number(seconds / 60)} min"
    return f"{number(seconds / 3600)} h"


def _sign(point: int) -> str:
    return chr(_CONTROL_PICTURES + point) if point < 32 else f"⟨U+{point:04X}⟩"


def _decimals(value: float) -> int | None:
    """None where a power of ten says it better, or where it is no number."""
    magnitude = abs(value)
    if not magnitude:
        return 0
    if not 5e-5 <= magnitude < 1e9:
        return None
    if magnitude <= 1:
        return 3 if magnitude >= 0.1 else 4
    return max(2 - math.floor(math.log10(magnitude)), 0)


def _places(found: Estimate) -> int | None:
    """Those of the value; of the wider end where the value is next to 0 and the end is not."""
    ends = [abs(end) for end in (found.low, found.high) if end is not None]
    if abs(found.value) < 5e-5 <= max(ends, default=0.0):
        return _decimals(max(ends))
    return _decimals(found.value)


def _written(value: float, decimals: int | None, *, sign: bool = False) -> str:
    if not math.isfinite(value):
        said = "not a number" if math.isnan(value) else "infinite"
        return f"{_MINUS}{said}" if value < 0 else said
    said = f"{abs(value):.2e}" if decimals is None else f"{abs(value):,.{decimals}f}"
    if value < 0 and any(digit in said for digit in "123456789"):
        return f"{_MINUS}{said}"
    return f"+{said}" if sign and value > 0 else said
