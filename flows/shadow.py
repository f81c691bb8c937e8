"""Whether another package stands in front of one of ours, whose names are common ones."""

from importlib.util import find_spec
from pathlib import Path

OURS = Path(__file__).parent.parent


def shadowed() -> str | None:
    """A sentence about the package that Python would import instead of ours, if there is one.

    Nothing is imported. Call it before the first import of `tasks` or `schemas`.
    """
    for name in ("tasks", "schemas"):
        spec = find_spec(name)
        if spec is None:
            return f"package {name!r} is missing in {OURS}: install vectorline again"
        folders = spec.submodule_search_locations or [spec.origin or "an unknown place"]
        found = Path(folders[0])
        if found.resolve() != (OURS / name).resolve():
            return (
                f"another {name!r} stands in front of vectorline's own: Python finds {found}, "
                f"and vectorline needs {OURS / name}. Take {found.parent} from PYTHONPATH, or "
                "install vectorline into an environment of its own"
            )
    return None
