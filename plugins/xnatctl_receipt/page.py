"""The receipt as one HTML page, which holds the receipt itself and needs nothing else.

The page is well-formed XML as well. Its last line has the SHA-256 of all bytes before it, so that a change of what
people read is found like a change of the data.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, Final

from xnatctl.api import human_size
from xnatctl_receipt.picture import picture_of

_BEGIN: Final = b'<script type="application/json" id="receipt">\n'
_END: Final = b"</script>\n"
_SUM: Final = re.compile(rb"<!-- SHA-256 of all lines above: ([0-9a-f]{64}) -->\n\Z")
#: Rows of a table; the data of the page have all.
_LISTED: Final = 100

_STATUS: Final = {
    "complete": "Complete",
    "partial": "Not complete",
    "failed": "Failed",
    "interrupted": "Interrupted",
}
_STATES: Final = {
    "archived": "in the archive",
    "prearchive": "in the prearchive",
    "receiver": "accepted by the receiver",
    "unknown": "not known",
}
_LEVELS: Final = {
    "none": "not verified",
    "counted": "number of files",
    "uid": "SOP Instance UID",
    "size": "SOP Instance UID and size",
    "checksum": "MD5 of the stored file",
}


def page_of(receipt: bytes, header: Mapping[str, Any], troubles: Sequence[Mapping[str, Any]], head: str) -> bytes:
    """The page of a receipt; `troubles` are the entries of files that did not arrive."""
    style = files("xnatctl_receipt").joinpath("page.css").read_text(encoding="utf-8")
    lines = "\n".join(_lines(header, troubles, head, style))
    above = lines.encode("ascii", "xmlcharrefreplace") + b"\n" + _BEGIN + receipt + _END + b"</body>\n</html>\n"
    return above + b"<!-- SHA-256 of all lines above: %s -->\n" % hashlib.sha256(above).hexdigest().encode()


def embedded(page: bytes) -> tuple[bytes | None, list[str]]:
    """The receipt in a page, or None; and what was changed in the page."""
    problems = []
    stated = _SUM.search(page)
    if stated is None:
        problems.append("The last line of the page is not that of a receipt: something was added or cut off.")
    elif hashlib.sha256(page[: stated.start()]).hexdigest().encode() != stated[1]:
        problems.append("The page was changed: its SHA-256 is not that of its last line.")
    _, begin, rest = page.partition(_BEGIN)
    text, end, _ = rest.partition(_END)
    if not begin or not end:
        return None, [*problems, "The page does not hold the data of a receipt."]
    return text, problems


def _lines(header: Mapping[str, Any], troubles: Sequence[Mapping[str, Any]], head: str, style: str) -> Iterator[str]:
    where, status = header["destination"], str(header["status"])
    title = f"Receipt: {where['session'] or header['asked']['resource'] or where['server']}"
    yield "<!DOCTYPE html>"
    yield '<html lang="en">'
    yield '<head><meta charset="utf-8" />'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1" />'
    yield f"<title>{_text(title)}</title>"
    yield f"<style>\n{style}</style>"
    yield "</head>"
    yield "<body>"
    yield f"<header><h1>{_text(title)}</h1>"
    yield f'<p class="status {_text(status)}"><strong>{_text(_STATUS.get(status, status))}.</strong>'
    yield f"{_sentence(header)}</p>"
    yield "</header>"
    yield "<main>"
    yield from _facts(header)
    yield from _series(header)
    yield from _resources(header)
    yield from _troubles(troubles)
    yield from _differences(header)
    yield from _skipped(header)
    yield from _check(head)
    yield "</main>"


def _sentence(header: Mapping[str, Any]) -> str:
    """What happened, in one sentence."""
    counts, verification = header["counts"], header["verification"]
    delivered = counts["sent"] + counts["skipped"]
    number = delivered if verification["ok"] is None else counts["verified"]
    verb = "delivered; the server was not compared" if verification["ok"] is None else "found on the server"
    text = f"{number:,} of {counts['found']:,} files {verb}."
    if header["status"] != "complete":
        text += " This is no proof that the upload is complete."
    return text


def _facts(header: Mapping[str, Any]) -> Iterator[str]:
    where, verification, counts = header["destination"], header["verification"], header["counts"]
    parts = [where["project"], where["subject"], where["session"]]
    version = f"xnatctl {header['xnatctl']}"
    others = sorted({f"{p['distribution']} {p['version']}".strip() for p in header["plugins"]} - {version})
    rows = [
        ("Server", where["server"] or "-"),
        ("Destination", " / ".join(filter(None, [*parts, header["asked"]["resource"]])) or "-"),
        ("State", _STATES.get(str(where["state"]), str(where["state"]))),
        ("Address", where["uri"] or "-"),
        ("User", header["user"] or "no login"),
        ("Time", f"{_time(header['started'])} to {_time(header['ended'])}"),
        ("Program", ", ".join([version, *others])),
        ("Sent by", f"{header['command']}, transport {header['transport'] or '-'}"),
        (
            "Files",
            f"{counts['sent']} sent, {counts['skipped']} delivered by earlier runs, {counts['failed']} not delivered"
            + (f" (not readable: {header['not_readable']})" if header["not_readable"] else ""),
        ),
        (
            "Compared by",
            _LEVELS.get(str(verification["level"]), "-") if verification["ok"] is not None else "not compared",
        ),
    ]
    if header["error"] is not None:
        rows.append(
            ("Error", f"{header['error'].get('message') or header['error']['code']} (exit code {header['exit_code']})")
        )
    rows += [
        ("Earlier run", f"{_time(run['started'])} to {_time(run['ended'])}, {run['status']}, head {run['head'][:16]}")
        for run in header["earlier"]
    ]
    yield "<section><h2>What was sent where</h2>"
    yield '<dl class="facts">'
    for name, value in rows:
        link = _link(where) if name == "Address" else None
        shown = f'<a href="{_text(link)}">{_text(value)}</a>' if link else _text(value)
        yield f"<div><dt>{_text(name)}</dt><dd>{shown}</dd></div>"
    yield "</dl></section>"


def _link(where: Mapping[str, Any]) -> str | None:
    """The server's page about an archived session; None for what has no page."""
    server, uri = str(where["server"]), str(where["uri"] or "")
    if not server.startswith(("http://", "https://")) or not uri.startswith("/data/experiments/"):
        return None
    return f"{server}{uri}?format=html"


