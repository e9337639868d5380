"""Answers as XNAT gives them: status pages with the reason in `<h3>`, uri-lists, tables whose cells are all text."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus
from typing import Any
from xml.sax.saxutils import escape as escape_xml

from werkzeug import Request, Response

from xnatctl_sandbox.world.state import State

#: Columns of numbers and dates, whose filters may be ranges.
_RANGED = frozenset({"date", "insert_date", "last_modified", "frames", "xnat_imagescandata_id"})
_RANGE = re.compile(r"(\d[\d/.]*)-(\d[\d/.]*)")


_MEDIA = {
    "application/json": "json",
    "text/csv": "csv",
    "text/xml": "xml",
    "application/xml": "xml",
    "text/html": "html",
}


class StatusError(Exception):
    """Ends a request with Restlet's status page (xnat-api 0.6)."""

    def __init__(self, status: int, description: str = "") -> None:
        super().__init__(description)
        self.status = status
        self.description = description


@dataclass
class Call:
    """One request on its way: who asks, the named parts of the route, and what follows it (still encoded)."""

    state: State
    request: Request
    login: str | None
    parts: dict[str, str] = field(default_factory=dict)
    rest: str = ""
    fault: Mapping[str, Any] | None = None  # a scripted fault of what is stored
    messages: dict[str, list[dict[str, object]]] = field(default_factory=dict)  # status lists of the HTTP session

    @property
    def method(self) -> str:
        """GET, PUT, POST, DELETE or HEAD."""
        return self.request.method

    def query(self, name: str, default: str = "") -> str:
        """A query parameter: case-sensitive, the last one wins (xnat-import 1.2)."""
        values = self.request.args.getlist(name)
        return escape_parameter(values[-1]) if values else default

    def format(self, default: str) -> str:
        """What is asked for: `format`, which overrides Accept; without either the first variant wins (2.1)."""
        asked = (
            self.query("format") or self.request.headers.get("Accept", "").partition(",")[0].partition(";")[0].strip()
        )
        return _MEDIA.get(asked, asked if "format" in self.request.args else default)

    def flag(self, name: str) -> bool:
        """True for any value but `false` and `0`, the empty one included (xnat-api 0.9)."""
        values = self.request.args.getlist(name)
        return bool(values) and is_true(values[-1])

    def parameters(self) -> dict[str, list[str]]:
        """Form fields, then the query, which overrides; or a JSON body (xnat-import 6.3)."""
        found: dict[str, list[str]] = {}
        if self.request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data"):
            for key in self.request.form:
                found[key] = self.request.form.getlist(key)
        elif self.request.mimetype == "application/json" and (body := self.request.get_data()).strip():
            document = json.loads(body)
            found.update({str(key): [str(value)] for key, value in document.items()})
        for key in self.request.args:
            found[key] = self.request.args.getlist(key)
        return found


def is_true(value: str) -> bool:
    """Anything but `false` and `0`, the empty value included (xnat-api 0.9)."""
    return value.lower() not in ("false", "0")


def escape_parameter(value: str) -> str:
    """What `escapeXml11` makes of a parameter (xnat-import 1.2)."""
    return escape(value, quote=True).replace("&#x27;", "&apos;")


def status_page(status: int, description: str = "") -> Response:
    """Restlet's page: no JSON, the reason in `<h3>` (xnat-api 0.6)."""
    text = description or HTTPStatus(status).phrase
    body = (
        "<html>\n<head>\n   <title>Status page</title>\n</head>\n<body>\n"
        f"<h3>{escape(text, quote=False)}</h3><p>You can get technical details "
        '<a href="http://www.w3.org/Protocols/rfc2616/rfc2616-sec10.html">here</a>.<br>\nPlease continue your visit '
        'at our <a href="/">home page</a>.\n</p>\n</body>\n</html>\n'
    )
    return Response(body, status, content_type="text/html; charset=UTF-8")


def text(body: str, status: int = 200, content_type: str = "text/plain") -> Response:
    """A plain answer."""
    return Response(body, status, content_type=content_type)


def uri_list(uris: Iterable[str]) -> Response:
    """One URI per line, each line ended by CRLF (xnat-import 2)."""
    return text("".join(f"{uri}\r\n" for uri in uris), content_type="text/uri-list")


