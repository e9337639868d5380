"""An XNAT that stores nothing and costs next to nothing, but knows exactly what it was sent.

usage: xnat_sink.py [--port N] [--rate MB/s] [--file-time ms] [--close-after N] [--release X.Y.Z] [--python]

It speaks the part of XNAT's API that an upload needs: login, version, project, import, settling in the archive or the
prearchive, listings and DICOM catalogs. What it lists are the UIDs and sizes that it read from the bytes that arrived,
so that an upload which verifies against it was received. Prints "listening PORT"; then each line on standard input,
`counts` or `reset`, is answered with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import threading
from base64 import b64decode
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from draining import Record, Session, drain, headers_of

Answer = tuple[int, str, bytes]
Scans = dict[str, dict[str, Record]]
_NOT_FOUND: Answer = (404, "text/plain", b"not here")


def listing(rows: Any) -> Answer:
    return 200, "application/json", json.dumps({"ResultSet": {"Result": rows, "title": ""}}).encode()


def document(data: Any) -> Answer:
    return 200, "application/json", json.dumps(data).encode()


def text(data: str) -> Answer:
    return 200, "text/plain", data.encode()


class Site:
    """What the sink knows beside what the drain counted."""

    def __init__(self, flow: Any, release: str) -> None:
        self.flow = flow
        self._release = release
        self._lock = threading.Lock()
        self._archived: set[int] = set()
        self._built: set[int] = set()
        self._sorted: tuple[tuple[int, int], Scans, dict[str, str]] = ((-1, -1), {}, {})

    def reset(self) -> None:
        with self._lock:
            self.flow.reset()
            self._archived.clear()
            self._built.clear()
            self._sorted = ((-1, -1), {}, {})

    def answer(  # noqa: C901 - one table of routes
        self, method: str, path: str, query: Mapping[str, str], user: str
    ) -> Answer:
        """See xnat-api 1, 2, 6; xnat-import 5, 6."""
        parts = path.strip("/").split("/")
        match [method, *parts]:
            case ["DELETE", "data", "JSESSION"]:
                return text("")
            case [_, ("data" | "REST"), "JSESSION"] | [_, "data", "services", "auth"]:
                return text("0123456789ABCDEF0123456789ABCDEF")
            case ["GET", "xapi", "users", "username"]:
                return text(user)
            case ["GET", "data", "auth"]:
                return text(f"User '{user}' is logged in")
            case ["GET", "xapi", "siteConfig", "buildInfo"]:
                return document({"version": self._release})
            case ["GET", "xapi", "siteConfig", "buildInfo", "version"]:
                return text(self._release)
            case ["GET", "xapi", "users", "projects"]:
                return document(["BENCH"])
            case ["GET", "data", "projects"]:
                return listing([{"ID": "BENCH", "name": "BENCH", "URI": "/data/projects/BENCH"}])
            case ["GET", "data", "projects", project]:
                return document({"items": [{"meta": {"xsi:type": "xnat:projectData"}, "data_fields": {"ID": project}}]})
            case ["GET", "data", "projects", _, "prearchive_code"]:
                return text("0")
            case ["GET", "data", "projects", _, "subjects"]:
                return listing([{"ID": "S1", "label": session.subject} for session in self.flow.sessions()[:1]])
            case ["GET", "data", "projects", _, "experiments", label]:
                return self._experiment(label)
            case [_, "xapi", "direct-archive", _, _, label]:
                return self._direct(method, label)
            case [_, "data", "prearchive", "projects", *rest]:
                return self._prearchive(method, rest, query)
            case ["POST", "data", "services", "archive"]:
                return self._archive(query.get("src", "").rsplit("/", 1)[-1])
            case ["GET", "data", "experiments", identifier, "scans", *rest]:
                return self._scans(int(identifier.rpartition("E")[2]), identifier, rest)
        return _NOT_FOUND

    def _number(self, label: str) -> int | None:
        return next((i for i, session in enumerate(self.flow.sessions()) if session.label == label), None)

    def _experiment(self, label: str) -> Answer:
        number = self._number(label)
        if number is None or number not in self._archived:
            return _NOT_FOUND
        session = self.flow.sessions()[number]
        fields = {"ID": f"BENCH_E{number}", "label": label, "project": session.project, "subject_ID": "S1"}
        fields["UID"] = session.study
        item = {"meta": {"xsi:type": "xnat:ctSessionData"}, "data_fields": fields, "children": []}
        return document({"items": [item]})

    def _direct(self, method: str, label: str) -> Answer:
        number = self._number(label)
        if number is None or number in self._archived or not self.flow.sessions()[number].direct:
            return _NOT_FOUND
        if method == "POST":
            with self._lock:
                self._archived.add(number)
            return text("")
        return document({"status": "RECEIVING"})

    def _prearchive(self, method: str, rest: list[str], query: Mapping[str, str]) -> Answer:
        match rest:
            case [_]:
                return listing(self._rows())
            case [_, _, label] if method == "POST":
                if query.get("action") == "commit":
                    return self._archive(label)
                with self._lock:
                    self._built.add(self._number(label) or 0)
                return text("")
            case [_, _, label]:
                return listing([row for row in self._rows() if row["folderName"] == label])
            case [_, _, label, "scans", *deeper]:
                return self._scans(self._number(label) or 0, "", deeper)
        return _NOT_FOUND

    def _rows(self) -> list[dict[str, str]]:
        return [
            {
                "project": session.project, "timestamp": f"20240105_{number:09d}", "folderName": session.label,
                "name": session.label, "tag": session.study, "subject": session.subject,
                "status": "READY" if number in self._built else "RECEIVING",
            }
            for number, session in enumerate(self.flow.sessions())
            if not session.direct and number not in self._archived
        ]  # fmt: skip

    def _archive(self, label: str) -> Answer:
        number = self._number(label)
        if number is None:
            return _NOT_FOUND
        with self._lock:
            self._archived.add(number)
        session: Session = self.flow.sessions()[number]
        place = f"/data/archive/projects/{session.project}/subjects/{session.subject}/experiments/{label}"
        return text(place)

    def _series(self, number: int) -> tuple[Scans, dict[str, str]]:
        """What arrived for a session: by scan and instance, and the series of each scan."""
        with self._lock:
            key = (number, self.flow.counts().instances)
            if self._sorted[0] != key:
                series: Scans = defaultdict(dict)
                names: dict[str, str] = {}
                for record in self.flow.records():
                    if record.session == number:
                        series[record.number][record.instance] = record
                        names[record.number] = record.series
                self._sorted = (key, series, names)
            return self._sorted[1:]

    def _scans(self, number: int, identifier: str, rest: list[str]) -> Answer:
        series, names = self._series(number)
        match rest:
            case []:
                return listing([{"ID": scan, "UID": names[scan], "xsiType": "xnat:ctScanData"} for scan in series])
            case ["ALL", "files"]:
                return listing(
                    [row for scan, found in series.items() for row in _files(identifier, scan, list(found.values()))]
                )
            case [scan, "resources"]:
                return listing([{"label": "DICOM", "file_count": str(len(series[scan]))}])
            case [scan, "resources", "DICOM"] if scan in series:
                return 200, "text/xml", _catalog(list(series[scan]))
            case [scan, "resources", "DICOM", "files"]:
                return listing(_files(identifier, scan, list(series[scan].values())))
        return _NOT_FOUND


def _catalog(uids: list[str]) -> bytes:
    """A DICOM catalog (xnat-api 2.5)."""
    space = 'xmlns:cat="http://nrg.wustl.edu/catalog" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    entries = "".join(f'<cat:entry xsi:type="cat:dcmEntry" UID="{uid}" URI="{uid}.dcm"/>' for uid in uids)
    return (
        f'<?xml version="1.0"?><cat:DCMCatalog {space}><cat:entries>{entries}</cat:entries></cat:DCMCatalog>'.encode()
    )


def _files(identifier: str, scan: str, found: list[Record]) -> list[dict[str, str]]:
    place = f"/data/experiments/{identifier}/scans/{scan}/resources/1/files"
    return [
        {
            "Name": f"{record.instance}.dcm", "Size": str(record.size), "URI": f"{place}/{record.instance}.dcm",
            "collection": "DICOM", "file_tags": "", "file_format": "DICOM", "file_content": "RAW", "cat_ID": "1",
            "digest": "",
        }
        for record in found
    ]  # fmt: skip


def serve(site: Site, sock: socket.socket) -> None:
    connection = site.flow.connection(sock)
    try:
        while head := connection.next_head():
            method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            headers = headers_of(head)
            if "expect" in headers:
                connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = connection.read(int(headers.get("content-length", "0")))
            url = urlsplit(target)
            query = {key: values[-1] for key, values in parse_qs(url.query).items()}
            if "urlencoded" in headers.get("content-type", ""):
                query |= {key: values[-1] for key, values in parse_qs(body.decode()).items()}
            basic = headers.get("authorization", "").removeprefix("Basic ")
            user = b64decode(basic).decode().partition(":")[0] if basic else "bench"
            status, kind, content = site.answer(method, unquote(url.path), query, user)
            lines = [
                f"HTTP/1.1 {status} OK", f"Content-Type: {kind}", f"Content-Length: {len(content)}",
                "Set-Cookie: JSESSIONID=0123456789ABCDEF0123456789ABCDEF; Path=/; HttpOnly",
            ]  # fmt: skip
            if not connection.write("\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else content)):
                break
    except (OSError, ValueError):
        pass  # a client that went away
    finally:
        connection.close()


def control(flow: Any, reset: Any) -> None:
    """Answer the benchmark on standard input until it ends."""
    for line in sys.stdin:
        if line.strip() == "reset":
            reset()
        times = os.times()
        print(json.dumps({**asdict(flow.counts()), "cpu": times.user + times.system, "drain": flow.name}), flush=True)
    os._exit(0)


def listen(port: int) -> socket.socket:
    server = socket.create_server(("127.0.0.1", port), backlog=512)
    print("listening", server.getsockname()[1], flush=True)
    return server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0, help="MB a second, all connections together")
    parser.add_argument("--file-time", type=float, default=0, help="milliseconds for each file")
    parser.add_argument("--close-after", type=int, default=0, help="requests on one connection")
    parser.add_argument("--release", default="1.9.2")
    parser.add_argument("--python", action="store_true", help="without the C library")
    arguments = parser.parse_args()
    flow = drain(
        rate=arguments.rate * 1e6,
        delay=arguments.file_time / 1e3,
        close_after=arguments.close_after,
        python=arguments.python,
    )
    site = Site(flow, arguments.release)
    server = listen(arguments.port)
    threading.Thread(target=control, args=(flow, site.reset), daemon=True).start()
    while True:
        sock, _ = server.accept()
        threading.Thread(target=serve, args=(site, sock), daemon=True).start()


if __name__ == "__main__":
    main()
