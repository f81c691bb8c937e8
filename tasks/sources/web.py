"""GET requests to servers that nobody vouches for: bounded in time, and only to public addresses.

A name is resolved once, its addresses are checked, and the connection goes to a checked one; so for
each redirect. httpcore, not httpx: it lets one say how connections are made.
"""

import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import count
from typing import Self, TypeAlias, TypeVar

import httpcore
import httpx

from schemas.quarantine import Reason
from tasks.errors import SourceUnavailable
from tasks.sources.base import Problem

MAX_REDIRECTS = 10
MAX_PORT = 65535
FIRST_WAIT_S = 0.5  # doubled with each try
AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
REDIRECTS = (301, 302, 303, 307, 308)
PASSING = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.RemoteProtocolError,
    OSError,
)
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Addresses of IPv4 in forms that a network of its own decides about, or that nobody uses any more.
STAND_FOR_IPV4 = tuple(map(ipaddress.ip_network, ("64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96")))

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Given = TypeVar("Given")

_deadline: ContextVar[float] = ContextVar("deadline")


@dataclass(frozen=True)
class Manners:
    """How servers are asked; `allowed` are networks that are not public and may be asked too.

    `total_timeout_s` is for all there is to a URL: redirects, tries, the waits between them.
    """

    allowed: tuple[Network, ...]
    connections: int
    connect_timeout_s: float
    read_timeout_s: float
    total_timeout_s: float
    retries: int


class _Refused(Exception):
    """What ends a request for good."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(reason, detail)


class _Later(Exception):
    """What may be another time; `wait_s` is what the server asks for."""

    def __init__(self, detail: str, wait_s: float | None = None) -> None:
        super().__init__(detail)
        self.wait_s = wait_s


class Web:
    """Connections to servers, kept for the next request until it is closed; threads may share it.

    Requests that are under way when it is closed raise SourceUnavailable.
    """

    def __init__(self, manners: Manners) -> None:
        """Opens nothing."""
        self._manners = manners
        self._open = _Open()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),  # SSL_CERT_FILE names other authorities
            max_connections=manners.connections,
            network_backend=_Guarded(manners.allowed, self._open),
        )
        self._closed = False
        read_s = manners.read_timeout_s
        self._timeouts = {"connect": manners.connect_timeout_s, "read": read_s, "write": read_s}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._open.close()  # the pool forgets a connection that is made while it is closed
        self._pool.close()

    def get(
        self,
        url: str,
        headers: Mapping[str, str],
        receive: Callable[[httpcore.Response], Given],
    ) -> Given | Problem:
        """What `receive` makes of the answer, of status 200 or 304; else why there is none.

        It may be called again, after an answer that broke off.
        """
        _deadline.set(time.monotonic() + self._manners.total_timeout_s)
        for attempt in count():
            try:
                return self._follow(url, headers, receive)
            except _Refused as refused:
                return refused.problem
            except _Later as later:
                if self._closed:
                    raise SourceUnavailable(f"{url} was left: nobody reads on") from later
                wait_s = FIRST_WAIT_S * 2**attempt if later.wait_s is None else later.wait_s
                left_s = _deadline.get() - time.monotonic()
                if attempt >= self._manners.retries or wait_s >= left_s:
                    over = "total_timeout_s is over; " if left_s <= 0 else ""
                    return Problem(Reason.UNAVAILABLE, f"{over}{later} (tries: {attempt + 1})")
                time.sleep(wait_s)
        raise AssertionError("count() has no end")

    def _follow(
        self,
        url: str,
        headers: Mapping[str, str],
        receive: Callable[[httpcore.Response], Given],
    ) -> Given:
        place = _parsed(url)
        sent = [("User-Agent", "vectorline"), ("Accept-Encoding", "identity"), *headers.items()]
        for _ in range(MAX_REDIRECTS + 1):
            try:
                with self._pool.stream(
                    "GET",
                    httpcore.URL(
                        scheme=place.raw_scheme,
                        host=place.raw_host,
                        port=place.port,
                        target=place.raw_path,
                    ),
                    headers=[(name.encode(), value.encode("latin-1")) for name, value in sent],
                    extensions={"timeout": self._timeouts},
                ) as response:
                    location = _location(response)
                    if location is None:
                        return receive(response)
            except PASSING as error:
                raise _Later(f"{type(error).__name__}: {error}") from error
            except httpcore.LocalProtocolError as error:
                raise _Refused(Reason.UNREADABLE, f"no request can be made: {error}") from error
            place = _parsed(location, place)
        raise _Refused(Reason.UNREADABLE, f"more than {MAX_REDIRECTS} redirects")


def header(response: httpcore.Response, name: str) -> str:
    """The value of a header of an answer, empty where it has none; a character for each byte."""
    found = (value for key, value in response.headers if key.lower() == name.encode())
    return next(found, b"").decode("latin-1")


def networks(written: Iterable[str]) -> tuple[Network, ...]:
    """Networks such as "10.0.0.0/8", a single address among them; raises ValueError."""
    return tuple(ipaddress.ip_network(one, strict=False) for one in written)


def is_public(address: Address) -> bool:
    """Whether anybody may be at this address, but nobody's own machine or network.

    An IPv6 address that stands for one of IPv4 is judged by it.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            inner = address.teredo[1]
        elif address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local or any(address in one for one in STAND_FOR_IPV4):
            return False
    return address.is_global and not address.is_multicast


