"""The client against a server that misbehaves: each fault becomes one clear error, and no login is ever hammered."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from xnatctl.errors import (
    AuthenticationError,
    ConnectionFailed,
    NotFound,
    NotXnat,
    PermissionDenied,
    ServerError,
    SourceChanged,
    Throttled,
    TooLarge,
    TransportError,
    UsageError,
)
from xnatctl.plugin.credentials import Password, SessionToken
from xnatctl.plugin.protocols import Body
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.http.urls import normalise_server, url_path

ALICE = Password(username="alice", secret="p:ss", source="test")


@pytest.fixture
def client(httpserver: HTTPServer):
    with XnatClient(httpserver.url_for(""), timeout=100, stall_timeout=60) as made:
        yield made


@contextmanager
def raw_server(answer: Callable[[socket.socket], None]):
    """A server of bytes: one handler per connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    answer(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with suppress(OSError):  # on Windows, where closing is enough
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(60)


def body(data: bytes) -> Body:
    return Body(length=len(data), chunks=lambda: iter([data]))


# statuses and pages


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, PermissionDenied), (404, NotFound), (413, TooLarge), (429, Throttled), (503, Throttled), (500, ServerError),
     (502, ServerError), (400, ServerError), (401, AuthenticationError)],
)  # fmt: skip
def test_statuses_have_their_errors_and_the_servers_words(client, httpserver, status, kind):
    page = "<html><head><title>Status page</title></head><body><h3>unable to read DICOM object x</h3></body></html>"
    httpserver.expect_request("/data/x").respond_with_data(page, status, content_type="text/html")
    with pytest.raises(kind) as caught:
        client.request("GET", "/data/x")
    if status not in (413,):
        assert "unable to read DICOM object x" in caught.value.message
    assert "<" not in caught.value.message


def test_control_characters_of_a_server_stay_out_of_messages(client, httpserver):
    httpserver.expect_request("/data/x").respond_with_data("\x1b[31mred\x07", 500, content_type="text/plain")
    with pytest.raises(ServerError) as caught:
        client.request("GET", "/data/x")
    assert "\x1b" not in caught.value.message
    assert "\x07" not in caught.value.message


@pytest.mark.parametrize("head", ["<!DOCTYPE html><html>", "<html>", "\n  <HTML><head><title>Sign in</title>"])
def test_html_is_never_success(client, httpserver, head):
    httpserver.expect_request("/data/x").respond_with_data(head, content_type="text/plain")
    with pytest.raises(NotXnat):
        client.request("GET", "/data/x")


@pytest.mark.parametrize(
    ("location", "words"),
    [("/app/template/Login.vm", "log"), ("/app/template/XDATScreen_UpdateUser.vm", "expired"), ("/setup", "not set up"),
     ("/app/template/InactiveAccount.vm", "inactive"), ("https://elsewhere.example/", "elsewhere")],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_no_redirect_is_followed(client, httpserver, method, location, words):
    httpserver.expect_request("/data/x").respond_with_data("", 302, {"Location": location})
    with pytest.raises(NotXnat) as caught:
        client.request(method, "/data/x")
    assert words in f"{caught.value.message} {caught.value.hint}"
    assert len(httpserver.log) == 1


def test_a_301_without_location_is_returned_where_it_is_expected(client, httpserver):
    uri = "/data/archive/projects/P/subjects/S/experiments/E"
    httpserver.expect_request("/data/x").respond_with_data(uri, 301)
    assert client.request("POST", "/data/x", expect=(301,)).text == uri


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3.0), ("garbage", None), ("-5", None), ("", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)]
)  # fmt: skip
def test_retry_after(client, httpserver, header, seconds):
    httpserver.expect_request("/data/x").respond_with_data("", 503, {"Retry-After": header})
    with pytest.raises(Throttled) as caught:
        client.request("GET", "/data/x")
    assert caught.value.retry_after == seconds


