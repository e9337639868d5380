"""Environment, profile, keyring and the page of declarations."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from xnatctl.api import AliasToken, ConfigError, Credential, CredentialRequest, Password, SessionToken
from xnatctl_credentials.environment import Environment
from xnatctl_credentials.keyring_store import Keyring
from xnatctl_credentials.plugin import xnatctl_credential_sources
from xnatctl_credentials.profile import Profile

Ask = Callable[..., CredentialRequest]


def short(credential: Credential | None) -> tuple[str, str, str] | None:
    if credential is None:
        return None
    user = credential.alias if isinstance(credential, AliasToken) else credential.username
    kind = {Password: "password", AliasToken: "token", SessionToken: "session"}[type(credential)]
    return kind, user, credential.secret


# the page


def test_the_order_of_the_sources_and_where_they_lie() -> None:
    specs = xnatctl_credential_sources()
    assert [(spec.name, spec.order) for spec in sorted(specs, key=lambda spec: spec.order)] == [
        ("environment", 20), ("token", 30), ("profile", 40), ("netrc", 45), ("keyring", 50), ("helper", 55), ("prompt", 90),
    ]  # fmt: skip
    assert [spec.name for spec in specs if spec.interactive] == ["prompt"]
    assert [spec.name for spec in specs if "store" in spec.verbs] == ["token"]
    for spec in specs:
        module, _, attribute = spec.target.partition(":")
        assert hasattr(getattr(__import__(module, fromlist=[attribute]), attribute), "get")


# environment


@pytest.mark.parametrize(
    ("variables", "username", "expected"),
    [
        ({"XNAT_USER": "me", "XNAT_PASS": "hush"}, None, ("password", "me", "hush")),
        ({"XNAT_USER": "me", "XNAT_PASS": "hush"}, "other", ("password", "me", "hush")),  # the chain passes it over
        ({"XNAT_USER": "me"}, "me", None),
        ({"XNAT_USER": "me", "XNAT_PASS": ""}, "me", None),
        ({"XNAT_PASS": "hush"}, None, None),
        ({"XNAT_PASS": "hush"}, "kept", ("password", "kept", "hush")),
        ({"XNAT_TOKEN": "a:b"}, None, ("token", "a", "b")),
        ({"XNAT_TOKEN": "a:b:c"}, None, ("token", "a", "b:c")),
        ({"XNAT_TOKEN": "a:b", "XNAT_USER": "me", "XNAT_PASS": "hush"}, "me", ("token", "a", "b")),
        ({"XNAT_TOKEN": "0C5F.node-1"}, None, ("session", "", "0C5F.node-1")),
        ({"XNAT_TOKEN": "0C5F", "XNAT_USER": "me", "XNAT_PASS": "hush"}, "me", ("session", "me", "0C5F")),
        ({"XNAT_TOKEN": ""}, None, None),
        ({}, None, None),
        ({}, "me", None),
    ],
)
def test_environment(
    variables: dict[str, str], username: str | None, expected: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert short(Environment().get(ask(username=username))) == expected


@pytest.mark.parametrize("token", ["CANARY CANARY", "CANARY;x", "CANARY\n", "CANARY:", ":CANARY", ":"])
def test_half_a_token_is_an_error_that_does_not_show_it(token: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XNAT_TOKEN", token)
    with pytest.raises(ConfigError, match="XNAT_TOKEN holds") as caught:
        Environment().get(ask())
    assert "CANARY" not in f"{caught.value.message}{caught.value.hint}"


# profile


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ({"username": "me", "password": "hush"}, ("password", "me", "hush")),
        ({"token": "a:b"}, ("token", "a", "b")),
        ({"token": "a:b", "username": "me", "password": "hush"}, ("token", "a", "b")),
        ({"username": "me"}, None),
        ({}, None),
    ],
)
def test_profile(profile: dict[str, str], expected: Any, ask: Ask) -> None:
    credential = Profile().get(ask(profile=profile))
    assert short(credential) == expected
    assert credential is None or credential.source == "profile site"


@pytest.mark.parametrize("profile", [{"password": "CANARY"}, {"token": "CANARY"}])
def test_half_a_pair_in_a_profile_is_an_error_that_does_not_show_it(profile: dict[str, str], ask: Ask) -> None:
    with pytest.raises(ConfigError, match="profile site") as caught:
        Profile().get(ask(profile=profile))
    assert "CANARY" not in f"{caught.value.message}{caught.value.hint}"


# keyring


def test_a_real_keyring_is_asked_for_server_and_user(ask: Ask) -> None:
    keyring = pytest.importorskip("keyring", reason="the keyring extra is not installed")
    from keyring.backend import KeyringBackend

    class InMemory(KeyringBackend):
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return {("xnatctl:https://xnat.example.org", "me"): "hush"}.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

        def delete_password(self, service: str, username: str) -> None:
            raise NotImplementedError

    before = keyring.get_keyring()
    keyring.set_keyring(InMemory())
    try:
        assert short(Keyring().get(ask(username="me"))) == ("password", "me", "hush")
        assert Keyring().get(ask(username="other")) is None
        assert Keyring().get(ask(server="https://other.example", username="me")) is None
        assert Keyring().get(ask()) is None
    finally:
        keyring.set_keyring(before)


def _raises(error: BaseException) -> Callable[..., None]:
    def get_credential(service: str, username: str | None) -> None:
        raise error

    return get_credential


@pytest.mark.parametrize("error", [RuntimeError("locked"), OSError("no bus"), ImportError("half"), KeyError("odd")])
def test_a_broken_keyring_stops_nothing(error: Exception, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_credential=_raises(error)))  # type: ignore[arg-type]
    assert Keyring().get(ask(username="me")) is None


def test_an_absent_keyring_stops_nothing(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert Keyring().get(ask(username="me")) is None


@pytest.mark.parametrize(
    ("found", "username", "expected"),
    [
        (SimpleNamespace(username="me", password="hush"), None, ("password", "me", "hush")),
        (SimpleNamespace(username="", password="hush"), "me", ("password", "me", "hush")),
        (SimpleNamespace(username="", password="hush"), None, None),
        (SimpleNamespace(username="me", password=""), "me", None),
    ],
)
def test_what_a_keyring_may_answer(
    found: Any, username: str | None, expected: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_credential=lambda *_: found))  # type: ignore[arg-type]
    assert short(Keyring().get(ask(username=username))) == expected
