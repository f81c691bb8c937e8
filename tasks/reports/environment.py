"""What all pages have in common: their templates, and how texts and numbers are written in them."""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import ConfigError
from tasks.reports import words

if TYPE_CHECKING:
    import jinja2

SENTENCE, COMMAND = 600, 4000  # characters


def environment() -> "jinja2.Environment":
    """The templates of this folder; ConfigError where jinja2 is not installed."""
    try:
        import jinja2
    except ImportError as error:
        raise ConfigError(f"{error}; pip install 'vectorline[evaluate]'") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "shown": words.shown,
        "number": words.number,
        "chance": words.chance,
        "part": words.part,
        "interval": words.interval,
        "with_interval": words.with_interval,
        "size": words.size,
        "duration": words.duration,
    }
    return environment