def test_not_json_is_said(client, httpserver):
    httpserver.expect_request("/data/x").respond_with_data("no json", content_type="application/json")
    with pytest.raises(NotXnat):
        client.get_json("/data/x")


# logging in


def login_pages(httpserver, *, who="alice", cookie="JSESSIONID=ABC; Path=/; HttpOnly"):
    state = {"logins": 0}

    def jsession(request: Request) -> Response:
        if request.method == "POST":
            state["logins"] += 1
        response = Response("ABC" if request.method == "POST" else "")
        response.headers.add("Set-Cookie", cookie)
        response.headers.add("Set-Cookie", 'SESSION_EXPIRATION_TIME="1718800000000,900000"; Path=/')
        return response

    httpserver.expect_request("/data/JSESSION").respond_with_handler(jsession)
    httpserver.expect_request("/xapi/users/username").respond_with_data(who, content_type="text/plain")
    return state


def test_login_is_proven_and_the_password_sent_once(client, httpserver):
    login_pages(httpserver)
    client.login(lambda: ALICE)
    assert client.login_name == "alice"
    assert client.session_timeout == 900
    (first, _), (second, _) = httpserver.log
    assert first.headers["Authorization"].startswith("Basic ")
    assert "Authorization" not in second.headers
    assert "JSESSIONID=ABC" in second.headers["Cookie"]


def test_a_secure_cookie_is_sent_over_http_all_the_same(client, httpserver):
    login_pages(httpserver, cookie="JSESSIONID=ABC; Path=/; Secure; HttpOnly")
    client.login(lambda: ALICE)
    assert "JSESSIONID=ABC" in httpserver.log[-1][0].headers["Cookie"]


@pytest.mark.parametrize("who", ["guest", "somebodyelse", ""])
def test_a_login_that_makes_us_somebody_else_is_none(client, httpserver, who):
    login_pages(httpserver, who=who)
    httpserver.expect_request("/data/auth").respond_with_data(f"User '{who or 'guest'}' is logged in")
    with pytest.raises(AuthenticationError):
        client.login(lambda: ALICE)


def test_a_wrong_password_is_tried_once(client, httpserver):
    httpserver.expect_request("/data/JSESSION").respond_with_data("<html>no</html>", 401, content_type="text/html")
    with pytest.raises(AuthenticationError) as caught:
        client.login(lambda: ALICE)
    assert "alice" in caught.value.message
    assert "p:ss" not in str(caught.value.message) + str(caught.value.hint)
    assert len(httpserver.log) == 1


@pytest.mark.parametrize(
    ("status", "headers"), [(404, {}), (405, {}), (302, {"Location": "http://x/app/template/Login.vm"})]
)
def test_an_address_below_the_site_is_said_to_be_wrong(client, httpserver, status, headers):
    """Copied from the browser: nobody can log in there, and `auth login` would not help."""
    httpserver.expect_request("/data/JSESSION").respond_with_data("", status, headers)
    with pytest.raises(NotXnat, match="not the address of an XNAT") as caught:
        client.login(lambda: ALICE)
    assert "first page" in str(caught.value.hint)


def test_a_password_that_is_not_utf8_goes_out_as_it_is(client, httpserver):
    """Bytes of an environment variable, as Python keeps them."""
    login_pages(httpserver)
    client.login(lambda: Password(username="alice", secret="p\udcff", source="test"))
    request = next(request for request, _ in httpserver.log if "Authorization" in request.headers)
    assert base64.b64decode(request.headers["Authorization"].split()[1]) == b"alice:p\xff"


@pytest.mark.parametrize("answer", ["<html><title>SSO</title></html>", "", "two words", "x" * 300])
def test_a_login_answer_that_is_no_token_is_refused(client, httpserver, answer):
    httpserver.expect_request("/data/JSESSION").respond_with_data(answer)
    with pytest.raises(NotXnat):
        client.login(lambda: ALICE)


@pytest.fixture
def threaded_server():
    with HTTPServer(threaded=True) as server:
        yield server


