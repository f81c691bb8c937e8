"""Chroma's client of a server, with a time-out and exceptions that can be told apart.

Its own waits for ever, asks before anybody can set a time-out, and raises Exception itself for an
answer that is not Chroma's.
"""

from typing import Any

import httpx
from chromadb.api.client import Client  # noqa: TID253 - whoever imports this module connects
from chromadb.auth import UserIdentity  # noqa: TID253
from chromadb.config import Settings  # noqa: TID253
from chromadb.errors import error_types  # noqa: TID253
from overrides import override

FAILED, SERVER = 400, 500
OUR_OWN = (408, 413, 429)


class Answered(Exception):
    """An answer for which the client has no exception, or not always the same one."""

    def __init__(self, answer: httpx.Response) -> None:
        """Of an answer that was read."""
        super().__init__(answer.text)
        self.status, self.headers = answer.status_code, dict(answer.headers)


class Silent(Client):
    """Asks nothing when it is made."""

    @override
    def get_user_identity(self) -> UserIdentity:
        """Nobody's: tenant and database are given."""
        return UserIdentity(user_id="")

    def _validate_tenant_database(self, tenant: str, database: str) -> None: ...


def connected(
    host: str, port: int, *, secure: bool, headers: dict[str, str], timeout_s: float, **place: str
) -> tuple[Client, list[httpx.Client]]:
    """A client for whose tenant and database its server was asked; and the sessions that it has.

    Whoever closes the client closes these as well: it leaves connections open. Raises Answered,
    ValueError where it is not Chroma that answers, and what the client raises.
    """
    settings = Settings(
        anonymized_telemetry=False,
        chroma_api_impl="chromadb.api.fastapi.FastAPI",
        chroma_server_host=host,
        chroma_server_http_port=port,
        chroma_server_ssl_enabled=secure,
        chroma_server_headers=headers,
    )
    client = Silent(settings=settings, **place)
    makers: tuple[Any, ...] = (client, client._admin_client)
    sessions: list[httpx.Client] = [one._server._session for one in makers]
    for session in sessions:
        session.timeout = httpx.Timeout(timeout_s)
        session.event_hooks = {"response": [_check]}
    try:
        _check_is_chroma(client)
        client._admin_client.get_tenant(client.tenant)
        client._admin_client.get_database(client.database, client.tenant)
    except BaseException:
        client.close()
        for session in sessions:
            session.close()
        raise
    return client, sessions


def _check_is_chroma(client: Client) -> None:
    try:
        client.heartbeat()
    except (KeyError, ValueError):
        raise ValueError("the answer is not Chroma's; check url") from None


def _check(answer: httpx.Response) -> None:
    if answer.status_code < FAILED:
        return
    answer.read()
    if answer.status_code in OUR_OWN or answer.status_code >= SERVER or not _is_known(answer):
        raise Answered(answer)


def _is_known(answer: httpx.Response) -> bool:
    """Whether the client has an exception for it."""
    try:
        said = answer.json()
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("error") in error_types
