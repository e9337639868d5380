"""Users and settings of the site: `/data/auth`, sessions, `/xapi/...` (xnat-api 1.1, 1.5, 6)."""

from __future__ import annotations

import re

from werkzeug import Response

from xnatctl_sandbox.http.accounts import Accounts, HttpSession
from xnatctl_sandbox.http.call import Call
from xnatctl_sandbox.http.responses import json_response, text_response
from xnatctl_sandbox.http.schemas import SCHEMAS
from xnatctl_sandbox.world.errors import StatusError
from xnatctl_sandbox.world.records import ScpInstance
from xnatctl_sandbox.world.state import State

_PUBLIC = {"siteId", "siteUrl", "siteHome", "siteLogoPath"}
_PROVIDERS = ("", "localdb")
_AUTHENTICATED = {
    "checksums", "dicomFileNameTemplate", "sessionXmlRebuilderInterval", "sessionXmlRebuilderRepeat",
    "enableDicomReceiver", "zipExtensions", "defaultProjectAutoArchiveSetting", "enableSitewideAnonymizationScript",
}  # fmt: skip


class Site:
    """Handlers of users and settings."""

    def __init__(self, state: State, accounts: Accounts) -> None:
        self._state = state
        self._accounts = accounts
        self._started = self._state.clock.now()

    # sessions, xnat-api 1.1

    def jsession(self, call: Call, session: HttpSession) -> Response:
        """The session ID, for guests as well, so it proves no login (1.1.1)."""
        if call.method == "PUT":
            raise StatusError(405)
        if call.method == "DELETE":
            self._accounts.end(session)
            return text_response("")
        return text_response(f"{session.id}; XNAT_CSRF={session.csrf}" if call.flag("CSRF") else session.id)

    def auth(self, call: Call, session: HttpSession) -> Response:
        """`User 'x' is logged in`."""
        if call.method not in ("GET", "HEAD"):
            raise StatusError(405)
        csrf = f"; XNAT_CSRF={session.csrf}" if call.flag("CSRF") else ""
        return text_response(f"User '{call.login or 'guest'}' is logged in{csrf}")

    def services_auth(self, call: Call) -> tuple[Response, HttpSession | None]:
        """Log in by PUT or POST of user and password as form text; 404 for GET."""
        if call.method not in ("PUT", "POST"):
            raise StatusError(404)
        from urllib.parse import parse_qs

        fields = parse_qs(call.request.get_data(as_text=True))
        if call.request.form:
            fields = {key: call.request.form.getlist(key) for key in call.request.form}
        name = (fields.get("username") or fields.get("j_username") or [""])[0]
        provider = (fields.get("provider") or fields.get("login_method") or [""])[0]
        if provider not in _PROVIDERS:
            raise StatusError(400, f"Unknown authentication provider {provider}")
        password = (fields.get("password") or fields.get("j_password") or [""])[0]
        session = self._accounts.login(name, password)
        if session is None:
            raise StatusError(401, "Authentication failed.")
        return text_response(session.id), session

    def user_sessions(self, call: Call) -> Response:
        """`/user/{login}/sessions`: how many are open; for the user and administrators."""
        login = call.parts["login"]
        if login != call.login and not self._state.is_admin(call.login):
            raise StatusError(403)
        if call.method == "DELETE":
            self._accounts.end_all(login)
            return text_response("")
        return json_response({login: len(self._accounts.open_sessions(login))})

    def active(self, call: Call) -> Response:
        """`/xapi/users/active/{login}`: list or end the open sessions; for the user and administrators."""
        login = call.parts["login"]
        if login != call.login and not self._state.is_admin(call.login):
            return text_response("", 403)
        sessions = [session.id for session in self._accounts.open_sessions(login)]
        if call.method == "DELETE":
            self._accounts.end_all(login)
        return json_response(sessions)

    def uptime(self, call: Call) -> Response:
        """How long the site has been up."""
        minutes = int(self._state.clock.now() - self._started) // 60
        parts = {"days": minutes // 1440, "hours": minutes % 1440 // 60, "minutes": minutes % 60}
        return json_response({name: str(value) for name, value in parts.items()})

    def prearchive_code(self, call: Call) -> Response:
        """The prearchive code of a project: 0, 4 or 5."""
        project = self._state.find_project(call.parts["project"])
        if project is None or not self._state.may_read(call.login, project):
            raise StatusError(404)
        return text_response(str(project.prearchive_code))

    # xapi

    def build_info(self, call: Call) -> Response:
        """The version; anyone may read all of it, a single value needs a login (6)."""
        info = {
            "version": self._state.version,
            "buildNumber": "1",
            "buildDate": "Wed Jun 19 00:00:00 UTC 2024",
            "sha": "0000000",
            "isDirty": "false",
            "timestamp": "1718755200000",
            "commit": "0",
            "branch": "sandbox",
            "tag": "",
        }
        if key := call.parts.get("key"):
            return text_response(info[key]) if key in info else text_response("", 404)
        return json_response(info)

    def site_config(self, call: Call) -> Response:
        """The settings that this caller may read."""
        visible = _PUBLIC if call.login is None else _PUBLIC | _AUTHENTICATED
        if self._state.is_admin(call.login):
            visible = set(self._state.site)
        if key := call.parts.get("key"):
            if key not in self._state.site:
                return text_response("", 404)
            if key not in visible:
                return text_response("", 401 if call.login is None else 403)
            value = self._state.site[key]
            return text_response(value) if isinstance(value, str) else json_response(value)
        return json_response({key: value for key, value in self._state.site.items() if key in visible})

    def username(self, call: Call) -> Response:
        """The login of the caller; empty for guests."""
        return text_response(call.login or "")

    def profile(self, call: Call) -> Response:
        """The profile of the caller; administrators may read others."""
        login = call.parts.get("login", call.login) or ""
        user = self._state.users.get(login)
        if user is None:
            return text_response("", 404)
        if login != call.login and not self._state.is_admin(call.login):
            return text_response("", 403)
        return json_response(
            {"username": user.login, "enabled": user.enabled, "admin": user.admin, "email": user.email}
        )

    def user_projects(self, call: Call) -> Response:
        """IDs of the projects that the caller may edit."""
        with self._state.lock:
            return json_response([p.id for p in self._state.projects.values() if self._state.may_edit(call.login, p)])

    def schemas(self, call: Call) -> Response:
        """The names of all schemas, or one schema."""
        name = call.parts.get("name") or call.rest
        if not name:
            return json_response(sorted(SCHEMAS))
        found = SCHEMAS.get(re.sub(r"\.xsd$", "", name)) or SCHEMAS.get(name.partition("/")[0])
        return text_response(found, content_type="application/xml") if found else text_response("", 404)

    def dicomscp(self, call: Call) -> Response:
        """The receivers; any user may list them, a single one is for administrators (5.1). No host is told."""
        if (key := call.parts.get("key")) == "identifiers":
            return json_response(sorted({scp.identifier for scp in self._state.scps}))
        with self._state.lock:
            known = [self._scp(scp) for scp in self._state.scps if self._state.dicom_port is not None]
        if key is None:
            return json_response(known)
        if not self._state.is_admin(call.login):
            return text_response("", 403)
        found = next((document for document in known if str(document["id"]) == key), None)
        return text_response("", 404) if found is None else json_response(found)

    def _scp(self, scp: ScpInstance) -> dict[str, object]:
        stamp = int(scp.created * 1000)
        return {
            "id": scp.id,
            "aeTitle": scp.ae_title,
            "port": self._state.dicom_port,
            "identifier": scp.identifier,
            "fileNamer": None,
            "enabled": scp.enabled,
            "customProcessing": False,
            "directArchive": scp.direct_archive,
            "anonymizationEnabled": scp.anonymization_enabled,
            "whitelistEnabled": scp.whitelist_enabled,
            "whitelist": list(scp.whitelist),
            "routingExpressionsEnabled": scp.routing_enabled,
            "projectRoutingExpression": scp.routing.project,
            "subjectRoutingExpression": scp.routing.subject,
            "sessionRoutingExpression": scp.routing.session,
            "created": stamp,
            "timestamp": stamp,
            "disabled": 0,
        }