def _parsed(url: str, before: httpx.URL | None = None) -> httpx.URL:
    try:
        place = httpx.URL(url) if before is None else before.join(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise _Refused(Reason.UNREADABLE, f"{url[:200]!r} is no URL: {error}") from error
    if place.port is not None and place.port > MAX_PORT:
        raise _Refused(Reason.UNREADABLE, f"port {place.port}: {MAX_PORT} is the last one")
    if place.scheme not in ("http", "https") or not place.host:
        raise _Refused(Reason.FORBIDDEN_ADDRESS, f"{str(place)[:200]!r} is no http or https URL")
    if place.userinfo:
        raise _Refused(Reason.FORBIDDEN_ADDRESS, "the URL holds a name or a password")
    return place


def without_password(url: str) -> str:
    """The URL without a name and a password; as it is where there is none."""
    try:
        place = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return re.sub("//[^/]*@", "//***@", url)
    return str(place.copy_with(userinfo=b"***")) if place.userinfo else url


def _location(response: httpcore.Response) -> str | None:
    """Where a redirect leads, None for an answer; raises _Refused or _Later for any other."""
    status = response.status
    if status in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED):
        return None
    location = header(response, "location")
    if status in REDIRECTS and location:
        return location.encode("latin-1").decode("utf-8", "replace")
    if status in AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _Later(f"HTTP status {status}", _retry_after(header(response, "retry-after")))
    reason = Reason.NOT_FOUND if status in GONE else Reason.UNREADABLE
    raise _Refused(reason, f"HTTP status {status}")


def _named(host: str, address: Address) -> str:
    return f"{host} is" if host == str(address) else f"{host} is {address}, which is"


def _retry_after(value: str) -> float | None:
    """Seconds to wait, by a header that has seconds or a date."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _left(at_most: float | None) -> float:
    """Seconds until the deadline of the request under way; raises ReadTimeout after it."""
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("no time is left")
    return left if at_most is None else min(left, at_most)


class _Guarded(httpcore.NetworkBackend):
    """Connects to addresses that it has checked itself."""

    def __init__(self, allowed: Iterable[Network], streams: "_Open") -> None:
        self._allowed = tuple(allowed)
        self._open = streams
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        error: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._addresses(host, port):
            try:
                stream = self._plain.connect_tcp(
                    str(address), port, _left(timeout), local_address, socket_options
                )
                return _Timed(stream, self._open)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
        raise error

    def _addresses(self, host: str, port: int) -> list[Address]:
        """Raises _Refused if one of them may not be asked."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host}: {error}") from error
        addresses = [ipaddress.ip_address(one[4][0]) for one in found]
        for address in addresses:
            if not is_public(address) and not any(address in one for one in self._allowed):
                raise _Refused(
                    Reason.FORBIDDEN_ADDRESS,
                    f"{_named(host, address)} not public; `allow` names networks that may be asked",
                )
        return addresses


class _Open:
    """The streams that are open, to be closed together; what comes later is closed at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: set[httpcore.NetworkStream] = set()
        self._closed = False

    def add(self, stream: httpcore.NetworkStream) -> None:
        with self._lock:
            self._streams.add(stream)
            if self._closed:
                stream.close()

    def remove(self, stream: httpcore.NetworkStream) -> None:
        with self._lock:
            self._streams.discard(stream)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for stream in self._streams:
                stream.close()


class _Timed(httpcore.NetworkStream):
    """A connection that no request uses beyond its deadline, however slowly bytes drip."""

    def __init__(self, stream: httpcore.NetworkStream, streams: _Open) -> None:
        self._stream = stream
        self._open = streams
        streams.add(stream)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout))

    def close(self) -> None:
        self._open.remove(self._stream)
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, _left(timeout))
        self._open.remove(self._stream)
        return _Timed(secured, self._open)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)
