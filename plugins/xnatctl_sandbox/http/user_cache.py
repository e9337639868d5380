"""`/user/cache/resources/{name}/files/{file}`: files staged by one user for a later import (xnat-api 4.10)."""

from __future__ import annotations

import re
from pathlib import Path

from werkzeug import Response

from xnatctl_sandbox.http import content_types
from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.http.responses import text_response
from xnatctl_sandbox.world.errors import StatusError

_SOURCE = re.compile(r"/user/cache/resources/(?P<name>[^/]+)/files/(?P<file>.+)")


class UserCache:
    """One folder for each user."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def answer(self, call: Call) -> Response:
        """PUT and POST stage, GET reads back, DELETE removes."""
        path = self._path(call.login, call.parts["name"], call.rest)
        if call.method in ("PUT", "POST"):
            if content_types.lacks_length(call.request):
                raise StatusError(500, content_types.NO_LENGTH)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                while piece := call.request.stream.read(1 << 18):
                    out.write(piece)
            return text_response("")
        if not path.is_file():
            raise StatusError(404, "Unable to find the specified file.")
        if call.method == "DELETE":
            path.unlink()
            return text_response("")
        return Response(path.read_bytes(), 200, content_type="application/octet-stream")

    def source(self, login: str | None, uri: str) -> Path:
        """The staged file that an import names. Raises StatusError 400 or 404."""
        found = _SOURCE.fullmatch(re.sub(r"^/(data|REST)(?=/)", "", uri))
        if found is None:
            raise StatusError(400, "src uri is invalid.")
        path = self._path(login, found["name"], found["file"])
        if not path.is_file():
            raise StatusError(404, "Unknown src file.")
        return path

    def _path(self, login: str | None, name: str, file: str) -> Path:
        if login is None:
            raise StatusError(403)
        if not file or ".." in [name, *file.split("/")]:
            raise StatusError(400, "src uri is invalid.")
        return self._root / login / name / file
