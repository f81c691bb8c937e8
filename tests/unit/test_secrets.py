"""Secrets stay where they are kept, and out of all that is told."""

import traceback

import pytest
from pydantic import JsonValue

from tasks.errors import ConfigError, SinkUnavailable
from tasks.secrets import find_blocks, hidden_in, resolve_secrets

ARGUMENTS: dict[str, JsonValue] = {
    "url": {"env": "STORE_URL"},
    "api_key": {"block": "secret/store-key"},
    "headers": [{"authorization": {"block": "secret/other-key"}}],
    "collection": "papers",
}
HELD = {"secret/store-key": "hunter22", "secret/other-key": "hunter2"}


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> dict[str, JsonValue]:
    monkeypatch.setenv("STORE_URL", "https://me:p%40ssword@store/x")
    return dict(resolve_secrets(ARGUMENTS, lambda name, key: HELD[name]))


def test_references_become_secrets_and_the_keys_that_want_them_are_told(
    resolved: dict[str, JsonValue],
) -> None:
    assert resolved == {
        "url": "https://me:p%40ssword@store/x",
        "api_key": "hunter22",
        "headers": [{"authorization": "hunter2"}],
        "collection": "papers",
    }
    asked: list[tuple[str, str]] = []

    def block(name: str, key: str) -> str:
        asked.append((name, key))
        return ""

    resolve_secrets(ARGUMENTS, block)
    assert asked == [
        ("secret/store-key", "api_key"),
        ("secret/other-key", "headers[0].authorization"),
    ]
    with pytest.raises(ConfigError, match=r"api_key takes a secret from Prefect block"):
        resolve_secrets(ARGUMENTS)


def test_no_secret_is_in_an_exception_nor_in_what_led_to_it(resolved: dict[str, JsonValue]) -> None:
    class Client(Exception):
        def __str__(self) -> str:
            return "401 for hunter22"

    def ask() -> None:
        try:
            try:
                raise Client
            except Client as error:
                raise ValueError("p@ssword and p%40ssword are wrong", 401) from error
        except ValueError as error:
            told = SinkUnavailable("https://me:p%40ssword@store/x: hunter22, hunter2!")
            told.retry_after_s = 3.0
            told.add_note("asked with hunter22")
            raise told from error

    with pytest.raises(SinkUnavailable) as caught, hidden_in(ARGUMENTS, resolved):
        ask()
    assert str(caught.value) == (
        "{env: STORE_URL}: {block: secret/store-key}, {block: secret/other-key}!"
    )
    assert caught.value.retry_after_s == 3.0
    assert caught.value.__notes__ == ["asked with {block: secret/store-key}"]
    shown = "".join(traceback.format_exception(caught.value)).split("Error: ", 1)[1]
    assert "{env: STORE_URL} and {env: STORE_URL} are wrong" in shown
    assert "hunter2" not in str(caught.value.__cause__)
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__.__cause__ is None


def test_what_is_no_secret_block_is_told() -> None:
    found = find_blocks({"api_key": {"block": "json/Key"}, "a": {"env": "X"}}, allowed=True)
    assert [str(one) for one in found] == [
        "api_key.block = 'json/Key': expected secret/NAME, a Secret block of Prefect's, whose name "
        "has lower-case letters, digits and dashes"
    ]
    found = find_blocks({"token": {"block": "secret/key"}}, allowed=False)
    assert [str(one) for one in found] == [
        "token: only sinks take secrets from Prefect blocks: write {env: NAME}"
    ]
