"""The source of URLs against a real server on loopback, well-behaved and not."""

import ipaddress
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from schemas.quarantine import Reason
from tasks import worker as worker_module
from tasks.content import Media
from tasks.errors import ConfigError, SourceError
from tasks.jobs import ScanJob
from tasks.sources.base import Record
from tasks.sources.urls import UrlSource
from tasks.sources.web import is_public
from tasks.worker import Worker, WorkerSpec
from tests import web
from tests.web import Request, Server, body

Told = tuple[str | None, bytes, Reason | None]


@pytest.fixture
def server() -> Iterator[Server]:
    with web.server() as made:
        yield made


def urls(folder: Path, lines: list[str], **arguments: Any) -> UrlSource:
    (folder / "list.txt").write_text("\n".join(lines) + "\n")
    quick = {"read_timeout_s": 0.5, "total_timeout_s": 5.0, "retries": 1, "allow": ["127.0.0.1"]}
    options = {"cache": f"{folder}/cache", **quick, **arguments}
    return UrlSource(path=f"{folder}/list.txt", **options)


def read(source: UrlSource) -> list[Record]:
    return [record for shard in source.shards(source.files()) for record in source.read(shard)]


def one(folder: Path, url: str, **arguments: Any) -> tuple[bytes, Reason | None, str]:
    """What becomes of one URL: its content, or why there is none."""
    (record,) = read(urls(folder, [url], **arguments))
    assert isinstance(record.content, Media)
    problem = record.problem
    return (
        record.content.data,
        problem.reason if problem else None,
        problem.detail if problem else "",
    )


def test_each_line_is_a_record_and_is_asked_for_once(tmp_path: Path, server: Server) -> None:
    server.routes = {f"/{n}": body(b"%d" % n) for n in range(30)}
    lines = [f"{server.url}/{n}" for n in range(30)]
    source = urls(tmp_path, ["", *lines, " "], modality="audio")
    shards = source.shards(source.files())
    first = [record for shard in shards for record in source.read(shard)]
    assert first == [
        Record(line, Media("audio", line.rpartition("/")[2].encode()), line)
        for line in sorted(lines)
    ]
    assert [record for shard in shards for record in source.read(shard)] == first
    assert sorted(server.asked) == sorted(f"/{n}" for n in range(30))


def test_a_line_that_is_no_url_is_one_record(tmp_path: Path, server: Server) -> None:
    server.routes = {"/a": body(b"A")}
    source = urls(tmp_path, ["x" * 200_000, f"{server.url}/a", "no url"])
    with (tmp_path / "list.txt").open("ab") as file:
        file.write(b"\xff\n")
    list_uri = f"{tmp_path}/list.txt"
    assert [(r.id, r.source_uri, r.problem and r.problem.reason) for r in read(source)] == [
        (None, list_uri, Reason.TOO_LARGE),
        (None, list_uri, Reason.INVALID_UTF8),
        (f"{server.url}/a", f"{server.url}/a", None),
        ("no url", "no url", Reason.FORBIDDEN_ADDRESS),
    ]


def test_rows_of_a_table_give_ids_metadata_and_parts_of_urls(
    tmp_path: Path, server: Server
) -> None:
    server.routes = {"/a.jpg": body(b"A"), "/b.jpg": body(b"B")}
    (tmp_path / "list.csv").write_text(
        "key,file,year,gone\none,a.jpg,1,\ntwo,b.jpg,2,\nthree,a.jpg,3,\n"
        "four,,4,\nfive,a.jpg,V,\nsix,a.jpg,6,yes\nseven\n"
    )
    source = UrlSource(
        path=f"{tmp_path}/*.csv",
        cache=f"{tmp_path}/cache",
        id="key",
        url=server.url + "/{file}",
        metadata=["year"],
        types={"year": "int"},
        tombstone="gone",
        allow=web.LOOPBACK,
    )
    list_uri, a, b = f"{tmp_path}/list.csv", f"{server.url}/a.jpg", f"{server.url}/b.jpg"
    found = [
        (r.id, r.source_uri, dict(r.metadata), r.tombstone or (r.problem and r.problem.reason))
        for r in read(source)
    ]
    assert found == [
        ("four", list_uri, {"year": 4}, Reason.EMPTY),
        ("five", list_uri, {}, Reason.WRONG_TYPE),
        ("six", list_uri, {}, True),
        ("seven", list_uri, {}, Reason.RAGGED_ROW),
        ("one", a, {"year": 1}, None),
        ("three", a, {"year": 3}, None),
        ("two", b, {"year": 2}, None),
    ]
    assert sorted(server.asked) == ["/a.jpg", "/b.jpg"]
    assert source.schema(source.files()) == pa.schema([("year", pa.int64())])


