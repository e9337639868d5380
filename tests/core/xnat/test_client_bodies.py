"""What goes out: exact lengths, headers, and nothing complete when the source was not what was planned."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from xnatctl.errors import SourceChanged
from xnatctl.plugin.protocols import Body
from xnatctl.xnat.client import XnatClient

Connect = Callable[..., XnatClient]


class Recorder:
    """A server that keeps every request as it came; `cut` counts bodies that never became whole."""

    def __init__(self, wire: Callable[..., Any]) -> None:
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.cut: list[bytes] = []
        self.ended = threading.Event()
        self.url = wire(self._script).url

    def _script(self, connection: Any) -> None:
        while True:
            head = connection.head()
            self.heads.append(head)
            length = int(self.header("Content-Length") or 0)
            body = connection.body(length)
            if len(body) < length:
                self.cut.append(body)
                self.ended.set()
                return
            self.bodies.append(body)
            connection.answer(200, "stored")

    def header(self, name: str) -> str | None:
        lines = [line.partition(": ") for line in self.heads[-1].splitlines()[1:]]
        found = [value for key, _, value in lines if key.lower() == name.lower()]
        assert len(found) <= 1, f"{name} was sent {len(found)} times"
        return found[0] if found else None


@pytest.fixture
def recorder(wire: Callable[..., Any]) -> Recorder:
    return Recorder(wire)


def test_a_body_of_many_segments_arrives_whole(
    recorder: Recorder, connect: Connect, body_of: Callable[..., Body]
) -> None:
    pieces = [bytes([n % 256]) * n for n in range(1, 400)] + [b"", b"z" * 300_000]
    sent: list[int] = []
    reply = connect(recorder.url).request(
        "POST", "/x", body=body_of(*pieces), content_type="application/x-tar", on_bytes=sent.append
    )
    assert reply.text == "stored"
    assert recorder.bodies == [b"".join(pieces)]
    assert sum(sent) == len(recorder.bodies[0])
    assert recorder.header("Content-Length") == str(len(recorder.bodies[0]))
    assert recorder.header("Transfer-Encoding") is None
    assert recorder.header("Content-Type") == "application/x-tar"


def test_an_empty_body_is_a_body(recorder: Recorder, connect: Connect, body_of: Callable[..., Body]) -> None:
    connect(recorder.url).request("POST", "/x", body=body_of())
    assert recorder.bodies == [b""]
    assert recorder.header("Content-Length") == "0"


def test_a_post_without_a_body_says_so(recorder: Recorder, connect: Connect) -> None:
    connect(recorder.url).request("POST", "/x")
    assert recorder.header("Content-Length") == "0"


@pytest.mark.parametrize(
    ("pieces", "length", "words"),
    [
        ((b"abc", b"def"), 7, "Less data"),
        ((), 7, "Less data"),
        ((b"abc", b"def"), 5, "More data"),
        ((b"abc", b"def"), 3, "More data"),
        ((b"abcdef",), 5, "More data"),
        ((b"x" * 1_000_000, b"y" * 1_000_000, b"z"), 2_000_000, "More data"),
    ],
)
def test_a_body_of_the_wrong_length_never_becomes_a_request(
    pieces: tuple[bytes, ...],
    length: int,
    words: str,
    recorder: Recorder,
    connect: Connect,
    body_of: Callable[..., Body],
) -> None:
    with pytest.raises(SourceChanged, match=words):
        connect(recorder.url).request("POST", "/x", body=body_of(*pieces, length=length))
    assert recorder.ended.wait(20)
    assert recorder.bodies == []
    assert len(recorder.cut[0]) < length


@pytest.mark.parametrize(
    "trouble", [SourceChanged("a.dcm was replaced", path="a.dcm"), OSError(5, "Input/output error")]
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_source_that_changes_stops_the_request(
    trouble: Exception, position: int, recorder: Recorder, connect: Connect
) -> None:
    """Also when it is found out after the very last byte: that byte must not have gone."""
    closed = threading.Event()

    def chunks() -> Iterator[bytes]:
        try:
            for number in range(2):
                if number == position:
                    raise trouble
                yield b"x" * 100_000
            raise trouble
        finally:
            closed.set()

    with pytest.raises(SourceChanged) as caught:
        connect(recorder.url).request("POST", "/x", body=Body(length=200_000, chunks=chunks))
    if isinstance(trouble, SourceChanged):
        assert caught.value is trouble
    else:
        assert "Input/output error" in caught.value.message
    assert closed.is_set()
    assert recorder.ended.wait(20)
    assert recorder.bodies == []


def test_the_source_is_closed_when_the_server_refuses(wire: Callable[..., Any], connect: Connect) -> None:
    closed = threading.Event()

    def chunks() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(2**20)
        finally:
            closed.set()

    def script(connection: Any) -> None:
        connection.head()
        connection.answer(413, "too large")
        connection.until_gone()

    reply = connect(wire(script).url).request("POST", "/x", body=Body(length=2**40, chunks=chunks), expect=(413,))
    assert reply.status == 413
    assert closed.is_set()


def test_forms_and_json(recorder: Recorder, connect: Connect) -> None:
    client = connect(recorder.url)
    client.request("POST", "/x", form=[("src", "/a b"), ("src", "ü&="), ("x", "")])
    assert recorder.bodies[-1] == b"src=%2Fa+b&src=%C3%BC%26%3D&x="
    assert recorder.header("Content-Type") == "application/x-www-form-urlencoded"
    client.request("POST", "/x", json={"a": ["ü"]})
    assert recorder.bodies[-1] == b'{"a": ["\\u00fc"]}'
    assert recorder.header("Content-Type") == "application/json"


def test_headers_that_the_server_cares_about(recorder: Recorder, connect: Connect) -> None:
    connect(recorder.url).request("GET", "/x")
    assert recorder.header("Accept-Encoding") == "identity"
    agent = recorder.header("User-Agent") or ""
    assert agent.startswith("xnatctl/")
    assert "Mozilla" not in agent
    assert recorder.header("Cookie") is None
    assert recorder.header("Authorization") is None
    assert recorder.header("Content-Length") is None
    connect(recorder.url, user_agent="site/1").request("GET", "/x")
    assert recorder.header("User-Agent") == "site/1"


def test_parameters_keep_order_and_repeat(recorder: Recorder, connect: Connect) -> None:
    connect(recorder.url).request("GET", "/x", params=[("b", "1 2"), ("a", "ü&/"), ("b", "3")])
    assert recorder.heads[-1].splitlines()[0] == "GET /x?b=1+2&a=%C3%BC%26%2F&b=3 HTTP/1.1"


def test_names_and_context_path_in_the_url(recorder: Recorder, connect: Connect) -> None:
    from xnatctl.xnat.client import url_path

    connect(f"{recorder.url}/xnat/").request("GET", url_path("/data/projects", "My Proj[1]", "ü'&+"))
    assert recorder.heads[-1].split()[1] == "/xnat/data/projects/My%20Proj%5B1%5D/%C3%BC'&+"
