"""Models that were fitted in the store, where a config names one: `trained:NAME`."""

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from schemas.catalog import VersionEntry
from schemas.manifest import Manifest
from tasks import plugins
from tasks.encoders.base import Encoder
from tasks.errors import ConfigError
from tasks.secrets import resolve_secrets
from tasks.store import layout, manifests, models
from tasks.store.catalog import Catalog

PREFIX = models.PREFIX


def pin(arguments: Mapping[str, JsonValue], store_uri: str) -> dict[str, JsonValue]:
    """The same arguments, each `trained:NAME` with the digest of its newest fit.

    Of a space that is fitted it is the fit of the version that serves. Raises ConfigError if there
    is none.
    """

    def pinned(named: str) -> str:
        known = "@" in named or models.fits(store_uri, named)
        fit = None if known else _of_space(named, store_uri)
        model = models.find(store_uri, fit or named, () if known or fit else _spaces(store_uri))
        return f"{PREFIX}{model.name}@{model.digest}"

    return _changed(arguments, pinned)


def moved(
    written: Mapping[str, JsonValue],
    now: Mapping[str, JsonValue],
    before: Mapping[str, JsonValue],
    store_uri: str,
) -> str:
    """A sentence for each `trained:NAME` that meant another fit `before`, as `pin` gives them."""
    return "".join(
        f"; {value} is {_called(str(now[key]), store_uri)} now, and that table was made with "
        f"{_called(str(before[key]), store_uri)}"
        for key, value in written.items()
        if str(before.get(key)).startswith(PREFIX) and before[key] != now[key]
    )


def _called(pinned: str, store_uri: str) -> str:
    """What a fit is called: by the version that holds it, if it is that of a space."""
    name, _, digest = pinned.removeprefix(PREFIX).partition("@")
    for entry in reversed(Catalog(store_uri).versions(layout.space_of(name))):
        if entry.table == name and _fit_of(entry, store_uri) == digest:
            return f"version {entry.version} of {entry.space}"
    return f"the fit {digest[: models.DIGITS]} of {name}"


def check_model_name(name: str, store_uri: str) -> None:
    """Raises ConfigError if `trained:NAME` is the fit of a space already."""
    if _is_fitted(name, store_uri):
        raise ConfigError(
            f"train.name = {name!r}: the store has a space {name!r} that is fitted, and "
            f"`{PREFIX}{name}` is what it serves; give the model another name"
        )


def check_space_name(name: str, store_uri: str) -> None:
    """Raises ConfigError if `trained:NAME` is a model already, for a space that is fitted."""
    if models.fits(store_uri, name):
        raise ConfigError(
            f"space = {name!r}: the store has a model {name!r}, which `vectorline train` made, and "
            f"`{PREFIX}{name}` is that one; give the space another name"
        )


def _of_space(space: str, store_uri: str) -> str | None:
    """The fit that the serving version of a space holds, None if the space holds none.

    Raises ConfigError where none serves.
    """
    serving = Catalog(store_uri).serving(space)
    if serving is None and _is_fitted(space, store_uri):
        raise ConfigError(
            f"{PREFIX}{space}: space {space!r} serves no version yet, see `vectorline promote`"
        )
    fit = _fit_of(serving, store_uri) if serving else None
    return f"{serving.table}@{fit}" if serving and fit else None


def _is_fitted(space: str, store_uri: str) -> bool:
    """Whether a version of a space may hold a fit."""
    tables = {entry.table for entry in Catalog(store_uri).versions(space)}
    return any(models.fits(store_uri, table) for table in tables)


def _spaces(store_uri: str) -> list[str]:
    """Those that are fitted."""
    return [one for one in Catalog(store_uri).spaces() if _is_fitted(one, store_uri)]


def _fit_of(version: VersionEntry, store_uri: str) -> str | None:
    """The digest of the fit that a version holds, None if it holds none."""
    manifest = manifests.read(store_uri, version.table, version.run_id, Manifest)
    return manifest.fit.model if manifest and manifest.fit else None


def build_encoder(use: str, arguments: Mapping[str, JsonValue], store_uri: str) -> Encoder:
    """An encoder with its secrets, and each `trained:NAME` a local folder with the files.

    Raises ConfigError for a secret or a model that is not there, StoreError for damaged files.
    """
    located = _changed(
        arguments, lambda named: str(models.fetch(store_uri, models.find(store_uri, named)))
    )
    return plugins.build("encoders", use, resolve_secrets(located))


def _changed(
    arguments: Mapping[str, JsonValue], change: Callable[[str], str]
) -> dict[str, JsonValue]:
    return {
        key: change(value.removeprefix(PREFIX))
        if isinstance(value, str) and value.startswith(PREFIX)
        else value
        for key, value in arguments.items()
    }
