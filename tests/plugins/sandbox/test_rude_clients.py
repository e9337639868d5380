"""Whatever a client sends, and however it goes away, the sandbox's terminal stays empty and Ctrl-C ends it."""

from __future__ import annotations

import base64
import json
import signal
import socket
import ssl
import struct
import urllib.request

import pytest

pytest.importorskip("pynetdicom", reason="the sandbox extra is not installed")

_LOGIN = b"Host: x\r\nAuthorization: Basic " + base64.b64encode(b"alice:alice") + b"\r\n"
_IMPORT = b"POST /data/services/import?import-handler=DICOM-zip&inbody=true HTTP/1.1\r\n" + _LOGIN


def client_hello() -> bytes:
    out = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="x")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


HTTP = {
    "nothing": b"",
    "TLS": client_hello(),
    "garbage": bytes(range(256)) * 9,
    "half a line": b"GET /da",
    "half a head": b"GET /data/projects HTTP/1.1\r\nHost: x\r\nA",
    "a long line": b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
    "many fields": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 300 + b"\r\n",
    "HTTP/0.9": b"GET /data/projects\r\n",
    "no address": b"GET http://[::1 HTTP/1.1\r\n\r\n",
    "no UTF-8": b"GET /data/projects/\xff%ff?a=%ff HTTP/1.1\r\n" + _LOGIN + b"\r\n",
    "no login": b"GET /data/projects HTTP/1.1\r\nAuthorization: Basic /////w==\r\nCookie: JSESSIONID=\xff;=\r\n\r\n",
    "a negative length": _IMPORT + b"Content-Length: -5\r\n\r\nabc",
    "no length": _IMPORT + b"Content-Length: abc\r\n\r\nabc",
    "half a body": _IMPORT + b"Content-Length: 100000\r\n\r\nPK\x03\x04abc",
    "bad chunks": _IMPORT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    "half a chunk": _IMPORT + b"Transfer-Encoding: chunked\r\n\r\n10\r\nabc",
    "half a form": b"POST /data/services/import HTTP/1.1\r\n" + _LOGIN + b"Content-Type: multipart/form-data; boundary=x\r\n"
    b'Content-Length: 5000\r\n\r\n--x\r\nContent-Disposition: form-data; name=a; filename="b.zip"\r\n\r\nPK',
    "many answers": (b"GET /sandbox/instances HTTP/1.1\r\nHost: x\r\n\r\n") * 20,
}  # fmt: skip


def pdu(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(content)) + content


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def fragment(content: bytes, context: int = 1) -> bytes:
    return pdu(4, struct.pack(">IBB", len(content) + 2, context, 3) + content)


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


#: PS3.8, 9.3.2: one presentation context, MR Image Storage in Explicit VR Little Endian.
REQUEST = pdu(
    1,
    struct.pack(">HH16s16s32x", 1, 0, b"XNAT".ljust(16), b"ME".ljust(16))
    + item(0x10, b"1.2.840.10008.3.1.1.1")
    + item(0x20, b"\1\0\0\0" + item(0x30, b"1.2.840.10008.5.1.4.1.1.4") + item(0x40, b"1.2.840.10008.1.2.1"))
    + item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3")),
)
STORE = (
    element(2, b"1.2.840.10008.5.1.4.1.1.4\0") + element(0x100, b"\1\0") + element(0x110, b"\1\0")
    + element(0x700, b"\0\0") + element(0x800, b"\1\0") + element(0x1000, b"\xff\xfe")
)  # fmt: skip
DICOM = {
    "nothing": b"",
    "TLS": client_hello(),
    "garbage": bytes(range(256)) * 9,
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "half a request": REQUEST[:100],
    "four gigabytes": b"\1\0\xff\xff\xff\xff" + b"x" * 100,
    "a bad request": pdu(1, b"x" * 80),
    "data first": fragment(b"abc"),
    **{
        f"a request, then {name}": REQUEST + rest
        for name, rest in {
            "nothing": b"",
            "garbage": bytes(range(256)) * 9,
            "a second request": REQUEST,
            "half a fragment": fragment(b"x" * 500)[:100],
            "no command": fragment(b"x" * 20),
            "another context": fragment(STORE, context=9),
            "an unknown command": fragment(element(0x100, b"\x77\x77") + element(0x800, b"\1\1")),
        }.items()
    },
}


def speak(port: int, data: bytes, *, reset: bool) -> None:
    """Send, hear what comes, and go: after the end of what is sent, or by a reset in the middle."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        try:
            connection.sendall(data)
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except OSError:
            return  # the sandbox went first


@pytest.mark.once
def test_the_terminal_stays_empty(nursery, environment, tmp_path):
    server = nursery.start(
        "-m", "xnatctl", "sandbox", "start", "--port", "0", "--dicom-port", "0", "-o", "json",
        env=environment, cwd=tmp_path,
    )  # fmt: skip
    while not server.out.endswith(b"\n}\n"):
        assert server.poll() is None, server.err
    told = json.loads(server.out)
    http, dicom = int(told["url"].rpartition(":")[2]), told["dicom"]["port"]

    def command(path: str, body: object = None) -> None:
        data, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(told["url"] + path, data, kind, method="POST")) as answer:
            assert answer.status == 200

    for reset in (False, True):
        for data in HTTP.values():
            speak(http, data, reset=reset)
        for data in DICOM.values():
            speak(dicom, data, reset=reset)
    for action in ("cut-before-body", "rst", "cut-at-byte", "store-then-cut"):
        command("/sandbox/faults", [{"action": action}])
        speak(http, b"GET /data/projects HTTP/1.1\r\n" + _LOGIN + b"\r\n", reset=False)
    command("/sandbox/faults", [])
    command("/sandbox/tick")

    silent = [socket.create_connection(("127.0.0.1", port)) for port in (http, http, http, dicom, dicom, dicom)]
    for connection, data in zip(
        silent, (HTTP["half a body"], HTTP["half a head"], b"", REQUEST, REQUEST[:50], b""), strict=True
    ):
        connection.sendall(data)
    silent.append(socket.create_connection(("127.0.0.1", dicom)))
    silent[-1].sendall(REQUEST)
    assert silent[-1].recv(1) == b"\x02"  # A-ASSOCIATE-AC
    silent[-1].sendall(DICOM["a request, then half a fragment"][len(REQUEST) :])
    server.send_signal(signal.SIGINT)
    _, err = server.communicate()
    for connection in silent:
        connection.close()
    assert (server.wait(), err.decode()) == (0, "")
