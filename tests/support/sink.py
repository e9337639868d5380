"""An XNAT that keeps nothing but names, for measuring a client: `sink.py` prints its port and serves until killed.

As much of a server as one direct-archive upload of user `alice` to project DEMO needs, in answers of the sandbox's form.
Bodies are read and thrown away; the names and sizes of what is in a tar or a zip, or of an instance that comes alone, are
kept, so that verifying has something to compare. In a process of its own, its memory and time are not those of the tests.
"""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_BLOCK = 512


class Sink(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    lock = threading.Lock()
    #: Sizes by SOP Instance UID by Series Instance UID, which is the UID without its last component.
    series: dict[str, dict[str, int]] = {}
    study = ""
    label = ""
    bytes = 0

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _answer(self, body: str | bytes, kind: str = "application/json", status: int = 200) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if self.path.startswith("/data/JSESSION"):
            self.send_header("Set-Cookie", "JSESSIONID=0123ABCD; Path=/")
        self.end_headers()
        self.wfile.write(data)

    def _table(self, rows: list[dict[str, str]]) -> None:
        self._answer(json.dumps({"ResultSet": {"Result": rows, "totalRecords": str(len(rows))}}))

    def do_DELETE(self) -> None:
        self._answer("", "text/plain")

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        left = int(self.headers.get("Content-Length", "0"))
        if path == "/data/JSESSION":
            self._answer("0123ABCD", "text/plain")
        elif path == "/data/services/import":
            self._receive(left)
        else:
            self._answer("", "text/plain")

    def _receive(self, left: int) -> None:
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        if query["import-handler"] == "gradual-DICOM":
            files = [(_uid(self.rfile.read(left)), left)]
        elif self.headers["Content-Type"] == "application/zip":
            members = zipfile.ZipFile(io.BytesIO(self.rfile.read(left))).infolist()
            files = [(member.filename, member.file_size) for member in members]
        else:
            files = list(_members(self.rfile, left))
        with self.lock:
            Sink.bytes += left
            Sink.label = query["EXPT_LABEL"]
            for name, size in files:
                uid = name.removesuffix(".dcm")
                series = uid.rpartition(".")[0]
                Sink.study = series.rpartition(".")[0]
                self.series.setdefault(series, {})[uid] = size
        uri = f"/xapi/direct-archive/{query['PROJECT_ID']}/{Sink.study}/{query['EXPT_LABEL']}"
        self._answer(f"{uri}\r\n", "text/uri-list")

    def do_GET(self) -> None:
        match urlsplit(self.path).path.strip("/").split("/"):
            case ["xapi", "users", "username"]:
                self._answer("alice", "text/plain")
            case ["xapi", "siteConfig", "buildInfo"]:
                self._answer('{"version": "1.8.11"}')
            case ["xapi", "users", "projects"]:
                self._answer('["DEMO"]')
            case ["data", "projects", "DEMO"]:
                self._answer('{"items": [{"data_fields": {"ID": "DEMO"}}]}')
            case ["data", "projects", "DEMO", "prearchive_code"]:
                self._answer("4", "text/plain")
            case ["data", "projects", "DEMO", "subjects"]:
                self._table([{"ID": "S1", "label": "s"}])
            case ["data", "projects", "DEMO", "experiments", label] if label == self.label:
                fields = {"ID": "E1", "label": label, "project": "DEMO", "subject_ID": "S1", "UID": self.study}
                self._answer(
                    json.dumps({"items": [{"data_fields": fields, "meta": {"xsi:type": "xnat:mrSessionData"}}]})
                )
            case ["data", "prearchive", *_]:
                self._table([])
            case ["data", "experiments", "E1", "scans"]:
                self._table([{"ID": uid.rpartition(".")[2], "UID": uid} for uid in sorted(self.series)])
            case ["data", "experiments", "E1", "scans", "ALL", "files"]:
                self._table(list(self._files()))
            case ["data", "experiments", "E1", "scans", scan, "resources", "DICOM"]:
                self._answer(self._catalog(scan), "text/xml")
            case _:
                self._answer("<html><h3>Not found</h3></html>", "text/html", 404)

    def _files(self) -> Iterator[dict[str, str]]:
        for series, uids in self.series.items():
            scan = series.rpartition(".")[2]
            for uid, size in uids.items():
                uri = f"/data/experiments/E1/scans/{scan}/resources/1/files/{uid}.dcm"
                yield {"Name": f"{uid}.dcm", "Size": str(size), "URI": uri, "collection": "DICOM", "digest": ""}

    def _catalog(self, scan: str) -> bytes:
        uids = next(uids for series, uids in self.series.items() if series.endswith(f".{scan}"))
        entries = "".join(f'<cat:entry URI="{uid}.dcm" UID="{uid}" xsi:type="cat:dcmEntry"/>\n' for uid in sorted(uids))
        head = '<cat:DCMCatalog xmlns:cat="http://nrg.wustl.edu/catalog" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        return f"{head}<cat:entries>\n{entries}</cat:entries></cat:DCMCatalog>".encode()


def _members(stream: Any, left: int) -> Iterator[tuple[str, int]]:
    """The member names and sizes of a tar on the wire; everything else is thrown away."""
    skip = 0
    while left:
        if skip:
            piece = stream.read(min(skip, left, 1 << 20))
            skip -= len(piece)
            left -= len(piece)
            continue
        head = stream.read(_BLOCK)
        left -= len(head)
        if name := head[:100].rstrip(b"\0").decode("ascii", "replace"):
            field = head[124:136]
            size = int.from_bytes(field[1:]) if field[0] & 0x80 else int(field.rstrip(b"\0 ") or b"0", 8)
            skip = -(-size // _BLOCK) * _BLOCK
            yield name, size


def _uid(instance: bytes) -> str:
    """The SOP Instance UID of an instance in explicit VR."""
    begin = instance.index(b"\x08\x00\x18\x00UI") + 8
    return instance[begin : begin + instance[begin - 2]].rstrip(b"\0").decode()


def main() -> None:
    """Say the port, and serve."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
