"""`/sandbox/...`: what tests of other processes need; no XNAT has it."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from werkzeug import Request, Response

from .answers import answer_json, text

if TYPE_CHECKING:
    from .server import Sandbox


class Control:
    """Requests, instances, clock, faults and switches over HTTP."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def answer(self, request: Request) -> Response:
        """One control request."""
        sandbox = self._sandbox
        match request.method, request.path.removeprefix("/sandbox/"):
            case "GET", "requests":
                return answer_json(list(sandbox.requests))
            case "GET", "instances":
                return answer_json(sandbox.instances())
            case "POST", "clock":
                sandbox.advance_clock(float(request.args.get("advance", "0")))
            case "POST", "tick":
                sandbox.tick()
            case "POST", "faults":
                sandbox.faults.load(request.get_json())
            case "POST", "switches":
                known = {field.name for field in fields(sandbox.switches)}
                for name, value in request.get_json().items():
                    if name not in known:
                        return text(f"There is no switch {name}.", 400)
                    setattr(sandbox.switches, name, set(value) if isinstance(value, list) else value)
            case _:
                return text("", 404)
        return text("")
