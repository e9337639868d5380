"""The helper command: no shell, bounded in time and size, and alone with its question."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from systems import is_running, needs_fork, needs_process_groups

import xnatctl_credentials.helper as helper_module
from xnatctl.api import (
    AliasToken,
    AuthenticationError,
    ClientCertificate,
    Credential,
    CredentialRequest,
    Headers,
    Password,
    SessionToken,
)
from xnatctl_credentials.helper import Helper

Ask = Callable[..., CredentialRequest]


#: What is started: Windows starts no script by its first line.
NAME = "my helper" if os.name == "posix" else Path(sys.executable).name
#: Enough for an interpreter to start and write a file, under Wine as well.
LIMIT = 1 if os.name == "posix" else 10
KILLED_BY_9 = -9 if os.name == "posix" else 9


@pytest.fixture
def script(tmp_path: Path, ask: Ask) -> Callable[..., CredentialRequest]:
    """A request whose profile names a helper with this Python body."""

    def make(body: str, *arguments: str, username: str | None = "me") -> CredentialRequest:
        file = tmp_path / "my helper"  # a shell would cut this name in two
        file.write_text(f"#!{sys.executable} -S\nimport json, os, sys, time\n{body}\n")
        file.chmod(0o700)
        started = [str(file)] if os.name == "posix" else [sys.executable, "-S", str(file)]
        return ask(username=username, profile={"credential_helper": [*started, *arguments]})

    return make


def test_a_helper_answers_with_a_password(script: Callable[..., CredentialRequest]) -> None:
    credential = Helper().get(script("print(json.dumps({'username': 'me', 'password': 'hush'}))"))
    assert credential is not None
    assert credential == Password(username="me", secret="hush", source=credential.source)
    assert credential.source == f"helper {NAME}"


def test_a_helper_answers_with_an_alias_token(script: Callable[..., CredentialRequest]) -> None:
    credential = Helper().get(script("print(json.dumps({'alias': 'a', 'secret': 'b'}))"))
    assert credential is not None
    assert credential == AliasToken(alias="a", secret="b", source=credential.source)


@pytest.mark.parametrize(
    ("answer", "credential"),
    [
        ({"session_token": "ABC"}, SessionToken(secret="ABC")),
        ({"session_token": "ABC", "username": "me"}, SessionToken(secret="ABC", username="me")),
        ({"headers": {"Authorization": "Bearer x"}}, Headers(headers={"Authorization": "Bearer x"})),
        ({"headers": {"Cookie": "G=1"}, "username": "me"}, Headers(headers={"Cookie": "G=1"}, username="me")),
        ({"certificate": "/c.pem", "key": "/k.pem"}, ClientCertificate(certificate="/c.pem", key="/k.pem")),
        ({"certificate": "/c.pem", "passphrase": "x"}, ClientCertificate(certificate="/c.pem", passphrase="x")),
        ({"username": "me", "password": "x", "expires": 17.5}, Password(username="me", secret="x", expires=17.5)),
    ],
)
def test_a_helper_answers_with_any_type(
    answer: dict[str, object], credential: Credential, script: Callable[..., CredentialRequest]
) -> None:
    found = Helper().get(script(f"print({json.dumps(json.dumps(answer))})"))
    assert found == replace(credential, source=f"helper {NAME}")


def test_a_helper_is_told_that_its_answer_was_rejected(script: Callable[..., CredentialRequest]) -> None:
    body = "told = json.load(sys.stdin)\nprint(json.dumps({'username': 'me', 'password': str(told.get('rejected'))}))"
    request = script(body)
    first = Helper().get(request)
    assert first is not None
    assert first == Password(username="me", secret="None", source=f"helper {NAME}")
    assert Helper().renew(request, first) == Password(username="me", secret="True", source=f"helper {NAME}")


def test_what_a_helper_is_told(script: Callable[..., CredentialRequest], tmp_path: Path) -> None:
    out = tmp_path / "seen"
    body = f"json.dump({{'argv': sys.argv[1:], 'stdin': json.load(sys.stdin)}}, open({str(out)!r}, 'w'))"
    assert Helper().get(script(body, "$HOME", "a b; touch x")) is None
    assert json.loads(out.read_text()) == {
        "argv": ["$HOME", "a b; touch x", "get"],
        "stdin": {"server": "https://xnat.example.org", "username": "me"},
    }


def test_our_secrets_are_not_in_its_environment(
    script: Callable[..., CredentialRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XNAT_PASS", "XNAT_TOKEN", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "PYTHONPATH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("XNAT_PASS", "CANARY")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    out = tmp_path / "seen"
    Helper().get(script(f"json.dump(dict(os.environ), open({str(out)!r}, 'w'))"))
    seen = json.loads(out.read_text())
    assert seen["SSH_AUTH_SOCK"] == "/agent"
    assert "PATH" in seen
    assert not [name for name in seen if name.startswith(("XNAT", "AWS", "LD_", "PYTHON"))]


@pytest.mark.parametrize("body", ["", "print()", "print('{}')"])
def test_nothing_means_not_mine(body: str, script: Callable[..., CredentialRequest]) -> None:
    assert Helper().get(script(body)) is None


def test_without_a_helper_nothing_is_started(ask: Ask) -> None:
    assert Helper().get(ask()) is None


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("print('CANARY')", "did not answer with JSON"),
        ("print('[\"CANARY\"]')", "did not answer with a JSON object of texts"),
        ("print(json.dumps({'username': 'me', 'password': 17}))", "did not answer with a JSON object of texts"),
        ("print(json.dumps({'headers': {'A': 5}}))", "did not answer with a JSON object of texts"),
        ("print(json.dumps({'headers': 'CANARY'}))", "did not answer with a JSON object of texts"),
        ("print(json.dumps({'alias': 'a', 'secret': 'CANARY', 'expires': 'x'}))", "a JSON object of texts"),
        ("print(json.dumps({'username': '', 'password': ''}))", "neither username and password nor alias and secret"),
        ("print(json.dumps({'username': 'CANARY'}))", "neither username and password nor alias and secret"),
        ("print('CANARY'); print('CANARY', file=sys.stderr); sys.exit(3)", "ended with exit code 3"),
        ("sys.stdout.buffer.write(b'\\xff\\xfe')", "did not answer with JSON"),
        ("os.kill(os.getpid(), 9)", f"ended with exit code {KILLED_BY_9}"),
    ],
)
def test_what_goes_wrong_is_said_without_what_it_said(
    body: str, says: str, script: Callable[..., CredentialRequest], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AuthenticationError, match=says) as caught:
        Helper().get(script(body))
    assert caught.value.exit_code == 3
    assert NAME in caught.value.message
    assert "CANARY" not in f"{caught.value.message}{caught.value.hint}"
    assert capfd.readouterr() == ("", "")


def test_a_helper_that_is_not_there_or_cannot_be_started_is_named(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(AuthenticationError, match="absent cannot be started: "):
        Helper().get(ask(profile={"credential_helper": [str(tmp_path / "absent")]}))
    plain = tmp_path / "plain"
    plain.write_text("")
    plain.chmod(0o600)
    with pytest.raises(AuthenticationError, match="plain cannot be started: "):
        Helper().get(ask(profile={"credential_helper": [str(plain)]}))


@needs_process_groups
@pytest.mark.parametrize(
    "body", ["time.sleep(60)", "os.close(1); time.sleep(60)", "print('{}', flush=True); time.sleep(60)"]
)
def test_a_helper_that_hangs_is_ended(
    body: str, script: Callable[..., CredentialRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper_module, "_LIMIT_SECONDS", LIMIT)
    pid = tmp_path / "pid"
    with pytest.raises(AuthenticationError, match=f"did not answer within {LIMIT} s"):
        Helper().get(script(f"open({str(pid)!r}, 'w').write(str(os.getpid()))\n{body}"))
    assert not is_running(int(pid.read_text()))


@needs_process_groups
@needs_fork
def test_what_a_hanging_helper_started_is_ended_with_it(
    script: Callable[..., CredentialRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper_module, "_LIMIT_SECONDS", LIMIT)
    pid = tmp_path / "pid"
    body = f"child = os.fork()\nif child: open({str(pid)!r}, 'w').write(str(child)); sys.exit(0)\ntime.sleep(60)"
    with pytest.raises(AuthenticationError, match="did not answer within"):  # the child holds the pipe
        Helper().get(script(body))
    child = int(pid.read_text())
    deadline = time.monotonic() + 20
    while _alive(child):
        assert time.monotonic() < deadline, "the helper's child is still there"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    """A process that has ended and is not yet reaped does not count."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@needs_process_groups
def test_a_helper_that_never_stops_talking_is_ended(script: Callable[..., CredentialRequest]) -> None:
    with pytest.raises(AuthenticationError, match="too much output"):
        Helper().get(script("while True: sys.stdout.write('x' * 4096)"))


def test_a_helper_that_does_not_read_its_question_may_answer(script: Callable[..., CredentialRequest]) -> None:
    body = "os.close(0); print(json.dumps({'username': 'me', 'password': 'hush'}))"
    assert Helper().get(script(body)) is not None


def test_a_helper_below_the_home_may_be_named_with_a_tilde(ask: Ask, home: Path) -> None:
    if os.name != "posix":
        pytest.skip("the system starts no script by its first line")
    file = home / "helper"
    file.write_text(f'#!{sys.executable} -S\nprint(\'{{"alias": "a", "secret": "b"}}\')\n')
    file.chmod(0o700)
    assert Helper().get(ask(profile={"credential_helper": ["~/helper"]})) is not None
