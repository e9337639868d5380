"""Finding routes as Restlet does: by prefix, the longest wins, the rest of the path goes to the handler.

See xnat-api 0.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from werkzeug import Response

from xnatctl_sandbox.http.call import Call

Handler = Callable[[Call], Response]


@dataclass(frozen=True)
class Route:
    """`pattern` such as `/projects/{project}`; `methods` that are allowed, None = all."""

    pattern: str
    handler: Handler
    methods: tuple[str, ...] | None = None

    @property
    def pieces(self) -> list[str]:
        """The segments."""
        return [piece for piece in self.pattern.split("/") if piece]


class Router:
    """Routes of one servlet. `exact` turns prefix matching off, as Spring has it for `/xapi`."""

    def __init__(self, routes: list[Route], *, exact: bool = False) -> None:
        self._routes = sorted(routes, key=lambda route: -len(route.pieces))
        self._exact = exact

    def find(self, raw_path: str) -> tuple[Route, dict[str, str], str] | None:
        """(route, named parts, rest); the rest is still percent-encoded."""
        segments = [piece for piece in raw_path.split("/") if piece]
        best: tuple[int, Route, dict[str, str], str] | None = None
        for route in self._routes:
            parts = _match(route.pieces, segments)
            if parts is None or (self._exact and len(segments) != len(route.pieces)):
                continue
            literal = sum(not piece.startswith("{") for piece in route.pieces)
            if best is None or (len(route.pieces), literal) > (len(best[1].pieces), best[0]):
                rest = "/".join(segments[len(route.pieces) :])
                if rest and raw_path.endswith("/"):
                    rest += "/"
                best = (literal, route, parts, rest)
        return None if best is None else best[1:]


def _match(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(segments) < len(pattern):
        return None
    parts = {}
    for expected, found in zip(pattern, segments, strict=False):
        if expected.startswith("{"):
            parts[expected[1:-1]] = unquote(found)
        elif expected != found:
            return None
    return parts
