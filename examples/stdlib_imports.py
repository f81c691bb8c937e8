"""Writes which module of the Python standard library imports which: a real graph on every machine.

It is read from the interpreter's own source files, which are parsed and never imported. Two Parquet
files in a folder:

    imports.parquet   module "json.decoder", imports "json.scanner": once for each pair
    modules.parquet   module "json.decoder", package "json", kind python or compiled
"""

import argparse
import ast
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

# Not the library: tests, what was installed beside it, and two programs that come with it.
SKIPPED = {"dist-packages", "idlelib", "lib2to3", "site-packages", "test", "tests"}


def modules(root: Path) -> dict[str, Path]:
    """The modules below `root` that are written in Python, by their names, in order."""
    found = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        if SKIPPED.isdisjoint(parts):
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return dict(sorted(found.items()))


def imports(files: dict[str, Path]) -> set[tuple[str, str]]:
    """Pairs of a module and another one that it imports, written in Python or compiled."""
    known = {*files, *sys.stdlib_module_names}
    return {
        (module, found)
        for module, path in files.items()
        for name in _named(module, path)
        if (found := _module(name, known)) and found != module
    }


def _named(module: str, path: Path) -> Iterator[str]:
    """What a module imports, by absolute names, down to what it takes out of modules."""
    package = module.split(".")[: None if path.stem == "__init__" else -1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = [*above, *([node.module] if node.module else [])]
            yield from (".".join([*source, alias.name]) for alias in node.names)


def _module(name: str, known: set[str]) -> str:
    """The module that an imported name is, or stands in; "" if it is none of these."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def main() -> None:
    """Writes both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    files = modules(Path(sysconfig.get_path("stdlib")))
    pairs = sorted(imports(files))
    edges = {"module": [one for one, _ in pairs], "imports": [other for _, other in pairs]}
    pq.write_table(pa.table(edges), folder / "imports.parquet")
    names = sorted({*files, *edges["imports"]})
    nodes = {
        "module": names,
        "package": [name.partition(".")[0] for name in names],
        "kind": ["python" if name in files else "compiled" for name in names],
    }
    pq.write_table(pa.table(nodes), folder / "modules.parquet")
    print(f"{len(names):,} modules, {len(pairs):,} imports: {folder}")


if __name__ == "__main__":
    main()
