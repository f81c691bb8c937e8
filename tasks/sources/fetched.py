"""A folder with what web servers answered, so that a record is the same each time it is read.

Of each URL two files: what is known of the last answer, as JSON, and its body. The first names the
second, and is replaced when that is there: at any moment both belong together.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO

import httpcore

from schemas.quarantine import Reason
from tasks.digests import digest_text
from tasks.errors import SourceError
from tasks.sources.base import Problem, too_large
from tasks.sources.web import Web, header


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of an answer; `state` is that of the file for which it was fetched."""

    url: str
    state: str
    size_bytes: int = 0
    etag: str = ""
    last_modified: str = ""
    reason: str = ""
    detail: str = ""

    @property
    def problem(self) -> Problem | None:
        """Why there is no body."""
        return Problem(Reason(self.reason), self.detail) if self.reason else None

    @property
    def conditions(self) -> dict[str, str]:
        """Headers that ask for nothing but a change."""
        found = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in found.items() if value}


class Fetched:
    """The answers of one source, below a folder of its own."""

    def __init__(self, folder: str) -> None:
        """Opens nothing."""
        self._folder = Path(folder)

    def answer(self, url: str) -> Answer | None:
        """The last answer, None where there is none or its body is gone."""
        path = self._path(url)
        try:
            answer = Answer(**json.loads(path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):  # a power cut may leave it empty
            return None
        whole = answer.reason or self._body(answer).exists()
        return answer if whole else None

    def body(self, answer: Answer) -> bytes:
        """The body of an answer without a problem."""
        return self._body(answer).read_bytes()

    def fetch(self, web: Web, url: str, state: str, max_bytes: int) -> Answer:
        """Asks for the URL and keeps the answer, also a bad one, in place of the last one."""
        path = self._path(url)
        with _keeping(url):
            path.parent.mkdir(parents=True, exist_ok=True)
        with _draft(path.parent) as body:

            def receive(response: httpcore.Response) -> Answer | Problem:
                return _receive(response, url, state, body, max_bytes)

            found = web.get(url, {}, receive)
            if isinstance(found, Problem):
                answer = Answer(url, state, reason=found.reason, detail=found.detail)
            else:
                answer = found
                os.replace(body.name, self._body(answer))  # noqa: PTH105
        before = self.answer(url)
        with _keeping(url), _draft(path.parent) as head:
            head.write(json.dumps(asdict(answer)).encode())
            head.flush()
            os.replace(head.name, path)  # noqa: PTH105
        if before is not None and before.state != state:
            self._body(before).unlink(missing_ok=True)
        return answer

    def _path(self, url: str) -> Path:
        name = digest_text(url).hex()
        return self._folder / name[:2] / f"{name}.json"

    def _body(self, answer: Answer) -> Path:
        return self._path(answer.url).with_suffix(f".{answer.state}")


def unchanged(web: Web, answer: Answer) -> bool | Problem:
    """Asks whether an answer is still the one that the server would give; no body is read."""

    def receive(response: httpcore.Response) -> bool:
        return response.status == HTTPStatus.NOT_MODIFIED or _validators(response) == (
            answer.etag,
            answer.last_modified,
        )

    return web.get(answer.url, answer.conditions, receive)


def _receive(
    response: httpcore.Response, url: str, state: str, body: IO[bytes], max_bytes: int
) -> Answer | Problem:
    if response.status == HTTPStatus.NOT_MODIFIED:
        return Problem(Reason.UNAVAILABLE, "HTTP status 304, though nothing was known before")
    encoding = header(response, "content-encoding")
    if encoding not in ("", "identity"):
        return Problem(Reason.UNREADABLE, f"Content-Encoding {encoding!r}, which nobody asked for")
    length = header(response, "content-length")
    if length.isdecimal() and int(length) > max_bytes:
        return too_large(int(length), max_bytes)
    with _keeping(url):
        body.seek(0)
        body.truncate()
    size = 0
    for part in response.iter_stream():
        size += len(part)
        if size > max_bytes:
            return too_large(size, max_bytes)
        with _keeping(url):
            body.write(part)
    with _keeping(url):
        body.flush()
    etag, last_modified = _validators(response)
    return Answer(url, state, size, etag, last_modified)


def _validators(response: httpcore.Response) -> tuple[str, str]:
    return header(response, "etag"), header(response, "last-modified")


@contextmanager
def _keeping(url: str) -> Iterator[None]:
    """A disk that takes nothing more is no fault of the server: SourceError."""
    try:
        yield
    except OSError as error:
        raise SourceError(f"the answer of {url} cannot be kept in the cache: {error}") from error


@contextmanager
def _draft(folder: Path) -> Iterator[IO[bytes]]:
    """A new file in the folder, which is gone afterwards unless it was renamed."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix="draft-", delete=False) as file:
        try:
            yield file
        finally:
            with suppress(FileNotFoundError):
                Path(file.name).unlink()
