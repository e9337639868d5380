"""The control API, `/sandbox/...`: what tests in other processes need; no XNAT has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

from werkzeug import Request, Response
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from xnatctl_sandbox.archive.stored_instances import stored_instances
from xnatctl_sandbox.faults.other_users import OtherUsers
from xnatctl_sandbox.faults.rules import Faults
from xnatctl_sandbox.http.responses import json_response, text_response
from xnatctl_sandbox.receive import anonymization
from xnatctl_sandbox.world.concurrency import Concurrency
from xnatctl_sandbox.world.state import State
from xnatctl_sandbox.world.switches import Switches
from xnatctl_sandbox.world.traffic import Traffic


class Control:
    """Handlers of the control API: `tick` runs the idle jobs once."""

    def __init__(
        self,
        state: State,
        switches: Switches,
        traffic: Traffic,
        concurrency: Concurrency,
        faults: Faults,
        dicom_faults: Faults,
        others: OtherUsers,
        tick: Callable[[], None],
    ) -> None:
        self._state = state
        self._switches = switches
        self._traffic = traffic
        self._concurrency = concurrency
        self._faults = faults
        self._dicom_faults = dicom_faults
        self._others = others
        self._tick = tick

    def answer(self, request: Request) -> Response:
        """Answer one control request."""
        match request.method, request.path.removeprefix("/sandbox/"):
            case "GET", "requests":
                return json_response(list(self._traffic.requests))
            case "GET", "instances":
                return json_response(stored_instances(self._state))
            case "GET", "associations":
                return json_response([asdict(association) for association in list(self._traffic.associations)])
            case "GET", "concurrency":
                return json_response(self._concurrency.read())
            case "POST", name:
                return self._change(name, request)
        return text_response("", 404)

    def _change(self, name: str, request: Request) -> Response:
        changes: dict[str, Callable[[], object]] = {
            "act": lambda: self._act(request.get_json()),
            "clock": lambda: self._state.clock.advance(float(request.args.get("advance", "0"))),
            "concurrency": self._concurrency.reset,
            "tick": self._tick,
            "faults": lambda: self._faults.load(_rules(request)),
            "dicom-faults": lambda: self._dicom_faults.load(_rules(request)),
            "switches": lambda: self._switch(request.get_json()),
            "site": lambda: self._configure(request.get_json()),
        }
        if name not in changes:
            return text_response("", 404)
        try:
            result = changes[name]()
        except UnsupportedMediaType:
            return text_response("Send JSON, with the header Content-Type: application/json.", 415)
        except BadRequest:
            return text_response("The body is not JSON.", 400)
        except ValueError as error:
            return text_response(str(error), 400)
        return json_response(result) if name == "act" else text_response("")

    def _act(self, values: Any) -> object:
        """Run one action of `OtherUsers`: `do` is its name, the rest are its arguments."""
        actions = self._others.actions()
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
        site = self._state.site
        if not isinstance(values, dict):
            raise ValueError("Send the settings as one JSON object, name to value.")  # noqa: TRY004 - a mistake of the script
        if unknown := set(values) - set(site):
            raise ValueError(f"Unknown setting {', '.join(sorted(unknown))}.")
        for name, value in values.items():
            if type(value) is not type(site[name]):
                raise ValueError(f"The setting {name} cannot be {value!r}: it has another type.")
        site.update(values)

    def _switch(self, values: Mapping[str, Any]) -> None:
        if not isinstance(values, dict):
            raise ValueError("Send the switches as one JSON object, name to value.")  # noqa: TRY004 - a mistake of the script
        known = {field.name for field in fields(self._switches)}
        if unknown := set(values) - known:
            raise ValueError(f"Unknown switch {', '.join(sorted(unknown))}.")
        scripts = values.get("project_scripts", {})
        if not isinstance(scripts, dict):
            raise ValueError("Send project_scripts as one JSON object, project to script.")  # noqa: TRY004 - the same
        for script in (values.get("site_script", {}), *scripts.values()):
            anonymization.check(script)
        for name, value in values.items():
            setattr(self._switches, name, set(value) if isinstance(value, list) else value)


def _rules(request: Request) -> list[Mapping[str, Any]]:
    rules = request.get_json()
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise ValueError("Send the rules as a JSON list of objects.")
    return rules
