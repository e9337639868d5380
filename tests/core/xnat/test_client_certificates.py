"""Logins by a TLS client certificate, on a server that really asks for one."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from programs import required_program
from werkzeug import Response

from xnatctl.errors import AuthenticationError, UsageError
from xnatctl.plugin.credentials import ClientCertificate, Credential
from xnatctl.xnat.client import XnatClient

Connect = Callable[..., XnatClient]


@dataclass(frozen=True)
class Files:
    """A certificate authority, a certificate of the server, and those of clients; PEM files in one folder."""

    folder: Path

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def credential(self, name: str = "alice", **fields: Any) -> ClientCertificate:
        paths = {"certificate": self.path(f"{name}.pem"), "key": self.path(f"{name}.key")}
        return ClientCertificate(source="the vault", **{**paths, **fields})

    def text(self, name: str) -> str:
        """The certificate as a server sees it."""
        return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert((self.folder / f"{name}.pem").read_text())).strip()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("certificates")
    program = required_program("openssl")

    def openssl(*arguments: str) -> None:
        subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for authority in ("ca", "other-ca"):
        openssl(*new, "-x509", "-days", "2", "-subj", f"/CN={authority}", "-keyout", f"{authority}.key",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", f"{authority}.pem")  # fmt: skip
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    for name, authority in (("server", "ca"), ("alice", "ca"), ("alice2", "ca"), ("foreign", "other-ca")):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-days", "2", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey",
                f"{authority}.key", "-CAcreateserial", "-out", f"{name}.pem", "-extfile", "names")  # fmt: skip
    openssl("ec", "-in", "alice.key", "-aes256", "-passout", "pass:hush-hush", "-out", "encrypted.key")
    (folder / "both.pem").write_text((folder / "alice.pem").read_text() + (folder / "alice.key").read_text())
    return Files(folder)


@pytest.fixture
def encrypted(files: Files, make_xnat: Callable[..., Any]) -> Callable[..., Any]:
    """Starts an XNAT that knows `alice` by her certificates and trusts the first authority."""

    def make(required: bool = True) -> Any:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.path("server.pem"), files.path("server.key"))
        context.load_verify_locations(files.path("ca.pem"))
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        return make_xnat(tls=context, certificates={files.text("alice"): "alice", files.text("alice2"): "alice"})

    return make


@pytest.fixture
def client(files: Files, encrypted: Callable[..., Any], connect: Connect) -> tuple[XnatClient, Any]:
    xnat = encrypted()
    return connect(xnat.url, verify=files.path("ca.pem")), xnat


@pytest.mark.parametrize("kind", ["two files", "one file", "passphrase"])
def test_a_certificate_logs_in_and_goes_with_every_connection(
    kind: str, files: Files, client: tuple[XnatClient, Any]
) -> None:
    fields = {
        "two files": {},
        "one file": {"certificate": files.path("both.pem"), "key": None},
        "passphrase": {"key": files.path("encrypted.key"), "passphrase": "hush-hush"},
    }
    us, xnat = client
    xnat.route("GET", "/data/work", "fine")
    us.login(lambda: files.credential(**fields[kind]))
    assert us.login_name == "alice"
    assert us.request("GET", "/data/work").text == "fine"
    us.close()
    assert xnat.sessions == {}
    assert xnat.logins == []


def test_a_certificate_in_the_profile_and_a_password_work_as_before(
    files: Files, encrypted: Callable[..., Any], connect: Connect, password: Callable[..., Any]
) -> None:
    xnat = encrypted()
    xnat.certificates.clear()
    client = connect(xnat.url, verify=files.path("ca.pem"), cert=(files.path("alice.pem"), files.path("alice.key")))
    client.login(password())
    assert client.login_name == "alice"


@pytest.mark.parametrize("required", [True, False])
def test_a_server_that_refuses_the_certificate_refuses_the_login(
    required: bool, files: Files, encrypted: Callable[..., Any], connect: Connect
) -> None:
    """By an alert of TLS where the certificate is required, and as a guest where XNAT does not know it."""
    xnat = encrypted(required)
    xnat.certificates.clear()
    client = connect(xnat.url, verify=files.path("ca.pem"))
    with pytest.raises(AuthenticationError, match="client certificate") as caught:
        client.login(lambda: files.credential("foreign" if required else "alice"))
    assert caught.value.exit_code == 3


def test_a_server_that_requires_a_certificate_says_so(client: tuple[XnatClient, Any]) -> None:
    with pytest.raises(AuthenticationError, match="certificate") as caught:
        client[0].request("GET", "/data/work")
    assert "client_cert" in (caught.value.hint or "")


def test_a_refused_certificate_is_renewed_once(files: Files, client: tuple[XnatClient, Any]) -> None:
    us, _ = client
    renewals: list[Credential] = []

    def renew(rejected: Credential, *, refused: bool) -> Credential:
        assert refused
        renewals.append(rejected)
        return files.credential("alice2")

    us.login(lambda: files.credential("foreign"), renew)
    assert us.login_name == "alice"
    assert renewals == [files.credential("foreign")]


def test_a_certificate_that_is_refused_in_the_middle_is_renewed(files: Files, client: tuple[XnatClient, Any]) -> None:
    """XNAT does not know it any more, and its session has ended."""
    us, xnat = client
    xnat.route("POST", "/data/work", lambda seen: Response(seen.body))
    us.login(files.credential, lambda rejected, *, refused: files.credential("alice2"))
    xnat.expire()
    del xnat.certificates[files.text("alice")]
    assert us.request("POST", "/data/work", body=b"data").text == "data"


def test_an_authority_that_the_server_trusts_no_more_in_the_middle(
    files: Files, wire: Callable[..., Any], connect: Connect
) -> None:
    """TLS itself refuses the certificate of the next connection, so the request was not seen."""
    trusted = ["ca"]
    worked: list[bytes] = []

    def encrypt(sock: socket.socket) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.path("server.pem"), files.path("server.key"))
        context.load_verify_locations(files.path(f"{trusted[-1]}.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        return context.wrap_socket(sock, server_side=True)

    def script(connection: Any) -> None:
        head, body = connection.request()
        if "/data/work" in head:
            worked.append(body)
        answer = "SESSION" if "JSESSION" in head.split()[1] else "alice"
        connection.answer(200, answer, Content_Type="text/plain", Connection="close")

    server = wire(script, wrap=encrypt)
    client = connect(server.url.replace("http:", "https:"), verify=files.path("ca.pem"))
    renewals: list[Credential] = []

    def renew(rejected: Credential, *, refused: bool) -> Credential:
        renewals.append(rejected)
        return files.credential("foreign")

    client.login(files.credential, renew)
    trusted.append("other-ca")
    client.request("POST", "/data/work", body=b"data")
    assert worked == [b"data"]
    assert renewals == [files.credential()]


def test_a_certificate_needs_tls(files: Files, xnat: Any, connect: Connect) -> None:
    with pytest.raises(UsageError, match="does not use TLS"):
        connect(xnat.url).login(files.credential)


@pytest.mark.parametrize("fields", [{"certificate": "missing.pem"}, {"passphrase": "wrong-canary"}, {}])
def test_a_certificate_that_cannot_be_loaded_is_explained(
    fields: dict[str, str], files: Files, client: tuple[XnatClient, Any]
) -> None:
    with pytest.raises(UsageError, match="cannot be used") as caught:
        client[0].login(lambda: files.credential(key=files.path("encrypted.key"), **fields))
    assert "canary" not in f"{caught.value.message} {caught.value.hint}"


def test_the_passphrase_is_not_in_the_repr(files: Files) -> None:
    assert "hush" not in repr(files.credential(passphrase="hush-hush"))
