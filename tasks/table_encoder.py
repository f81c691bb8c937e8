"""The encoder that made a table, ready to work on this machine."""

from schemas.table import TableSettings
from tasks.digests import digest_json
from tasks.encoders import canaries
from tasks.encoders.base import Encoder, Precision
from tasks.errors import EncoderChanged, EncoderError
from tasks.store import canaries as stored_canaries
from tasks.store.table import Table
from tasks.trained import build_encoder


def load_encoder(table: Table) -> Encoder:
    """Loaded, and compared with the table's canaries.

    Raises EncoderChanged if this machine's encoder is not the one that made the table, EncoderError
    if it cannot be loaded, StoreError if the table's canaries are missing.
    """
    settings = table.settings()
    encoder = encoder_of(settings, table.store_uri)
    stored = stored_canaries.read(table.store_uri, table.name)
    encoder.load(Precision(encoder.precision(settings.precision)))
    try:
        canaries.check(encoder, stored)
    except EncoderError as error:
        raise EncoderChanged(str(error)) from error
    return encoder


def encoder_of(settings: TableSettings, store_uri: str) -> Encoder:
    """The table's encoder; refused if what this machine has under its name is another one."""
    written = dict(settings.encoder)
    use = str(written.pop("use"))
    encoder = build_encoder(use, written, store_uri)
    found = digest_json(encoder.fingerprint()).hex()
    if found != settings.fingerprint:
        raise EncoderChanged(
            f"the table was made with fingerprint {settings.fingerprint[:12]}, and encoder {use!r} "
            f"has {found[:12]} here: its weights or settings are others "
            "than those that made the table"
        )
    return encoder
