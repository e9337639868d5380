"""`POST /services/import` (xnat-import 1 to 3)."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote

from werkzeug import Response

from xnatctl_sandbox.archive.archiver import Archiver, archive_uri, import_policy
from xnatctl_sandbox.archive.checks import ArchiveRefused
from xnatctl_sandbox.archive.prearchive import Prearchive
from xnatctl_sandbox.http import content_types
from xnatctl_sandbox.http.call import Call, escape_parameter
from xnatctl_sandbox.http.responses import status_page, text_response, uri_list
from xnatctl_sandbox.http.session_importer import SessionImporter
from xnatctl_sandbox.http.user_cache import UserCache
from xnatctl_sandbox.receive.archive_reader import Damaged, Readable, files, format_of
from xnatctl_sandbox.receive.destinations import expand, expand_project
from xnatctl_sandbox.receive.import_params import ImportParams, read_params
from xnatctl_sandbox.receive.importer import DicomImporter
from xnatctl_sandbox.world.background import Background
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.state import State
from xnatctl_sandbox.world.tracking import Tracking

_HANDLERS = ("SI", "DICOM-zip", "gradual-DICOM", "XAR", "inbox")
_BY_TYPE = ("application/dicom", "application/x-mirc", "application/x-mirc-dicom")
_TAR_SINCE = (1, 8, 3)


class ImportService:
    """The handler of `/services/import`."""

    def __init__(
        self,
        state: State,
        importer: DicomImporter,
        prearchive: Prearchive,
        archiver: Archiver,
        cache: UserCache,
        tracking: Tracking,
        background: Background,
    ) -> None:
        self._state = state
        self._importer = importer
        self._prearchive = prearchive
        self._archiver = archiver
        self._cache = cache
        self._tracking = tracking
        self._background = background
        self._si = SessionImporter(state, importer, prearchive, archiver)

    def post(self, call: Call) -> Response:
        """Import one upload."""
        name, stream, fields = self._body(call)
        parameters = {key: escape_parameter(values[-1]) for key, values in fields.items() if values}
        if name is None and parameters.get("src"):
            return self._staged(call, parameters)
        handler = self._handler(call, parameters)
        if name is None or stream is None:
            # Nothing to read: an index error when nobody was named to read it (1.3).
            raise StatusError(400 if "import-handler" in parameters else 500, "Unable to identify upload format.")
        return self._answer(lambda: self._followed(call, handler, name, stream, parameters), parameters)

    def _staged(self, call: Call, parameters: dict[str, str]) -> Response:
        """Import a file of the user's cache; in the background when there is a listener (2, 8)."""
        path = self._cache.source(call.login, parameters["src"])
        handler = self._handler(call, parameters)

        def work() -> list[str]:
            with path.open("rb") as stream:
                return self._followed(call, handler, path.name, stream, parameters)

        if "http-session-listener" not in parameters:
            return self._answer(work, parameters)
        _listener(parameters)
        self._background.run(lambda: self._answer(work, parameters))
        place = "archival" if parameters.get("dest", "").removeprefix("/data").startswith("/archive") else "prearchival"
        return text_response(f"Submitted for {place}")

    def _handler(self, call: Call, parameters: dict[str, str]) -> str:
        handler = parameters.get("import-handler") or self._default(call)
        if handler not in _HANDLERS:
            raise StatusError(404, f"Unknown importer implementation specified: {handler}")
        if handler in ("XAR", "inbox"):
            raise StatusError(501, f"The sandbox has no {handler} importer.")
        return handler

    @staticmethod
    def _answer(work: Callable[[], list[str]], parameters: dict[str, str]) -> Response:
        try:
            return uri_list(work())
        except StatusError as error:
            if parameters.get("format") == "html":  # a failure that looks like success (1.2)
                return Response(f"<html><body>{error.description}</body></html>", 200, content_type="text/html")
            return status_page(error.status, error.description)

    def _followed(self, call: Call, handler: str, name: str, stream: Readable, parameters: dict[str, str]) -> list[str]:
        """Import, and tell the listener when there is one."""
        key = _listener(parameters)
        if not key:
            return self._import(call, handler, name, stream, parameters)
        listener = self._tracking.begin(key, call.login, call.status_lists)
        try:
            uris = self._import(call, handler, name, stream, parameters)
        except StatusError as error:
            listener.end(error.description, succeeded=False)
            raise
        if handler != "DICOM-zip" or "dest" in parameters or parameters.get("action") == "commit":
            message = ";".join(uri.removeprefix("/data") for uri in uris)
            listener.end(message, succeeded=True)
        return uris

    def _import(self, call: Call, handler: str, name: str, stream: Readable, parameters: dict[str, str]) -> list[str]:
        if parameters.get("prearchive_code") == "1" and "overwrite" in parameters:
            raise StatusError(400, "Unknown overwrite value")  # its condition can never pass (1.4)
        state = self._state
        if handler == "gradual-DICOM":
            params = read_params(expand_project(parameters, state), call.login, handler, state.version_tuple)
            params = replace(params, fault=call.fault)
            uri = self._importer.store(name, stream, params)
            return [uri] if uri else []
        meant = expand(parameters, state)
        params = replace(read_params(meant, call.login, handler, state.version_tuple), fault=call.fault)
        if handler == "SI":
            return self._si.run(call, name, stream, params, meant)
        # `dest` commits, but only an `action` of the request's own tolerates unparsable files (3.3).
        tolerant = parameters.get("action") == "commit"
        if state.version_tuple >= _TAR_SINCE and "Ignore-Unparsable" in parameters:
            tolerant = parameters["Ignore-Unparsable"].lower() == "true"
        uris = self._archive_file(name, stream, params, tolerant=tolerant)
        return self._commit(call, uris, meant)

    def _default(self, call: Call) -> str:
        if call.request.mimetype in _BY_TYPE:
            return "gradual-DICOM"
        return "SI" if self._state.version_tuple < (1, 8) else "DICOM-zip"

    @staticmethod
    def _body(call: Call) -> tuple[str | None, Readable | None, dict[str, list[str]]]:
        """(name, stream, parameters): multipart form fields first, the query overrides (1.2, 1.3)."""
        request = call.request
        kind = request.mimetype
        query = {key: request.args.getlist(key) for key in request.args}
        inbody = call.query("inbody").lower() == "true"
        if kind == content_types.MULTIPART:
            return _form(call, query, inbody=inbody)
        known = content_types.name_of(kind)
        if content_types.consumed(request) or (known is None and not inbody):
            return None, None, {**call.parameters(), **query}
        if not kind and request.content_length is None:
            raise StatusError(500)  # no type and no size: a null pointer (1.3)
        if content_types.lacks_length(request):  # unknown size or none: only zip may be streamed
            raise StatusError(400, content_types.NO_LENGTH)
        name = escape_parameter(unquote(call.rest)) or known or "upload.unsupported"
        return name, request.stream, query

    def _archive_file(self, name: str, stream: Readable, params: ImportParams, *, tolerant: bool) -> list[str]:
        """Store entry by entry, each as it is read; without roll-back (3.3)."""
        kind = format_of(name)
        if kind in ("UNKNOWN", "GZ") or (kind in ("TAR", "TGZ") and self._state.version_tuple < _TAR_SINCE):
            raise StatusError(400, f"Unsupported format {'UNKNOWN' if kind != 'GZ' else kind}")
        uris: dict[str, None] = {}
        last: StatusError | None = None
        try:
            for entry, data in files(stream, kind):
                try:
                    uris.update(dict.fromkeys(self._entry(entry, data, params, tolerant=tolerant)))
                except StatusError as error:
                    if not tolerant:
                        raise
                    last = error
        except Damaged:
            raise StatusError(400, "unable to read data from file") from None
        if not uris and last is not None:
            raise last
        return list(uris)

    def _entry(self, name: str, data: Readable, params: ImportParams, *, tolerant: bool) -> list[str]:
        """Store a file, or the entries of a nested archive file; the name decides (1.7)."""
        if format_of(name) != "UNKNOWN":
            whole = b"".join(iter(lambda: data.read(1 << 18), b""))
            return self._archive_file(name.rpartition("/")[2], io.BytesIO(whole), params, tolerant=tolerant)
        uri = self._importer.store(name.rpartition("/")[2], data, params)
        return [uri] if uri else []

    def _commit(self, call: Call, uris: list[str], parameters: dict[str, str]) -> list[str]:
        """Build for `action=commit` and `dest`, and archive with AA (1.5, 2, 3.4)."""
        if parameters.get("action") != "commit":
            return uris
        done: list[str] = []
        for uri in uris:
            if uri.startswith("/xapi/"):
                raise StatusError(400, "unable to archive for the Prearchive session")
            row = self._prearchive.find_uri(uri)
            if row is None or not self._prearchive.build(row):
                continue  # locked, or interrupted by another file: the session is skipped, 200 (2)
            if parameters.get("AA", parameters.get("auto-archive", "")).lower() != "true":
                done.append(uri)
                continue
            policy = import_policy(
                parameters.get("overwrite"), files=parameters.get("overwrite_files", ""), merge=row.auto_archives
            )
            try:
                experiment = self._archiver.archive(row, policy, login=call.login)
            except ArchiveRefused:
                raise StatusError(400, "unable to archive for the Prearchive session") from None
            done.append(archive_uri(self._state, experiment))
        return done


def _form(
    call: Call, query: dict[str, list[str]], *, inbody: bool
) -> tuple[str | None, Readable | None, dict[str, list[str]]]:
    """The only file part of a form; folders of Windows are removed from its name."""
    request = call.request
    if inbody:
        raise StatusError(406)
    parts = [(key, part) for key in request.files for part in request.files.getlist(key)]
    fields = {**{key: request.form.getlist(key) for key in request.form}, **query}
    if any(key == "reference" for key, _ in parts):
        raise StatusError(400, "Importer does not support server-side references.")
    if len(parts) > 1:
        raise StatusError(400, "Importer is limited to one uploaded resource at a time.")
    if not parts:
        return None, None, fields
    part = parts[0][1]
    return (part.filename or "upload").rpartition("\\")[2], part.stream, fields


def _listener(parameters: dict[str, str]) -> str:
    """The ID of the listener; empty without one. Raises StatusError 400 for a listener without an ID."""
    if "http-session-listener" not in parameters:
        return ""
    key = parameters["http-session-listener"] or parameters.get("transaction", "")
    if not key:
        raise StatusError(400, "'transaction' is required when requesting 'http-session-listener'.")
    return key
