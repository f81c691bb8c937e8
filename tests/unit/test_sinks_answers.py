"""What becomes of a call whose server is slow, ends, or breaks off in the midst of it."""

from typing import Any

import grpc
import httpx
import pytest
from elastic_transport import ConnectionError as NoConnection
from elastic_transport import ConnectionTimeout, TlsError
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from pinecone.errors import PineconeConnectionError, PineconeTimeoutError
from pymilvus.exceptions import MilvusException
from qdrant_client.http.exceptions import ResponseHandlingException
from weaviate import exceptions as weaviates

from tasks.plugins import build
from tasks.sinks.http_answers import failure_of
from tasks.sinks.remote import RemoteSink, Why

AT = {"collection": "docs", "timeout_s": 7}
STATUSES = [
    (StatusCode.UNAVAILABLE, "Socket closed", Why.AWAY),
    (StatusCode.CANCELLED, "CANCELLED", Why.AWAY),
    (StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", Why.SLOW),
    (StatusCode.RESOURCE_EXHAUSTED, "quota", Why.BUSY),
    (StatusCode.RESOURCE_EXHAUSTED, "grpc: received message larger than max", Why.ROWS),
    (StatusCode.ABORTED, "try again", Why.BUSY),
    (StatusCode.INTERNAL, "Received RST_STREAM with error code 2", Why.AWAY),
    (StatusCode.INTERNAL, "nil pointer", Why.OTHER),
    (StatusCode.UNKNOWN, "Stream removed", Why.AWAY),
    (StatusCode.UNKNOWN, "recvmsg:Connection reset by peer", Why.AWAY),
    (StatusCode.UNKNOWN, "transport is closing", Why.AWAY),
    (StatusCode.UNKNOWN, "no such thing", Why.OTHER),
    (StatusCode.UNAUTHENTICATED, "who are you", Why.LOGIN),
    (StatusCode.PERMISSION_DENIED, "not you", Why.LOGIN),
    (StatusCode.NOT_FOUND, "no collection", Why.GONE),
    (StatusCode.INVALID_ARGUMENT, "dimension", Why.ROWS),
    (StatusCode.UNIMPLEMENTED, "an old server", Why.OTHER),
    (StatusCode.FAILED_PRECONDITION, "read only", Why.OTHER),
]
NO_ANSWER = [
    (httpx.ConnectError("[Errno 111] Connection refused"), Why.AWAY),
    (httpx.ConnectTimeout("timed out"), Why.AWAY),
    (httpx.ReadError("[Errno 104] Connection reset by peer"), Why.AWAY),
    (httpx.WriteError("[Errno 32] Broken pipe"), Why.AWAY),
    (httpx.CloseError(""), Why.AWAY),
    (httpx.ProxyError("503"), Why.AWAY),
    (httpx.RemoteProtocolError("Server disconnected without sending a response."), Why.AWAY),
    (httpx.RemoteProtocolError("peer closed connection (incomplete chunked read)"), Why.AWAY),
    (httpx.ReadTimeout("timed out"), Why.SLOW),
    (httpx.WriteTimeout(""), Why.SLOW),
    (httpx.PoolTimeout(""), Why.SLOW),
    (httpx.LocalProtocolError("Illegal header value"), Why.OTHER),
    (httpx.UnsupportedProtocol("no http:// or https://"), Why.OTHER),
]


def sink(use: str) -> RemoteSink[Any]:
    at = {"host": "http://127.0.0.1:9"} if use == "pinecone" else {"url": "http://127.0.0.1:9"}
    login = {"api_key": "k"} if use == "pinecone" else {}
    made = build("sinks", use, AT | at | login)
    assert isinstance(made, RemoteSink)
    return made


def raised(outer: Exception, inner: Exception, *, chained: bool = True) -> Exception:
    """As a client raises one exception where it caught another."""
    try:
        try:
            raise inner
        except Exception as caught:
            raise outer from (caught if chained else None)
    except Exception as error:
        return error


def lost(status: StatusCode, said: str) -> grpc.RpcError:
    return AioRpcError(status, Metadata(), Metadata(), said)


@pytest.mark.parametrize(("status", "said", "why"), STATUSES)
def test_a_status_of_grpc_means_the_same_for_every_store(
    status: StatusCode, said: str, why: Why
) -> None:
    call = lost(status, said)
    milvus, weaviate = sink("milvus"), sink("weaviate")
    in_words = weaviates.WeaviateBatchError(said)
    retried = weaviates.WeaviateRetryError(str(call), 5)
    assert {
        "milvus, at once": milvus._failure(call).why,
        "milvus, tried again": milvus._failure(MilvusException(status, said)).why,
        "weaviate": weaviate._failure(raised(in_words, call, chained=False)).why,
        "weaviate, tried again": weaviate._failure(
            raised(weaviates.WeaviateQueryError(said, "GRPC search"), raised(retried, call))
        ).why,
    } == dict.fromkeys(
        ("milvus, at once", "milvus, tried again", "weaviate", "weaviate, tried again"), why
    )


def test_who_may_not_call_by_grpc_is_told_so() -> None:
    call = lost(StatusCode.PERMISSION_DENIED, "not you")
    error = weaviates.InsufficientPermissionsError(call)
    assert sink("weaviate")._failure(raised(error, call)).why is Why.LOGIN


@pytest.mark.parametrize(("error", "why"), NO_ANSWER, ids=lambda one: f"{one!r}")
def test_an_answer_that_never_comes_means_the_same_for_every_store(
    error: httpx.TransportError, why: Why
) -> None:
    late = isinstance(error, httpx.TimeoutException)
    said = (PineconeTimeoutError if late else PineconeConnectionError)(str(error))
    assert {
        "qdrant": sink("qdrant")._failure(ResponseHandlingException(error)).why,
        "chroma": sink("chroma")._failure(error).why,
        "weaviate": sink("weaviate")._failure(error).why,
        "pinecone": sink("pinecone")._failure(raised(said, error)).why,
    } == dict.fromkeys(("qdrant", "chroma", "weaviate", "pinecone"), why)


@pytest.mark.parametrize(
    ("use", "error", "why"),
    [
        ("elasticsearch", NoConnection("Connection refused"), Why.AWAY),
        ("elasticsearch", NoConnection("IncompleteRead(7 bytes read)"), Why.AWAY),
        ("elasticsearch", TlsError("handshake"), Why.AWAY),
        ("elasticsearch", ConnectionTimeout("Connection timed out"), Why.SLOW),
        ("weaviate", weaviates.WeaviateTimeoutError("Batch"), Why.SLOW),
        ("weaviate", weaviates.WeaviateConnectionError("Meta"), Why.AWAY),
        ("milvus", MilvusException(message="wait for flush timeout, collection: c"), Why.SLOW),
        (
            "milvus",
            MilvusException(message="wait for loading collection timeout, collection: c"),
            Why.SLOW,
        ),
        (
            "milvus",
            MilvusException(message="collection c create index  timeout in 7s"),
            Why.SLOW,
        ),
        (
            "milvus",
            MilvusException(
                message="Unexpected error, message=<Cannot invoke RPC on closed channel!>"
            ),
            Why.AWAY,
        ),
        ("milvus", MilvusException(2, "Fail connecting to server on 127.0.0.1:9"), Why.AWAY),
    ],
)
def test_a_client_that_has_words_of_its_own_is_understood(
    use: str, error: Exception, why: Why
) -> None:
    assert sink(use)._failure(error).why is why


def test_what_is_answered_between_by_proxies_is_passing() -> None:
    passing = (408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
    assert {failure_of(status, "").why for status in passing} == {Why.BUSY}


def test_who_is_late_is_told_by_how_long_it_was_waited_for() -> None:
    made = sink("qdrant")
    late = made._failure(ResponseHandlingException(httpx.ReadTimeout("timed out")))
    assert str(made._error("counting", "c", late)) == (
        "Qdrant at http://127.0.0.1:9, counting docs--c: ReadTimeout timed out; there was no "
        "answer within 7 s: does it run there, or has it too much to do? `timeout_s` is for how "
        "long a call is waited for"
    )
