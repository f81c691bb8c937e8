"""YAML files that users write, read with the line of each key."""

from collections.abc import Iterable
from pathlib import Path

import yaml

from tasks.errors import ConfigError
from tasks.mistakes import Mistake
from tasks.yaml_lines import Document, parse


def read_document(path: str | Path, kind: str) -> Document:
    """The document of a file, which is a `kind` of file; ConfigError where it cannot be read."""
    try:
        return parse(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{kind} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{kind} {path}: byte {error.start} is not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error


def refuse(sentences: Iterable[str]) -> None:
    """Raises ConfigError with these, one a line, if there are any."""
    if found := "\n".join(sentences):
        raise ConfigError(found)


def refuse_at(path: str | Path, document: Document, mistakes: Iterable[Mistake]) -> None:
    """Raises ConfigError with mistakes in a file and their lines, if there are any."""
    placed = sorted((document.line(one.path), str(one)) for one in mistakes)
    refuse(f"{path} line {line}: {text}" for line, text in placed)