def _series(header: Mapping[str, Any]) -> Iterator[str]:
    """A picture and a table of the series."""
    if not header["series"] and not header["not_readable"]:
        return
    rows: dict[str, dict[str, Any]] = {}
    for entry in header["series"]:
        row = rows.setdefault(entry["series_instance_uid"], {**entry, "expected": 0, "found": 0, "bytes": 0})
        for name in ("expected", "found", "bytes"):
            row[name] += entry[name]
    compared = header["verification"]["ok"] is not None
    arrived = "found on the server" if compared else "accepted, not compared"
    yield f"<section><h2>Series: expected on disk, {arrived}</h2>"
    if not compared:
        yield "<p>The server was not compared. Grey bars are files that it accepted.</p>"
    listed = list(rows.values())[:_LISTED]
    yield picture_of(listed, compared=compared, not_readable=header["not_readable"])
    yield '<div class="wide"><table><thead><tr><th>Series</th><th>Modality</th><th>Series Instance UID</th>'
    yield f'<th class="number">Expected</th><th class="number">{"Found" if compared else "Accepted, not compared"}</th>'
    yield '<th class="number size">Size</th></tr></thead>'
    yield "<tbody>"
    for row in listed:
        kind = "" if row["found"] == row["expected"] else ' class="less"'
        yield (
            f"<tr{kind}><td>{_text(row['series_number'])}</td><td>{_text(row['modality'])}</td>"
            f'<td class="uid">{_text(row["series_instance_uid"])}</td><td class="number">{row["expected"]}</td>'
            f'<td class="number">{row["found"]}</td><td class="number size">{_text(human_size(row["bytes"]))}</td></tr>'
        )
    if header["not_readable"]:
        yield f'<tr class="less"><td colspan="6">not readable: {header["not_readable"]}</td></tr>'
    yield "</tbody></table></div>"
    yield _rest(len(rows))
    yield "</section>"