def test_sixteen_workers_and_one_expired_session_make_one_new_login(threaded_server):
    httpserver = threaded_server
    client = XnatClient(httpserver.url_for(""), timeout=100)
    state = login_pages(httpserver)
    client.login(lambda: ALICE)
    gate, expired = threading.Barrier(16), {"left": 16}
    lock = threading.Lock()

    def page(request: Request) -> Response:
        with lock:
            first = expired["left"] > 0
            expired["left"] -= 1
        if first:
            gate.wait(60)
            return Response("", 401)
        return Response("fine")

    httpserver.expect_request("/data/work").respond_with_handler(page)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(client.request("GET", "/data/work").text)) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == ["fine"] * 16
    client.close()
    assert state["logins"] == 2, "one at the start, one for all workers together"


def test_a_rejected_renewal_is_not_tried_by_every_worker(client, httpserver):
    state = login_pages(httpserver)
    client.login(lambda: ALICE)
    httpserver.clear()
    httpserver.expect_request("/data/JSESSION").respond_with_data("", 401)
    httpserver.expect_request("/data/work").respond_with_data("", 401)
    for _ in range(5):
        with pytest.raises(AuthenticationError):
            client.request("GET", "/data/work")
    assert sum(request.path == "/data/JSESSION" for request, _ in httpserver.log) == 1
    assert state["logins"] == 1


def test_an_expired_session_token_leads_to_the_next_credential_and_a_cached_one_is_not_closed(httpserver):
    login_pages(httpserver)
    kept = SessionToken(username="alice", secret="KEPT", source="cache")
    with XnatClient(httpserver.url_for("")) as client:
        client.login(iter([kept]).__next__)
        assert "JSESSIONID=KEPT" in httpserver.log[-1][0].headers["Cookie"]
    assert [request.method for request, _ in httpserver.log] == ["GET"], "the session belongs to the cache"


def test_the_session_is_closed_at_the_end(httpserver):
    login_pages(httpserver)
    with XnatClient(httpserver.url_for("")) as client:
        client.login(lambda: ALICE)
    assert httpserver.log[-1][0].method == "DELETE"


# wires


def test_refused_and_unknown_hosts_are_said_before_anything_is_sent():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with XnatClient(f"http://127.0.0.1:{port}") as client, pytest.raises(ConnectionFailed) as caught:
            client.request("GET", "/data/x")
    assert not isinstance(caught.value, TransportError)
    with XnatClient("http://no-such-host.invalid") as client, pytest.raises(ConnectionFailed) as caught:
        client.request("GET", "/data/x")
    assert "no-such-host.invalid" in caught.value.message


