"""The upload request of a row: what the command of its kind would ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xnatctl.api import Destination, Overwrite, Payload, ResourceRef, TransportSpec, UploadRequest, XnatctlError
from xnatctl.api.commands import App, session_fields, transport_options
from xnatctl_campaign.codes import Code
from xnatctl_campaign.objection import Objection
from xnatctl_campaign.row import Kind, Row

#: The command that plans rows of a kind.
_COMMANDS = {Kind.DICOM: "session upload", Kind.EXAM: "session upload-exam", Kind.RESOURCE: "resource upload"}
#: The transport of a resource where the row names none.
_RESOURCE = "resource"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What applies to all rows, as the options of the upload commands."""

    checksum: bool = False
    exact: bool = False
    follow_symlinks: bool = False
    large_archive: bool = False
    attach_unknown: bool = False


@dataclass(frozen=True, slots=True)
class _Way:
    """A transport and the values of its options."""

    spec: TransportSpec
    options: Mapping[str, Any]


class RequestMaker:
    """Makes requests. Looks up each transport once."""

    def __init__(self, app: App, server: str, choices: Choices) -> None:
        self._app = app
        self._server = server
        self._choices = choices
        self._ways: dict[tuple[Kind, str], _Way | Objection] = {}

    def request(self, row: Row, path: str, project: str) -> UploadRequest:
        """The request of a row; `project` is the real ID of its project. Raises Objection."""
        way = self._way(row)
        if row.kind is Kind.RESOURCE:
            return self._resource(row, path, project, way)
        fields = session_fields(
            self._app,
            way.spec,
            workers=None,
            archive=True,
            overwrite=row.overwrite or None,
            verify=True,
            verify_level="checksum" if self._choices.checksum else "size",
            exact=self._choices.exact,
        )
        return UploadRequest(
            command=_COMMANDS[row.kind],
            path=path,
            destination=Destination(server=self._server, project=project, subject=row.subject, session=row.session),
            transport=way.spec.name,
            follow_symlinks=self._choices.follow_symlinks,
            large_archive=self._choices.large_archive,
            attach_unknown=row.kind is Kind.EXAM and self._choices.attach_unknown,
            options=way.options,
            study_instance_uid=row.study_instance_uid,
            **fields,
        )

    def _resource(self, row: Row, path: str, project: str, way: _Way) -> UploadRequest:
        return UploadRequest(
            command=_COMMANDS[row.kind],
            path=path,
            destination=Destination(server=self._server, project=project, subject="", session=row.session),
            transport=way.spec.name,
            workers=1,  # one writer per resource (xnat-api 4.7)
            overwrite=Overwrite.DELETE if row.overwrite == Overwrite.DELETE else Overwrite.NONE,
            follow_symlinks=self._choices.follow_symlinks,
            attach_unknown=self._choices.attach_unknown,
            resource=ResourceRef(label=row.resource),
            options=way.options,
        )

    def _way(self, row: Row) -> _Way:
        named = row.mode or (_RESOURCE if row.kind is Kind.RESOURCE else str(self._app.settings.mode.value))
        key = (row.kind, named)
        if key not in self._ways:
            try:
                self._ways[key] = self._find(row.kind, named)
            except Objection as objection:
                self._ways[key] = objection
        way = self._ways[key]
        if isinstance(way, Objection):
            raise way
        return way

    def _find(self, kind: Kind, name: str) -> _Way:
        try:
            spec = self._app.registry.transport(name).spec
        except XnatctlError as error:
            raise Objection(Code.MODE_REFUSED, error.message, error.hint or "") from error
        if (problem := _misfit(spec, kind)) is not None:
            raise Objection(Code.MODE_REFUSED, *problem)
        try:
            return _Way(spec, transport_options(self._app, name, {}))
        except XnatctlError as error:
            raise Objection(Code.OPTION_REFUSED, f"Mode {name}: {error.message}", error.hint or "") from error


def _misfit(spec: TransportSpec, kind: Kind) -> tuple[str, str] | None:
    """Why a transport cannot send rows of a kind, and what to do; None if it can."""
    wanted = Payload.RESOURCE if kind is Kind.RESOURCE else Payload.DICOM
    if spec.payload is not wanted:
        return (
            f"Mode {spec.name} carries {spec.payload} files, and the row is of kind {kind}.",
            "Leave mode empty for the default.",
        )
    if spec.command is not None or spec.settle != "session":
        return (
            f"Mode {spec.name} hands over to a receiver, and a campaign proves that every file is in its session.",
            "Use a mode that delivers to a session, such as tar.",
        )
    return None
