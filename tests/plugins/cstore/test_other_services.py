"""Ports where something else listens than a DICOM receiver: it is named, and what to try next."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import closing, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from xnatctl_cstore import association as association_module
from xnatctl_cstore import other_service

pytestmark = pytest.mark.once


class _Quiet(SimpleHTTPRequestHandler):
    """Python's web server, without its log. `timeout` ends the threads of clients that say nothing."""

    timeout = 30

    def log_message(self, *args):
        pass


class _WebServer(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A client that speaks no HTTP is expected here."""


@pytest.fixture
def web_server(certificates):
    """Start Python's own web server; its port."""
    started = []

    def start(*, tls):
        server = _WebServer(("127.0.0.1", 0), _Quiet)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates["server.pem"], certificates["server.key"])
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        started.append((server, thread))
        return server.server_address[1]

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def greeter():
    """A service that speaks first, as SSH does, and ends what it does not understand; its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve():
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return
                with closing(sock), suppress(OSError):
                    sock.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
                    sock.settimeout(30)
                    sock.recv(4096)
                    sock.sendall(b"Invalid SSH identification string.\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def refused(deliver, mixed, tmp_path, monkeypatch):
    """Send to a port where nothing is sent: message and hint."""
    monkeypatch.setattr(association_module, "_SUSPICIOUS", 0.2)
    mixed.write(tmp_path / "exam", 2)

    def run(port, **options):
        done = deliver(tmp_path / "exam", port, **options)
        assert done.error is not None
        assert done.error.exit_code == 4
        assert set(done.outcomes.values()) == {"planned"}
        assert done.error.hint
        return done.error.message, done.error.hint

    return run


@pytest.mark.parametrize("given", ["nothing", "--tls", "--tls and the authority"])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_web_server_is_called_that(web_server, refused, certificates, tls, given):
    """Whatever is right about TLS: the port is the wrong one."""
    options = {"tls": given != "nothing"}
    if given == "--tls and the authority":
        options["ca_cert"] = certificates["ca.pem"]
    message, hint = refused(port := web_server(tls=tls), **options)
    assert message == f"127.0.0.1:{port} is a web server, not a DICOM receiver."
    assert "--port 8104" in hint


def test_a_service_that_greets_first(greeter, refused):
    message, hint = refused(greeter)
    assert message == f"127.0.0.1:{greeter} is not a DICOM receiver: its answer is not DICOM."
    assert "--port 8104" in hint


def test_a_service_that_greets_first_and_speaks_no_tls(greeter, refused):
    message, hint = refused(greeter, tls=True)
    assert message == f"127.0.0.1:{greeter} does not speak TLS."
    assert "--tls" not in hint.partition("xnatctl")[2]


def test_a_receiver_that_is_slow_to_accept_is_asked_what_it_is_and_waited_for(
    scripted, deliver, mixed, tmp_path, monkeypatch
):
    monkeypatch.setattr(association_module, "_SUSPICIOUS", 0.2)
    monkeypatch.setattr(other_service, "_PATIENCE", 0.2)
    expected = mixed.write(tmp_path / "exam", 2)
    asked = threading.Event()

    def associate(talk):
        while talk.number == 1 and len(receiver.talks) == 1:
            assert not asked.wait(0.01)

    receiver = scripted(associate=associate)
    done = deliver(tmp_path / "exam", receiver.port)
    assert done.error is None
    assert receiver.digests == expected
