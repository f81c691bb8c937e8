"""Figures as SVG that stands in a page: no ids but its own, colours of the page's own names.

matplotlib's file is one of its own: with ids that meet those of the next figure in the page, rules
of style for all that is in it, and colours that know nothing of a dark page.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from tasks.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, RULE = "#1c2430", "#5b6673", "#d9dee4"
CANDIDATE, BASELINE = "#2456c4", "#98a1ad"
GOOD, BAD, UNSURE = "#1a7f4b", "#b3372f", "#9a6200"
PAPER = "#fffffe"
_NAMES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    CANDIDATE: "candidate",
    BASELINE: "baseline",
    GOOD: "good",
    BAD: "bad",
    UNSURE: "unsure",
    PAPER: "paper",
}
_COLOUR = re.compile("|".join(_NAMES))
_REFERENCE = re.compile(r"#([\w-]+)")


@contextmanager
def drawing() -> Iterator[None]:
    """Figures that are made in here have the page's style, whatever a matplotlibrc says.

    Raises ConfigError where matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ConfigError(f"{error}; pip install 'vectorline[evaluate]'") from error
    with matplotlib.rc_context(), warnings.catch_warnings():
        # Other people's names may have characters that matplotlib's font lacks; browsers have them.
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "axes.edgecolor": RULE,
                "axes.formatter.useoffset": False,
                "axes.labelcolor": MUTED,
                "axes.spines.right": False,
                "axes.spines.top": False,
                "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same everywhere
                "font.size": 12.0,
                "svg.fonttype": "none",
                "svg.hashsalt": "vectorline",  # ids are drawn by it, else at random
                "text.color": INK,
                "text.parse_math": False,
                "xtick.color": RULE,
                "xtick.labelcolor": MUTED,
                "ytick.color": RULE,
                "ytick.labelcolor": MUTED,
            }
        )
        yield


def inline(figure: "Figure", name: str, says: str) -> str:
    """The figure as an `<svg>` element, the same bytes for the same figure; within `drawing`.

    `name` is what its ids begin with, other than those of all other figures of the page; `says`
    tells what it shows to whom cannot see it.
    """
    file = io.BytesIO()
    none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=none)
    root = ElementTree.fromstring(file.getvalue())  # noqa: S314 (matplotlib wrote it just now)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    used = {id_ for one in root.iter() for id_ in _referred(one)}
    for one in root.iter():
        _own(one, name, used)
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    root.attrib = {
        "viewBox": root.get("viewBox", ""),
        "width": str(width),
        "height": str(height),
        "role": "img",
        "aria-label": says,
    }
    return ElementTree.tostring(root, encoding="unicode")


def _referred(one: ElementTree.Element) -> Iterator[str]:
    for key, value in one.attrib.items():
        if key.endswith("href") or "url(#" in value:
            yield from _REFERENCE.findall(value)


def _own(one: ElementTree.Element, name: str, used: set[str]) -> None:
    one.tag = one.tag.rpartition("}")[2]
    one.tail = None
    if not (one.text or "").strip():
        one.text = None
    attributes = {}
    for key, value in one.attrib.items():
        key = key.rpartition("}")[2]
        if key == "id":
            if value in used:
                attributes[key] = f"{name}-{value}"
        elif key == "href" or "url(#" in value:
            attributes[key] = _REFERENCE.sub(rf"#{name}-\1", value)
        elif key == "style":
            attributes[key] = _COLOUR.sub(lambda found: f"var(--{_NAMES[found[0]]})", value)
        else:
            attributes[key] = value
    one.attrib = attributes
