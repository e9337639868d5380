"""Kept session tokens: one for each server, profile and user, private, and trusted only when they are this user's."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from systems import needs_posix_modes, needs_refused_links, write_secret

from xnatctl.api import CredentialRequest, PrivateFolder, SessionToken
from xnatctl_credentials.tokens import SessionTokens

Ask = Callable[..., CredentialRequest]
HOUR = 3600.0


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def keep(request: CredentialRequest, user: str, token: str, ends_in: float | None = HOUR) -> None:
    expires = None if ends_in is None else time.time() + ends_in
    SessionTokens().store(request, SessionToken(username=user, secret=token, expires=expires))


def files() -> list[Path]:
    return sorted(PrivateFolder("tokens").path.iterdir())


def test_what_was_kept_is_found_again(ask: Ask) -> None:
    keep(ask(), "alice", "TOKEN")
    credential = SessionTokens().get(ask())
    assert credential is not None
    assert (credential.username, credential.secret) == ("alice", "TOKEN")
    assert credential.expires == pytest.approx(time.time() + HOUR, abs=60)


@needs_posix_modes
def test_files_are_private_and_their_names_say_nothing(ask: Ask) -> None:
    keep(ask(), "alice", "TOKEN")
    (file,) = files()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(PrivateFolder("tokens").path.stat().st_mode) == 0o700
    assert "alice" not in file.name
    assert "example" not in file.name
    assert "TOKEN" not in file.name


def test_server_and_user_have_one_slot_each(ask: Ask) -> None:
    keep(ask(), "alice", "ONE")
    keep(ask(), "bob", "TWO")
    keep(ask(server="https://other.example"), "alice", "THREE")
    keep(ask(), "alice", "FOUR")
    found = {
        (server, user): credential.secret
        if (credential := SessionTokens().get(ask(server=server, username=user)))
        else None
        for server in ("https://xnat.example.org", "https://other.example", "https://third.example")
        for user in ("alice", "bob")
    }
    assert found == {
        ("https://xnat.example.org", "alice"): "FOUR",
        ("https://xnat.example.org", "bob"): "TWO",
        ("https://other.example", "alice"): "THREE",
        ("https://other.example", "bob"): None,
        ("https://third.example", "alice"): None,
        ("https://third.example", "bob"): None,
    }
    assert len(files()) == 3


def test_a_token_belongs_to_the_profile_of_its_login(ask: Ask) -> None:
    keep(ask(profile_name="a"), "alice", "ONE")
    keep(ask(profile_name="b"), "bob", "TWO")
    keep(ask(profile_name=None), "carol", "THREE")
    found = {}
    for name in ("a", "b", None, "c", "a\nb"):
        credential = SessionTokens().get(ask(profile_name=name))
        found[name] = credential and credential.secret
    assert found == {"a": "ONE", "b": "TWO", None: "THREE", "c": None, "a\nb": None}
    assert SessionTokens().get(ask(profile_name="a", username="bob")) is None
    assert SessionTokens().erase(ask(profile_name="a"))
    assert SessionTokens().get(ask(profile_name="a")) is None
    assert SessionTokens().get(ask(profile_name="b")) is not None


def test_a_token_of_an_older_version_is_not_used_and_is_removed_by_the_next_login(ask: Ask) -> None:
    """Its file does not say to which profile the token belongs."""
    keep(ask(), "alice", "TOKEN")
    (file,) = files()
    entry = json.loads(file.read_text())
    del entry["profile"]
    file.unlink()
    key = hashlib.sha256(f"{entry['server']}\nalice".encode()).hexdigest()
    old = PrivateFolder("tokens").path / f"{key[:32]}.json"
    write_secret(old, json.dumps({**entry, "schema": "xnatctl.token/1"}))
    for request in (ask(), ask(profile_name=None), ask(username="alice")):
        assert SessionTokens().get(request) is None
    keep(ask(), "alice", "NEW")
    assert old not in files()
    assert len(files()) == 1


def test_without_a_user_the_newest_counts(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    for offset, user in ((0, "bob"), (10, "alice"), (5, "carol")):
        monkeypatch.setattr(time, "time", lambda offset=offset: now + offset)
        keep(ask(), user, user.upper())
    credential = SessionTokens().get(ask())
    assert credential is not None
    assert credential.username == "alice"


@pytest.mark.parametrize("named", ["alice", "ALICE", "ldap/alice"])
def test_a_user_is_the_same_in_any_case_and_with_a_provider(named: str, ask: Ask) -> None:
    keep(ask(), "Alice", "TOKEN")
    assert SessionTokens().get(ask(username=named)) is not None
    assert SessionTokens().get(ask(username="malice")) is None


def test_the_clock_decides_only_about_what_is_long_over(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(ask(), "alice", "TOKEN", ends_in=900)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 5 * HOUR)  # an upload may have kept it alive: ask the server
    assert SessionTokens().get(ask()) is not None
    monkeypatch.setattr(time, "time", lambda: now - 5 * HOUR)  # a clock that was put back
    assert SessionTokens().get(ask()) is not None
    monkeypatch.setattr(time, "time", lambda: now + 25 * HOUR)
    assert SessionTokens().get(ask()) is None
    assert files() == []


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="a process has no time zone of its own")
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_time_zone_changes_nothing(zone: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(ask(), "alice", "TOKEN", ends_in=-23 * HOUR)
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert SessionTokens().get(ask()) is not None
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_session_of_unknown_end_is_kept_too(ask: Ask) -> None:
    keep(ask(), "alice", "TOKEN", ends_in=None)
    assert SessionTokens().get(ask()) is not None


@needs_posix_modes
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_touch_is_not_trusted(mode: int, ask: Ask) -> None:
    keep(ask(), "alice", "TOKEN")
    files()[0].chmod(mode)
    assert SessionTokens().get(ask()) is None


@needs_refused_links
def test_a_link_and_a_file_under_another_name_are_not_trusted(ask: Ask, tmp_path: Path) -> None:
    keep(ask(), "alice", "TOKEN")
    (file,) = files()
    file.rename(tmp_path / "moved")
    file.symlink_to(tmp_path / "moved")
    assert SessionTokens().get(ask()) is None
    file.unlink()
    (tmp_path / "moved").rename(PrivateFolder("tokens").path / f"{'0' * 32}.json")
    assert SessionTokens().get(ask()) is None


@pytest.mark.parametrize(
    "change",
    [{"schema": "xnatctl.token/9"}, {"token": "a b"}, {"token": "a\r\nX: y"}, {"token": "a;b"}, {"token": ""},
     {"expires": "soon"}, {"expires": None}, {"server": 7}, {"user": None}, {"profile": 7}, {"token": "x" * 300}],
)  # fmt: skip
def test_a_file_with_something_else_in_it_is_passed_over(change: dict[str, Any], ask: Ask) -> None:
    keep(ask(), "alice", "TOKEN")
    (file,) = files()
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert SessionTokens().get(ask()) is None


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"schema": "xnatctl.token/2"}', "\x00"])
def test_a_broken_file_is_passed_over(content: str, ask: Ask) -> None:
    keep(ask(), "alice", "TOKEN")
    files()[0].write_text(content)
    assert SessionTokens().get(ask()) is None


def test_erase_forgets_the_user_that_is_named_or_all(ask: Ask) -> None:
    for user in ("alice", "bob", "carol"):
        keep(ask(), user, "TOKEN")
    keep(ask(server="https://other.example"), "alice", "TOKEN")
    assert SessionTokens().erase(ask(username="bob"))
    assert SessionTokens().get(ask(username="bob")) is None
    assert not SessionTokens().erase(ask(username="bob"))
    assert SessionTokens().erase(ask())
    assert SessionTokens().get(ask()) is None
    assert SessionTokens().get(ask(server="https://other.example")) is not None


def test_nothing_kept_is_no_error(ask: Ask) -> None:
    assert SessionTokens().get(ask()) is None
    assert not SessionTokens().erase(ask())
    assert not PrivateFolder("tokens").path.exists()
