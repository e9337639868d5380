"""The request body of STOW-RS: each file is a part of multipart/related (PS3.18 8.6.1.2, 10.5.1)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from xnatctl.api import Body, Reader, UploadItem
from xnatctl.api.packing import plain_body

_LINE = b"\r\n"


def multipart_body(
    items: Sequence[UploadItem], open_item: Callable[[UploadItem], AbstractContextManager[Reader]]
) -> tuple[str, Body]:
    """The Content-Type and the body. The files are read while it is sent, and nothing is kept."""
    boundary = secrets.token_hex(20)  # 160 random bits: no file contains it
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    end = f"--{boundary}--\r\n".encode()
    length = sum(len(head) + item.size + len(_LINE) for item in items) + len(end)

    def chunks() -> Iterator[bytes]:
        waiting = b""  # goes with the next piece of a file: small writes would be packets of their own
        for item in items:
            waiting += head
            for piece in plain_body(item, open_item).chunks():
                yield waiting + piece
                waiting = b""
            waiting += _LINE
        yield waiting + end

    content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
    return content_type, Body(length=length, chunks=chunks)
