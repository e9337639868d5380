"""What each answer means: status, HTML, redirect, JSON, table, uri-list."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from xnatctl.errors import (
    AuthenticationError,
    NotFound,
    NotXnat,
    PermissionDenied,
    ServerError,
    Throttled,
    TooLarge,
    TransportError,
    UsageError,
    XnatctlError,
)
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.http.responses import Response, retry_after, tidy

Connect = Callable[..., XnatClient]
PAGE = "<html>\n<head>\n   <title>Status page</title>\n</head>\n<body>\n<h3>{}</h3><p>details</p></body></html>"


@pytest.fixture
def answering(wire: Callable[..., Any], connect: Connect) -> Callable[..., XnatClient]:
    """A client whose server always gives one answer; `.seen` of the server holds the request lines."""

    def make(status: int, body: bytes | str = b"", client: dict[str, Any] | None = None, **headers: str) -> XnatClient:
        lines: list[str] = []

        def script(connection: Any) -> None:
            while True:
                head, _ = connection.request()
                lines.append(head.splitlines()[0])
                connection.answer(status, body, **headers)

        made = connect(wire(script).url, **(client or {}))
        made.seen = lines  # type: ignore[attr-defined]
        return made

    return make


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationError),
        (403, PermissionDenied),
        (404, NotFound),
        (413, TooLarge),
        (429, Throttled),
        (503, Throttled),
        (400, ServerError),
        (407, ServerError),
        (409, ServerError),
        (500, ServerError),
        (502, ServerError),
        (504, ServerError),
        (507, ServerError),
    ],
)
def test_a_status_becomes_its_error(
    status: int, kind: type[XnatctlError], answering: Callable[..., XnatClient]
) -> None:
    client = answering(status, PAGE.format("Session already exists, retry with overwrite enabled"))
    with pytest.raises(kind) as caught:
        client.request("GET", "/data/projects/My%20Project")
    assert type(caught.value) is kind
    assert client.server in caught.value.message
    if isinstance(caught.value, ServerError):
        assert caught.value.status == status
    if status != 413:
        assert "Session already exists, retry with overwrite enabled" in caught.value.message


def test_messages_name_the_thing_as_people_write_it(answering: Callable[..., XnatClient]) -> None:
    with pytest.raises(NotFound, match="/data/projects/My Project"):
        answering(404).request("GET", "/data/projects/My%20Project")


@pytest.mark.parametrize("status", [301, 303, 404, 401, 409, 503])
def test_an_expected_status_comes_back(status: int, answering: Callable[..., XnatClient]) -> None:
    reply = answering(status, "text").request("POST", "/x", expect=(status,))
    assert (reply.status, reply.text) == (status, "text")


def test_an_error_that_is_too_large_names_the_remedy(answering: Callable[..., XnatClient]) -> None:
    with pytest.raises(TooLarge) as caught:
        answering(413, PAGE.format("Request Entity Too Large")).request("POST", "/x", body=b"x")
    assert "client_max_body_size" in (caught.value.hint or "")


def test_text_of_the_server_is_made_harmless(answering: Callable[..., XnatClient]) -> None:
    nasty = "bad \x1b[31mred\x07 &amp; <b>bold</b>\r\n line " + "x" * 5000
    with pytest.raises(ServerError) as caught:
        answering(500, PAGE.format(nasty)).request("GET", "/x")
    message = caught.value.message
    assert "bad [31mred & bold line xxx" in message
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", message)
    assert len(message) < 500


def test_an_html_page_without_heading_gives_its_title(answering: Callable[..., XnatClient]) -> None:
    with pytest.raises(ServerError, match="502 Bad Gateway"):
        answering(502, "<html><head><title>502 Bad Gateway</title></head><center>nginx</center></html>").request(
            "GET", "/x"
        )


@pytest.mark.parametrize(
    "page",
    [
        "<!DOCTYPE html><html><title>Sign in</title></html>",
        "\n  <HTML><title>Sign in</title></HTML>",
        "\ufeff<html><title>Sign in</title></html>",
        '<?xml version="1.0"?>\n<!-- CAS -->\n<!DOCTYPE html PUBLIC "x"><html><title>Sign in</title></html>',
        "<!-- one --><!-- two --><html lang='en'><title>Sign in</title></html>",
    ],
)
@pytest.mark.parametrize("media", ["text/html", "text/plain", "application/json"])
def test_html_with_200_is_never_success(page: str, media: str, answering: Callable[..., XnatClient]) -> None:
    client = answering(200, page, Content_Type=media)
    with pytest.raises(NotXnat, match="HTML page") as caught:
        client.request("POST", "/data/services/import", body=b"x")
    assert caught.value.status == 200
    assert caught.value.hint
    assert "Sign in" in caught.value.message


@pytest.mark.parametrize(
    "text",
    ['<?xml version="1.0" encoding="UTF-8"?>\n<cat:Catalog/>', '{"duplicates":["a"]}', "", "<!-- no end <html>"],
)
def test_other_bodies_are_not_taken_for_html(text: str, answering: Callable[..., XnatClient]) -> None:
    reply = answering(200, text, Content_Type="text/html").request("GET", "/x")
    assert reply.text == text
    assert not reply.is_html


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://x/app/template/XDATScreen_UpdateUser.vm", "password .* has expired"),
        ("https://x/app/template/InactiveAccount.vm", "account .* is inactive"),
        ("https://x/app/template/Login.vm", "asks for a login in the browser"),
        ("https://x/setup", "is not set up yet"),
        ("https://x/app/template/Unconfigured.vm", "is not set up yet"),
        ("https://other.example/data", "redirects to https://other.example/data"),
        ("https://sso.example/login?state=of-a-login", r"redirects to https://sso.example/login\.$"),
        ("", "redirects to an address that it does not name"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_redirect_is_explained_and_never_followed(
    location: str, words: str, method: str, answering: Callable[..., XnatClient]
) -> None:
    client = answering(302, "", **({"Location": location} if location else {}))
    with pytest.raises(NotXnat, match=words) as caught:
        client.request(method, "/data/x")
    assert caught.value.status == 302
    assert caught.value.hint
    assert client.seen == [f"{method} /data/x HTTP/1.1"]  # type: ignore[attr-defined]


def test_a_redirect_to_ourselves_is_not_followed_either(answering: Callable[..., XnatClient]) -> None:
    client = answering(307, "", Location="/data/y")
    with pytest.raises(NotXnat):
        client.request("GET", "/data/x")
    assert len(client.seen) == 1  # type: ignore[attr-defined]


def test_a_301_without_location_comes_back_when_expected(answering: Callable[..., XnatClient]) -> None:
    uri = "/data/archive/projects/P/subjects/S/experiments/E"
    reply = answering(301, uri, Content_Type="text/plain").request("POST", "/x", expect=(301,))
    assert reply.text == uri
    assert reply.content_type == "text/plain"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3.0), ("0", 0.0), (" 120 ", 120.0), ("1000000000", 1e9), ("-5", None), ("soon", None), ("", None),
     ("Wed, 99 Foo 2024 99:99:99 GMT", None), ("99999999999999999999", None), ("1.5", None)],
)  # fmt: skip
def test_retry_after_in_seconds(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}) == seconds


def test_retry_after_as_a_date() -> None:
    assert retry_after({"retry-after": formatdate(time() - 3600, usegmt=True)}) == 0.0
    wait = retry_after({"retry-after": formatdate(time() + 600, usegmt=True)})
    assert wait is not None
    assert 500 < wait <= 600


def test_a_busy_server_says_when_to_come_back(answering: Callable[..., XnatClient]) -> None:
    with pytest.raises(Throttled) as caught:
        answering(503, "", Retry_After="7").request("GET", "/x")
    assert (caught.value.retry_after, caught.value.status) == (7.0, 503)
    with pytest.raises(Throttled) as caught:
        answering(429).request("GET", "/x")
    assert caught.value.retry_after is None


@pytest.mark.parametrize("body", ["", "{", "<x/>", "[" * 100_000])
def test_json_that_is_none(body: str, answering: Callable[..., XnatClient]) -> None:
    client = answering(200, body)
    with pytest.raises(NotXnat, match=r"did not return JSON for /data/x"):
        client.get_json("/data/x")


def test_rows_are_text_whatever_the_server_writes(answering: Callable[..., XnatClient]) -> None:
    client = answering(200, '{"ResultSet":{"Result":[{"a":null,"b":1,"c":"x"},{}],"title":"t"}}')
    assert client.table("/data/x", {"columns": "a,b"}) == [{"a": "", "b": "1", "c": "x"}, {}]
    assert client.seen == ["GET /data/x?columns=a%2Cb&format=json HTTP/1.1"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "body",
    ['{"items":[]}', "[]", "null", '{"ResultSet":{}}', '{"ResultSet":{"Result":[1]}}', '{"ResultSet":{"Result":7}}'],
)
def test_what_is_no_table(body: str, answering: Callable[..., XnatClient]) -> None:
    with pytest.raises(NotXnat, match="did not return a table"):
        answering(200, body).table("/data/x")


def test_lines_of_a_uri_list() -> None:
    reply = Response(status=200, headers={}, content="/data/a b \r\n\r\n/data/ü\u2028x\r\n".encode())
    assert reply.lines() == ["/data/a b ", "/data/ü\u2028x"]
    assert Response(status=200, headers={}, content=b"").lines() == []


def test_an_answer_that_is_too_long_is_not_read(answering: Callable[..., XnatClient]) -> None:
    client = answering(200, b"x" * 3 * 2**20)
    assert len(client.request("GET", "/x").content) == 3 * 2**20
    with pytest.raises(TransportError, match="longer than 1 MiB"):
        client.request("GET", "/x", limit=2**20)
    assert len(client.seen) == 2, "it would be as long when asked for again"


def test_a_compressed_answer_is_refused(answering: Callable[..., XnatClient]) -> None:
    with pytest.raises(NotXnat, match="compressed"):
        answering(200, b"\x1f\x8b", Content_Encoding="gzip").request("GET", "/x")


def test_a_reply_shows_no_secret(answering: Callable[..., XnatClient]) -> None:
    reply = answering(200, "F00DFACE", Set_Cookie="JSESSIONID=CAFEBABE; Path=/").request("POST", "/data/JSESSION")
    assert reply.text == "F00DFACE"
    assert "CAFEBABE" not in repr(reply)
    assert "F00DFACE" not in repr(reply)


def test_a_request_has_one_body(answering: Callable[..., XnatClient]) -> None:
    with pytest.raises(TypeError):
        answering(200).request("POST", "/x", body=b"x", form={"a": "b"})


@pytest.mark.parametrize(
    "path", ["data", "/data//x", "/data/../x", "/data/a;b", "/data/a%2Fb", "/a%5Cb", "/a%25", "/a?b"]
)
def test_paths_that_the_firewall_refuses_never_go_out(path: str, answering: Callable[..., XnatClient]) -> None:
    client = answering(200)
    with pytest.raises(UsageError):
        client.request("GET", path)
    assert client.seen == []  # type: ignore[attr-defined]


def test_tidy_is_bounded() -> None:
    assert len(tidy("x" * 10_000)) <= 303
    assert tidy(" a \u0085 b. ") == "a b"