def answer_json(document: Any, status: int = 200) -> Response:
    """JSON without a charset parameter (xnat-api 2.1)."""
    response = Response(json.dumps(document), status)
    response.headers["Content-Type"] = "application/json"
    return response


def table(
    call: Call,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    *,
    title: str = "",
    total: bool = True,
    paged: bool = False,
    keys: Sequence[Mapping[str, str]] = (),
) -> Response:
    """A listing by `format`; every cell is text, null is empty (xnat-api 2.1).

    `paged` obeys limit and offset, `keys` go into `Columns`.
    """
    cells = _sorted(call, [{column: cell(row.get(column)) for column in columns} for row in rows])
    page = _page(call) if paged else None
    if page is not None:
        cells = cells[page]
    shown = list(columns)
    match call.format("json"):
        case "csv":
            out = io.StringIO()
            writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
            writer.writerow(shown)
            writer.writerows([row[key] for key in shown] for row in cells)
            return text(out.getvalue(), content_type="text/csv")
        case "xml":
            lines = "".join(
                "<row>" + "".join(f"<cell>{escape_xml(row[key])}</cell>" for key in shown) + "</row>" for row in cells
            )
            head = "".join(f"<column>{escape_xml(key)}</column>" for key in shown)
            body = f"<ResultSet><results><columns>{head}</columns><rows>{lines}</rows></results></ResultSet>"
            return text(body, content_type="text/xml")
        case "html":
            return text("<html><body><table></table></body></html>", content_type="text/html")
    result: dict[str, Any] = {"Columns": list(keys)} if keys else {}
    result["Result"] = cells
    if total and page is None:
        result["totalRecords"] = str(len(cells))
    if title:
        result["title"] = title
    return answer_json({"ResultSet": result})


def cell(value: Any) -> str:
    """A value as a table prints it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _sorted(call: Call, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """By `sortBy`, several names with commas."""
    names = {column.lower(): column for column in rows[0]} if rows else {}
    by = [names[name.strip().lower()] for name in call.query("sortBy").split(",") if name.strip().lower() in names]
    if not by:
        return rows
    return sorted(rows, key=lambda row: [row[name] for name in by], reverse=call.query("sortOrder").upper() == "DESC")


def _page(call: Call) -> slice | None:
    """One of limit and offset brings the other's default along; `*` turns paging off."""
    if not {"limit", "offset"} & set(call.request.args):
        return None
    limit, offset = call.query("limit", "100"), call.query("offset", "0")
    if "*" in (limit, offset):
        return None
    if not (limit.isdecimal() and offset.isdecimal()):
        raise StatusError(400, "limit and offset must be numbers")
    return slice(int(offset), int(offset) + int(limit))


def matches(row: Mapping[str, Any], filters: Mapping[str, str]) -> bool:
    """Filters of a query by shortcut: comma = OR, `*` and `%` = LIKE, `a-b` a range of numbers or dates (2.1)."""
    return all(
        any(_one_of(cell(row[name]), wanted, ranges=name in _RANGED) for wanted in text.split(","))
        for name, text in filters.items()
    )


def _one_of(value: str, wanted: str, *, ranges: bool) -> bool:
    if "*" in wanted or "%" in wanted:
        pattern = "".join(".*" if part in "*%" else re.escape(part) for part in re.split(r"([*%])", wanted) if part)
        return re.fullmatch(pattern, value, re.IGNORECASE) is not None
    span = _RANGE.fullmatch(wanted) if ranges else None
    if span is None:
        return value == wanted
    low, number, high = _number(span[1]), _number(value), _number(span[2])
    return None not in (low, number, high) and low <= number <= high  # type: ignore[operator]


def _number(text: str) -> float | None:
    """A number; of a date, MM/DD/YYYY or YYYY-MM-DD and perhaps a time, its digits in order."""
    if american := re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", text):
        return float(f"{american[3]}{american[1]:0>2}{american[2]:0>2}")
    if iso := re.match(r"(\d{4})-(\d{2})-(\d{2})(?!\d)", text):
        return float(iso[1] + iso[2] + iso[3])
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None
