"""`/sandbox/...`: what tests of other processes need; no XNAT has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from werkzeug import Request, Response
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from . import anonymising
from .answers import answer_json, text

if TYPE_CHECKING:
    from .server import Sandbox


class Control:
    """Requests, associations, instances, clock, faults and switches over HTTP."""

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
            case "GET", "associations":
                return answer_json([asdict(association) for association in list(sandbox.associations)])
            case "POST", name:
                return self._change(name, request)
        return text("", 404)

    def _change(self, name: str, request: Request) -> Response:
        sandbox = self._sandbox
        try:
            match name:
                case "act":
                    return answer_json(self._act(request.get_json()))
                case "clock":
                    sandbox.advance_clock(float(request.args.get("advance", "0")))
                case "tick":
                    sandbox.tick()
                case "faults":
                    sandbox.faults.load(_rules(request))
                case "dicom-faults":
                    sandbox.dicom_faults.load(_rules(request))
                case "switches":
                    self._switch(request.get_json())
                case _:
                    return text("", 404)
        except UnsupportedMediaType:
            return text("Send JSON, with the header Content-Type: application/json.", 415)
        except BadRequest:
            return text("The body is not JSON.", 400)
        except ValueError as error:
            return text(str(error), 400)
        return text("")

    def _act(self, values: Any) -> object:
        """One action of `Others`: `do` is its name, the rest are its arguments."""
        actions = self._sandbox.others.actions()
        if not isinstance(values, dict) or values.get("do") not in actions:
            raise ValueError(f'Send a JSON object whose "do" is one of {", ".join(sorted(actions))}.')
        arguments = {name: value for name, value in values.items() if name != "do"}
        try:
            return actions[values["do"]](**arguments)
        except TypeError as error:
            raise ValueError(str(error)) from None
        except OSError as error:
            raise ValueError(f"{error.filename}: {error.strerror}") from None

    def _switch(self, values: Mapping[str, Any]) -> None:
        if not isinstance(values, dict):
            raise ValueError("Switches are one JSON object: name to value.")  # noqa: TRY004 - a mistake of the script
        known = {field.name for field in fields(self._sandbox.switches)}
        if unknown := set(values) - known:
            raise ValueError(f"There is no switch {', '.join(sorted(unknown))}.")
        for script in (values.get("site_script", {}), *values.get("project_scripts", {}).values()):
            anonymising.check(script)
        for name, value in values.items():
            setattr(self._sandbox.switches, name, set(value) if isinstance(value, list) else value)


def _rules(request: Request) -> list[Mapping[str, Any]]:
    rules = request.get_json()
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise ValueError("Rules are a JSON list of objects.")
    return rules
