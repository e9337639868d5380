"""DICOM over TLS: both certificates, one side only, and authorities that are not known."""

from __future__ import annotations

import re
import ssl

import pytest

from xnatctl_cstore import stream as stream_module


@pytest.fixture
def exam(mixed, tmp_path):
    """24 instances in eight transfer syntaxes: the folder, and what must arrive."""
    return tmp_path / "exam", mixed.write(tmp_path / "exam", 24)


def server_context(certificates, *, ask=False):
    """A receiver's own certificate; `ask`: it wants one of the client."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates["ca.pem"])
    context.load_cert_chain(certificates["server.pem"], certificates["server.key"])
    if ask:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_tls_with_both_certificates(scripted, deliver, exam, certificates):
    folder, expected = exam
    receiver = scripted(tls=server_context(certificates, ask=True), max_pdu=1 << 20)
    done = deliver(
        folder, receiver.port, tls=True, ca_cert=certificates["ca.pem"],
        client_cert=certificates["client.pem"], client_key=certificates["client.key"],
    )  # fmt: skip
    assert done.error is None
    assert receiver.digests == expected


def test_tls_with_large_data_sets_and_early_ends(scripted, deliver, mixed, tmp_path, certificates):
    expected = mixed.write(tmp_path / "exam", 8, size=1500, syntaxes=(mixed.EXPLICIT, mixed.RLE))
    receiver = scripted(tls=server_context(certificates), after=lambda talk, count: "abort" if count == 3 else "")
    done = deliver(tmp_path / "exam", receiver.port, tls=True, ca_cert=certificates["ca.pem"])
    assert done.error is None, done.reasons
    assert receiver.digests == expected


@pytest.mark.parametrize(
    ("server", "client", "message"),
    [
        (True, {"tls": True}, "is not trusted"),
        (True, {"tls": False}, "expects TLS"),
        (False, {"tls": True, "ca_cert": "ca.pem"}, "does not speak TLS|The TLS handshake with"),
    ],
    ids=["unknown authority", "plain client", "plain server"],
)
def test_tls_on_one_side_only(scripted, deliver, exam, certificates, monkeypatch, server, client, message):
    if not server:
        monkeypatch.setattr(stream_module, "CONNECT", 1.0)
    receiver = scripted(tls=server_context(certificates) if server else None)
    if "ca_cert" in client:
        client = {**client, "ca_cert": certificates[client["ca_cert"]]}
    done = deliver(exam[0], receiver.port, **client)
    assert done.error is not None
    assert done.error.exit_code == 4
    assert re.search(message, done.error.message), done.error.message
    assert done.error.hint


def test_a_receiver_that_asks_for_a_certificate_and_gets_none(scripted, deliver, exam, certificates):
    receiver = scripted(tls=server_context(certificates, ask=True))
    done = deliver(exam[0], receiver.port, tls=True, ca_cert=certificates["ca.pem"])
    assert done.error is not None
    assert done.error.exit_code == 4
    assert not receiver.stored
