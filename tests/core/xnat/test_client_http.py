"""HTTP/1.1 as servers and proxies really speak it: which answers are whole, and which connections are used again."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from programs import required_program

from xnatctl.errors import ConnectionFailed, TransportError
from xnatctl.xnat.client import XnatClient

Connect = Callable[..., XnatClient]
Server = Callable[..., Any]

OK = "HTTP/1.1 200 OK\r\n"
CHUNKED = f"{OK}Transfer-Encoding: chunked\r\n\r\n"


# answers that are none, or not whole: whether the request was carried out is not known


def body_of_length(length: str) -> str:
    return f"{OK}Content-Length: {length}\r\n\r\n1234"


LOST = {
    "a status line without end": "HTTP/1.1 200",
    "a status line alone": OK,
    "a head without an empty line": f"{OK}Content-Length: 0\r\n",
    "a status that is cut": "HTTP/1.1 20\r\n\r\n",
    "an interim answer alone": "HTTP/1.1 100 Continue\r\n\r\n",
    "half an interim answer": "HTTP/1.1 102 Processing\r\n",
    "another protocol": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "the body of HTTP/0.9": "/data/prearchive/projects/P/x\r\n",
    "HTTP/2": "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a radio station": "ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no status": "HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of four digits": "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "lengths in one header": body_of_length("4, 5"),
    "lengths in two headers": body_of_length("4\r\nContent-Length: 5"),
    "the true length second": body_of_length("0\r\nContent-Length: 4"),
    "a negative length": body_of_length("-4"),
    "a signed length": body_of_length("+4"),
    "a length for programmers": body_of_length("0_4"),
    "a hexadecimal length": body_of_length("0x4"),
    "a raised length": body_of_length("\xb9"),
    "no length": body_of_length(""),
    "an unbelievable length": body_of_length("9" * 5000),
    "another coding": f"{OK}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "another coding first": f"{OK}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding last": f"{OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
    "a chunk of negative length": f"{CHUNKED}-1\r\nab",
    "no trailers' end": f"{CHUNKED}2\r\nab\r\n0\r\n",
    "half a trailer": f"{CHUNKED}2\r\nab\r\n0\r\nX-Sum: 1",
    "a chunk's length without end": f"{CHUNKED}2;{'x' * 200_000}\r\nab\r\n0\r\n\r\n",
    "a header without colon": f"{OK}nonsense\r\nContent-Length: 0\r\n\r\n",
    "a header with a space in its name": f"{OK}Content Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a header without name": f"{OK}: value\r\nContent-Length: 0\r\n\r\n",
    "a continuation of nothing": f"{OK} value\r\nContent-Length: 0\r\n\r\n",
    "too many headers": OK + "X: y\r\n" * 50_000 + "\r\n",
    "a header that is too long": f"{OK}X: {'y' * 200_000}\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("fault", LOST)
def test_an_answer_that_is_not_certain_is_ambiguous(fault: str, wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.say(LOST[fault])

    server = wire(script)
    with pytest.raises(TransportError, match="broke before the complete response arrived: ") as caught:
        connect(server.url).request("POST", "/data/services/import", body=b"data")
    assert "object at" not in caught.value.message
    assert server.connections == 1


@pytest.mark.parametrize("length", [0, 1, 10, 65_535, 65_536, 200_000])
def test_a_body_that_is_a_byte_short_is_never_taken_for_whole(length: int, wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.say(f"{OK}Content-Length: {length + 1}\r\n\r\n{'x' * length}")

    with pytest.raises(TransportError, match="the server closed it"):
        connect(wire(script).url).request("GET", "/x")


@pytest.mark.parametrize(
    "answer",
    [
        f"HTTP/1.1 100 Continue\r\n\r\n{OK}X: y\r\nContent-Length: 4\r\n\r\nbody",
        f"{CHUNKED}1;x=y\r\nb\r\n3\r\nody\r\n0\r\nX-Sum: 1\r\n\r\n",
    ],
    ids=["length", "chunks"],
)
def test_an_answer_that_ends_early_is_none_wherever_it_is_cut(answer: str, wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.say(answer[: connection.number])

    server = wire(script)
    client = connect(server.url)
    for _ in range(len(answer)):
        with pytest.raises(TransportError, match="broke before the complete response arrived"):
            client.request("POST", "/x", body=b"data")
    assert client.request("POST", "/x", body=b"data").text == "body"
    assert server.connections == len(answer) + 1


def test_a_service_that_greets_and_waits_is_given_up_at_once(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.say("SSH-2.0-OpenSSH_9.6\r\n")
        server.release.wait(60)

    server = wire(script)
    with pytest.raises(TransportError, match="does not speak HTTP") as caught:
        connect(server.url).request("GET", "/x")
    assert "port" in (caught.value.hint or "")


# answers that are whole


@pytest.fixture
def twice(wire: Server, connect: Connect) -> Callable[..., tuple[Any, int]]:
    """The reply to an answer, and how many connections it and a second request took."""

    def run(answer: str | bytes, method: str = "GET", status: int = 200) -> tuple[Any, int]:
        def script(connection: Any) -> None:
            head = connection.request()[0]
            if "/second" not in head:
                connection.say(answer)
                if "Content-Length" not in str(answer) and "HTTP/1.0" in str(answer):
                    return
                head = connection.request()[0]
            connection.answer(200, head.split()[1])

        server = wire(script)
        client = connect(server.url)
        reply = client.request(method, "/first", expect=(status,))
        assert reply.status == status
        assert client.request("GET", "/second").text == "/second"
        return reply, server.connections

    return run


BODY = "Content-Length: 4\r\n\r\nbody"
KEPT = {
    "a length": OK + BODY,
    "the same length twice": f"{OK}Content-Length: 4\r\n{BODY}",
    "bare line feeds": "HTTP/1.1 200 OK\nContent-Length: 4\n\nbody",
    "no reason": f"HTTP/1.1 200\r\n{BODY}",
    "a reason in no known language": f"HTTP/1.1 200 \xff\xfe\x85\x1c gr\xfc\xdfe\r\n{BODY}",
    "several interim answers": "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    f"HTTP/1.1 102 Processing\r\nContent-Length: 7\r\n\r\n{OK}{BODY}",
    "chunks": f'{CHUNKED}1\r\nb\r\n003;ext="x"\r\nody\r\n0\r\nX-Sum: 1\r\n\r\n',
    "chunks with a length": f"{OK}Content-Length: 9\r\nTransfer-Encoding: Chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    "parts of a mail": f"{OK}Content-Type: multipart/mixed; boundary=x\r\n{BODY}",
    "a mail": f"{OK}Content-Type: message/rfc822\r\n{BODY}",
}  # fmt: skip


@pytest.mark.parametrize("answer", KEPT)
def test_a_whole_answer_leaves_its_connection_to_the_next_request(answer: str, twice: Callable[..., Any]) -> None:
    reply, connections = twice(KEPT[answer])
    assert reply.text == "body"
    assert connections == 1


CLOSED = {
    "it says so": f"{OK}Connection: close\r\n{BODY}",
    "it says so among other things": f"{OK}Connection: x-y, Close\r\n{BODY}",
    "it says so in a second header": f"{OK}Connection: x-y\r\nConnection: close\r\n{BODY}",
    "HTTP/1.0 that would stay": f"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n{BODY}",
    "HTTP/1.0": f"HTTP/1.0 200 OK\r\n{BODY}",
    "HTTP/1.0 without a length": "HTTP/1.0 200 OK\r\n\r\nbody",
    "more than the answer": f"{OK}{BODY}{OK}Content-Length: 5\r\n\r\nother",
    "more than the chunks": f"{CHUNKED}4\r\nbody\r\n0\r\n\r\n{OK}Content-Length: 5\r\n\r\nother",
    "an empty line too many": f"{OK}{BODY}\r\n",
}


@pytest.mark.parametrize("answer", CLOSED)
def test_a_connection_that_is_not_in_order_is_not_used_again(answer: str, twice: Callable[..., Any]) -> None:
    reply, connections = twice(CLOSED[answer])
    assert reply.text == "body"
    assert connections == 2


@pytest.mark.parametrize(
    ("method", "status", "headers"),
    [
        ("HEAD", 200, "Content-Length: 100"),
        ("HEAD", 200, "Transfer-Encoding: chunked"),
        ("HEAD", 404, ""),
        ("DELETE", 204, ""),
        ("DELETE", 204, "Content-Length: 100"),
        ("DELETE", 204, "Transfer-Encoding: chunked"),
        ("GET", 304, "Content-Length: 100"),
        ("GET", 304, "Transfer-Encoding: chunked"),
    ],
)
def test_an_answer_that_has_no_body(method: str, status: int, headers: str, twice: Callable[..., Any]) -> None:
    ending = f"{headers}\r\n\r\n" if headers else "\r\n"
    reply, connections = twice(f"HTTP/1.1 {status} Word\r\n{ending}", method, status)
    assert reply.content == b""
    assert connections == 1


def test_an_answer_without_length_ends_with_its_connection(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.say(f"{OK}\r\n{'x' * 100_000}")

    assert connect(wire(script).url).request("GET", "/x").text == "x" * 100_000


def test_a_header_over_several_lines_is_one(twice: Callable[..., Any]) -> None:
    reply, _ = twice(f"{OK}X-Long:\r\n one\r\n\t two \r\nX-Bytes:  \xe9 \r\n{BODY}")
    assert reply.headers["x-long"] == "one two"
    assert reply.headers["x-bytes"] == "\xe9"


def test_an_answer_that_comes_byte_by_byte(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        for answer in (f"HTTP/1.1 100 Continue\r\n\r\n{OK}X: y\r\n{BODY}", f"{CHUNKED}4\r\nbody\r\n0\r\n\r\n"):
            connection.request()
            for byte in answer:
                connection.say(byte)

    server = wire(script)
    client = connect(server.url)
    assert [client.request("POST", "/x", body=b"data").text for _ in range(2)] == ["body", "body"]
    assert server.connections == 1


def test_a_server_that_closes_after_so_many_requests_loses_none(wire: Server, connect: Connect) -> None:
    """Tomcat after 100, and it says so."""
    arrived: list[bytes] = []

    def script(connection: Any) -> None:
        for number in range(1, 101):
            arrived.append(connection.request()[1])
            connection.answer(200, "x", **({"Connection": "close"} if number == 100 else {}))

    server = wire(script)
    client = connect(server.url)
    sent = [f"{number}".encode() for number in range(250)]
    for data in sent:
        client.request("POST", "/x", body=data)
    assert arrived == sent
    assert server.connections == 3


def test_the_time_of_expiration_is_not_sent_back(wire: Server, connect: Connect) -> None:
    """It is new with each response, so each head would be another one."""
    heads: list[str] = []

    def script(connection: Any) -> None:
        while True:
            heads.append(connection.request()[0])
            connection.answer(200, "x", Set_Cookie=f'SESSION_EXPIRATION_TIME="{len(heads)},900000"; Path=/')

    client = connect(wire(script).url)
    client.set_cookies({"JSESSIONID": "ABC", "route": "node1"})
    for _ in range(2):
        client.request("GET", "/x")
    assert heads[0] == heads[1]
    assert "Cookie: JSESSIONID=ABC; route=node1" in heads[1].splitlines()
    assert client.cookie("SESSION_EXPIRATION_TIME") == '"2,900000"'


# requests that cannot be written


def test_a_header_that_would_be_two_is_not_sent_and_not_shown(wire: Server, connect: Connect) -> None:
    heads: list[str] = []
    client = connect(wire(lambda connection: heads.append(connection.head())).url, user_agent="a\r\nX-Geheim: b")
    with pytest.raises(ConnectionFailed, match="cannot be written as HTTP") as caught:
        client.request("GET", "/x")
    assert type(caught.value) is ConnectionFailed
    assert "Geheim" not in str(caught.value.as_document())
    assert heads == []


# IPv6


def test_an_address_in_brackets(wire: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[str] = []

    def script(connection: Any) -> None:
        heads.append(connection.head())
        connection.answer(200, "x")

    server = wire(script)
    asked: list[tuple[str, int]] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append((host, port))
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", server.port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert connect("http://[2001:db8::7]:8104").request("GET", "/x").text == "x"
    assert asked == [("2001:db8::7", 8104)]
    assert "Host: [2001:db8::7]:8104" in heads[0].splitlines()
    monkeypatch.setenv("HTTP_PROXY", "http://[2001:db8::1]:3128")
    assert connect("http://[2001:db8::7]:8104").request("GET", "/x").text == "x"
    assert asked[1:] == [("2001:db8::1", 3128)]
    assert heads[1].startswith("GET http://[2001:db8::7]:8104/x HTTP/1.1")


# TLS, and tunnels


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """PEM files: a certificate that vouches for itself, and its key."""
    directory: Path = tmp_path_factory.mktemp("certificate")
    program = required_program("openssl")
    subprocess.run(
        [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=Test", "-addext", "subjectAltName=IP:127.0.0.1,IP:2001:db8::7,DNS:xnat.example.org",
         "-keyout", "key.pem", "-out", "certificate.pem"],
        cwd=directory, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return str(directory / "certificate.pem"), str(directory / "key.pem")


@pytest.fixture
def encrypted(wire: Server, certificate: tuple[str, str]) -> Callable[..., Any]:
    """A server like those of `wire`, that speaks TLS."""

    def make(script: Callable[[Any], None]) -> Any:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server = wire(script, wrap=lambda sock: context.wrap_socket(sock, server_side=True))
        server.url = server.url.replace("http:", "https:")
        return server

    return make


def test_requests_and_kept_connections_over_tls(
    encrypted: Callable[..., Any], certificate: tuple[str, str], connect: Connect
) -> None:
    def script(connection: Any) -> None:
        while True:
            connection.answer(200, connection.request()[1])

    server = encrypted(script)
    client = connect(server.url, verify=certificate[0])
    for data in (b"first", b"y" * 3_000_000, b"third"):
        assert client.request("POST", "/x", body=data).content == data
    assert server.connections == 1


def test_a_body_cut_short_over_tls(
    encrypted: Callable[..., Any], certificate: tuple[str, str], connect: Connect
) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.say(f"{OK}Content-Length: 50\r\n\r\nhalf")

    with pytest.raises(TransportError, match="the server closed it"):
        connect(encrypted(script).url, verify=certificate[0]).request("POST", "/x", body=b"data")


def test_a_certificate_that_nobody_vouches_for(encrypted: Callable[..., Any], connect: Connect) -> None:
    with pytest.raises(ConnectionFailed, match="the certificate is not trusted") as caught:
        connect(encrypted(lambda connection: connection.head()).url).request("POST", "/x", body=b"data")
    assert type(caught.value) is ConnectionFailed
    assert "ca_cert" in (caught.value.hint or "")


def test_a_port_that_speaks_no_tls(wire: Server, connect: Connect) -> None:
    server = wire(lambda connection: connection.say("HTTP/1.1 400 Bad Request\r\n\r\n"))
    with pytest.raises(ConnectionFailed, match="TLS: ") as caught:
        connect(server.url.replace("http:", "https:")).request("POST", "/x", body=b"data")
    assert type(caught.value) is ConnectionFailed


@pytest.mark.parametrize(
    "welcome",
    ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 Connection established\r\nProxy-Agent: x\r\n\r\n",
     "HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 201 \xff\r\nConnection: close\r\n\r\n"],
)  # fmt: skip
@pytest.mark.parametrize("host", ["xnat.example.org:8443", "[2001:db8::7]:8443"])
def test_a_tunnel_with_a_login(
    host: str,
    welcome: str,
    wire: Server,
    certificate: tuple[str, str],
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The proxy is the server as well: what comes after its welcome is TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    asked: list[str] = []
    arrived: list[tuple[str, bytes]] = []

    def script(connection: Any) -> None:
        asked.append(connection.head())
        connection.say(welcome)
        connection.sock = context.wrap_socket(connection.sock, server_side=True)
        with connection.sock:
            for _ in range(2):
                arrived.append(connection.request())
                connection.answer(200, "inside")

    monkeypatch.setenv("HTTPS_PROXY", wire(script).url.replace("http://", "http://me:ge%40heim@"))
    client = connect(f"https://{host}", verify=certificate[0])
    for data in (b"secret", b"more"):
        assert client.request("POST", "/x", body=data).text == "inside"
    token = base64.b64encode(b"me:ge@heim").decode()
    assert asked[0].startswith(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n")
    assert f"Proxy-Authorization: Basic {token}" in asked[0]
    assert [body for _, body in arrived] == [b"secret", b"more"]
    assert all(head.startswith("POST /x HTTP/1.1") for head, _ in arrived)
    assert not any("Proxy-Authorization" in head for head, _ in arrived)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("", "the server closed it"),
        ("HTTP/1.1 200 OK\r\n", "the server closed it"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP/1.1"),
        ("HTTP/1.1 407 Gr\xfc\xdfe \x1b[31m\r\nContent-Length: 0\r\n\r\n", "the proxy refuses with 407 Gr\xfc\xdfe"),
    ],
)
def test_a_tunnel_that_does_not_come_about_has_carried_nothing(
    answer: str, words: str, wire: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(connection: Any) -> None:
        connection.head()
        connection.say(answer)

    server = wire(script)
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    with pytest.raises(ConnectionFailed, match=words) as caught:
        connect("https://xnat.example.org").request("POST", "/x", body=b"data")
    assert type(caught.value) is ConnectionFailed
    assert f"through the proxy {server.url}" in caught.value.message
    assert "\x1b" not in caught.value.message
