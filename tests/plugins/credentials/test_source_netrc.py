"""The netrc file: exact host, private file, and no word of its content in a message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from systems import needs_posix_modes, write_secret

from xnatctl.api import ConfigError, CredentialRequest
from xnatctl_credentials.netrc import Netrc

Ask = Callable[..., CredentialRequest]


@pytest.fixture
def write_netrc(home: Path) -> Callable[..., Path]:
    def write(content: str, mode: int = 0o600, name: str = ".netrc") -> Path:
        file = home / name
        write_secret(file, content, mode)
        return file

    return write


ENTRY = "machine xnat.example.org login me password hush\n"


def test_the_host_of_the_server_is_looked_up(write_netrc: Callable[..., Path], ask: Ask) -> None:
    file = write_netrc(f"machine other login x password y\n{ENTRY}")
    for server in ("https://xnat.example.org", "https://xnat.example.org:8443/xnat"):
        credential = Netrc().get(ask(server=server))
        assert credential is not None
        assert (credential.username, credential.secret) == ("me", "hush")
        assert credential.source == str(file)


@pytest.mark.parametrize(
    "server", ["https://example.org", "https://a.xnat.example.org", "https://xnat.example.org.evil"]
)
def test_no_other_host_gets_it_and_a_default_entry_goes_to_nobody(
    server: str, write_netrc: Callable[..., Path], ask: Ask
) -> None:
    write_netrc(f"{ENTRY}default login x password y\n")
    assert Netrc().get(ask(server=server)) is None


def test_the_variable_names_another_file(
    write_netrc: Callable[..., Path], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_netrc("machine xnat.example.org login wrong password wrong\n")
    monkeypatch.setenv("NETRC", str(write_netrc(ENTRY, name="mine")))
    credential = Netrc().get(ask())
    assert credential is not None
    assert credential.username == "me"
    monkeypatch.setenv("NETRC", "~/mine")
    assert Netrc().get(ask()) == credential


@needs_posix_modes
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_read_is_refused_when_it_holds_this_host(
    mode: int, write_netrc: Callable[..., Path], ask: Ask
) -> None:
    file = write_netrc(ENTRY, mode)
    with pytest.raises(ConfigError, match="is readable by others") as caught:
        Netrc().get(ask())
    assert caught.value.hint == f"chmod 600 {file}"
    assert Netrc().get(ask(server="https://other.example")) is None


@pytest.mark.parametrize(
    "content",
    ["machine xnat.example.org login me password hush CANARY\n", "CANARY\n", "machine a login b passwd CANARY\n"],
)
def test_a_broken_file_is_named_with_its_line_and_without_its_content(
    content: str, write_netrc: Callable[..., Path], ask: Ask
) -> None:
    file = write_netrc(f"\n{content}")
    with pytest.raises(ConfigError) as caught:
        Netrc().get(ask())
    assert str(file) in caught.value.message
    assert "near line " in caught.value.message
    assert "CANARY" not in f"{caught.value.message}{caught.value.hint}"
    assert "credential_sources" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "content", ["machine xnat.example.org password hush\n", "machine xnat.example.org login me\n", ""]
)
def test_half_an_entry_is_none(content: str, write_netrc: Callable[..., Path], ask: Ask) -> None:
    write_netrc(content)
    assert Netrc().get(ask()) is None


def test_no_file_is_no_error(ask: Ask, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Netrc().get(ask()) is None
    monkeypatch.setenv("NETRC", str(home))  # a directory
    assert Netrc().get(ask()) is None
    monkeypatch.setenv("NETRC", "~nobody-of-this-name/netrc")
    assert Netrc().get(ask()) is None
