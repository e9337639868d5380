"""Whatever a server or proxy answers ends as an error that names the server, never as an unexpected exception."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from xnatctl.errors import ConnectionFailed, NotXnat, ServerError, XnatctlError
from xnatctl.model.refs import Destination, PrearchiveRef, ResourceRef
from xnatctl.xnat import archive, direct_archive, importing, listing, prearchive, site
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.http.request import whole
from xnatctl_cstore import receivers
from xnatctl_resource import rest as resources

ROW = PrearchiveRef(project="P", timestamp="20260101_000000000", folder="e")
HOME = resources.session_parent("X_E00001", "e", "P")
RESOURCE = listing.ResourceInfo(id="7", label="R")
REF = ResourceRef(level="session", label="R")
WHERE = Destination(project="P", subject="s", session="e", server="http://x")


def send(client: XnatClient) -> object:
    body = whole(b"data")
    return importing.send_import(
        client, WHERE, handler="gradual-DICOM", content_type="application/dicom", body=body, direct=False
    )


def log_in(client: XnatClient) -> object:
    from xnatctl.api import Password

    return client.login(lambda: Password(username="alice", secret="secret", source="here"))


CALLS: dict[str, Callable[[XnatClient], object]] = {
    "version": site.version,
    "projects": site.editable_projects,
    "access": lambda client: site.project_access(client, "P"),
    "subjects": lambda client: listing.subjects(client, "P", "s"),
    "sessions": lambda client: listing.sessions(client, "P"),
    "study": lambda client: listing.sessions_of_study(client, "P", "1.2"),
    "session": lambda client: listing.find_session(client, "P", "e"),
    "scans": lambda client: listing.scans(client, "X_E00001"),
    "session resources": lambda client: listing.session_resources(client, "X_E00001"),
    "files": lambda client: listing.totals_of_scans(client, "X_E00001"),
    "counts": lambda client: listing.file_counts(client, "X_E00001"),
    "catalog": lambda client: listing.dicom_catalog(client, "X_E00001", "1", {"1.2"}),
    "rows": lambda client: prearchive.list_rows(client, "P"),
    "row": lambda client: prearchive.get_row(client, ROW),
    "build": lambda client: prearchive.build(client, ROW),
    "commit": lambda client: prearchive.commit(client, ROW),
    "log": lambda client: prearchive.last_log(client, ROW),
    "staged scans": lambda client: prearchive.scans(client, ROW),
    "staged counts": lambda client: prearchive.scan_file_counts(client, ROW),
    "archive": lambda client: archive.archive_row(client, ROW, subject="s", session="e", overwrite=None),
    "direct": lambda client: direct_archive.get(client, "P", "1.2", "e"),
    "trigger": lambda client: direct_archive.trigger(client, "P", "1.2", "e"),
    "receivers": receivers.dicom_receivers,
    "delay": receivers.archiving_delay,
    "resources": lambda client: resources.find_resource(client, HOME, "R"),
    "resource files": lambda client: resources.resource_files(client, HOME, RESOURCE, {"a"}),
    "make": lambda client: resources.ensure_resource(client, HOME, REF, None),
    "put": lambda client: resources.put_file(
        client, HOME, RESOURCE, "a", whole(b"data"), overwrite=False, ref=REF
    ),
    "import": send,
    "login": log_in,
}  # fmt: skip

DEEP = b"[" * 200_000
HUGE = b"9" * 6000
NAMES = ["ID", "label", "Size", "file_count", "file_size", "URI", "name", "UID", "port", "version", "status", "tag"]


def table(value: object) -> bytes:
    rows = [dict.fromkeys([*NAMES, "collection", "xnat_abstractresource_id"], value)]
    return json.dumps({"ResultSet": {"Result": rows}}).encode()


ANSWERS: dict[str, tuple[int, bytes, dict[str, str]]] = {
    **{
        f"location {number}": (302, b"", {"Location": location})
        for number, location in enumerate(
            ["http://[", "http://[::1", "://", "http://\x01", "http://a:b:c/", "http://a:99999999/", "\xff\xfe", "",
             "http://" + "a" * 70_0, "javascript:alert(1)", "http://a b/", "//", "http://xn--\xe4/", "https://%zz/"]
        )
    },
    "location of a success": (201, b"{}", {"Location": "http://["}),
    "deep": (200, DEEP, {"Content_Type": "application/json"}),
    "deep row": (200, b'{"ResultSet":{"Result":[{"a":' + DEEP, {}),
    "deep object": (200, b'{"a":' * 100_000, {}),
    "huge": (200, HUGE, {"Content_Type": "text/plain"}),
    "huge in quotes": (200, b'"' + HUGE + b'"', {}),
    "huge version": (200, b'{"version":"' + HUGE + b'"}', {}),
    "huge numbers": (200, b'{"version":%b,"items":[{"data_fields":{"ID":%b}}]}' % (HUGE, HUGE), {}),
    "huge row": (200, table(HUGE.decode()), {}),
    "huge number in a row": (200, b'{"ResultSet":{"Result":[{"Size":%b}]}}' % HUGE, {}),
    "list in a row": (200, table([{"a": 1}]), {}),
    "object in a row": (200, table({"a": None}), {}),
    "infinite row": (200, table(float("inf")), {}),
    "null": (200, b"null", {}),
    "number": (200, b"7", {}),
    "infinity": (200, b"Infinity", {}),
    "list of lists": (200, b"[[[[]]]]", {}),
    "list of nulls": (200, b"[null]", {}),
    "items": (200, b'{"items":[{"data_fields":[],"children":7,"meta":[]}]}', {}),
    "more items": (200, b'{"items":[{"data_fields":{"ID":"X"},"children":[7],"meta":"m"}]}', {}),
    "further items": (200, b'{"items":[{"data_fields":{"ID":"X"},"children":[{"field":"sharing","items":{"a":1}}]}]}', {}),
    "surrogates": (200, b'{"version":"\\ud800","items":[{"data_fields":{"ID":"\\ud800"}}]}', {}),
    "not UTF-8": (200, b'{"version":"\xff\xfe\x80"}', {}),
    "UTF-16": (200, '{"version":"1.8"}'.encode("utf-16"), {}),
    "nul": (200, b"\0" * 1000, {}),
    "nothing": (200, b"", {}),
    "no content": (204, b"", {}),
    "many values": (200, b"[" + b"{}," * 600_000 + b"{}]", {}),
    "charset": (200, b"{}", {"Content_Type": "application/json; charset=no-such-thing"}),
    "type": (200, b"<x/>", {"Content_Type": "\xff/\xfe;;;=;"}),
    "encoding": (200, b"\x1f\x8b", {"Content_Encoding": "gzip"}),
    "retry": (429, b"", {"Retry_After": "9" * 5000}),
    "retry date": (503, b"", {"Retry_After": "Fri, 99 Foo 99999 99:99:99 GMT"}),
    "cookie": (200, b"token", {"Set_Cookie": "JSESSIONID=abc; Max-Age=" + "9" * 5000 + "; Expires=" + "9" * 5000}),
    "expiration": (200, b"token", {"Set_Cookie": 'SESSION_EXPIRATION_TIME="1,' + "9" * 5000 + '"'}),
    "odd status": (299, b"{}", {}),
    "odder status": (999, b"what", {}),
    "partial": (206, b"{", {}),
    "not modified": (304, b"", {}),
    "teapot": (418, b"<html><h3>" + b"&#99999999999;" * 100 + b"</h3>", {}),
    "title": (500, b"<html><title>" + b"x" * 3_000_000, {}),
    "error": (500, b"\xff" * 3_000_000, {}),
    "doctype": (200, b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', {}),
    "xml": (200, b"<a><b UID='1'/>", {}),
}  # fmt: skip


@pytest.fixture
def answer(wire: Callable[..., Any], connect: Callable[..., XnatClient]) -> Callable[[str], XnatClient]:
    def make(name: str) -> XnatClient:
        status, body, headers = ANSWERS[name]

        def script(connection: Any) -> None:
            while True:
                connection.request()
                connection.answer(status, b"" if status in (204, 304) else body, **headers)

        return connect(wire(script).url, timeout=60.0)

    return make


@pytest.mark.once
@pytest.mark.parametrize("name", ANSWERS)
def test_every_call_ends_well(name: str, answer: Callable[[str], XnatClient]) -> None:
    client = answer(name)
    client._retry.stop()  # a busy server is not asked again
    for call in CALLS.values():
        with suppress(XnatctlError):
            call(client)


@pytest.mark.parametrize("name", [name for name in ANSWERS if name.startswith("location ")])
def test_a_redirect_to_what_is_no_url_names_the_server(name: str, answer: Callable[[str], XnatClient]) -> None:
    client = answer(name)
    for call in (site.version, send):
        if ANSWERS[name][0] == 302:
            with pytest.raises(NotXnat, match="redirects to") as caught:
                call(client)
            assert client.server in caught.value.message
            assert caught.value.status == 302
        else:
            client.request("GET", "/x")


@pytest.mark.parametrize("name", ["deep", "deep object", "huge", "huge numbers", "many values", "nul"])
def test_a_document_that_is_none_names_the_server(name: str, answer: Callable[[str], XnatClient]) -> None:
    client = answer(name)
    with pytest.raises(NotXnat) as caught:
        client.get_json("/data/x")
        site.version(client)
    assert client.server in caught.value.message
    assert caught.value.exit_code == 4


HEADS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: " + HUGE + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + HUGE + b"\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabcde",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\xff\r\n",
    b"HTTP/1.1 " + HUGE + b" OK\r\n\r\n",
    b"HTTP/1.1 -20 OK\r\n\r\n",
    b"HTTP/9999999999.9 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\xff\xff: \xff\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    b"\xff" * 100_000,
    b"SSH-2.0-OpenSSH\r\n",
    b"220 ftp\r\n",
    b"\x15\x03\x01\x00\x02\x02\x28",
]


@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
def test_every_head_ends_well(head: bytes, wire: Callable[..., Any], connect: Callable[..., XnatClient]) -> None:
    def script(connection: Any) -> None:
        connection.request()
        connection.say(head)

    for call in (site.version, send, log_in):
        client = connect(wire(script).url, timeout=20.0)
        with pytest.raises((ConnectionFailed, ServerError)) as caught:
            call(client)
        assert client.server in caught.value.message
