"""YAML as plain JSON data, with the line of each key for messages.

PyYAML reads the text; its own construction of data takes the last of two equal keys without a word,
forgets where things stood, and makes dates of what looks like one.
"""

from dataclasses import dataclass, field

import yaml
from pydantic import JsonValue

from tasks.mistakes import Mistake, Path

_TAG = "tag:yaml.org,2002:"
_JSON_SCALARS = [_TAG + name for name in ("null", "bool", "int", "float")]
_TEXT_SCALARS = [_TAG + name for name in ("str", "timestamp", "value", "merge")]


@dataclass(slots=True)
class Document:
    """What a YAML text holds: nulls, booleans, numbers, strings, and lists and mappings of them."""

    data: JsonValue = None
    lines: dict[Path, int] = field(default_factory=lambda: {(): 1})
    mistakes: list[Mistake] = field(default_factory=list)
    """Keys that stand twice, and what JSON does not have."""

    def line(self, path: Path) -> int:
        """The line of `path`, or of what it would stand in; counted from 1."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


def parse(text: str) -> Document:
    """The one document of a YAML text.

    Raises:
        yaml.YAMLError: The text is not YAML, or holds several documents.
    """
    loader = yaml.SafeLoader(text)
    document = Document()
    try:
        node = loader.get_single_node()
        if node is not None:
            document.data = _Reader(loader, document).read(node, ())
    finally:
        loader.dispose()
    return document


class _Reader:
    """Makes data of nodes, and notes lines and mistakes in a document."""

    def __init__(self, loader: yaml.SafeLoader, document: Document) -> None:
        self._loader = loader
        self._document = document
        self._open: list[yaml.Node] = []

    def read(self, node: yaml.Node, path: Path) -> JsonValue:
        self._document.lines.setdefault(path, node.start_mark.line + 1)
        if node in self._open:
            self._mistake(path, ": refers to itself")
            return None
        self._open.append(node)
        data: JsonValue = None
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            data = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            data = [self.read(one, (*path, n)) for n, one in enumerate(node.value)]
        elif node.tag in _JSON_SCALARS:
            data = self._loader.construct_object(node)
        elif node.tag in _TEXT_SCALARS:
            data = node.value
        else:
            self._mistake(path, f": the tag {node.tag.replace(_TAG, '!!')} has no use here")
        self._open.pop()
        return data

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, JsonValue]:
        data: dict[str, JsonValue] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._mistake(path, ": a key must be plain text")
                continue
            inside = (*path, key.value)
            if key.value in data:
                first = self._document.lines[inside]
                self._mistake(inside, f": stands twice, first in line {first}")
            self._document.lines[inside] = key.start_mark.line + 1
            data[key.value] = self.read(value, inside)
        return data

    def _mistake(self, path: Path, text: str) -> None:
        self._document.mistakes.append(Mistake(path, text))
