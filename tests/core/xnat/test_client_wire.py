"""Faults on the wire: what breaks before, during and after the body, and whether anything can have been stored."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from xnatctl.errors import ConnectionFailed, NotXnat, ServerError, TooLarge, TransportError
from xnatctl.plugin.protocols import Body
from xnatctl.xnat.client import XnatClient

Connect = Callable[..., XnatClient]
Server = Callable[..., Any]

MEGABYTE = 2**20


def endless(length: int = 2**36) -> Body:
    """A body that nobody wants to hold in memory."""

    def chunks() -> Iterator[bytes]:
        for _ in range(length // MEGABYTE):
            yield bytes(MEGABYTE)

    return Body(length=length, chunks=chunks)


# no connection


def test_a_refused_connection_says_that_nothing_was_sent(connect: Connect) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))  # keeps the port from everybody else, and does not listen
        port = mute.getsockname()[1]
        with pytest.raises(ConnectionFailed, match="refused") as caught:
            connect(f"http://127.0.0.1:{port}").request("GET", "/x")
    assert type(caught.value) is ConnectionFailed
    assert "port" in (caught.value.hint or "")


def test_an_unknown_host_is_named(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ConnectionFailed, match=r"xnat\.example\.org: Name or service not known") as caught:
        connect("http://xnat.example.org").request("GET", "/x")
    assert type(caught.value) is ConnectionFailed
    assert "host name" in (caught.value.hint or "")


def test_a_host_that_drops_connections_is_given_up(connect: Connect) -> None:
    """A full backlog: the kernel answers no further SYN."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        crowd = [socket.socket() for _ in range(4)]
        try:
            for sock in crowd:
                sock.setblocking(False)
                sock.connect_ex(address)
            with pytest.raises(ConnectionFailed, match=r"no connection within 0\.3 s") as caught:
                connect(f"http://127.0.0.1:{address[1]}", connect_timeout=0.3).request("GET", "/x")
            assert type(caught.value) is ConnectionFailed
        finally:
            for sock in crowd:
                sock.close()


# the answer is lost

CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LOST = {
    "closed without a word": "",
    "half a status line": "HTTP/1.1 2",
    "half a head": "HTTP/1.1 200 OK\r\nContent-",
    "a body shorter than promised": "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
    "two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a chunk without a length": f"{CHUNKED}zz\r\n",
    "an unfinished chunk": f"{CHUNKED}5\r\nab",
    "no end of chunks": f"{CHUNKED}2\r\nab\r\n",
    "no HTTP": "SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "a head without end": "HTTP/1.1 200 OK\r\n" + f"X-Much: {'y' * 1000}\r\n" * 200,
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("fault", LOST)
def test_a_lost_answer_is_ambiguous(fault: str, how: str, wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.say(LOST[fault])
        if how == "reset":
            connection.reset()

    server = wire(script)
    with pytest.raises(TransportError, match=server.url):
        connect(server.url).request("POST", "/data/services/import", body=b"data", content_type="application/zip")
    assert server.connections == 1


# early answers


def test_an_early_413_is_seen_while_the_body_still_streams(wire: Server, connect: Connect) -> None:
    """The server neither reads on nor closes: a client that only writes would wait for ever."""

    def script(connection: Any) -> None:
        connection.head()
        connection.answer(413, "<html><title>413 Request Entity Too Large</title></html>")
        server.release.wait(60)

    server = wire(script)
    sent: list[int] = []
    with pytest.raises(TooLarge):
        connect(server.url).request("POST", "/x", body=endless(), on_bytes=sent.append)
    assert sum(sent) < 2**30


def test_an_early_413_before_a_reset_is_seen(wire: Server, connect: Connect) -> None:
    for _ in range(10):

        def script(connection: Any) -> None:
            connection.head()
            connection.body(100_000)
            connection.answer(413, "<html><title>413</title></html>")
            connection.reset()

        with pytest.raises(TooLarge):
            connect(wire(script).url).request("POST", "/x", body=endless())


def test_an_early_413_of_a_server_that_swallows_the_body(wire: Server, connect: Connect) -> None:
    swallowed: list[int] = []

    def script(connection: Any) -> None:
        connection.head()
        connection.answer(413, "too large")
        swallowed.append(connection.until_gone())

    server = wire(script)
    with pytest.raises(TooLarge):
        connect(server.url).request("POST", "/x", body=endless())
    server.finish()
    assert swallowed[0] < 2**30


def test_an_early_refusal_ends_the_connection_and_the_next_request_works(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.head()
        if connection.number == 0:
            connection.answer(500, "<html><h3>disk full</h3></html>")
            connection.until_gone()
        else:
            connection.answer(200, "fine")

    client = connect(wire(script).url)
    with pytest.raises(ServerError, match="disk full"):
        client.request("POST", "/x", body=endless())
    assert client.request("GET", "/y").text == "fine"


def test_an_early_success_does_not_cut_the_body(wire: Server, connect: Connect) -> None:
    """XNAT may have all that it needs of a zip before its central directory arrives."""
    length = 16 * MEGABYTE
    arrived: list[int] = []

    def script(connection: Any) -> None:
        connection.head()
        connection.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n/uri\n")
        arrived.append(len(connection.body(length)))
        connection.head()  # comes on the same connection, because the first request was complete
        connection.answer(200, "again")

    server = wire(script)
    client = connect(server.url)
    sent: list[int] = []
    reply = client.request("POST", "/x", body=endless(length), on_bytes=sent.append)
    assert reply.lines() == ["/uri"]
    assert sum(sent) == length
    assert client.request("GET", "/y").text == "again"
    assert arrived == [length]
    assert server.connections == 1


def test_an_interim_answer_is_no_answer(wire: Server, connect: Connect) -> None:
    length = 8 * MEGABYTE

    def script(connection: Any) -> None:
        connection.head()
        connection.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Pro")
        connection.body(length // 2)
        connection.say("cessing\r\n\r\n")
        assert len(connection.body(length // 2)) == length // 2
        connection.answer(200, "done")

    assert connect(wire(script).url).request("POST", "/x", body=endless(length)).text == "done"


def test_a_server_that_closes_in_the_middle_of_the_body(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.head()
        connection.body(1000)

    with pytest.raises(TransportError):
        connect(wire(script).url).request("POST", "/x", body=endless())


def test_a_server_that_half_closes_in_the_middle_of_the_body(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.head()
        connection.sock.shutdown(socket.SHUT_WR)
        connection.until_gone()

    with pytest.raises(TransportError):
        connect(wire(script).url).request("POST", "/x", body=endless())


# clocks


def test_a_server_that_takes_no_more_is_a_stall(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.head()
        server.release.wait(60)

    server = wire(script)
    with pytest.raises(TransportError, match=r"accepted no more data for 0\.3 s"):
        connect(server.url, stall_timeout=0.3).request("POST", "/x", body=endless())


def test_an_answer_that_stops_in_the_middle_is_a_stall(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.head()
        connection.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        server.release.wait(60)

    server = wire(script)
    with pytest.raises(TransportError, match=r"sent nothing more of its response for 0\.3 s"):
        connect(server.url, stall_timeout=0.3).request("GET", "/x")


@pytest.mark.parametrize("begun", ["HTTP", "HTTP/1.1 200 OK\r\nContent-"])
def test_a_head_that_stops_in_the_middle_is_a_stall(begun: str, wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.say(begun)
        server.release.wait(60)

    server = wire(script)
    with pytest.raises(TransportError, match=r"sent nothing more of its response for 0\.3 s"):
        connect(server.url, stall_timeout=0.3).request("POST", "/x", body=b"data")


def test_an_import_may_be_silent_for_longer_than_a_stall(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.request()
        time.sleep(1.0)
        connection.answer(200, "/data/x\r\n")

    reply = connect(wire(script).url, stall_timeout=0.2).request("POST", "/x", body=b"data")
    assert reply.lines() == ["/data/x"]


def test_silence_after_an_interim_answer_is_not_a_stall(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.say("HTTP/1.1 102 Processing\r\n\r\n")
        time.sleep(1.0)
        connection.answer(200, "done")

    assert connect(wire(script).url, stall_timeout=0.2).request("POST", "/x", body=b"data").text == "done"


def test_the_whole_request_is_bounded(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.request()
        server.release.wait(60)

    server = wire(script)
    with pytest.raises(TransportError, match="did not answer in time") as caught:
        connect(server.url).request("POST", "/x", body=b"data", timeout=1.0)
    assert "XNAT_TIMEOUT" in (caught.value.hint or "")


def test_a_trickling_head_is_bounded_too(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.say("HTTP/1.1 200 OK\r\nX-Slow: ")
        while not server.release.wait(0.05):
            connection.say("y")

    server = wire(script)
    with pytest.raises(TransportError, match="did not answer in time"):
        connect(server.url).request("GET", "/x", timeout=1.0)


def test_a_trickling_reader_is_bounded_too(wire: Server, connect: Connect) -> None:
    """It takes a little every now and then, so it never stalls, but it never ends either."""

    def script(connection: Any) -> None:
        connection.head()
        while not server.release.wait(0.05):
            connection.sock.recv(65536)

    server = wire(script)
    with pytest.raises(TransportError, match="did not answer in time"):
        connect(server.url).request("POST", "/x", body=endless(), timeout=1.0)


# connections


def test_connections_are_kept_for_the_next_request(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        while True:
            connection.request()
            connection.answer(200, "x")

    server = wire(script)
    client = connect(server.url)
    for _ in range(3):
        client.request("POST", "/x", body=b"abc")
    assert server.connections == 1


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(wire: Server, connect: Connect) -> None:
    gone = threading.Event()

    def script(connection: Any) -> None:
        connection.request()
        connection.answer(200, "x")
        connection.sock.shutdown(socket.SHUT_RDWR)
        gone.set()

    server = wire(script)
    client = connect(server.url)
    assert client.request("GET", "/x").text == "x"
    assert gone.wait(60)
    assert client.request("GET", "/x").text == "x"
    assert server.connections == 2


def test_many_threads_share_one_client(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        while True:
            head, body = connection.request()
            connection.answer(200, head.split()[1].encode() + body)

    client = connect(wire(script).url)
    wrong: list[str] = []

    def work(number: int) -> None:
        for turn in range(20):
            text = client.request("POST", f"/{number}", body=f"-{turn}".encode()).text
            if text != f"/{number}-{turn}":
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)


# cutting


class Running:
    """A request in a thread of its own, and how it ended."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.result: object = None
        self._thread = threading.Thread(target=self._run, args=(work,))
        self._thread.start()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            self.result = work()
        except BaseException as error:
            self.result = error

    def end(self) -> object:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the request hangs"
        return self.result


def test_abort_cuts_what_is_being_sent_and_what_is_waited_for(wire: Server, connect: Connect) -> None:
    inside = threading.Barrier(3)

    def script(connection: Any) -> None:
        head = connection.head()
        if head.startswith("GET /after"):
            connection.answer(200, "works")
            return
        if head.startswith("POST /wait"):
            connection.body(4)
        inside.wait(60)
        server.release.wait(60)

    server = wire(script)
    client = connect(server.url)
    sending = Running(lambda: client.request("POST", "/send", body=endless()))
    waiting = Running(lambda: client.request("POST", "/wait", body=b"data"))
    inside.wait(60)
    client.abort()
    for running in (sending, waiting):
        error = running.end()
        assert isinstance(error, TransportError)
        assert "aborted before the response" in error.message
    assert client.request("GET", "/after").text == "works"


def test_abort_cuts_a_request_that_is_still_connecting(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        crowd = [socket.socket() for _ in range(4)]
        try:
            for sock in crowd:
                sock.setblocking(False)
                sock.connect_ex(address)
            client = connect(f"http://127.0.0.1:{address[1]}", connect_timeout=60.0, timeout=120.0)
            running = Running(lambda: client.request("GET", "/x"))
            while client._http._sockets.aborts == 0:
                with client._http._sockets._lock:
                    connecting = any(exchange.socket is not None for exchange in client._http._sockets._running)
                if connecting:
                    time.sleep(0.2)  # into the system call
                    client.abort()
            error = running.end()
            assert isinstance(error, TransportError)
            assert "aborted before the response" in error.message
        finally:
            for sock in crowd:
                sock.close()


def test_abort_without_requests_is_harmless(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        while True:
            connection.request()
            connection.answer(200, "x")

    server = wire(script)
    client = connect(server.url)
    client.request("GET", "/x")
    client.abort()
    client.abort()
    assert client.request("GET", "/x").text == "x"
    assert server.connections == 1


def test_what_no_xnat_says_is_not_stored(wire: Server, connect: Connect) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.answer(200, "<html><body>Captive portal</body></html>", Content_Type="text/uri-list")

    with pytest.raises(NotXnat):
        connect(wire(script).url).request("POST", "/data/services/import", body=b"data")
