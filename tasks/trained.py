"""Models that were fitted in the store, where a config names one: `trained:NAME`."""

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from tasks import plugins
from tasks.encoders.base import Encoder
from tasks.secrets import resolve_secrets
from tasks.store import models

PREFIX = "trained:"


def pin(arguments: Mapping[str, JsonValue], store_uri: str) -> dict[str, JsonValue]:
    """The same arguments, each `trained:NAME` with the digest of its newest fit.

    Raises ConfigError if there is none.
    """

    def pinned(named: str) -> str:
        model = models.find(store_uri, named)
        return f"{PREFIX}{model.name}@{model.digest}"

    return _changed(arguments, pinned)


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