def test_what_did_not_change_by_its_etag_is_not_fetched_again(
    tmp_path: Path, server: Server
) -> None:
    def careless(request: Request) -> None:
        request.answer(200, b"as it was", ETag='"same"')

    def dated(request: Request) -> None:
        when = "Sat, 21 Nov 2026 00:00:00 GMT"
        same = request.headers["If-Modified-Since"] == when
        request.answer(304 if same else 200, b"" if same else b"dated", Last_Modified=when)

    server.routes = {
        "/changes": body(b"old", '"1"'),
        "/dated": dated,
        "/ignores-conditions": careless,
        "/same": body(b"same", 'W/"1"'),
        "/without": body(b"without"),
    }
    source = urls(tmp_path, [server.url + path for path in server.routes])
    names = [path for path in sorted(server.routes)]

    def state() -> tuple[dict[str, str], dict[str, bytes]]:
        stamps = {f.uri.removeprefix(server.url): f.stamp for f in source.files()}
        return stamps, {r.source_uri.removeprefix(server.url): r.content.data for r in read(source)}  # type: ignore[union-attr]

    read(source)
    before, contents = state()
    server.routes["/changes"] = body(b"new", '"2"')
    after, now = state()
    assert [name for name in names if after[name] != before[name]] == ["/changes", "/without"]
    assert {name: now[name] for name in names if now[name] != contents[name]} == {
        "/changes": b"new"
    }
    server.asked.clear()
    stamps = [file.stamp for file in source.files()]
    assert sorted(server.asked) == ["/changes", "/dated", "/ignores-conditions", "/same"]
    assert all(stamps)


def test_headers_of_any_bytes_are_understood(tmp_path: Path, server: Server) -> None:
    etag = '"caf\xe9"'

    def strange(request: Request) -> None:
        same = request.headers["If-None-Match"] == etag
        request.answer(304 if same else 200, b"" if same else b"A", ETag=etag)

    where = "/caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode().decode("latin-1")
    server.routes = {"/a": answering(302, Location=where), "/caf%C3%A9": strange}
    source = urls(tmp_path, [f"{server.url}/a"])
    (record,) = read(source)
    assert record.content == Media("image", b"A")
    assert source.files() == source.files()
    assert server.asked == ["/a", "/caf%C3%A9"] * 3


def answering(status: int, **headers: str) -> web.Route:
    return lambda request: request.answer(status, **headers)


def test_a_server_that_is_away_keeps_what_was_fetched(tmp_path: Path, server: Server) -> None:
    server.routes = {"/a": body(b"A", '"1"')}
    source = urls(tmp_path, [f"{server.url}/a"], retries=0)
    read(source)
    (before,) = (file for file in source.files() if file.uri.endswith("/a"))
    for status, reason, stamped in (
        (503, Reason.UNAVAILABLE, False),
        (404, Reason.NOT_FOUND, True),
    ):
        server.routes["/a"] = answering(status)
        (away,) = (file for file in source.files() if file.uri.endswith("/a"))
        (record,) = read(source)
        assert (bool(away.stamp), record.problem and record.problem.reason) == (stamped, reason)
    server.routes["/a"] = body(b"A", '"1"')
    assert before in source.files()
    (record,) = read(source)
    assert record.content == Media("image", b"A")
    assert source.owns(f"{server.url}/a")
    assert source.owns(f"{server.url}/gone-from-the-list")
    assert not source.owns("/a/file")


