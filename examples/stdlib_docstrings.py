"""Writes the docstrings of the Python standard library as Parquet: a real corpus on every machine.

They are read from the interpreter's own source files, which are parsed and never imported. One row
for each module, class, function and method that has a docstring, in the order of paths and lines:

    id        "json.decoder:JSONDecoder.decode", the module's name alone for a module; what is
              defined again (for another platform, as a setter) gets "#2" and so on
    module    "json.decoder"
    qualname  "JSONDecoder.decode", the module's name for a module
    kind      module, class, function or method
    text      the docstring, its indentation removed
"""

import argparse
import ast
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

# Not the library: tests, what was installed beside it, and two programs that come with it.
SKIPPED = {"dist-packages", "idlelib", "lib2to3", "site-packages", "test", "tests"}
ROWS_IN_GROUP = 2_000
SCHEMA = pa.schema({name: pa.string() for name in ("id", "module", "qualname", "kind", "text")})


@dataclass(frozen=True)
class Docstring:
    """One row of the corpus."""

    id: str
    module: str
    qualname: str
    kind: str
    text: str


def docstrings(root: Path) -> Iterator[Docstring]:
    """The docstrings of all Python files under `root`, each with an id of its own."""
    seen: Counter[str] = Counter()
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).parts):
        parts = path.relative_to(root).with_suffix("").parts
        if SKIPPED.isdisjoint(parts):
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            for found in in_module(module, ast.parse(path.read_bytes(), str(path))):
                seen[found.id] += 1
                n = seen[found.id]
                yield found if n == 1 else replace(found, id=f"{found.id}#{n}")


def in_module(module: str, tree: ast.Module) -> Iterator[Docstring]:
    """The docstrings of one module, in the order of its lines; ids may repeat."""
    if text := ast.get_docstring(tree):
        yield Docstring(module, module, module, "module", text)
    yield from _below(tree, module, scope="", inside_class=False)


def _below(node: ast.AST, module: str, scope: str, inside_class: bool) -> Iterator[Docstring]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            qualname, is_class = scope + child.name, isinstance(child, ast.ClassDef)
            if text := ast.get_docstring(child):
                kind = "class" if is_class else "method" if inside_class else "function"
                yield Docstring(f"{module}:{qualname}", module, qualname, kind, text)
            inner = f"{qualname}." if is_class else f"{qualname}.<locals>."
            yield from _below(child, module, inner, is_class)
        else:
            yield from _below(child, module, scope, inside_class)


def main() -> None:
    """Reads the command line and writes the file."""
    parser = argparse.ArgumentParser(description="Write the standard library's docstrings.")
    parser.add_argument("--out", type=Path, required=True, help="the Parquet file to write")
    out: Path = parser.parse_args().out
    rows = [asdict(found) for found in docstrings(Path(sysconfig.get_path("stdlib")))]
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), out, row_group_size=ROWS_IN_GROUP)
    print(f"{len(rows):,} docstrings written to {out}")


if __name__ == "__main__":
    main()
