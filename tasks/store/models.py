"""Weights that were fitted in a store, by name; each fit stays under its digest.

models/<name>/<digest>/model.json is written last: without it the others are nothing yet.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter

from schemas.model import TrainedModel
from schemas.receipt import WrittenFile
from tasks.digests import digest_json
from tasks.encoders.remembered import cache_folder
from tasks.errors import ConfigError, StoreError
from tasks.mistakes import did_you_mean
from tasks.store import checksums, files, layout
from tasks.store.files import LocalFiles
from tasks.store.formats import parse

MODEL = TypeAdapter(TrainedModel)
PREFIX = "trained:"
"""Before the name of a model, where a config has a path."""
ABOUT = "model.json"
DIGITS = 12
AGAIN = "train it again"
ANCHOR = (
    "bring them back from a copy of the store, or begin anew, by a higher encoder.lineage and "
    "`vectorline backfill`"
)


def put(store_uri: str, folder: Path, about: Mapping[str, object]) -> TrainedModel:
    """Keeps the files of a folder, durably; `about` is what `TrainedModel` says besides them."""
    written = tuple(checksums.look_at(str(path)) for path in sorted(folder.iterdir()))
    digest = digest_json([[one.path, one.digest] for one in written]).hex()
    model = TrainedModel.model_validate({**about, "digest": digest, "files": written})
    place = layout.model_folder(store_uri, model.name, digest)
    there = files.of(place)
    for one in written:
        there.write(f"{place}/{one.path}", folder / one.path)
    there.write(f"{place}/{ABOUT}", model.model_dump_json(indent=1))
    return model


def fits(store_uri: str, name: str) -> list[TrainedModel]:
    """All fits of a name, oldest first."""
    folder = layout.models_folder(store_uri, name)
    found = []
    for digest in files.of(folder).names(folder):
        place = f"{folder}/{digest}/{ABOUT}"
        if (text := files.of(place).read(place)) is not None:
            with suppress(StoreError):  # of no use, like one whose writer was killed
                found.append(parse(MODEL, text, f"model {place}"))
    return sorted(found, key=lambda model: model.created_at)


def find(store_uri: str, named: str, spaces: Collection[str] = ()) -> TrainedModel:
    """The newest fit of a name, or with `NAME@DIGEST` that one.

    Raises ConfigError if there is none, which tells the names that there are, `spaces` among them.
    """
    name, _, digest = named.partition("@")
    known = fits(store_uri, name)
    found = [model for model in known if model.digest.startswith(digest)]
    if not found:
        folder = layout.models_folder(store_uri, "").rstrip("/")
        names = [one for one in files.of(folder).names(folder) if not layout.space_of(one)]
        others = sorted([*spaces, *(one for one in names if fits(store_uri, one))])
        have = [f"{name}@{model.digest[:DIGITS]}" for model in known] or others
        raise ConfigError(
            f"store {layout.root(store_uri)!r} has no model {named!r}"
            f"{did_you_mean(name, others) or '.'} It has: {', '.join(have) or 'none'}. "
            "`vectorline train` makes one, or a run of words"
        )
    return found[-1]


def of_table(store_uri: str, table: str, digest: str) -> TrainedModel:
    """A fit that a run made for its table; StoreError if it is gone."""
    for model in fits(store_uri, table):
        if model.digest == digest:
            return model
    raise StoreError(f"the fit {digest} of table {table!r} is gone: {ANCHOR}")


def keep_only(store_uri: str, table: str, digests: Collection[str], before: datetime) -> None:
    """Removes the other fits of a table that were made before that, and what is half of one.

    To be called under the table's lease: nobody writes one meanwhile.
    """
    young = {model.digest for model in fits(store_uri, table) if model.created_at >= before}
    folder = layout.models_folder(store_uri, table)
    for digest in files.of(folder).names(folder):
        if digest not in {*digests, *young}:
            place = layout.model_folder(store_uri, table, digest)
            files.of(place).remove([f"{place}/{ABOUT}"])  # first: what is left is nothing then
            files.of(place).remove_folder(place)


def fetch(store_uri: str, model: TrainedModel) -> Path:
    """A local folder with the files: the store's own, or on an object store a copy in the cache.

    Raises StoreError for files that are not as they were written.
    """
    place = layout.model_folder(store_uri, model.name, model.digest)
    if layout.is_local(place):
        folder = Path(place)
    else:
        folder = cache_folder() / "models" / model.digest
        for one in _missing(folder, model.files):
            data = files.of(place).read(f"{place}/{one.path}")
            if data is not None:
                LocalFiles().write(str(folder / one.path), data)
    if missing := _missing(folder, model.files):
        names = ", ".join(one.path for one in missing)
        raise StoreError(
            f"model {model.name}@{model.digest[:DIGITS]} lacks files, or they are damaged: "
            f"{names}; {AGAIN if model.key is None else ANCHOR}"
        )
    return folder


def _missing(folder: Path, written: Sequence[WrittenFile]) -> list[WrittenFile]:
    return [
        one
        for one in written
        if not (folder / one.path).is_file() or checksums.look_at(str(folder / one.path)) != one
    ]