def read_head(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
    return data


def reset(connection: socket.socket) -> None:
    read_head(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize(
    "answer",
    [
        lambda c: read_head(c),
        reset,
        lambda c: (read_head(c), c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")),
        lambda c: (read_head(c), c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")),
        lambda c: (read_head(c), c.sendall(b"nonsense\r\n\r\n")),
    ],
    ids=["closed", "reset", "short", "bad-chunk", "nonsense"],
)
def test_a_lost_answer_is_ambiguous(answer):
    with raw_server(answer) as url, XnatClient(url, timeout=100) as client, pytest.raises(TransportError):
        client.request("POST", "/data/x", body=body(b"data"))


def test_an_early_413_is_seen_while_the_body_still_streams():
    def answer(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.2)  # the client goes on sending into a socket that is about to close

    block = bytes(1 << 20)
    large = Body(length=64 << 20, chunks=lambda: (block for _ in range(64)))
    with raw_server(answer) as url, XnatClient(url, timeout=100) as client, pytest.raises(TooLarge):
        client.request("POST", "/data/x", body=large)


def test_a_server_that_takes_no_more_bytes_is_a_stall():
    done = threading.Event()

    def answer(connection: socket.socket) -> None:
        read_head(connection)
        done.wait(60)

    block = bytes(1 << 20)
    large = Body(length=256 << 20, chunks=lambda: (block for _ in range(256)))
    with raw_server(answer) as url, XnatClient(url, timeout=100, stall_timeout=1) as client:
        with pytest.raises(TransportError, match="accepted no more data"):
            client.request("POST", "/data/x", body=large)
        done.set()


def test_silence_ends_with_the_timeout():
    done = threading.Event()
    with raw_server(lambda c: (read_head(c), done.wait(60))) as url, XnatClient(url, timeout=1) as client:
        with pytest.raises(TransportError, match="did not answer"):
            client.request("GET", "/data/x")
        done.set()


def test_an_endless_answer_is_bounded():
    def answer(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            connection.sendall(bytes(1 << 20))

    with raw_server(answer) as url, XnatClient(url, timeout=100) as client, pytest.raises(TransportError):
        client.request("GET", "/data/x")


def test_abort_ends_what_is_in_flight_at_once():
    done, arrived = threading.Event(), threading.Event()

    def answer(connection: socket.socket) -> None:
        read_head(connection)
        arrived.set()
        done.wait(60)

    errors = []
    with raw_server(answer) as url, XnatClient(url, timeout=100) as client:

        def work() -> None:
            try:
                client.request("GET", "/data/x")
            except TransportError as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        assert arrived.wait(60)
        client.abort()
        thread.join(60)
        assert len(errors) == 1
        done.set()


@pytest.mark.parametrize(("length", "data"), [(10, b"short"), (3, b"too long")])
def test_a_body_that_is_not_as_long_as_it_said_is_not_sent_as_whole(httpserver, client, length, data):
    httpserver.expect_request("/data/x").respond_with_data("stored")
    with pytest.raises(SourceChanged):
        client.request("POST", "/data/x", body=Body(length=length, chunks=lambda: iter([data])))


def test_bodies_carry_their_length_and_count_their_bytes(httpserver, client):
    got = []
    httpserver.expect_request("/data/x").respond_with_handler(
        lambda request: Response(json.dumps([request.headers.get("Content-Length"), len(request.get_data())]))
    )
    reply = client.request("POST", "/data/x", body=body(b"12345"), content_type="application/zip", on_bytes=got.append)
    assert reply.json() == ["5", 5]
    assert sum(got) == 5
    assert "chunked" not in str(httpserver.log[0][0].headers)


# addresses


def test_base_urls():
    assert normalise_server(" https://X.example.org/xnat/ ") == "https://x.example.org/xnat"
    assert normalise_server("http://127.0.0.1:8080") == "http://127.0.0.1:8080"
    for wrong in ("ftp://x", "x.example.org", "https://user:pw@x.example.org", "http://[::1"):
        with pytest.raises(UsageError):
            normalise_server(wrong)


def test_a_context_path_is_kept(httpserver):
    httpserver.expect_request("/xnat/data/x").respond_with_data("here")
    with XnatClient(httpserver.url_for("/xnat/")) as client:
        assert client.request("GET", "/data/x").text == "here"


def test_names_in_paths(httpserver, client):
    assert url_path("/data/projects", "A B") == "/data/projects/A%20B"
    for wrong in ("a/b", "..", "a;b", "a%b", "a\\b", "", "a\nb"):
        with pytest.raises(UsageError):
            url_path("/data/projects", wrong)
    httpserver.expect_request("/data/projects/Käse 1").respond_with_data("found")
    assert client.request("GET", url_path("/data/projects", "Käse 1")).text == "found"


def test_a_proxy_is_used_and_loopback_can_be_left_out(httpserver, monkeypatch):
    seen = []

    def answer(connection: socket.socket) -> None:
        seen.append(read_head(connection).split(b"\r\n")[0])
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy")

    httpserver.expect_request("/data/x").respond_with_data("direct")
    with raw_server(answer) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with XnatClient("http://xnat.invalid") as client:
            assert client.request("GET", "/data/x").text == "proxy"
        monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
        with XnatClient(httpserver.url_for("")) as client:
            assert client.request("GET", "/data/x").text == "direct"
    assert seen[0].startswith(b"GET http://xnat.invalid/data/x")
