"""Models that were fitted in the store, where a config names one: `trained:NAME`."""

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from schemas.manifest import Manifest
from tasks import plugins
from tasks.encoders.base import Encoder
from tasks.errors import ConfigError
from tasks.secrets import resolve_secrets
from tasks.store import manifests, models
from tasks.store.catalog import Catalog

PREFIX = models.PREFIX


def pin(arguments: Mapping[str, JsonValue], store_uri: str) -> dict[str, JsonValue]:
    """The same arguments, each `trained:NAME` with the digest of its newest fit.

    Of a space that is fitted it is the fit of the version that serves. Raises ConfigError if there
    is none.
    """

    def pinned(named: str) -> str:
        known = "@" in named or models.fits(store_uri, named)
        model = models.find(store_uri, named if known else _of_space(named, store_uri) or named)
        return f"{PREFIX}{model.name}@{model.digest}"

    return _changed(arguments, pinned)


def check_model_name(name: str, store_uri: str) -> None:
    """Raises ConfigError if `trained:NAME` is the fit of a space already."""
    tables = {entry.table for entry in Catalog(store_uri).versions(name)}
    if any(models.fits(store_uri, table) for table in tables):
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
    """The fit that the serving version of a space holds, None if there is none."""
    serving = Catalog(store_uri).serving(space)
    if serving is None:
        return None
    manifest = manifests.read(store_uri, serving.table, serving.run_id, Manifest)
    fit = manifest.fit if manifest else None
    return f"{serving.table}@{fit.model}" if fit else None


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
