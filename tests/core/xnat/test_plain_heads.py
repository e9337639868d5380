"""Heads that are taken apart without http.client mean what they mean to it; what is not certain is left to it."""

from __future__ import annotations

import io
from http.client import HTTPResponse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnatctl.xnat.http.connection import plain_head

OK = b"HTTP/1.1 200 OK\r\n"

PLAIN = {
    "a length": OK + b"Content-Length: 5\r\n\r\n",
    "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    "an empty reason": b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
    "the end of the connection": OK + b"connection: close\r\ncontent-length: 12\r\n\r\n",
    "going on": OK + b"Connection: Keep-Alive\r\nKeep-Alive: timeout=20\r\nContent-Length: 12\r\n\r\n",
    "cookies": OK
    + b"Set-Cookie: a=b; Path=/\r\nSet-Cookie: c=d\r\nContent-Length: 1\r\nX-Empty:\r\nX-Wide: \t y \r\n\r\n",
    "a failure": b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nContent-Length: 1\r\n\r\n",
    "more behind it": OK + b"Content-Length: 2\r\n\r\nabHTTP/1.1 500 No\r\n\r\n",
}

#: Right or wrong, but not plain.
OTHER = {
    "nothing": b"",
    "half": OK + b"Content-Length: 5\r\n",
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    "an older protocol": b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no length": OK + b"\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "both": OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "another coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "no number": OK + b"Content-Length: +5\r\n\r\n",
    "a number beyond belief": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "no body by its status": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "several options": OK + b"Connection: close, x\r\nContent-Length: 0\r\n\r\n",
    "a value on two lines": OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "bare line ends": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "one bare line end": OK + b"X: a\nContent-Length: 0\r\n\r\n",
    "a space before the colon": OK + b"Content-Length : 0\r\n\r\n",
    "a control character": OK + b"X: \x01\r\nContent-Length: 0\r\n\r\n",
    "other letters": OK + b"X: \xe4\r\nContent-Length: 0\r\n\r\n",
}


class Plug:
    """What http.client reads from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def by_the_library(data: bytes) -> HTTPResponse:
    plug: Any = Plug(data)
    response = HTTPResponse(plug, method="POST")
    response.begin()
    return response


def same(data: bytes) -> None:
    head, known = plain_head(data), by_the_library(data)
    assert head is not None
    assert (head.status, head.reason.decode().strip()) == (known.status, known.reason)
    assert [(name.decode(), value.decode()) for name, value in head.fields] == [
        (name, value.strip(" \t")) for name, value in known.headers.items()
    ]
    assert head.length == known.length
    assert (head.length is None) == known.chunked
    assert head.close == known.will_close
    assert data[: head.size].endswith(b"\r\n\r\n")


@pytest.mark.parametrize("case", PLAIN)
def test_a_plain_head_means_what_it_means_to_the_library(case: str) -> None:
    same(PLAIN[case])


@pytest.mark.parametrize("case", OTHER)
def test_anything_else_is_left_to_the_library(case: str) -> None:
    assert plain_head(OTHER[case]) is None


_NAMES = st.sampled_from(
    ["X-A", "content-length", "Content-Length", "Transfer-Encoding", "Connection", "Set-Cookie", "b!"]
)
_VALUES = st.one_of(
    st.sampled_from(["0", "7", "07", "chunked", "close", "keep-alive", "gzip", "close, keep-alive", ""]),
    st.text(st.characters(min_codepoint=9, max_codepoint=126), max_size=12),
)


@given(
    status=st.integers(100, 599),
    fields=st.lists(st.tuples(_NAMES, _VALUES), max_size=5),
    ends=st.lists(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n"]), min_size=7, max_size=7),
)
def test_whatever_is_found_plain_is_the_same_to_the_library(
    status: int, fields: list[tuple[str, str]], ends: list[str]
) -> None:
    lines = [f"HTTP/1.1 {status} Word", *(f"{name}: {value}" for name, value in fields), ""]
    data = "".join(line + end for line, end in zip(lines, ends, strict=False)).encode("ascii")
    if plain_head(data) is not None:
        same(data)
