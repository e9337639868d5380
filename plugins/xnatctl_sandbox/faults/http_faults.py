"""Faults of HTTP requests: the actions, and what each does to a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from werkzeug import Request, Response

from xnatctl_sandbox.faults import responses

#: Actions that carry out the request first.
AFTER = frozenset({"store-then-cut", "store-then-status"})
#: Faults in what a PUT or an import stores; the answer may still be a success (xnat-api 4.4, 4.7).
STORING = frozenset({"catalog-conflict", "lose-file", "truncate-file"})
_PAGE = frozenset({"status", "page", "text", "headers", "read"})
#: The actions on an HTTP request, with the fields of each.
ACTIONS: Mapping[str, frozenset[str]] = {
    "delay": frozenset({"seconds"}),
    "cut-before-body": frozenset(),
    "cut-at-byte": frozenset({"bytes", "reset"}),
    "rst": frozenset(),
    "hold": frozenset({"seconds"}),
    "redirect": frozenset({"status", "location"}),
    "expire-session": frozenset({"login"}),
    "status": _PAGE,
    "store-then-status": _PAGE,
    "store-then-cut": frozenset(),
    "catalog-conflict": frozenset(),
    "lose-file": frozenset({"members"}),
    "truncate-file": frozenset({"members", "bytes"}),
    "echo": frozenset({"status", "where"}),
    "flood": frozenset({"status", "type", "head", "unit", "count", "tail"}),
}
#: What a rule can match of an HTTP request.
NAMES = frozenset({"method", "path", "query"})


class Cut(Exception):
    """Ends the connection of a request without an answer; with `reset` by RST."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


def describe(request: Request) -> dict[str, str]:
    """The values that rules are matched against."""
    return {"method": request.method, "path": request.path, "query": request.query_string.decode()}


def before(rule: Mapping[str, Any], request: Request) -> Response | None:
    """Carry out a rule before the request; returns the response instead of it, None lets it go on. Raises Cut."""
    action = rule["action"]
    if action == "delay":
        rule["_over"].wait(float(rule.get("seconds", 1)))
        return None
    if action in AFTER | STORING:
        return None
    if action == "cut-before-body":
        raise Cut
    if action == "rst":
        raise Cut(reset=True)
    if action == "cut-at-byte":
        left = int(rule.get("bytes", 0))
        while left > 0 and (piece := request.stream.read(min(left, 65536))):
            left -= len(piece)
        raise Cut(reset=bool(rule.get("reset")))
    if action == "hold":
        rule["_over"].wait(float(rule.get("seconds", 60)))
        raise Cut
    return responses.answer(rule, request)
