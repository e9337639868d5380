"""The source keeps the contract of credential sources, and reads every kind of entry and answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from vault_server import TOKEN, VaultServer
from xnatctl_vault.source import Vault

from xnatctl.api import (
    AliasToken,
    AuthenticationError,
    ConfigError,
    ConnectionFailed,
    CredentialRequest,
    Headers,
    Password,
    ServerError,
)
from xnatctl.testing import CredentialSourceContract

PATH = "xnat/alice"


@pytest.fixture
def server() -> Iterator[VaultServer]:
    with VaultServer() as made:
        yield made


def options(address: str, **more: Any) -> dict[str, Any]:
    """A value for every option of the source."""
    return {"address": address, "path": PATH, "token": TOKEN, "token_file": None, **more}


def ask(address: str, **more: Any) -> CredentialRequest:
    return CredentialRequest(server="https://xnat.example.org", options=options(address, **more))


class TestContract(CredentialSourceContract):
    """What every credential source must do."""

    request = CredentialRequest(server="https://xnat.example.org", username="alice")
    expected = Password(username="alice", secret="hush")

    @pytest.fixture(autouse=True)
    def _server(self, server: VaultServer) -> None:
        self.options = options(server.address)
        server.entries[PATH] = {"username": "alice", "password": "hush"}

    def make(self) -> Vault:
        return Vault()


@pytest.mark.parametrize(
    ("entry", "credential"),
    [
        (
            {"username": "alice", "password": "hush"},
            Password(username="alice", secret="hush", source="the vault"),
        ),
        ({"alias": "a", "secret": "b"}, AliasToken(alias="a", secret="b", source="the vault")),
        ({"bearer": "abc"}, Headers(headers={"Authorization": "Bearer abc"}, source="the vault")),
    ],
)
def test_an_entry_becomes_a_credential(server: VaultServer, entry: dict[str, str], credential: Any) -> None:
    server.entries[PATH] = entry
    assert Vault().get(ask(server.address)) == credential
    assert Vault().get(ask(f"{server.address}/", path=f"/{PATH}/")) == credential
    assert server.reads == [PATH, PATH]


def test_a_lease_is_the_end_of_the_credential(server: VaultServer) -> None:
    server.entries[PATH] = {"bearer": "abc"}
    server.lease = 600
    before = time.time()
    found = Vault().get(ask(server.address))
    assert found is not None
    assert found.expires is not None
    assert before + 600 <= found.expires <= time.time() + 600


def test_a_renewal_reads_the_entry_again(server: VaultServer) -> None:
    secrets = iter(["first", "second"])
    server.entries[PATH] = lambda: {"username": "alice", "password": next(secrets)}
    source = Vault()
    first = source.get(ask(server.address))
    assert first is not None
    assert source.renew(ask(server.address), first) == Password(username="alice", secret="second", source="the vault")


def test_the_token_may_be_in_a_file(server: VaultServer, tmp_path: Path) -> None:
    server.entries[PATH] = {"bearer": "abc"}
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert Vault().get(ask(server.address, token=None, token_file=str(file))) is not None


@pytest.mark.parametrize("content", [None, "", "\xfc"])
def test_a_token_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=str(file)):
        Vault().get(ask("https://vault.invalid", token=None, token_file=str(file)))


@pytest.mark.parametrize("more", [{"token": None}, {"token_file": "token"}])
def test_there_is_one_token(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="either token or token_file"):
        Vault().get(ask("https://vault.invalid", **more))


@pytest.mark.parametrize("address", ["http://vault.example.org", "vault.example.org", "ftp://127.0.0.1", "https://[x"])
def test_the_token_is_sent_encrypted_or_on_this_machine(address: str) -> None:
    with pytest.raises(ConfigError, match="https://"):
        Vault().get(ask(address))


def test_a_token_that_the_vault_refuses(server: VaultServer) -> None:
    with pytest.raises(AuthenticationError, match="refuses the token") as caught:
        Vault().get(ask(server.address, token="canary"))
    assert "canary" not in caught.value.message


@pytest.mark.parametrize("raw", [(200, b"<html>"), (200, b"[]"), (200, b'{"data": 5}'), (302, b""), (500, b"{}")])
def test_an_answer_that_is_no_entry(server: VaultServer, raw: tuple[int, bytes]) -> None:
    server.raw = raw
    with pytest.raises(ServerError, match="vault"):
        Vault().get(ask(server.address))


def test_a_vault_that_is_not_there() -> None:
    with VaultServer() as gone:
        address = gone.address
    with pytest.raises(ConnectionFailed, match="does not answer"):
        Vault().get(ask(address))


def test_an_entry_that_is_no_credential_is_named_without_its_content(server: VaultServer) -> None:
    server.entries[PATH] = {"user": "alice", "password": "canary"}
    with pytest.raises(ServerError, match=PATH) as caught:
        Vault().get(ask(server.address))
    assert "canary" not in f"{caught.value.message} {caught.value.hint}"
