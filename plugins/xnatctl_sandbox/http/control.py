"""`/sandbox/...`: what tests of other processes need; no XNAT has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from werkzeug import Request, Response
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from xnatctl_sandbox.http.responses import answer_json, text
from xnatctl_sandbox.receive import anonymization

if TYPE_CHECKING:
    from xnatctl_sandbox.server import Sandbox


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
        changes: dict[str, Callable[[], object]] = {
            "act": lambda: self._act(request.get_json()),
            "clock": lambda: sandbox.advance_clock(float(request.args.get("advance", "0"))),
            "tick": sandbox.tick,
            "faults": lambda: sandbox.faults.load(_rules(request)),
            "dicom-faults": lambda: sandbox.dicom_faults.load(_rules(request)),
            "switches": lambda: self._switch(request.get_json()),
            "site": lambda: self._configure(request.get_json()),
        }
        if name not in changes:
            return text("", 404)
        try:
            result = changes[name]()
        except UnsupportedMediaType:
            return text("Send JSON, with the header Content-Type: application/json.", 415)
        except BadRequest:
            return text("The body is not JSON.", 400)
        except ValueError as error:
            return text(str(error), 400)
        return answer_json(result) if name == "act" else text("")

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

    def _configure(self, values: Any) -> None:
        """Change the site's settings, such as `checksums`."""
        site = self._sandbox.state.site
        if not isinstance(values, dict):
            raise ValueError("Settings are one JSON object: name to value.")  # noqa: TRY004 - a mistake of the script
        if unknown := set(values) - set(site):
            raise ValueError(f"The site has no setting {', '.join(sorted(unknown))}.")
        for name, value in values.items():
            if type(value) is not type(site[name]):
                raise ValueError(f"The setting {name} is of another kind than {value!r}.")
        site.update(values)

    def _switch(self, values: Mapping[str, Any]) -> None:
        if not isinstance(values, dict):
            raise ValueError("Switches are one JSON object: name to value.")  # noqa: TRY004 - a mistake of the script
        known = {field.name for field in fields(self._sandbox.switches)}
        if unknown := set(values) - known:
            raise ValueError(f"There is no switch {', '.join(sorted(unknown))}.")
        scripts = values.get("project_scripts", {})
        if not isinstance(scripts, dict):
            raise ValueError("project_scripts is one object: project to script.")  # noqa: TRY004 - the same
        for script in (values.get("site_script", {}), *scripts.values()):
            anonymization.check(script)
        for name, value in values.items():
            setattr(self._sandbox.switches, name, set(value) if isinstance(value, list) else value)


def _rules(request: Request) -> list[Mapping[str, Any]]:
    rules = request.get_json()
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise ValueError("Rules are a JSON list of objects.")
    return rules
