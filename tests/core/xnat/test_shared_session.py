"""Several processes share one login: one of them logs in, and the others work with its session token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from werkzeug import Response

from xnatctl.errors import AuthenticationError
from xnatctl.plugin.credentials import Credential, Headers, Password, SessionToken
from xnatctl.xnat.client import XnatClient

Connect = Callable[..., XnatClient]


@pytest.fixture
def work(xnat: Any) -> Any:
    xnat.route("POST", "/data/work", "done")
    return xnat


def join(parent: XnatClient, child: XnatClient, *, asked: list[str] | None = None) -> XnatClient:
    """Log a client in with the session of another one, as `App.join_session` does."""

    def renew(rejected: Credential, *, refused: bool) -> Credential:
        assert isinstance(rejected, SessionToken)
        if asked is not None:
            asked.append(rejected.secret)
        token = parent.renew_shared_session(rejected.secret)
        assert token is not None
        return SessionToken(secret=token, username="alice")

    token = parent.shared_session()
    assert token is not None
    child.login(lambda: SessionToken(secret=token, username="alice"), renew)
    return child


def send(client: XnatClient) -> str:
    return client.request("POST", "/data/work", body=b"data").text


def test_a_second_client_costs_no_login_and_leaves_the_session_open(
    work: Any, connect: Connect, alice: XnatClient
) -> None:
    child = join(alice, connect(work.url))
    assert send(child) == "done"
    child.close()
    assert send(alice) == "done"
    assert len(work.logins) == 1
    assert [seen for seen in work.seen if seen.method == "DELETE"] == []


def test_a_session_that_ended_is_renewed_once_for_all(work: Any, connect: Connect, alice: XnatClient) -> None:
    asked: list[str] = []
    children = [join(alice, connect(work.url), asked=asked) for _ in range(4)]
    first = alice.shared_session()
    work.expire()
    assert [send(child) for child in children] == ["done"] * 4
    assert asked == [first] * 4
    assert send(alice) == "done"
    assert len(work.logins) == 2


def test_a_child_that_begins_late_gets_the_session_of_now(work: Any, connect: Connect, alice: XnatClient) -> None:
    old = alice.shared_session()
    work.expire()
    assert send(alice) == "done"
    assert old is not None
    assert alice.renew_shared_session(old) == alice.shared_session() != old
    assert len(work.logins) == 2


def test_a_password_that_changed_ends_parent_and_child(work: Any, connect: Connect, alice: XnatClient) -> None:
    child = join(alice, connect(work.url))
    work.passwords["alice"] = "another-one"
    work.expire()
    for client in (child, child, alice):
        with pytest.raises(AuthenticationError, match="rejects the login of alice"):
            send(client)
    assert len(work.logins) == 2  # a rejected password is never sent again


def test_a_token_that_the_server_does_not_know_ends_without_a_loop(work: Any, connect: Connect) -> None:
    asked: list[Credential] = []

    def renew(rejected: Credential, *, refused: bool) -> Credential:
        asked.append(rejected)
        return SessionToken(secret="DEAD")

    with pytest.raises(AuthenticationError, match="does not accept the session token"):
        connect(work.url).login(lambda: SessionToken(secret="DEAD"), renew)
    assert len(asked) == 1


def test_a_login_by_headers_is_not_shared(work: Any, connect: Connect) -> None:
    work.bearers["bearer-1"] = "alice"
    client = connect(work.url)
    client.login(lambda: Headers(headers={"Authorization": "Bearer bearer-1"}))
    assert client.login_name == "alice"
    assert client.shared_session() is None


def test_a_server_that_changes_the_session_with_each_answer_is_not_shared(
    work: Any, connect: Connect, alice: XnatClient
) -> None:
    def rotate(seen: Any) -> Response:
        return Response("done", 200, {"Set-Cookie": f"JSESSIONID=ROTATED{len(work.seen)}; Path=/"})

    assert alice.shared_session() is not None
    work.route("POST", "/data/rotating", rotate)
    alice.request("POST", "/data/rotating", body=b"data")
    assert alice.shared_session() is None


def test_without_a_login_there_is_nothing_to_share(work: Any, connect: Connect) -> None:
    client = connect(work.url)
    assert client.shared_session() is None
    assert client.renew_shared_session("ANY") is None


def test_the_credential_of_the_parent_may_be_a_session_token(work: Any, connect: Connect) -> None:
    work.sessions["FIRST"] = "alice"
    parent = connect(work.url)
    given = iter([SessionToken(secret="FIRST"), Password(username="alice", secret="wonder:land")])
    parent.login(lambda: next(given))
    child = join(parent, connect(work.url))
    assert send(child) == "done"
    work.expire()
    assert send(child) == "done"
    assert len(work.logins) == 1
