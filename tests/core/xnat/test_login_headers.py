"""Logins by headers: bearer tokens, and cookies of a gateway beside those of XNAT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from werkzeug import Request, Response

from xnatctl.errors import AuthenticationError, UsageError
from xnatctl.plugin.credentials import Credential, Headers, problem_of
from xnatctl.xnat.client import XnatClient

Connect = Callable[..., XnatClient]


def bearer(token: str = "TOKEN-1-abcdef", **fields: Any) -> Headers:
    return Headers(headers={"Authorization": f"Bearer {token}"}, source="the vault", **fields)


def test_a_bearer_token_goes_with_every_request_and_the_session_is_ended(xnat: Any, connect: Connect) -> None:
    xnat.bearers["TOKEN-1-abcdef"] = "alice"
    xnat.route("GET", "/data/work", "fine")
    client = connect(xnat.url)
    client.login(bearer)
    assert client.login_name == "alice"
    assert client.request("GET", "/data/work").text == "fine"
    client.close()
    assert all(seen.bearer == "TOKEN-1-abcdef" for seen in xnat.seen)
    assert xnat.logins == [], "no password goes out"
    assert xnat.sessions == {}
    assert len({seen.session for seen in xnat.seen}) == 1, "one session for the whole run"


def test_a_bearer_token_that_nobody_knows_is_refused(xnat: Any, connect: Connect) -> None:
    with pytest.raises(AuthenticationError, match=r"login headers of the vault.*guest"):
        connect(xnat.url).login(bearer)


def test_a_bearer_token_of_another_user_is_refused(xnat: Any, connect: Connect) -> None:
    xnat.bearers["TOKEN-1-abcdef"] = "bob"
    with pytest.raises(AuthenticationError, match="treats it as bob"):
        connect(xnat.url).login(lambda: bearer(username="alice"))
    assert xnat.sessions == {}, "the session that was opened is ended"


class Gateway:
    """Lets requests with its cookie pass, and writes the cookie anew in every answer."""

    def __init__(self, xnat: Any) -> None:
        self.valid = {"gate-0"}
        self.seen: list[dict[str, str]] = []
        self._answer = xnat.handle
        xnat.gateway = self.check

    def check(self, request: Request) -> Response | None:
        self.seen.append(dict(request.cookies))
        if request.cookies.get("GATE") in self.valid:
            return None
        return Response("", 302, {"Location": "https://sso.example.org/authorize?state=abc"})


def gate(value: str = "gate-0") -> Headers:
    return Headers(headers={"Cookie": f'GATE={value}; other="a,b"', "Authorization": "Bearer TOKEN-1-abcdef"})


def test_a_cookie_of_a_gateway_stays_beside_those_of_xnat(xnat: Any, connect: Connect) -> None:
    xnat.bearers["TOKEN-1-abcdef"] = "alice"
    gateway = Gateway(xnat)
    xnat.route("GET", "/data/work", "fine")
    client = connect(xnat.url)
    client.login(gate)
    session = client.cookie("JSESSIONID")
    assert client.request("GET", "/data/work").text == "fine"
    assert gateway.seen[-1] == {"GATE": "gate-0", "other": "a,b", "JSESSIONID": session}
    assert all(cookies["GATE"] == "gate-0" for cookies in gateway.seen)


def test_a_gateway_may_replace_its_cookie(xnat: Any, connect: Connect) -> None:
    xnat.bearers["TOKEN-1-abcdef"] = "alice"
    gateway = Gateway(xnat)
    gateway.valid.add("gate-1")
    xnat.route("GET", "/data/work", Response("fine", 200, {"Set-Cookie": "GATE=gate-1; Path=/"}))
    client = connect(xnat.url)
    client.login(gate)
    session = client.cookie("JSESSIONID")
    for _ in range(2):
        client.request("GET", "/data/work")
    assert gateway.seen[-1]["GATE"] == "gate-1"
    assert gateway.seen[-1]["JSESSIONID"] == session


def test_a_session_that_ended_does_not_take_the_cookie_of_the_gateway_with_it(xnat: Any, connect: Connect) -> None:
    xnat.bearers["TOKEN-1-abcdef"] = "alice"
    gateway = Gateway(xnat)
    xnat.route("GET", "/data/work", "fine")
    client = connect(xnat.url)
    client.login(gate)
    xnat.expire()
    assert client.request("GET", "/data/work").text == "fine"
    assert all(cookies["GATE"] == "gate-0" for cookies in gateway.seen)


def test_a_session_that_came_with_the_headers_is_not_ended(xnat: Any, connect: Connect) -> None:
    xnat.sessions["GIVEN"] = "alice"
    client = connect(xnat.url)
    client.login(lambda: Headers(headers={"cookie": "JSESSIONID=GIVEN"}))
    assert client.login_name == "alice"
    client.close()
    assert xnat.sessions == {"GIVEN": "alice"}


def test_a_malformed_cookie_is_named_and_not_shown(xnat: Any, connect: Connect) -> None:
    with pytest.raises(UsageError, match="Cookie") as caught:
        connect(xnat.url).login(lambda: Headers(headers={"Cookie": "CANARY"}, source="the vault"))
    assert "CANARY" not in caught.value.message
    assert "the vault" in caught.value.message


@pytest.mark.parametrize(
    "login_page",
    [
        Response("", 401),
        Response("", 302, {"Location": "https://sso.example.org/authorize?state=CANARY"}),
        Response("", 302, {"Location": "/gateway/login"}),
        Response('<!DOCTYPE html><form><input name=p type="password"></form>', 200, content_type="text/html"),
    ],
    ids=["401", "another host", "a login path", "a page"],
)
def test_a_login_page_in_the_middle_renews_the_headers_once(login_page: Response, xnat: Any, connect: Connect) -> None:
    xnat.bearers |= {"TOKEN-1-abcdef": "alice", "TOKEN-2-abcdef": "alice"}
    valid = {"TOKEN-1-abcdef"}

    def check(request: Request) -> Response | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        refused = Response(login_page.get_data(), login_page.status_code, dict(login_page.headers))
        return None if token in valid else refused

    xnat.gateway = check
    xnat.route("POST", "/data/work", lambda seen: Response(seen.body))
    renewals: list[Credential] = []

    def renew(rejected: Credential, *, refused: bool) -> Credential:
        assert refused
        renewals.append(rejected)
        return bearer("TOKEN-2-abcdef")

    client = connect(xnat.url)
    client.login(bearer, renew)
    session = client.cookie("JSESSIONID")
    valid.clear()
    valid.add("TOKEN-2-abcdef")
    assert client.request("POST", "/data/work", body=b"data").content == b"data"
    assert renewals == [bearer()]
    assert client.cookie("JSESSIONID") == session, "the session on the server lives on"
    assert [seen.bearer for seen in xnat.to("/data/work")] == ["TOKEN-2-abcdef"]


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({}, "mapping"),
        ({"Host": "x"}, "Host"),
        ({"content-length": "1"}, "content-length"),
        ({"A b": "x"}, "malformed"),
        ({"A": "CANARY\r\nB: c"}, "value of the header A"),
        ({"A": ""}, "value of the header A"),
        ({"A": 5}, "value of the header A"),
        ({"Cookie": "a=b", "cookie": "c=d"}, "twice"),
    ],
)
def test_headers_that_cannot_be_sent_have_a_problem(headers: Any, problem: str) -> None:
    found = problem_of(Headers(headers=headers))
    assert found is not None
    assert problem in found
    assert "CANARY" not in found
