"""The parameter `dest` of an import, which stands for several others (xnat-import 1.5)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.state import State

_NAMES = {"projects": "PROJECT_ID", "subjects": "SUBJECT_ID", "experiments": "EXPT_LABEL"}
_TRIPLE = ("PROJECT_ID", "PREARC_TIMESTAMP", "PREARC_SESSION_FOLDER")


def expand(parameters: Mapping[str, str], state: State) -> dict[str, str]:
    """Add the parameters that `dest` stands for; it forces a commit. Raises StatusError 400."""
    dest = parameters.get("dest")
    if dest is None:
        return dict(parameters)
    pieces = re.sub(r"^/(data|REST)(?=/)", "", dest).strip("/").split("/")
    filled = {**parameters, "action": "commit"}
    if pieces[0] == "archive" and len(pieces) % 2 == 1 and all(piece in _NAMES for piece in pieces[1::2]):
        named = {_NAMES[key]: value for key, value in zip(pieces[1::2], pieces[2::2], strict=True)}
        return {**filled, "AA": "true", **_existing(named, state)}
    if pieces[0] == "prearchive" and len(pieces) <= 5 and pieces[1:2] in ([], ["projects"]):
        return {**filled, "AA": "false", **dict(zip(_TRIPLE, pieces[2:], strict=False))}
    raise StatusError(400, "Parameter dest format error")


def _existing(named: dict[str, str], state: State) -> dict[str, str]:
    """Replace an ID or label of an existing session by its own label and project."""
    project = state.find_project(named.get("PROJECT_ID"))
    found = state.find_experiment(project.id if project else None, named.get("EXPT_LABEL", ""))
    if found is None:
        return named
    return {"PROJECT_ID": found.project, **named, "EXPT_LABEL": found.label}


def expand_project(parameters: Mapping[str, str], state: State) -> dict[str, str]:
    """Add the project that `dest` names: gradual-DICOM takes nothing else from it."""
    if "dest" not in parameters or parameters.get("PROJECT_ID"):
        return dict(parameters)
    project = expand(parameters, state).get("PROJECT_ID")
    return {**parameters, "PROJECT_ID": project} if project else dict(parameters)
