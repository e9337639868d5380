"""`config init` at a terminal: asks for a profile, tests it with the server, and writes it at the end, all at once.

An answer that turns out wrong is asked for again. A password is sent once for each time that the user types it, because
XNAT locks accounts (xnat-api 1.7).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xnatctl.cli.app import App
from xnatctl.cli.asking import ask, ask_secret, ask_yes
from xnatctl.cli.console import one_line
from xnatctl.errors import AuthenticationError, ConfigError, Interrupted, UsageError, XnatctlError, signal_of
from xnatctl.settings import paths
from xnatctl.settings.config import load_config
from xnatctl.settings.profiles import BOUND_TO_SERVER
from xnatctl.settings.server import is_plain_text, server_url

if TYPE_CHECKING:
    from xnatctl.xnat.client import XnatClient

#: Seconds that a server may take for one answer.
_PATIENCE = 30.0
#: Projects that are named before "and N more".
_NAMED = 10
_WHICH_SERVER = "Address of the server, such as https://xnat.example.org"
#: Settings that the conversation decides; files of certificates; what decides whether a server is trusted and trusts
#: this machine; secrets of a user.
_ASKED = ("url", "username", "default_project", "ca_cert", "verify_tls")
_FILES = ("ca_cert", "client_cert", "client_key")
_TLS = (*_FILES, "verify_tls")
_SECRETS = ("password", "token")
_LOCKS = "Nothing is tried again by itself: XNAT locks an account after wrong passwords (by default 20, for an hour)."


@dataclass(kw_only=True)
class Answers:
    """What was asked so far. `settings` are those of the profile; `client` is logged in, if the login was tested."""

    name: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    client: XnatClient | None = None
    keeps: bool = False  # store the session, as `auth login` does


class Setup:
    """One conversation on stderr and stdin. Raises Interrupted, also for the end of input; nothing is written then."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._known: Mapping[str, Any] = load_config().get("profiles") or {}

    def run(self) -> Answers:
        """Ask until the user agrees with the profile."""
        self._app.say("This makes a profile: a server, a user and a project. Ctrl-C ends without writing anything.")
        answers = Answers()
        try:
            while True:
                self._ask_all(answers)
                if self._agrees(answers):
                    return answers
        except (KeyboardInterrupt, Interrupted) as error:
            raise Interrupted("Interrupted: nothing was written.", signal_number=signal_of(error)) from error
        except EOFError as error:
            raise Interrupted("The input ended: nothing was written.") from error

    def _ask_all(self, answers: Answers) -> None:
        name = self._name(answers.name)
        before = self._before(answers, name)
        server = self._server(before)
        settings = {**self._kept(before, server["url"]), **server}
        client, username = self._login(settings)
        if username:
            self._drop_secrets_of_another(settings, username)
            settings["username"] = username
        answers.name, answers.settings, answers.client = name, settings, client
        if client is not None:
            if project := self._project(client, settings.pop("default_project", None)):
                settings["default_project"] = project
            answers.keeps = self._yes("Keep this login, so that commands need no password?")

    def _before(self, answers: Answers, name: str) -> dict[str, Any]:
        """The settings to start from: those of the profile, or the answers of the last round."""
        if name == answers.name and answers.settings:
            return dict(answers.settings)
        asked = {key: value for key, value in answers.settings.items() if key in _ASKED}
        return {**(self._known.get(name) or {}), **asked}

    def _kept(self, before: Mapping[str, Any], url: str) -> dict[str, Any]:
        """What stays of a profile: all but the certificate settings, which the server decided just now.

        With another server, what belongs to the old one goes; the user is told.
        """
        if _is_same(before.get("url"), url):
            return {key: value for key, value in before.items() if key not in _TLS}
        if gone := [key for key in before if key in BOUND_TO_SERVER and key != "url"]:
            self._app.say(one_line(f"Not kept, because it is for another server: {', '.join(gone)}."))
        return {key: value for key, value in before.items() if key not in BOUND_TO_SERVER}

    def _drop_secrets_of_another(self, settings: dict[str, Any], username: str) -> None:
        if settings.get("username") not in (None, username) and (gone := [key for key in _SECRETS if key in settings]):
            self._app.say(one_line(f"Not kept, because it is for {settings['username']}: {', '.join(gone)}."))
            for key in gone:
                del settings[key]

    # the steps

    def _name(self, before: str) -> str:
        while True:
            name = self._ask("Name of the profile", before or ("" if "xnat" in self._known else "xnat"))
            if name in self._known and name != before:
                url = (self._known[name] or {}).get("url") or "no server"
                if not self._yes(f"There is a profile {name} ({url}). Change it?", default=False):
                    continue
            if name:
                return name

    def _server(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """The address of a server that answers and is an XNAT, and what is needed to trust its certificate."""
        default = before.get("url") or os.environ.get("XNAT_URL") or ""
        while True:
            text = self._ask("Address of the server" if default else _WHICH_SERVER, default).strip()
            if not text:
                continue
            try:
                url = server_url(text if "://" in text else f"https://{text}", "the answer")
            except ConfigError as error:
                self._app.report_error(error)
                continue
            same = _is_same(before.get("url"), url)
            tls = {key: before[key] for key in _TLS if same and before.get(key) is not None}
            if (found := self._reached({"url": url, **tls})) is not None:
                return found

    def _reached(self, settings: dict[str, Any]) -> dict[str, Any] | None:
        """The settings with which the server can be reached; None if the user wants another address."""
        from xnatctl.xnat.site import version

        while True:
            try:
                found = version(self._client(settings))
            except XnatctlError as error:
                if not (_is_untrusted(error) or (isinstance(error, UsageError) and "ca_cert" in settings)):
                    self._app.report_error(error)
                    return None
                self._app.say(one_line(f"Error: {error.message}"))  # the choices are the hint
                choice = self._about_certificate(settings["url"])
                if choice is None:
                    return None
                kept = {key: value for key, value in settings.items() if key not in ("ca_cert", "verify_tls")}
                settings = {**kept, **choice}
                continue
            self._app.say(f"XNAT {found.text} answers at {settings['url']}.")
            if is_plain_text(settings["url"]):
                self._app.warn("The address is not encrypted: others on the network can read password and data.")
            return settings

    def _about_certificate(self, url: str) -> dict[str, Any] | None:
        self._app.say(
            f"The certificate of {url} must be signed by an authority that this machine trusts. You can\n"
            "  1  name the file of the authority's certificate (PEM); the administrator of the server has it\n"
            "  2  not check the certificate: others on the network could read password and patient data\n"
            "  3  give another address"
        )
        match self._ask("Choice (1, 2 or 3)", "3"):
            case "1":
                file = os.path.abspath(os.path.expanduser(self._ask("File of the certificate", "")))
                return {"ca_cert": file}
            case "2":
                return {"verify_tls": False}
        return None

    def _login(self, settings: Mapping[str, Any]) -> tuple[XnatClient | None, str]:
        """A client that is logged in, and the user name; no client if the user skips the login."""
        from xnatctl.plugin.credentials import Password

        username = str(settings.get("username") or os.environ.get("XNAT_USER") or "")
        while True:
            username = self._ask("User name", username)
            question = f"Password of {username} (hidden; empty to skip the login): "
            password = ask_secret(question) if username else ""
            if not password:
                self._app.say("The login was not tested.")
                return None, username
            self._app.redactor.register_secret(password, username)
            client = self._client(settings)
            credential = Password(username=username, secret=password, source="config init")
            try:
                client.login(lambda credential=credential: credential)  # type: ignore[misc]  # binds the loop variable
            except XnatctlError as error:
                self._app.report_error(error)
                if isinstance(error, AuthenticationError):
                    self._app.say(_LOCKS)
                continue
            self._app.say(f"Logged in: the server knows you as {client.login_name}.")
            return client, username

    def _project(self, client: XnatClient, before: str | None) -> str | None:
        from xnatctl.xnat.site import editable_projects, project_access

        try:
            projects = sorted(editable_projects(client))
        except XnatctlError as error:
            self._app.report_error(error)
            return before
        if not projects:
            self._app.say("You cannot write to any project. Ask the owner of a project for the role Member.")
            return before
        more = f" and {len(projects) - _NAMED:,} more" if len(projects) > _NAMED else ""
        self._app.say(f"You can write to: {', '.join(projects[:_NAMED])}{more}.")
        default = before or (projects[0] if len(projects) == 1 else "")
        while name := self._ask("Default project, for commands without -P (- for none)", default).removeprefix("-"):
            try:
                access = project_access(client, name)
            except XnatctlError as error:
                self._app.report_error(error)
                continue
            if access.writable:
                return access.id
            self._app.say(f"You cannot write to project {name}." if access.exists else f"There is no project {name}.")
        return None

    def _agrees(self, answers: Answers) -> bool:
        self._app.say(f"Profile {answers.name}:")
        for key, value in answers.settings.items():
            self._app.say(one_line(f"  {key}: {_shown(key, value)}"))
        return self._yes(f"Write it to {paths.config_file()}?")

    # asking

    def _client(self, settings: Mapping[str, Any]) -> XnatClient:
        files = {key: os.path.expanduser(str(settings[key])) for key in _FILES if settings.get(key)}
        cert, key = files.get("client_cert"), files.get("client_key")
        return self._app.open_client(
            settings["url"],
            timeout=_PATIENCE,
            verify=files.get("ca_cert") or settings.get("verify_tls", True),
            cert=(cert, key) if cert and key else cert,
            retry_for=0.0,
        )

    def _ask(self, question: str, default: str) -> str:
        """One line; the default for an empty one. Both are shown, also where a wrong password was the same word."""
        self._app.redactor.reveal([default])
        answer = ask(f"{question} [{default}]: " if default else f"{question}: ") or default
        self._app.redactor.reveal([answer])
        return answer

    def _yes(self, question: str, *, default: bool = True) -> bool:
        return ask_yes(question, default=default)


def _is_same(url: object, answer: str) -> bool:
    """Whether the URL of a profile is that of the answer, in whatever spelling."""
    try:
        return isinstance(url, str) and server_url(url, "") == answer
    except ConfigError:
        return False


def _shown(key: str, value: object) -> str:
    """A setting as the file has it. What may hold a secret is not shown."""
    if key in _SECRETS or isinstance(value, list | dict):
        return "(as before)"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether the certificate of the server was the reason."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
