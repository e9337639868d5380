"""A login that ends early is renewed by its source: once for all workers, as the same user, and never in a loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from xnatctl.errors import AuthenticationError, ConnectionFailed, PluginUnavailable
from xnatctl.plugin.credentials import AliasToken, Credential, Headers, Password, SessionToken
from xnatctl.xnat.client import XnatClient

Connect = Callable[..., XnatClient]
WORKERS = 8


class Source:
    """Gives the first credential, then one more at each renewal, or raises it. `asked` notes what was rejected."""

    def __init__(self, first: Credential, *renewals: Credential | Exception | None) -> None:
        self.first = first
        self._renewals = list(renewals)
        self.asked: list[tuple[Credential, bool]] = []
        self._inside = threading.Lock()

    def renew(self, rejected: Credential, *, refused: bool) -> Credential | None:
        assert self._inside.acquire(blocking=False), "two workers renew at once"
        try:
            self.asked.append((rejected, refused))
            renewed = self._renewals.pop(0)
            if isinstance(renewed, Exception):
                raise renewed
            return renewed
        finally:
            self._inside.release()

    def log_in(self, client: XnatClient) -> XnatClient:
        client.login(lambda: self.first, self.renew)
        return client


def password(secret: str = "wonder:land", **fields: Any) -> Password:
    return Password(username="alice", secret=secret, source="the vault", **fields)


def together(*tasks: Callable[[], Any]) -> list[Any]:
    """Run tasks at the same time; returns what they return or raise."""
    results: list[Any] = [None] * len(tasks)
    gate = threading.Barrier(len(tasks))

    def run(number: int) -> None:
        gate.wait(60)
        try:
            results[number] = tasks[number]()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


@pytest.fixture
def work(xnat: Any) -> Any:
    xnat.route("POST", "/data/work", "done")
    return xnat


def posts(client: XnatClient) -> list[Callable[[], str]]:
    return [lambda: client.request("POST", "/data/work", body=b"data").text] * WORKERS


def test_a_session_that_ended_costs_no_renewal_while_the_password_holds(work: Any, connect: Connect) -> None:
    source = Source(password())
    client = source.log_in(connect(work.url))
    work.expire()
    assert client.request("POST", "/data/work", body=b"data").text == "done"
    assert source.asked == []
    assert len(work.logins) == 2


def test_a_password_that_changed_is_renewed_once_for_all_workers(work: Any, connect: Connect) -> None:
    source = Source(password(), password("new-secret"))
    client = source.log_in(connect(work.url))
    work.passwords["alice"] = "new-secret"
    work.expire()
    assert together(*posts(client)) == ["done"] * WORKERS
    assert source.asked == [(password(), True)]
    assert [seen.basic for seen in work.logins] == ["alice:wonder:land"] * 2 + ["alice:new-secret"]


def test_a_stale_password_is_renewed_at_the_first_login(work: Any, connect: Connect) -> None:
    source = Source(password("stale-secret"), password())
    assert source.log_in(connect(work.url)).login_name == "alice"
    assert source.asked == [(password("stale-secret"), True)]


def test_an_alias_token_is_renewed(work: Any, connect: Connect) -> None:
    work.tokens |= {"alias-1": ("secret-1", "alice"), "alias-2": ("secret-2", "alice")}
    source = Source(AliasToken(alias="alias-1", secret="secret-1"), AliasToken(alias="alias-2", secret="secret-2"))
    client = source.log_in(connect(work.url))
    del work.tokens["alias-1"]
    work.expire()
    assert client.request("POST", "/data/work", body=b"data").text == "done"
    assert len(source.asked) == 1


def test_a_session_token_is_renewed(work: Any, connect: Connect) -> None:
    work.sessions |= {"FIRST": "alice"}
    source = Source(SessionToken(secret="FIRST"), SessionToken(secret="SECOND"))
    client = source.log_in(connect(work.url))
    work.expire()
    work.sessions["SECOND"] = "alice"
    assert together(*posts(client)) == ["done"] * WORKERS
    assert len(source.asked) == 1
    client.close()
    assert work.sessions["SECOND"] == "alice", "a session that was given is not ended"


def test_what_the_server_refuses_again_ends_the_command_once(work: Any, connect: Connect) -> None:
    source = Source(password(), password("also-wrong"))
    client = source.log_in(connect(work.url))
    work.passwords["alice"] = "new-secret"
    work.expire()
    results = together(*posts(client))
    assert all(isinstance(result, AuthenticationError) for result in results), results
    with pytest.raises(AuthenticationError):
        client.request("POST", "/data/work", body=b"data")
    assert len(source.asked) == 1
    assert len(work.logins) == 3, "no password goes out twice after it was refused"


@pytest.mark.parametrize(
    "error",
    [AuthenticationError("the vault has no other one"), PluginUnavailable("the source failed")],
    ids=["nothing", "broken"],
)
def test_a_renewal_that_fails_is_not_tried_by_every_worker(error: Any, work: Any, connect: Connect) -> None:
    source = Source(password(), error)
    client = source.log_in(connect(work.url))
    work.passwords["alice"] = "new-secret"
    work.expire()
    results = [*together(*posts(client)), *together(*posts(client))]
    assert {type(result) for result in results} == {type(error)}
    assert {result.message for result in results} == {error.message}
    assert len(source.asked) == 1


def test_a_vault_that_cannot_be_reached_may_be_asked_again(work: Any, connect: Connect) -> None:
    source = Source(password(), ConnectionFailed("Cannot reach the vault."), password("new-secret"))
    client = source.log_in(connect(work.url))
    work.passwords["alice"] = "new-secret"
    work.expire()
    with pytest.raises(ConnectionFailed, match="vault"):
        client.request("POST", "/data/work", body=b"data")
    assert client.request("POST", "/data/work", body=b"data").text == "done"
    assert len(source.asked) == 2


def test_a_renewed_login_of_another_user_is_refused(work: Any, connect: Connect) -> None:
    work.bearers |= {"TOKEN-1": "alice", "TOKEN-2": "bob"}
    first, second = (Headers(headers={"Authorization": f"Bearer TOKEN-{number}"}) for number in (1, 2))
    client = Source(first, second).log_in(connect(work.url))
    work.expire()
    del work.bearers["TOKEN-1"]
    with pytest.raises(AuthenticationError, match="treats it as bob"):
        client.request("POST", "/data/work", body=b"data")
    assert work.to("/data/work")[-1].login != "bob"


@pytest.mark.parametrize("named", ["bob", ""])
def test_a_renewed_session_of_another_user_is_refused(named: str, work: Any, connect: Connect) -> None:
    """Also where the source names that user openly."""
    work.passwords["bob"] = "secret-of-bob"
    other = connect(work.url)
    other.login(lambda: Password(username="bob", secret="secret-of-bob"))
    token = SessionToken(secret=str(other.cookie("JSESSIONID")), username=named)
    client = Source(password(), token).log_in(connect(work.url))
    work.passwords["alice"] = "changed"
    work.sessions = {key: login for key, login in work.sessions.items() if login == "bob"}
    with pytest.raises(AuthenticationError):
        client.request("POST", "/data/work", body=b"data")
    assert client.login_name == "alice"
    assert work.to("/data/work")[-1].login != "bob"


# expires


def test_what_has_expired_is_renewed_before_the_next_request(work: Any, connect: Connect) -> None:
    work.bearers |= {"TOKEN-1": "alice", "TOKEN-2": "alice"}
    ends = time.time() + 3600
    first = Headers(headers={"Authorization": "Bearer TOKEN-1"}, expires=ends)
    second = Headers(headers={"Authorization": "Bearer TOKEN-2"}, expires=ends + 7200)
    source = Source(first, second)
    client = source.log_in(connect(work.url))
    client.request("POST", "/data/work", body=b"data")
    assert source.asked == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: ends + 1)
        assert together(*posts(client)) == ["done"] * WORKERS
    assert source.asked == [(first, False)]
    assert [seen.bearer for seen in work.to("/data/work")] == ["TOKEN-1"] + ["TOKEN-2"] * WORKERS
    client.close()
    assert work.sessions == {}


def test_a_password_that_expired_opens_a_session_and_both_are_ended(work: Any, connect: Connect) -> None:
    ends = time.time() + 3600
    source = Source(password(expires=ends), password("new-secret"))
    client = source.log_in(connect(work.url))
    work.passwords["alice"] = "new-secret"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: ends + 1)
        assert client.request("POST", "/data/work", body=b"data").text == "done"
    assert len(work.sessions) == 2, "requests of other workers may still use the first one"
    client.close()
    assert work.sessions == {}


def test_what_had_expired_before_it_was_used_is_renewed_first(work: Any, connect: Connect) -> None:
    source = Source(password("old-secret", expires=1.0), password())
    source.log_in(connect(work.url))
    assert source.asked == [(password("old-secret", expires=1.0), False)]
    assert [seen.basic for seen in work.logins] == ["alice:wonder:land"], "the expired password was not sent"


def test_an_end_that_its_source_cannot_extend_is_left_to_the_server(work: Any, connect: Connect) -> None:
    client = connect(work.url)
    client.login(lambda: password(expires=1.0))
    for _ in range(2):
        assert client.request("POST", "/data/work", body=b"data").text == "done"
    assert len(work.logins) == 1