def _resources(header: Mapping[str, Any]) -> Iterator[str]:
    if not header["resources"]:
        return
    yield "<section><h2>Resources</h2><ul>"
    for resource in header["resources"]:
        verification = resource["verification"]
        number = len(verification["differences"])
        said = {None: "not compared", True: "as on disk", False: f"{number:,} differences"}[verification["ok"]]
        yield f"<li>{_text(resource['title'])}: {said}</li>"
    yield "</ul></section>"


def _troubles(troubles: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The files that did not arrive."""
    if not troubles:
        return
    yield "<section><h2>Files that are not on the server</h2>"
    yield '<div class="wide"><table><thead><tr><th>Entry</th><th>File</th><th>Outcome</th><th>Reason</th></tr></thead>'
    yield "<tbody>"
    for entry in troubles[:_LISTED]:
        yield (
            f'<tr class="less"><td>{entry["n"]}</td><td class="uid">{_text(_name(entry))}</td>'
            f"<td>{_text(entry['outcome'])}</td><td>{_text(entry.get('reason', ''))}</td></tr>"
        )
    yield "</tbody></table></div>"
    yield _rest(len(troubles))
    if any(_name(entry) == "-" for entry in troubles[:_LISTED]):
        yield "<p>Run with <code>--receipt-paths</code> to name files.</p>"
    yield "</section>"


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("path") or entry.get("sop_instance_uid") or entry.get("resource") or "-")


def _differences(header: Mapping[str, Any]) -> Iterator[str]:
    """What the server holds and the disk does not, and differences that concern no single file."""
    verification = header["verification"]
    general = [entry for entry in verification["differences"] if "sop_instance_uid" not in entry]
    for title, found in (("Differences", general), ("Added by others: only on the server", verification["extra"])):
        if not found:
            continue
        yield f"<section><h2>{title}</h2><ul>"
        for entry in found[:_LISTED]:
            uid = entry.get("sop_instance_uid") or entry.get("series_instance_uid") or ""
            counts = [f"{name} {entry[name]}" for name in ("expected", "found") if name in entry]
            yield f'<li>{_text(entry["kind"])} <span class="uid">{_text(uid)}</span> {_text(", ".join(counts))}</li>'
        yield "</ul>"
        yield _rest(len(found))
        yield "</section>"


def _skipped(header: Mapping[str, Any]) -> Iterator[str]:
    if not header["skipped"]:
        return
    yield "<section><h2>Skipped on disk</h2><ul>"
    for entry in header["skipped"]:
        yield f"<li>{entry['files']} x {_text(entry['reason'])}</li>"
    yield "</ul></section>"


def _check(head: str) -> Iterator[str]:
    yield "<section><h2>Check this receipt</h2>"
    yield "<p>This page holds the receipt as data. <code>xnatctl receipt verify FILE [PATH]</code> finds every change"
    yield "of it, and compares it with the disk and the server. Without a signature, somebody who changes it on"
    yield "purpose can also compute its hashes anew: compare the head with one that you kept elsewhere.</p>"
    yield f'<p>Head: <code class="uid">{head}</code></p></section>'


def _rest(number: int) -> str:
    return f"<p>And {number - _LISTED} more, in the data of this page.</p>" if number > _LISTED else ""


def _text(value: object) -> str:
    """A text for HTML; characters that XML forbids, such as bytes of a file name, are replaced."""
    return escape("".join(letter if _allowed(letter) else "\ufffd" for letter in str(value)))


def _allowed(letter: str) -> bool:
    return (
        letter in "\t\n"
        or " " <= letter < "\x7f"
        or "\xa0" <= letter < "\ud800"
        or "\ue000" <= letter <= "\ufffd"
        or letter > "\uffff"
    )


def _time(moment: str) -> str:
    """With its zone, because a page is read elsewhere."""
    return moment.replace("T", " ", 1)
