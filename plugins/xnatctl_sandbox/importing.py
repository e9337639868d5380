"""`POST /services/import` (contract xnat-import 1 to 3)."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from werkzeug import Response

from . import archiver, bodies
from .answers import Call, StatusError, escape_parameter, status_page, uri_list
from .receiving import Receiver, Wish, wish_from
from .streams import Damaged, Readable, files, format_of

if TYPE_CHECKING:
    from .server import Sandbox

_HANDLERS = ("SI", "DICOM-zip", "gradual-DICOM", "XAR", "inbox")
_BY_TYPE = ("application/dicom", "application/x-mirc", "application/x-mirc-dicom")
_TAR_SINCE = (1, 8, 3)


class Importing:
    """The import service of one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._receiver: Receiver = sandbox.receiver

    def post(self, call: Call) -> Response:
        """One upload."""
        state = self._sandbox.state
        name, stream, fields = self._body(call)
        parameters = {key: escape_parameter(values[-1]) for key, values in fields.items() if values}
        handler = parameters.get("import-handler") or self._default(call)
        if handler not in _HANDLERS:
            raise StatusError(404, f"Unknown importer implementation specified: {handler}")
        if handler not in ("DICOM-zip", "gradual-DICOM"):
            raise StatusError(501, f"The sandbox has no {handler} importer.")
        if name is None or stream is None:
            raise StatusError(400, "Unable to identify upload format.")
        try:
            parameters = _destination(parameters, handler)
            wish = wish_from(parameters, call.login, handler, state.version_tuple)
            if handler == "gradual-DICOM":
                uri = self._receiver.file(name, stream, wish)
                return uri_list([uri] if uri else [])
            uris = self._archive_file(name, stream, wish, parameters)
            return uri_list(self._commit(call, uris, parameters))
        except StatusError as error:
            if parameters.get("format") == "html":  # a failure that looks like success (1.2)
                return Response(f"<html><body>{error.description}</body></html>", 200, content_type="text/html")
            return status_page(error.status, error.description)

    def _default(self, call: Call) -> str:
        if call.request.mimetype in _BY_TYPE:
            return "gradual-DICOM"
        return "SI" if self._sandbox.state.version_tuple < (1, 8) else "DICOM-zip"

    def _body(self, call: Call) -> tuple[str | None, Readable | None, dict[str, list[str]]]:
        """(name, stream, parameters): multipart form fields first, the query overrides (1.2, 1.3)."""
        request = call.request
        kind = request.mimetype
        query = {key: request.args.getlist(key) for key in request.args}
        inbody = call.query("inbody").lower() == "true"
        if kind == "multipart/form-data":
            if inbody:
                raise StatusError(406, "")
            files = [part for key in request.files for part in request.files.getlist(key)]
            fields = {key: request.form.getlist(key) for key in request.form}
            if len(files) > 1:
                raise StatusError(400, "Importer is limited to one uploaded resource at a time.")
            if not files:
                return None, None, {**fields, **query}
            return (files[0].filename or "upload").rpartition("\\")[2], files[0].stream, {**fields, **query}
        known = bodies.name_of(kind)
        if bodies.consumed(request) or (known is None and not inbody):
            return None, None, {**call.parameters(), **query}
        if bodies.lacks_length(request):  # unknown size or none: only zip may be streamed
            raise StatusError(400, bodies.NO_LENGTH)
        name = call.rest or known or "upload.unsupported"
        return name, request.stream, query

    def _archive_file(self, name: str, stream: Readable, wish: Wish, parameters: dict[str, str]) -> list[str]:
        """Entry by entry, each stored as it is read; no roll-back (3.3)."""
        kind = format_of(name)
        state = self._sandbox.state
        if kind in ("UNKNOWN", "GZ") or (kind in ("TAR", "TGZ") and state.version_tuple < _TAR_SINCE):
            raise StatusError(400, f"Unsupported format {'UNKNOWN' if kind != 'GZ' else kind}")
        tolerant = parameters.get("action") == "commit"
        if state.version_tuple >= _TAR_SINCE and "Ignore-Unparsable" in parameters:
            tolerant = parameters["Ignore-Unparsable"].lower() == "true"
        uris: dict[str, None] = {}
        last: StatusError | None = None
        try:
            for entry, data in files(stream, kind):
                try:
                    uris.update(dict.fromkeys(self._entry(entry, data, wish, parameters)))
                except StatusError as error:
                    if not tolerant:
                        raise
                    last = error
        except Damaged:
            raise StatusError(400, "unable to read data from file") from None
        if not uris and last is not None:
            raise last
        return list(uris)

    def _entry(self, name: str, data: Readable, wish: Wish, parameters: dict[str, str]) -> list[str]:
        """A file, or an archive inside the archive: its name decides (1.7)."""
        if format_of(name) != "UNKNOWN":
            whole = b"".join(iter(lambda: data.read(1 << 18), b""))
            return self._archive_file(name.rpartition("/")[2], io.BytesIO(whole), wish, parameters)
        uri = self._receiver.file(name.rpartition("/")[2], data, wish)
        return [uri] if uri else []

    def _commit(self, call: Call, uris: list[str], parameters: dict[str, str]) -> list[str]:
        """`action=commit` and `dest`: build, and archive with AA (1.5, 2, 3.4)."""
        if parameters.get("action") != "commit":
            return uris
        done: list[str] = []
        for uri in uris:
            if uri.startswith("/xapi/"):
                raise StatusError(400, "unable to archive for the Prearchive session")
            row = self._sandbox.prearchive.find_uri(uri)
            if row is None or not self._sandbox.prearchive.build(row):
                continue  # locked, or interrupted by another file: the session is skipped, 200 (2)
            if parameters.get("AA", parameters.get("auto-archive", "")).lower() != "true":
                done.append(uri)
                continue
            override, merge = archiver.import_policy(parameters.get("overwrite"))
            auto = row.autoarchive in ("AutoArchive", "AutoArchiveOverwrite")
            try:
                experiment = self._sandbox.archiver.archive(
                    row, login=call.login, merge=merge or auto, override=override,
                    overwrite_files=parameters.get("overwrite_files", "").lower() == "true",
                )  # fmt: skip
            except archiver.ArchiveRefused:
                raise StatusError(400, "unable to archive for the Prearchive session") from None
            done.append(archiver.archive_uri(self._sandbox.state, experiment))
        return done


def _destination(parameters: dict[str, str], handler: str) -> dict[str, str]:
    """`dest` forces a commit and fills in what is not said (1.5)."""
    dest = parameters.get("dest")
    if dest is None or handler != "DICOM-zip":
        return parameters
    path = re.sub(r"^/(data|REST)(?=/)", "", dest).strip("/")
    pieces = path.split("/")
    filled = {**parameters, "action": "commit"}
    names = {"projects": "PROJECT_ID", "subjects": "SUBJECT_ID", "experiments": "EXPT_LABEL"}
    if pieces[0] == "archive" and len(pieces) % 2 == 1 and all(piece in names for piece in pieces[1::2]):
        filled["AA"] = "true"
        filled.update({names[key]: value for key, value in zip(pieces[1::2], pieces[2::2], strict=True)})
        return filled
    if pieces[0] == "prearchive" and len(pieces) <= 5 and pieces[1:2] in ([], ["projects"]):
        filled["AA"] = "false"
        return {
            **filled,
            **dict(zip(("PROJECT_ID", "PREARC_TIMESTAMP", "PREARC_SESSION_FOLDER"), pieces[2:], strict=False)),
        }
    raise StatusError(400, "Parameter dest format error")
