"""Base URLs, path segments, proxies."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnatctl.errors import AuthenticationError, ConnectionFailed, NotXnat, ServerError, UsageError
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.http.urls import check_path, is_loopback, normalise_server, proxy_for, segment, url_path

Connect = Callable[..., XnatClient]


@pytest.mark.parametrize(
    ("given_url", "server"),
    [
        ("https://xnat.example.org", "https://xnat.example.org"),
        (" https://xnat.example.org/ ", "https://xnat.example.org"),
        ("https://xnat.example.org/xnat//", "https://xnat.example.org/xnat"),
        ("HTTP://XNAT.Example.org:8080/a/b", "http://xnat.example.org:8080/a/b"),
        ("http://[::1]:8104/x", "http://[::1]:8104/x"),
        ("https://h/xnat?x=1#top", "https://h/xnat"),
    ],
)
def test_a_server_url_is_normalised(given_url: str, server: str) -> None:
    assert normalise_server(given_url) == server


@pytest.mark.parametrize(
    "text",
    [
        "",
        "xnat.example.org",
        "ftp://h",
        "http://",
        "http://h:port",
        "http://h:99999",
        "//h",
        "https://h/a;b",
        "https://h/a/../b",
    ],
)
def test_what_is_no_server_url(text: str) -> None:
    with pytest.raises(UsageError):
        normalise_server(text)


@pytest.mark.parametrize(
    "text", ["https://me:geheim@h", "https://me:geheim@h:port", "me:geheim@h", "ftp://me:geheim@h"]
)
def test_a_user_in_the_url_is_refused_without_showing_the_password(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        normalise_server(text)
    assert "geheim" not in caught.value.message + (caught.value.hint or "")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a%b", "a;b", "a\nb", "a\x00", "\x7f", "a\udcffb"])
def test_names_that_no_url_can_carry(name: str) -> None:
    with pytest.raises(UsageError):
        segment(name)


@given(st.text(min_size=1, max_size=40))
def test_a_segment_is_one_segment_and_comes_back(name: str) -> None:
    try:
        path = url_path("/data/projects", name, "subjects")
    except UsageError:
        assert name in (".", "..") or any(c in "/\\%;" or ord(c) < 32 or ord(c) == 127 for c in name)
        return
    assert path.count("/") == 4
    assert path.isascii()
    assert unquote(path.split("/")[3]) == name
    assert check_path(path) == path


@pytest.mark.parametrize("server", ["http://127.0.0.1:80", "https://localhost/x", "http://[::1]", "http://127.9.9.9"])
def test_this_machine(server: str) -> None:
    assert is_loopback(server)


@pytest.mark.parametrize("server", ["http://xnat.example.org", "http://10.0.0.1", "http://localhost.example.org"])
def test_other_machines(server: str) -> None:
    assert not is_loopback(server)


# proxies


@pytest.mark.parametrize(
    ("variables", "server", "url"),
    [
        ({}, "http://xnat.example.org", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://xnat.example.org", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "https://xnat.example.org", None),
        ({"HTTPS_PROXY": "p:2"}, "https://xnat.example.org", "http://p:2"),
        ({"https_proxy": "http://p"}, "https://xnat.example.org", "http://p:80"),
        ({"ALL_PROXY": "http://p:3"}, "https://xnat.example.org", "http://p:3"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "example.org"}, "http://xnat.example.org", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "*"}, "http://xnat.example.org", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "other.org, 10.0.0.0/8"}, "http://10.1.2.3:8080", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://11.1.2.3", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "127.0.0.1,localhost,::1"}, "http://127.0.0.1:80", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "127.0.0.1,localhost,::1"}, "http://[::1]:80", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "127.0.0.1,localhost"}, "http://localhost:80", None),
        ({"HTTP_PROXY": "http://u:p%40ss@[::1]:9"}, "http://h", "http://[::1]:9"),
    ],
)
def test_which_proxy(variables: dict[str, str], server: str, url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = proxy_for(server)
    assert (proxy.url if proxy else None) == url


@pytest.mark.parametrize(
    "value", ["socks5://u:geheim@p:1080", "https://u:geheim@p", "http://u:geheim@p:port", "http://"]
)
def test_a_proxy_that_we_cannot_speak_to(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(UsageError, match="HTTPS_PROXY") as caught:
        XnatClient("https://xnat.example.org")
    assert "geheim" not in caught.value.message + (caught.value.hint or "")


@pytest.fixture
def forward(wire: Callable[..., Any]) -> Any:
    """A tiny proxy: passes every connection on to `target`, and keeps the heads."""

    class Forward:
        def __init__(self) -> None:
            self.heads: list[str] = []
            self.target = 0
            self.server = wire(self._script)
            self.url = self.server.url

        def _script(self, connection: Any) -> None:
            head = connection.head()
            self.heads.append(head)
            method, url, _ = head.splitlines()[0].split()
            with socket.create_connection(("127.0.0.1", self.target)) as upstream:
                if method == "CONNECT":
                    connection.say("HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    path = urlsplit(url).path
                    upstream.sendall(head.replace(url, path, 1).encode() + b"\r\n\r\n")
                upstream.sendall(connection.rest())
                back = threading.Thread(target=self._pump, args=(upstream, connection.sock))
                back.start()
                self._pump(connection.sock, upstream)
                back.join(20)

        @staticmethod
        def _pump(source: socket.socket, sink: socket.socket) -> None:
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    return Forward()


def test_requests_go_through_the_proxy_with_its_own_login(
    forward: Any, wire: Callable[..., Any], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived: list[tuple[str, bytes]] = []

    def script(connection: Any) -> None:
        arrived.append(connection.request())
        connection.answer(200, "from the server")

    forward.target = wire(script).port
    monkeypatch.setenv("HTTP_PROXY", forward.url.replace("http://", "http://me:ge%40heim@"))
    client = connect("http://xnat.example.org/xnat")
    assert client.request("POST", "/data/x", body=b"data").text == "from the server"
    head = forward.heads[0]
    assert head.startswith("POST http://xnat.example.org/xnat/data/x HTTP/1.1")
    token = base64.b64encode(b"me:ge@heim").decode()
    assert f"Proxy-Authorization: Basic {token}" in head
    assert arrived[0][1] == b"data"
    client.close()


def test_no_proxy_is_respected(
    forward: Any, wire: Callable[..., Any], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.answer(200, "straight")

    monkeypatch.setenv("HTTP_PROXY", forward.url)
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    assert connect(wire(script).url).request("GET", "/x").text == "straight"
    assert forward.heads == []


def test_a_proxy_that_is_not_there_is_named(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://me:geheim@127.0.0.1:{port}")
    with pytest.raises(ConnectionFailed, match=rf"through the proxy http://127\.0\.0\.1:{port}") as caught:
        connect("http://xnat.example.org").request("GET", "/x")
    assert type(caught.value) is ConnectionFailed
    assert "geheim" not in str(caught.value.as_document())
    assert "NO_PROXY" in (caught.value.hint or "")


def test_a_proxy_that_refuses_a_tunnel_saw_nothing_of_the_request(
    wire: Callable[..., Any], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[str] = []

    def script(connection: Any) -> None:
        heads.append(connection.head())
        connection.answer(403, "<html>no</html>")

    monkeypatch.setenv("HTTPS_PROXY", wire(script).url)
    with pytest.raises(ConnectionFailed, match="the proxy refuses with 403") as caught:
        connect("https://xnat.example.org").request("POST", "/x", body=b"secret data")
    assert type(caught.value) is ConnectionFailed
    assert heads[0].startswith("CONNECT xnat.example.org:443 ")
    assert "secret" not in heads[0]


def test_a_proxy_that_wants_a_login(
    wire: Callable[..., Any], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(connection: Any) -> None:
        connection.head()
        connection.answer(407, "<html><title>Proxy Authentication Required</title></html>")

    monkeypatch.setenv("HTTP_PROXY", wire(script).url)
    with pytest.raises(ServerError, match="requires a login") as caught:
        connect("http://xnat.example.org").request("GET", "/x")
    assert "HTTP_PROXY" in (caught.value.hint or "")


def test_no_password_goes_to_a_site_that_only_redirects_to_https(
    wire: Callable[..., Any], connect: Connect, password: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[str] = []

    def script(connection: Any) -> None:
        heads.append(connection.head())
        connection.answer(301, "", Location="https://xnat.example.org/")

    monkeypatch.setenv("HTTP_PROXY", wire(script).url)  # the only way to a host that is not this machine
    with pytest.raises(NotXnat, match=r"redirects to https://xnat\.example\.org/"):
        connect("http://xnat.example.org").login(password())
    assert len(heads) == 1
    assert "Authorization" not in heads[0]


def test_a_login_through_a_proxy(
    forward: Any, xnat: Any, connect: Connect, password: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward.target = urlsplit(xnat.url).port
    monkeypatch.setenv("HTTP_PROXY", forward.url)
    client = connect("http://xnat.example.org")
    client.login(password())
    assert client.login_name == "alice"
    with pytest.raises(AuthenticationError):
        connect("http://xnat.example.org").login(password(secret="wrong"))
    client.close()
