"""HTTP/1.1 answers, cut anywhere; what is none, or does not end, is an error, never half an answer."""

from __future__ import annotations

import random

import httpcore
import pytest

from xnatctl.xnat.http1 import Incoming, request_head


class Wire:
    """A connection that gives what it has in steps, and then ends."""

    def __init__(self, data: bytes, step: int = 65536) -> None:
        self._data, self._step = data, step

    def __call__(self, most: int) -> bytes:
        size = min(most, self._step)
        piece, self._data = self._data[:size], self._data[size:]
        return piece


def answer(data: bytes, method: bytes = b"GET", step: int = 65536) -> tuple[int, dict[bytes, bytes], bytes, Incoming]:
    incoming = Incoming(Wire(data, step))
    head = incoming.head(method)
    return head.status, dict(head.headers), b"".join(incoming.body(head)), incoming


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nX: a\r\n\r\n"
    b"3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
)


@pytest.mark.parametrize("step", [1, 2, 3, 11, 65536])
@pytest.mark.parametrize(("data", "status"), [(PLAIN, 200), (CHUNKED, 201)], ids=["plain", "chunked"])
def test_an_answer_however_it_is_cut(data: bytes, status: int, step: int) -> None:
    found, _, body, incoming = answer(data, step=step)
    assert (found, body, incoming.rest) == (status, b"hello", b"")


@pytest.mark.parametrize("data", [PLAIN, CHUNKED], ids=["plain", "chunked"])
def test_an_answer_that_ends_early_is_none(data: bytes) -> None:
    for at in range(len(data)):
        with pytest.raises(httpcore.RemoteProtocolError):
            answer(data[:at])


def test_without_a_length_it_ends_with_the_connection() -> None:
    incoming = Incoming(Wire(b"HTTP/1.1 200 OK\r\n\r\nabc"))
    head = incoming.head(b"GET")
    assert not head.keeps_alive
    assert b"".join(incoming.body(head)) == b"abc"


@pytest.mark.parametrize(
    ("status", "method"), [(204, b"GET"), (304, b"GET"), (200, b"HEAD"), (200, b"CONNECT")], ids=str
)
def test_answers_without_a_body(status: int, method: bytes) -> None:
    data = b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status
    assert answer(data, method)[2] == b""


@pytest.mark.parametrize(
    ("head", "alive"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive, CLOSE", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", True),
    ],
)
def test_whether_the_connection_is_kept(head: bytes, alive: bool) -> None:
    assert Incoming(Wire(head + b"\r\n\r\n")).head(b"GET").keeps_alive is alive


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/2 200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 200 OK\r\n: nothing",
        b"HTTP/1.1 200 OK\r\nno colon",
        b"HTTP/1.1 200 OK\r\nA b: c",
        b"HTTP/1.1 200 OK\r\n folded: first",
        b"HTTP/1.1 200 OK\r\nX: a\0b",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x",
    ],
)
def test_what_is_no_answer_is_refused(head: bytes) -> None:
    with pytest.raises(httpcore.RemoteProtocolError):
        answer(head + b"\r\n\r\nhello")


@pytest.mark.parametrize("chunk", [b"x\r\n", b"-1\r\n", b"3\r\nhello\r\n0\r\n\r\n", b"9" * 5000, b"3\r\nhel0\r\n\r\n"])
def test_a_chunk_that_is_none_is_refused(chunk: bytes) -> None:
    with pytest.raises(httpcore.RemoteProtocolError):
        answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)


def test_a_head_without_end_is_given_up() -> None:
    with pytest.raises(httpcore.RemoteProtocolError, match="longer than"):
        answer(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000)


def test_a_value_that_goes_on_is_one() -> None:
    assert answer(b"HTTP/1.1 200 OK\r\nX: a\r\n\t b\r\nContent-Length: 0\r\n\r\n")[1][b"X"] == b"a b"


def test_mutants_end_in_an_answer_or_an_error() -> None:
    dice = random.Random(20260101)
    for _ in range(3000):
        data = bytearray(dice.choice([PLAIN, CHUNKED]))
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(data))
            data[at : at + dice.randint(0, 3)] = dice.randbytes(dice.randint(0, 3))
        try:
            status, _, body, _ = answer(bytes(data), step=dice.choice([1, 7, 65536]))
        except httpcore.RemoteProtocolError:
            continue
        assert 200 <= status <= 999
        assert len(body) <= len(data)


@pytest.mark.parametrize(
    ("target", "header"),
    [
        (b"/a b", (b"X", b"y")),
        (b"/a\r\nX: y", (b"X", b"y")),
        (b"/a", (b"X", b"y\r\nZ: 1")),
        (b"/a", (b"X", b"y\nZ: 1")),
        (b"/a", (b"X", b"y\0")),
    ],
)
def test_nothing_breaks_out_of_its_line(target: bytes, header: tuple[bytes, bytes]) -> None:
    with pytest.raises(httpcore.LocalProtocolError):
        request_head(b"GET", target, [header])


def test_a_head_as_it_goes_out() -> None:
    head = request_head(b"POST", b"/data?x=1", [(b"Host", b"h"), (b"Content-Length", b"3")])
    assert head == b"POST /data?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"
