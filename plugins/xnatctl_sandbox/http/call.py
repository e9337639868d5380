"""One request to the REST API, with its parameters as XNAT reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from werkzeug import Request

from xnatctl_sandbox.world.tracking import StatusLists

_MEDIA = {
    "application/json": "json",
    "text/csv": "csv",
    "text/xml": "xml",
    "application/xml": "xml",
    "text/html": "html",
}


@dataclass
class Call:
    """One request: the caller, the named parts of the route, and the rest of the path (still percent-encoded)."""

    request: Request
    login: str | None
    parts: dict[str, str] = field(default_factory=dict)
    rest: str = ""
    fault: Mapping[str, Any] | None = None  # a scripted fault in what is stored
    status_lists: StatusLists = field(default_factory=dict)  # of the HTTP session

    @property
    def method(self) -> str:
        """GET, PUT, POST, DELETE or HEAD."""
        return self.request.method

    def query(self, name: str, default: str = "") -> str:
        """A query parameter: case-sensitive, the last one wins (xnat-import 1.2)."""
        values = self.request.args.getlist(name)
        return escape_parameter(values[-1]) if values else default

    def format(self, default: str) -> str:
        """The requested format: `format` overrides Accept; without either the default wins (xnat-api 2.1)."""
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