def test_reading_that_ends_early_leaves_no_answer_half_heard(
    tmp_path: Path, server: Server
) -> None:
    def slow(request: Request) -> None:
        time.sleep(0.3)
        request.answer(200, b"slow")

    server.routes = {"/0": body(b"0"), "/1": slow, "/2": slow}
    source = urls(tmp_path, [f"{server.url}/{n}" for n in range(3)], retries=0)
    (shard,) = source.shards(source.files())
    records = source.read(shard)
    assert isinstance(records, Generator)
    assert next(records).content == Media("image", b"0")
    records.close()
    contents = [record.content for record in source.read(shard)]
    assert contents == [Media("image", b"0"), Media("image", b"slow"), Media("image", b"slow")]


def test_a_body_that_was_deleted_is_fetched_again(tmp_path: Path, server: Server) -> None:
    server.routes = {"/a": body(b"A", '"1"')}
    source = urls(tmp_path, [f"{server.url}/a"])
    first = read(source)
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file() and path.suffix != ".json":
            path.unlink()
    assert read(source) == first
    assert server.asked == ["/a", "/a"]


@pytest.mark.parametrize(
    ("status", "headers", "reason", "requests"),
    [
        (404, {}, Reason.NOT_FOUND, 1),
        (410, {}, Reason.NOT_FOUND, 1),
        (403, {}, Reason.UNREADABLE, 1),
        (204, {}, Reason.UNREADABLE, 1),
        (301, {}, Reason.UNREADABLE, 1),
        (500, {}, Reason.UNAVAILABLE, 2),
        (429, {"Retry_After": "0"}, Reason.UNAVAILABLE, 2),
        (429, {"Retry_After": "3600"}, Reason.UNAVAILABLE, 1),
        (503, {"Retry_After": "Fri, 31 Dec 2100 00:00:00 GMT"}, Reason.UNAVAILABLE, 1),
        (503, {"Retry_After": f"Mon, 01 Jan 2020 00:00:00 +{'9' * 20}"}, Reason.UNAVAILABLE, 2),
        (304, {}, Reason.UNAVAILABLE, 1),
        (200, {"Content_Encoding": "gzip"}, Reason.UNREADABLE, 1),
    ],
)
def test_an_answer_that_is_none_is_a_problem_tried_again_where_it_may_pass(
    tmp_path: Path,
    server: Server,
    status: int,
    headers: dict[str, str],
    reason: Reason,
    requests: int,
) -> None:
    server.otherwise = answering(status, **headers)
    assert one(tmp_path, f"{server.url}/a")[:2] == (b"", reason)
    assert len(server.asked) == requests


def test_a_server_that_asks_to_wait_is_asked_again_then(tmp_path: Path, server: Server) -> None:
    times: list[float] = []

    def busy(request: Request) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            request.answer(429, Retry_After="1")
        else:
            request.answer(200, b"A")

    server.otherwise = busy
    assert one(tmp_path, f"{server.url}/a") == (b"A", None, "")
    assert times[1] - times[0] >= 1


def test_an_answer_that_breaks_off_is_asked_for_again(tmp_path: Path, server: Server) -> None:
    numbers = count()

    def broken(request: Request) -> None:
        if next(numbers):
            request.answer(200, b"whole")
        else:
            request.send_response(200)
            request.send_header("Content-Length", "1000")
            request.end_headers()
            request.wfile.write(b"x" * 500)
            request.close_connection = True

    server.otherwise = broken
    assert one(tmp_path, f"{server.url}/a") == (b"whole", None, "")


def endless(request: Request) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b"x" * 65536)


def dripping(request: Request) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b"x")
        time.sleep(0.02)


def dripping_headers(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        request.wfile.write(b"x")
        time.sleep(0.02)


def silent(request: Request) -> None:
    time.sleep(2)


def large(request: Request) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(2**40))
    request.end_headers()
    endless(request)


