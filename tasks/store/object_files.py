"""The files of a store on an object store, such as S3.

An object is there whole or not at all, and what was written lasts: nothing has to be synced. Where
the server is and who asks stands in the environment, from which Lance takes it too.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import ConfigError, StoreError
from tasks.store.files import store_error

if TYPE_CHECKING:
    from obstore import ListResult, ObjectMeta
    from obstore.store import ObjectStore, RetryConfig

MAX_RETRIES = 6
RETRY_TIMEOUT = timedelta(seconds=30)
SAID = re.compile("<Message>(.*?)</Message>")
ROLE = "/latest/api/token"
"""What is asked for a role of this machine, where the environment holds no keys."""


@lru_cache
def connect(bucket_url: str) -> "ObjectFiles":
    """The files of a bucket; ConfigError without the client, or for a nonsensical environment."""
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise ConfigError(
            f"a store on {bucket_url} needs obstore: pip install 'vectorline[s3]'"
        ) from error
    patience: RetryConfig = {"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT}
    try:
        return ObjectFiles(bucket_url, from_url(bucket_url, retry_config=patience))
    except BaseError as error:
        said = _short(str(error))
        raise ConfigError(f"a store on {bucket_url}, by the environment: {said}") from error


@dataclass(frozen=True, slots=True)
class ObjectFiles:
    """Of one bucket; locations are URLs."""

    bucket_url: str
    client: "ObjectStore"

    def read(self, location: str) -> bytes | None:
        """In one request."""
        with self._told("reading", location), suppress(FileNotFoundError):
            return bytes(self.client.get(self._key(location)).bytes())
        return None

    def blocks(self, location: str) -> Iterator[bytes]:
        """As they come, in one request."""
        with self._told("reading", location):
            for block in self.client.get(self._key(location)).stream():
                yield bytes(block)

    def write(self, location: str, data: str | bytes | Path) -> None:
        """In one request, or in parts that appear together."""
        with self._told("writing", location):
            self.client.put(self._key(location), data.encode() if isinstance(data, str) else data)

    def create(self, location: str, text: str) -> bool:
        """Makes a file unless there is one; gives whether the one that is there is this one.

        `text` must be like no other: the answer to the request that made it may have been lost, and
        the next try finds a file.
        """
        from obstore.exceptions import AlreadyExistsError

        with self._told("writing", location):
            try:
                self.client.put(self._key(location), text.encode(), mode="create")
            except AlreadyExistsError:
                return self.read(location) == text.encode()
        return True

    def size_bytes(self, location: str) -> int | None:
        """By its metadata."""
        with self._told("reading", location), suppress(FileNotFoundError):
            return int(self.client.head(self._key(location))["size"])
        return None

    def names(self, folder: str) -> list[str]:
        """A folder is what has an object below it."""
        found = self._list(folder)
        objects = [one["path"] for one in found["objects"]]
        return sorted(path.rpartition("/")[2] for path in (*objects, *found["common_prefixes"]))

    def torn(self, folder: str, end: bytes) -> list[str]:
        """No power cut tears an object; but a torn file may have been copied, and is empty then."""
        objects = self._list(folder)["objects"]
        return sorted(one["path"].rpartition("/")[2] for one in objects if one["size"] < len(end))

    def move(self, location: str, to: str) -> None:
        """By a copy."""
        with self._told("moving", location), suppress(FileNotFoundError):
            self.client.rename(self._key(location), self._key(to))

    def remove(self, locations: Iterable[str]) -> None:
        """A thousand in one request."""
        with self._told("removing files of", self.bucket_url):
            self.client.delete([self._key(location) for location in locations])

    def remove_folder(self, folder: str) -> int:
        """All objects below it."""
        with self._told("removing", folder):
            below = self.client.list(self._key(folder)).collect()
            self.client.delete([one["path"] for one in below])
        return sum(one["size"] for one in below)

    def sweep(self, folder: str, before: datetime) -> None:
        """Nothing to do: an object is whole, or not there."""

    def sync(self, locations: Iterable[str], *, missing_ok: bool = False) -> None:
        """Nothing to do."""

    def free_bytes(self, folder: str) -> int | None:
        """Nothing ends it."""
        return None

    def _list(self, folder: str) -> "ListResult[Sequence[ObjectMeta]]":
        with self._told("listing", folder):
            return self.client.list_with_delimiter(self._key(folder))

    def _key(self, location: str) -> str:
        return location.removeprefix(self.bucket_url).lstrip("/")

    @contextmanager
    def _told(self, doing: str, location: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            raise store_error(StoreError(_short(str(error))), f"{doing} {location}") from error


def _short(text: str) -> str:
    if ROLE in text:
        return "the environment has no AWS_ACCESS_KEY_ID, and this machine no role of its own"
    said = SAID.search(text)
    return said[1] if said else text.splitlines()[0]
