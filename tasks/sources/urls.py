"""Records from web servers: a table lists URLs, and each answer is the content of its rows."""

import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Literal

import pyarrow as pa

from schemas.quarantine import Reason
from tasks.content import Media
from tasks.errors import ConfigError
from tasks.sources.access import MAX_RECORD_BYTES
from tasks.sources.base import Described, File, Problem, Record, Shard, too_large
from tasks.sources.fetched import Answer, Fetched, unchanged
from tasks.sources.tables import Table, described, parts, records_of, remainder
from tasks.sources.web import Manners, Web, networks, without_password

SHARD_URLS = 256
SHARD_BYTES = 48 * 2**20


class UrlSource:
    """A URL is a file, and `cache` keeps its last answer, from which records are read.

    Its stamp is that of the answer that is kept, for as long as the server says by ETag or
    Last-Modified that it would give the same; what has neither is fetched by each run. So
    encoding anew fetches nothing.
    """

    max_content_bytes = MAX_RECORD_BYTES

    def __init__(
        self,
        *,
        path: str | list[str],
        cache: str,
        modality: Literal["image", "audio"] = "image",
        url: str = "url",
        id: str | None = None,
        metadata: Sequence[str] = (),
        rename: dict[str, str] | None = None,
        types: dict[str, str] | None = None,
        tombstone: str | None = None,
        storage_options: dict[str, object] | None = None,
        concurrency: int = 8,
        connect_timeout_s: float = 10.0,
        read_timeout_s: float = 30.0,
        total_timeout_s: float = 120.0,
        retries: int = 3,
        allow: Sequence[str] = (),
    ) -> None:
        """`path` is a CSV, JSONL or Parquet file, or a .txt file with a URL in each line.

        `url` is a column or a template of columns, and its value the id where `id` names no other
        column. `cache` is a folder of this source's own. `concurrency` is for each worker,
        `total_timeout_s` for a URL with all retries. Private, loopback, link-local and reserved
        addresses are refused, unless they are in one of the networks of `allow`: "10.0.0.0/8".
        """
        if id is None and "{" in url:
            raise ConfigError(
                f"url = {url!r} is put together of columns: name the column of the id"
            )
        for name, number, least in (
            ("concurrency", concurrency, 1),
            ("connect_timeout_s", connect_timeout_s, 0.001),
            ("read_timeout_s", read_timeout_s, 0.001),
            ("total_timeout_s", total_timeout_s, 0.001),
            ("retries", retries, 0),
        ):
            if number < least:
                raise ConfigError(f"{name} = {number}: at least {least} is needed")
        try:
            allowed = networks(allow)
        except ValueError as error:
            raise ConfigError(f"allow = {list(allow)}: {error}") from error
        self.modality: str = modality
        self._manners = Manners(
            allowed, concurrency, connect_timeout_s, read_timeout_s, total_timeout_s, retries
        )
        if "://" in cache:
            raise ConfigError(f"cache = {cache!r}: expected a folder of this machine")
        self._fetched = Fetched(cache)
        self._table = Table(
            path,
            id=id or url,
            name=url,
            metadata=metadata,
            rename=rename,
            tombstone=tombstone,
            types=types,
            storage_options=storage_options,
        )

    def files(self) -> list[File]:
        """The URLs and their tables, ordered by uri; asks whether answers that are kept are old."""
        tables, rows = self._table.read()
        left: list[Record] = []
        of_url: dict[str, list[Record]] = {}
        for row in rows:
            url = str(row.content).strip()
            if "@" in url and (plain := without_password(url)) != url:
                detail = "the URL holds a name or a password, which are not shown"
                secret = Problem(Reason.FORBIDDEN_ADDRESS, detail)
                left.append(
                    replace(row, id=plain if row.id == url else row.id, content="", problem=secret)
                )
            elif row.problem is not None or row.tombstone:
                left.append(row)
            elif not url:
                left.append(replace(row, problem=Problem(Reason.EMPTY, "there is no URL")))
            else:
                content = Media(self.modality, b"")
                of_url.setdefault(url, []).append(replace(row, content=content, source_uri=url))
        fresh = secrets.token_hex(8)
        with Web(self._manners) as web, ThreadPoolExecutor(self._manners.connections) as pool:
            files = pool.map(lambda url: self._described(web, url, of_url[url], fresh), of_url)
            found = [*files, *remainder(tables, left)]
        return sorted(found, key=lambda file: file.uri)

    def owns(self, source_uri: str) -> bool:
        """Whether this uri is one of a table, or a URL: also one that no table names any more."""
        return self._table.owns(source_uri) or source_uri.startswith(("http://", "https://"))

    def shards(self, files: Sequence[File]) -> list[Shard]:
        """Neighbours in the order of the files: up to 256 URLs."""
        return parts(files, SHARD_URLS, SHARD_BYTES)

    def schema(self, files: Sequence[File]) -> pa.Schema | None:
        """Those of the tables."""
        return self._table.schema()

    def read(self, shard: Shard) -> Iterator[Record]:
        """One record for each row; fetches what was not fetched for this very listing."""
        pool = ThreadPoolExecutor(self._manners.connections)
        with Web(self._manners) as web, _left_at_once(pool):
            for records, future in self._ahead(shard, pool, web):
                content, problem = Media(self.modality, b""), None
                if future is not None:
                    content, problem = self._content(future.result())
                for record in records:
                    whole = record.problem is not None or record.tombstone
                    yield record if whole else replace(record, content=content, problem=problem)

    def _described(self, web: Web, url: str, records: Sequence[Record], fresh: str) -> Described:
        """The URL as a file; `fresh` is the state of what is yet to be fetched."""
        answer = self._fetched.answer(url)
        if answer is None or answer.problem is not None or not answer.conditions:
            return described(File(url, 0, fresh, fresh), records)
        same = unchanged(web, answer)
        if isinstance(same, Problem):
            stamp = "" if same.reason.transient else "refused"
            return described(File(url, 0, stamp), [replace(one, problem=same) for one in records])
        state = answer.state if same else fresh
        return described(File(url, answer.size_bytes, state, state), records)

    def _answer(self, web: Web, file: File) -> Answer:
        """What the server said when it was asked for this listing."""
        answer = self._fetched.answer(file.uri)
        if answer is not None and answer.state == file.state:
            return answer
        return self._fetched.fetch(web, file.uri, file.state, self.max_content_bytes)

    def _ahead(
        self, shard: Shard, pool: ThreadPoolExecutor, web: Web
    ) -> Iterator[tuple[tuple[Record, ...], "Future[Answer] | None"]]:
        """The files in order, while those that follow are fetched."""
        todo = (
            (records, pool.submit(self._answer, web, file) if file.state else None)
            for file, records in records_of(shard)
        )
        ahead = deque(islice(todo, self._manners.connections))
        while ahead:
            yield ahead.popleft()
            ahead.extend(islice(todo, 1))

    def _content(self, answer: Answer) -> tuple[Media, Problem | None]:
        problem = answer.problem
        if problem is None and answer.size_bytes > self.max_content_bytes:
            problem = too_large(answer.size_bytes, self.max_content_bytes)
        data = b"" if problem else self._fetched.body(answer)
        return Media(self.modality, data), problem


@contextmanager
def _left_at_once(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Nobody waits for what is under way where reading ends early."""
    try:
        yield
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
