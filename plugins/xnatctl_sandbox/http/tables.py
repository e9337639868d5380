"""Tables of listings: every cell is text; sorting, paging and filters come from the query (xnat-api 2.1)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape as escape_xml

from werkzeug import Response

from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.http.responses import json_response, text_response
from xnatctl_sandbox.world.errors import StatusError

#: Columns of numbers and dates, whose filters may be ranges.
_RANGED = frozenset({"date", "insert_date", "last_modified", "frames", "xnat_imagescandata_id"})
_RANGE = re.compile(r"(\d[\d/.]*)-(\d[\d/.]*)")


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
            return text_response(out.getvalue(), content_type="text/csv")
        case "xml":
            lines = "".join(
                "<row>" + "".join(f"<cell>{escape_xml(row[key])}</cell>" for key in shown) + "</row>" for row in cells
            )
            head = "".join(f"<column>{escape_xml(key)}</column>" for key in shown)
            body = f"<ResultSet><results><columns>{head}</columns><rows>{lines}</rows></results></ResultSet>"
            return text_response(body, content_type="text/xml")
        case "html":
            return text_response("<html><body><table></table></body></html>", content_type="text/html")
    result: dict[str, Any] = {"Columns": list(keys)} if keys else {}
    result["Result"] = cells
    if total and page is None:
        result["totalRecords"] = str(len(cells))
    if title:
        result["title"] = title
    return json_response({"ResultSet": result})


def cell(value: Any) -> str:
    """A value as a table prints it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _sorted(call: Call, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Sort by `sortBy`, which may have several names separated by commas."""
    names = {column.lower(): column for column in rows[0]} if rows else {}
    by = [names[name.strip().lower()] for name in call.query("sortBy").split(",") if name.strip().lower() in names]
    if not by:
        return rows
    return sorted(rows, key=lambda row: [row[name] for name in by], reverse=call.query("sortOrder").upper() == "DESC")


def _page(call: Call) -> slice | None:
    """The page of limit and offset, which have defaults when one is given; `*` turns paging off."""
    if not {"limit", "offset"} & set(call.request.args):
        return None
    limit, offset = call.query("limit", "100"), call.query("offset", "0")
    if "*" in (limit, offset):
        return None
    if not (limit.isdecimal() and offset.isdecimal()):
        raise StatusError(400, "limit and offset must be numbers")
    return slice(int(offset), int(offset) + int(limit))


def matches(row: Mapping[str, Any], filters: Mapping[str, str]) -> bool:
    """True when a row passes all filters: a comma is OR, `*` and `%` are wildcards, `a-b` is a range (2.1)."""
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
    """A number, or a date (MM/DD/YYYY or YYYY-MM-DD) as the number YYYYMMDD; None for other text."""
    if american := re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", text):
        return float(f"{american[3]}{american[1]:0>2}{american[2]:0>2}")
    if iso := re.match(r"(\d{4})-(\d{2})-(\d{2})(?!\d)", text):
        return float(iso[1] + iso[2] + iso[3])
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None