@pytest.mark.parametrize(
    ("route", "reason", "detail"),
    [
        (endless, Reason.TOO_LARGE, "limits.max_content_bytes is 100000"),
        (large, Reason.TOO_LARGE, "1099511627776 bytes, limits"),
        (dripping, Reason.UNAVAILABLE, "total_timeout_s is over"),
        (dripping_headers, Reason.UNAVAILABLE, "total_timeout_s is over"),
        (silent, Reason.UNAVAILABLE, "ReadTimeout"),
    ],
)
def test_a_url_that_never_ends_is_left_in_time_and_the_next_one_is_read(
    tmp_path: Path, server: Server, route: web.Route, reason: Reason, detail: str
) -> None:
    server.routes = {"/a": route, "/b": body(b"B")}
    source = urls(
        tmp_path,
        [f"{server.url}/a", f"{server.url}/b"],
        total_timeout_s=0.8,
        read_timeout_s=0.3,
        retries=0,
    )
    source.max_content_bytes = 100_000
    started = time.monotonic()
    bad, good = read(source)
    assert time.monotonic() - started < 2
    assert bad.problem is not None
    assert bad.problem.reason == reason
    assert detail in bad.problem.detail
    assert good.content == Media("image", b"B")
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.*")) < 2000


def test_redirects_are_followed_but_not_for_ever(tmp_path: Path, server: Server) -> None:
    def to(location: str) -> web.Route:
        return lambda request: request.answer(302, Location=location)

    server.routes = {
        "/a": to("deep/b"),
        "/deep/b": to(f"{server.url}/c"),
        "/c": body(b"C"),
        "/round": to("/round"),
    }
    assert one(tmp_path, f"{server.url}/a") == (b"C", None, "")
    data, reason, detail = one(tmp_path, f"{server.url}/round")
    assert (data, reason, detail) == (b"", Reason.UNREADABLE, "more than 10 redirects")
    assert server.asked.count("/round") == 11


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/secret",
        "http://[::ffff:127.0.0.2]:{port}/secret",
        "http://2130706434:{port}/secret",
        "//169.254.169.254/latest/meta-data",
        "http://0.0.0.0:{port}/secret",
        "file:///etc/passwd",
        "ftp://127.0.0.1/secret",
        "http://me:secret@127.0.0.1:{port}/secret",
    ],
)
def test_a_redirect_to_where_nobody_may_go_is_refused(
    tmp_path: Path, server: Server, location: str
) -> None:
    server.routes = {
        "/a": lambda request: request.answer(302, Location=location.format(port=port)),
        "/secret": body(b"secret"),
    }
    port = server.server_port
    data, reason, _ = one(tmp_path, f"{server.url}/a")
    assert (data, reason, server.asked) == (b"", Reason.FORBIDDEN_ADDRESS, ["/a"])


def test_a_name_is_judged_by_its_addresses_and_resolved_once(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.routes = {"/a": body(b"A")}
    url = f"http://localhost:{server.server_port}/a"
    data, reason, detail = one(tmp_path, url, allow=[])
    assert (data, reason) == (b"", Reason.FORBIDDEN_ADDRESS)
    assert "localhost is" in detail
    answers = {"rebinds.test": iter(["127.0.0.1", "127.0.0.2"])}
    real = socket.getaddrinfo

    def resolve(host: str, *args: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        found = [next(answers[name])] if name in answers else [host]
        found = ["127.0.0.1", "10.1.2.3"] if name == "both.test" else found
        return [answer for one in found for answer in real(one, *args, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    rebinding = url.replace("localhost", "rebinds.test")
    assert one(tmp_path, rebinding) == (b"A", None, "")
    assert next(answers["rebinds.test"]) == "127.0.0.2"
    both = one(tmp_path, url.replace("localhost", "both.test"))
    assert both[:2] == (b"", Reason.FORBIDDEN_ADDRESS)
    assert "both.test is 10.1.2.3, which is not public; `allow`" in both[2]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("172.31.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::7f00:1", False),
        ("::127.0.0.1", False),
        ("::ffff:0:10.0.0.1", False),
        ("2001:0:4136:e378:8000:63bf:f5ff:fffe", False),
    ],
)
def test_addresses_of_machines_and_networks_of_ones_own_are_not_public(
    address: str, public: bool
) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://127.0.0.1/a", Reason.FORBIDDEN_ADDRESS),
        ("/etc/passwd", Reason.FORBIDDEN_ADDRESS),
        ("http://127.0.0.1:99999/a", Reason.UNREADABLE),
        ("http://nosuch.invalid/a", Reason.UNAVAILABLE),
        ("http://127.0.0.1:1/a", Reason.UNAVAILABLE),
    ],
)
def test_a_url_that_cannot_be_asked_is_a_problem(tmp_path: Path, url: str, reason: Reason) -> None:
    assert one(tmp_path, url, retries=0)[:2] == (b"", reason)


