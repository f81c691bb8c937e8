"""What `drift:` names, held against what there is: before a run, not after its hours of work."""

from collections.abc import Iterable, Iterator

from schemas.config import DriftConfig
from tasks.errors import ConfigError
from tasks.mistakes import did_you_mean
from tasks.store.catalog import Catalog
from tasks.store.reference import TAG
from tasks.store.table import Table

NAMED = (TAG, "serving", "latest")


def check_columns(settings: DriftConfig | None, known: Iterable[str]) -> None:
    """Raises ConfigError for a metadata column that neither the sources nor the table have."""
    there = [*known]
    for key, name in _columns(settings):
        if name not in there:
            raise ConfigError(
                f"drift.{key} = {name!r}: no metadata column{did_you_mean(name, there) or '.'} "
                f"There are {', '.join(there) or 'none'}: `source.metadata` names them"
            )


def check_baseline(settings: DriftConfig | None, catalog: Catalog, space: str) -> None:
    """Raises ConfigError for a name that is nearly one of those that there are.

    Any other may be a tag that is yet to be made, a number or a time.
    """
    name = TAG if settings is None else str(settings.baseline)
    if name in NAMED or name[:1].isdecimal():
        return
    tables = {entry.table for entry in catalog.versions(space)}
    known = {*NAMED, *(tag for one in tables for tag in Table(catalog.store_uri, one).tags())}
    if name not in known and (meant := did_you_mean(name, sorted(known))):
        raise ConfigError(
            f"drift.baseline = {name!r}{meant} Expected {TAG}, serving, latest, a version's number "
            "or tag, or a time"
        )


def _columns(settings: DriftConfig | None) -> Iterator[tuple[str, str]]:
    if settings is None:
        return
    yield from (("columns", name) for name in settings.columns)
    if settings.group is not None:
        yield "group", settings.group
    if settings.window is not None:
        yield "window.column", settings.window.column
