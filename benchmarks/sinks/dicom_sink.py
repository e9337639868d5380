"""A C-STORE and C-ECHO receiver that stores nothing: accepts every context, counts what arrives.

usage: dicom_sink.py [--port N] [--max-pdu N] [--object-time ms] [--python]

The first transfer syntax offered for a context is the one that is accepted. Controlled like `xnat_sink.py`.
"""

from __future__ import annotations

import argparse
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

from draining import drain
from xnat_sink import control, listen


def items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of the items of an A-ASSOCIATE PDU (PS3.8 9.3.2)."""
    while len(data) >= 4:
        length = int.from_bytes(data[2:4], "big")
        yield data[0], data[4 : 4 + length]
        data = data[4 + length :]


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def accept(request: bytes, max_pdu: int) -> bytes:
    """A-ASSOCIATE-AC (PS3.8 9.3.3) for the body of an A-ASSOCIATE-RQ."""
    answer = request[:68]
    for kind, content in items(request[68:]):
        if kind == 0x10:
            answer += item(0x10, content)
        elif kind == 0x20:
            syntax = next(value for number, value in items(content[4:]) if number == 0x40)
            answer += item(0x21, bytes((content[0], 0, 0, 0)) + item(0x40, syntax))
        elif kind == 0x50:
            answer += item(0x50, item(0x51, struct.pack(">I", max_pdu)) + item(0x52, b"1.2.826.0.1.3680043.8.498.1"))
    return struct.pack(">BBI", 2, 0, len(answer)) + answer


def serve(flow: Any, sock: socket.socket, max_pdu: int) -> None:
    connection = flow.connection(sock)
    try:
        head = connection.read(6)
        if len(head) == 6 and head[0] == 1:
            connection.write(accept(connection.read(int.from_bytes(head[2:], "big")), max_pdu))
            connection.store()
    except OSError:
        pass  # a client that went away
    finally:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--max-pdu", type=int, default=16384)
    parser.add_argument("--object-time", type=float, default=0, help="milliseconds for each object")
    parser.add_argument("--python", action="store_true", help="without the C library")
    arguments = parser.parse_args()
    flow = drain(delay=arguments.object_time / 1e3, python=arguments.python)
    server = listen(arguments.port)
    threading.Thread(target=control, args=(flow, flow.reset), daemon=True).start()
    while True:
        sock, _ = server.accept()
        threading.Thread(target=serve, args=(flow, sock, arguments.max_pdu), daemon=True).start()


if __name__ == "__main__":
    main()