def test_a_certificate_is_for_the_name_not_for_the_address(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.routes = {"/a": body(b"A")}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path / "pem", "localhost"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://localhost:{server.server_port}/a"
    networks: dict[str, Any] = {"allow": ["127.0.0.0/8", "::1"], "retries": 0}
    strange = one(tmp_path, url, **networks)
    assert strange[:2] == (b"", Reason.UNAVAILABLE)
    assert "CERTIFICATE_VERIFY_FAILED" in strange[2]
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pem"))
    assert one(tmp_path, url, **networks) == (b"A", None, "")
    other = one(tmp_path, url.replace("localhost", "127.0.0.1"), **networks)
    assert "IP address mismatch" in other[2]


def certificate(path: Path, name: str) -> Path:
    """A key and a certificate that it signed itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_waiting_for_servers_is_progress(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "PROGRESS_S", 0.0)
    server.otherwise = body(b"A")
    source = urls(tmp_path, [f"{server.url}/{n}" for n in range(5)])
    (shard,) = source.shards(source.files())
    worker = Worker(
        WorkerSpec((source,), ("hashing", {}), None, b"", str(tmp_path), 100), threads=1
    )
    worker.do(ScanJob(0, 0, shard))
    assert worker.progress().steps == 5


def test_no_more_requests_than_allowed_are_under_way(tmp_path: Path, server: Server) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def slow(request: Request) -> None:
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
        time.sleep(0.05)
        with lock:
            now -= 1
        request.answer(200, b"A")

    server.otherwise = slow
    assert len(read(urls(tmp_path, [f"{server.url}/{n}" for n in range(12)], concurrency=3))) == 12
    assert most == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "https://x/{n}"}, "name the column of the id"),
        ({"concurrency": 0}, "concurrency = 0: at least 1 is needed"),
        ({"total_timeout_s": 0.0}, "total_timeout_s = 0.0: at least 0.001"),
        ({"allow": ["10.0.0.0/99"]}, r"allow = \['10.0.0.0/99'\]: "),
        ({"metadata": ["x"]}, "a .txt file has no columns"),
        ({"id": "x"}, "a .txt file has no columns"),
        ({"types": {"x": "int"}}, "a .txt file has no columns"),
    ],
)
def test_arguments_of_urls_that_cannot_be_meant_are_refused(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        urls(tmp_path, [], **arguments)


def test_a_cache_that_takes_nothing_more_is_no_fault_of_the_server(
    tmp_path: Path, small_disk: Path, server: Server
) -> None:
    server.routes = {"/a": body(b"A" * 2**20)}
    source = urls(tmp_path, [f"{server.url}/a"], cache=str(small_disk / "cache"))
    (small_disk / "full").write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 2**19))
    with pytest.raises(SourceError, match=r"/a cannot be kept in the cache: .*No space left"):
        read(source)
    assert server.asked == ["/a"]


def test_a_password_in_a_url_is_shown_nowhere(tmp_path: Path, server: Server) -> None:
    secrets = ["http://me:hidden@127.0.0.1/a", "http://hidden@[broken/b"]
    files = urls(tmp_path, secrets).files()
    told = [(one.id, one.problem and one.problem.reason) for one in read(urls(tmp_path, secrets))]
    assert told == [
        ("http://***@127.0.0.1/a", Reason.FORBIDDEN_ADDRESS),
        ("http://***@%5bbroken/b", Reason.FORBIDDEN_ADDRESS),
    ]
    assert "hidden" not in repr(files)
    assert server.asked == []
