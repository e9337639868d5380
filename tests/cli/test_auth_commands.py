"""`auth login | logout | status` as a process of its own, against a small XNAT on loopback."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from systems import assert_private, needs_bash, write_secret
from terminal import Terminal, stripped
from werkzeug import Request, Response

from xnatctl.operating_system.command_line import split_command

PASSWORD = 'Canary-p@ss "wört" 50%'
ENV = {"XNAT_USER": "alice", "XNAT_PASS": PASSWORD}


@dataclass
class Site:
    """As much of an XNAT as a login needs (xnat-api 1): guests get a session too, and it proves nothing."""

    url: str
    users: dict[str, str] = field(default_factory=lambda: {"alice": PASSWORD, "bob": PASSWORD})
    aliases: dict[str, tuple[str, str]] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    cookies: list[str] = field(default_factory=list)
    broken: bool = False
    tells_end: bool = True
    timeout: int = 900_000

    def answer(self, request: Request) -> Response:
        self.calls.append(f"{request.method} {request.path}")
        self.cookies.append(request.headers.get("Cookie", ""))
        if self.broken:
            return Response("<h3>Out of order</h3>", 500)
        user, rejected = self._who(request)
        if rejected:
            return Response("<h3>Authentication failed.</h3>", 401)
        if request.path == "/data/JSESSION" and request.method == "DELETE":
            self.sessions.pop(request.cookies.get("JSESSIONID", ""), None)
            return Response("")
        if request.path == "/data/JSESSION":
            token = f"CANARY0SESSION{len(self.sessions) + len(self.calls):04}"
            self.sessions[token] = user or "guest"
            return self._with_end(Response(token, headers={"Set-Cookie": f"JSESSIONID={token}; Path=/; HttpOnly"}))
        if user is None or user == "guest":
            return Response("", 401)
        if request.path == "/xapi/users/username":
            return self._with_end(Response(user, mimetype="text/plain"))
        return Response("", 404)

    def _who(self, request: Request) -> tuple[str | None, bool]:
        header = request.headers.get("Authorization", "")
        if not header.startswith("Basic "):
            return self.sessions.get(request.cookies.get("JSESSIONID", "")), False
        name, _, secret = base64.b64decode(header[6:]).decode().partition(":")
        if name in self.aliases:
            owner, right = self.aliases[name]
            return owner, secret != right
        return name, self.users.get(name) != secret

    def _with_end(self, response: Response) -> Response:
        if self.tells_end:
            value = f'"{int(time.time() * 1000)},{self.timeout}"'
            response.headers.add("Set-Cookie", f"SESSION_EXPIRATION_TIME={value}; Version=1; Path=/")
        return response


@pytest.fixture
def site(httpserver: HTTPServer) -> Site:
    made = Site(url=httpserver.url_for("").rstrip("/"))
    httpserver.expect_request(re.compile(".*")).respond_with_handler(made.answer)
    return made


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


@pytest.fixture
def cli(nursery: Any, home: Path, site: Site) -> Callable[..., Result]:
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("XNAT", "XDG_")) and not k.lower().endswith("_proxy")
    }
    kept.pop("NETRC", None)
    if sys.platform == "win32":  # where the default places are not below the home directory
        kept |= {"USERPROFILE": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
        kept["XDG_STATE_HOME"] = str(home / ".local" / "state")

    def run(*arguments: str, env: dict[str, str] | None = None, stdin: str = "", umask: int = 0) -> Result:
        child = nursery.start(
            "-m", "xnatctl", *arguments,
            env={**kept, "HOME": str(home), "XNAT_URL": site.url, "NO_COLOR": "1", "COLUMNS": "200", **(env or {})},
            stdin=stdin.encode(), cwd=home, umask=umask,
        )  # fmt: skip
        out, err = child.communicate()
        return Result(child.wait(), out.decode(), err.decode())

    return run


@pytest.fixture
def login(cli: Callable[..., Result]) -> Callable[..., Result]:
    def run(user: str = "alice", *arguments: str) -> Result:
        done = cli("auth", "login", "--username", user, "--password-stdin", *arguments, stdin=f"{PASSWORD}\n")
        assert done.code == 0, done.err
        return done

    return run


def tokens(home: Path) -> list[Path]:
    return sorted((home / ".local" / "state" / "xnatctl" / "tokens").glob("*"))


def written(home: Path) -> str:
    return "".join(file.read_text(errors="replace") for file in home.rglob("*") if file.is_file())


# login


def test_login_proves_the_user_keeps_the_session_and_leaves_it_open(
    login: Callable[..., Result], site: Site, home: Path
) -> None:
    document = login("alice", "-o", "json").document
    assert document["schema"] == "xnatctl.auth/1"
    assert (document["state"], document["server"], document["user"]) == ("logged in", site.url, "alice")
    end = datetime.fromisoformat(document["valid_until"])
    assert end.tzinfo == UTC
    assert 0 < (end - datetime.now(UTC)).total_seconds() <= 900
    assert list(site.sessions.values()) == ["alice"]
    assert "GET /xapi/users/username" in site.calls
    assert "DELETE /data/JSESSION" not in site.calls
    (file,) = tokens(home)
    assert_private(file)
    for directory in (file.parent, file.parent.parent):
        assert os.name != "posix" or stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_the_next_command_needs_no_password(
    login: Callable[..., Result], cli: Callable[..., Result], site: Site
) -> None:
    login()
    site.calls.clear()
    document = cli("auth", "status", "-o", "json").document
    assert (document["user"], document["source"]) == ("alice", "session token of auth login")
    assert document["valid_until"] is not None
    assert "POST /data/JSESSION" not in site.calls
    assert list(site.sessions.values()) == ["alice"]  # a kept session is not ended by who uses it


def test_the_end_noted_at_login_stands_in_for_a_server_that_is_silent(
    login: Callable[..., Result], cli: Callable[..., Result], site: Site
) -> None:
    until = login("alice", "-o", "json").document["valid_until"]
    site.tells_end = False
    assert cli("auth", "status", "-o", "json").document["valid_until"] == until


def test_a_session_that_never_ends_is_stored_without_an_end(
    cli: Callable[..., Result], login: Callable[..., Result], site: Site
) -> None:
    site.timeout = 10**17
    assert login("alice", "-o", "json").document["valid_until"] is None
    assert cli("auth", "status", "-o", "json").code == 0


def test_one_slot_for_each_user(login: Callable[..., Result], cli: Callable[..., Result], home: Path) -> None:
    login("alice")
    login("bob")
    assert len(tokens(home)) == 2
    assert cli("auth", "status", "--username", "alice", "-q").out == "alice\n"
    assert cli("auth", "status", "--username", "bob", "-q").out == "bob\n"
    assert cli("auth", "status", "-q").out == "bob\n"


def test_a_wrong_password_is_sent_once_exits_3_and_keeps_nothing(
    cli: Callable[..., Result], site: Site, home: Path
) -> None:
    done = cli("auth", "login", "--username", "alice", "--password-stdin", "-o", "json", stdin="wrong-canary\n")
    assert done.code == 3
    assert done.document["error"]["code"] == "authentication"
    assert done.document["error"]["exit_code"] == 3
    assert site.calls.count("POST /data/JSESSION") == 1
    assert tokens(home) == []
    assert "wrong-canary" not in done.out + done.err


def test_without_a_terminal_and_without_a_password_login_says_what_to_give(cli: Callable[..., Result]) -> None:
    done = cli("auth", "login")
    assert done.code == 3
    assert "XNAT_USER and XNAT_PASS" in done.err
    assert "--password-stdin" in done.err
    assert "Run xnatctl auth login" not in done.err


def test_without_a_server_the_error_says_how_to_name_one(cli: Callable[..., Result]) -> None:
    for verb in ("login", "logout", "status"):
        done = cli("auth", verb, env={"XNAT_URL": ""})
        assert done.code == 2
        assert "--url" in done.err


def test_a_kept_session_is_not_used_for_a_new_login(login: Callable[..., Result], site: Site, home: Path) -> None:
    login()
    (first,) = site.sessions
    login()
    assert len(tokens(home)) == 1
    assert first not in tokens(home)[0].read_text()


def test_with_the_plugin_blocked_nothing_can_be_kept(cli: Callable[..., Result], site: Site) -> None:
    done = cli(
        "--block-plugin", "credentials", "auth", "login", "--username", "alice", "--password-stdin", stdin=PASSWORD
    )
    assert done.code == 8
    assert site.calls == []  # not logged in for nothing


def test_a_directory_that_cannot_be_written_is_found_before_the_login(
    cli: Callable[..., Result], site: Site, home: Path
) -> None:
    state = home / "state"
    state.write_text("a file where a directory should be")
    done = cli(
        "auth", "login", "--username", "alice", "--password-stdin",
        stdin=PASSWORD, env={"XNATCTL_STATE_DIR": str(state)},
    )  # fmt: skip
    assert done.code == 2
    assert str(state) in done.err
    assert "XNATCTL_STATE_DIR sets another directory" in done.err
    assert site.calls == []


@needs_bash
def test_a_disk_that_takes_only_empty_files_is_found_before_the_login(site: Site, home: Path) -> None:
    """As a full disk does; here the shell forbids files of any size."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XNAT_URL": site.url, **ENV}
    command = f"ulimit -f 0; {sys.executable} -m xnatctl auth login"
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Cannot write in the directory" in done.stderr
    assert site.calls == []
    assert tokens(home) == []


def test_nobody_is_asked_for_a_password_that_could_not_be_used(site: Site, home: Path) -> None:
    (home / "state").write_text("a file where a directory should be")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XNATCTL_STATE_DIR": str(home / "state")}
    terminal = Terminal(home, environment)
    try:
        shown, code = terminal.run(f"{sys.executable} -m xnatctl auth login --url {site.url}", ("alice", PASSWORD))
    finally:
        terminal.close()
    assert code == 2
    assert "User name" not in shown
    assert "Cannot create the directory" in shown
    assert site.calls == []


# two profiles with one URL


@pytest.fixture
def profiles(home: Path, site: Site) -> dict[str, str]:
    """Profiles `a` and `b` with one URL and no username."""
    file = home / "c.yaml"
    file.write_text(f"default_profile: a\nprofiles:\n  a: {{url: '{site.url}'}}\n  b: {{url: '{site.url}'}}\n")
    return {"XNAT_URL": "", "XNATCTL_CONFIG": str(file)}


def test_a_login_counts_for_its_profile_alone(cli: Callable[..., Result], site: Site, profiles: dict[str, str]) -> None:
    def run(*words: str, stdin: str = "") -> Result:
        return cli("auth", *words, env=profiles, stdin=stdin)

    for profile, user in (("a", "alice"), ("b", "bob")):
        words = ("--profile", profile, "--username", user, "--password-stdin")
        assert run("login", *words, stdin=f"{PASSWORD}\n").code == 0
    for words, expected in (
        ((), ("a", "alice")),
        (("--profile", "a"), ("a", "alice")),
        (("--profile", "b"), ("b", "bob")),
        (("--url", site.url, "--profile", "b"), ("b", "bob")),
    ):
        shown = run("status", *words, "-o", "json").document
        assert (shown["profile"], shown["user"]) == expected
    assert run("status", "--username", "bob").code == 3, "the login of profile b"
    assert run("logout", "--profile", "b").code == 0
    assert list(site.sessions.values()) == ["alice"]
    assert run("status", "-q").out == "alice\n"
    gone = run("status", "--profile", "b")
    assert gone.code == 3
    assert "in profile b" in gone.err
    assert "xnatctl auth login --profile b" in gone.err
    missing = run("logout", "--profile", "b")
    assert missing.code == 2
    assert "in profile b." in missing.err


def test_a_login_without_a_profile_is_one_of_its_own(
    cli: Callable[..., Result], login: Callable[..., Result], site: Site, profiles: dict[str, str]
) -> None:
    login("bob")
    assert cli("auth", "status", env=profiles).code == 3
    document = cli("auth", "status", "-o", "json").document
    assert (document["profile"], document["user"]) == (None, "bob")


def test_a_profile_of_another_server_has_no_part_in_a_login(
    cli: Callable[..., Result], login: Callable[..., Result], site: Site, home: Path
) -> None:
    """XNAT_URL names the server, and the default profile another one."""
    file = home / "c.yaml"
    file.write_text("profiles:\n  a: {url: 'https://xnat.example.org'}\n")
    login("bob")
    document = cli("auth", "status", "-o", "json", env={"XNATCTL_CONFIG": str(file)}).document
    assert (document["profile"], document["user"]) == (None, "bob")


# who we are: pitfall "CLI before environment"


def test_the_environment_logs_in_and_the_session_is_ended_afterwards(cli: Callable[..., Result], site: Site) -> None:
    document = cli("auth", "status", "-o", "json", env=ENV).document
    assert (document["user"], document["source"]) == ("alice", "variables XNAT_USER and XNAT_PASS")
    assert document["valid_until"] is None
    assert site.sessions == {}


def test_a_user_on_the_command_line_is_never_logged_in_as_the_one_of_the_environment(
    cli: Callable[..., Result], site: Site
) -> None:
    done = cli("auth", "status", "--username", "bob", "-o", "json", env=ENV)
    assert done.code == 3
    assert "as bob" in done.document["error"]["message"]
    assert site.calls == []
    done = cli("auth", "status", "--username", "bob", "--password-stdin", "-q", env=ENV, stdin=f"{PASSWORD}\n")
    assert (done.code, done.out) == (0, "bob\n")
    done = cli("auth", "status", "--username", "bob", "--password-stdin", env=ENV, stdin="wrong\n")
    assert done.code == 3
    assert "alice" not in done.out + done.err


def test_password_alone_in_the_environment_goes_with_the_user_that_is_named(cli: Callable[..., Result]) -> None:
    done = cli("auth", "status", "--username", "bob", "-q", env={"XNAT_PASS": PASSWORD})
    assert (done.code, done.out) == (0, "bob\n")


def test_an_alias_token_logs_in_as_its_owner(cli: Callable[..., Result], site: Site) -> None:
    site.aliases["0a1b-2c3d"] = ("alice", "CANARY0ALIAS")
    document = cli("auth", "status", "-o", "json", env={"XNAT_TOKEN": "0a1b-2c3d:CANARY0ALIAS"}).document
    assert (document["user"], document["source"]) == ("alice", "variable XNAT_TOKEN")


def test_a_session_token_is_used_as_it_is_and_left_open(cli: Callable[..., Result], site: Site) -> None:
    site.sessions["CANARY0SESSION.node"] = "alice"
    token = {"XNAT_TOKEN": "CANARY0SESSION.node"}
    for user in ({}, {"XNAT_USER": "alice", "XNAT_PASS": "not sent"}):
        document = cli("auth", "status", "-o", "json", env={**token, **user}).document
        assert (document["user"], document["source"]) == ("alice", "variable XNAT_TOKEN")
    assert site.sessions == {"CANARY0SESSION.node": "alice"}
    assert "POST /data/JSESSION" not in site.calls


@pytest.mark.parametrize("owner", [None, "bob", "guest"])
def test_a_session_token_that_is_refused_is_called_what_it_was_taken_for(
    cli: Callable[..., Result], login: Callable[..., Result], site: Site, owner: str | None
) -> None:
    login("alice")  # a session that is kept, and that is not used in its place
    site.sessions["CANARY0SESSION"] = owner or ""
    if owner is None:
        del site.sessions["CANARY0SESSION"]
    done = cli("auth", "status", env={"XNAT_TOKEN": "CANARY0SESSION", "XNAT_USER": "alice", "XNAT_PASS": PASSWORD})
    assert done.code == 3
    assert "does not accept the session token of variable XNAT_TOKEN: the session has ended" in done.err
    assert "alias:secret" in done.err
    assert "CANARY" not in done.err


def test_an_alias_token_that_is_refused_is_called_one(cli: Callable[..., Result], site: Site) -> None:
    site.aliases["0a1b-2c3d"] = ("alice", "CANARY0ALIAS")
    done = cli("auth", "status", env={"XNAT_TOKEN": "0a1b-2c3d:CANARY0OTHER"})
    assert done.code == 3
    assert "does not accept the alias token of variable XNAT_TOKEN." in done.err
    assert "0a1b" not in done.err
    assert "password" not in done.err


def test_a_session_token_cannot_log_in_once_more(cli: Callable[..., Result], site: Site) -> None:
    site.sessions["CANARY0SESSION"] = "alice"
    done = cli("auth", "login", env={"XNAT_TOKEN": "CANARY0SESSION"})
    assert done.code == 3
    assert "variable XNAT_TOKEN holds a session token, which is logged in already" in done.err


def test_a_token_goes_to_its_own_server_only(cli: Callable[..., Result], site: Site) -> None:
    site.sessions["CANARY0SESSION"] = "alice"
    token = {"XNAT_TOKEN": "CANARY0SESSION", "XNAT_URL": "https://xnat.example.org"}
    done = cli("auth", "status", "--url", site.url, env=token)
    assert done.code == 3
    assert "XNAT_TOKEN is for another one (XNAT_URL) and not used" in done.err
    assert site.calls == []


def test_a_profile_and_a_netrc_log_in(cli: Callable[..., Result], home: Path, site: Site) -> None:
    write_secret(home / ".netrc", "machine 127.0.0.1 login bob password secretword\n")
    site.users["bob"] = "secretword"
    done = cli("auth", "status", "-o", "json")
    assert done.code == 0, done.err
    assert done.document["source"] == str(home / ".netrc")
    file = home / "c.yaml"
    file.write_text(f"profiles:\n  a: {{url: '{site.url}', username: alice, password: otherword}}\n")
    site.users["alice"] = "otherword"
    done = cli("auth", "status", "-o", "json", env={"XNAT_URL": "", "XNATCTL_CONFIG": str(file)})
    assert (done.document["user"], done.document["source"]) == ("alice", "profile a")
    if os.name == "posix":
        assert f"chmod 600 {file}" in done.err
    done = cli(
        "auth",
        "status",
        "-q",
        env={"XNATCTL_CONFIG": str(file), "XNAT_URL": site.url.replace("127.0.0.1", "localhost")},
    )
    assert done.code == 3  # neither the profile's nor the netrc's server


def test_a_password_on_the_command_line_works_with_one_warning(cli: Callable[..., Result]) -> None:
    done = cli("auth", "status", "--username", "alice", "--password", PASSWORD, "-q")
    assert (done.code, done.out) == (0, "alice\n")
    assert done.err.count("process list") == 1
    assert PASSWORD not in done.err


# sessions that ended


def test_an_ended_session_leads_to_the_next_source_of_the_same_user(
    login: Callable[..., Result], cli: Callable[..., Result], site: Site, home: Path
) -> None:
    login()
    site.sessions.clear()
    (home / "c.yaml").write_text("credential_sources: [token, environment]\n")
    done = cli("auth", "status", "-o", "json", env={**ENV, "XNATCTL_CONFIG": str(home / "c.yaml")})
    assert done.document["source"] == "variables XNAT_USER and XNAT_PASS"


@pytest.mark.parametrize("way", ["login", "logout"])
def test_the_commands_that_are_printed_for_an_ended_session_help(
    login: Callable[..., Result], cli: Callable[..., Result], site: Site, home: Path, way: str
) -> None:
    login("bob")
    site.sessions.clear()
    ended = cli("auth", "status", "-o", "json").document["error"]["hint"]
    (line,) = re.findall(rf"xnatctl (auth {way}.*?)(?: or |$)", ended)
    done = cli(*split_command(line), env={"XNAT_USER": "bob", "XNAT_PASS": PASSWORD})
    assert done.code == 0, done.err
    assert len(tokens(home)) == (way == "login")
    assert cli("auth", "status").code == (0 if way == "login" else 3)


def test_what_was_kept_as_one_user_is_not_continued_as_another(
    login: Callable[..., Result], cli: Callable[..., Result], site: Site, home: Path
) -> None:
    login("bob")
    site.sessions.clear()
    site.users["alice"] = "secretword"
    write_secret(home / ".netrc", "machine 127.0.0.1 login alice password secretword\n")
    done = cli("auth", "status", "-o", "json")
    assert done.code == 3
    assert "as bob: the stored session has ended" in done.document["error"]["message"]


def test_a_session_of_somebody_else_is_not_taken(
    login: Callable[..., Result], cli: Callable[..., Result], site: Site
) -> None:
    login("alice")
    for token in site.sessions:
        site.sessions[token] = "bob"
    assert cli("auth", "status").code == 3
    for token in site.sessions:
        site.sessions[token] = "guest"
    assert cli("auth", "status").code == 3


# logout


def test_logout_ends_the_session_and_forgets_it(
    login: Callable[..., Result], cli: Callable[..., Result], site: Site, home: Path
) -> None:
    login()
    document = cli("auth", "logout", "-o", "json").document
    assert (document["state"], document["user"]) == ("logged out", "alice")
    assert site.sessions == {}
    assert tokens(home) == []
    assert cli("auth", "status").code == 3


def test_logout_ends_every_user_or_the_one_that_is_named(
    login: Callable[..., Result], cli: Callable[..., Result], site: Site, home: Path
) -> None:
    for user in ("alice", "bob"):
        login(user)
    cli("auth", "logout", "--username", "bob")
    assert list(site.sessions.values()) == ["alice"]
    login("bob")
    assert sorted(cli("auth", "logout", "-o", "json").document["user"].split(", ")) == ["alice", "bob"]
    assert site.sessions == {}
    assert tokens(home) == []


def test_logout_forgets_also_when_the_server_is_out_of_order_or_the_session_has_ended(
    login: Callable[..., Result], cli: Callable[..., Result], site: Site, home: Path
) -> None:
    login()
    site.broken = True
    done = cli("auth", "logout")
    assert done.code == 0
    assert "was not ended on the server" in done.err
    assert tokens(home) == []
    site.broken = False
    login()
    site.sessions.clear()
    done = cli("auth", "logout")
    assert (done.code, done.err) == (0, "")


def test_logout_without_a_session_says_so(cli: Callable[..., Result]) -> None:
    done = cli("auth", "logout", "-o", "json")
    assert done.code == 2
    assert done.document["error"]["code"] == "not-found"


def test_logout_leaves_the_session_of_a_given_token_alone(
    login: Callable[..., Result], cli: Callable[..., Result], site: Site
) -> None:
    login()
    site.sessions["CANARY0GIVEN"] = "alice"
    assert cli("auth", "logout", env={"XNAT_TOKEN": "CANARY0GIVEN"}).code == 0
    assert site.sessions == {"CANARY0GIVEN": "alice"}
    assert cli("auth", "logout", env={"XNAT_TOKEN": "CANARY0GIVEN"}).code == 2
    assert site.sessions == {"CANARY0GIVEN": "alice"}


def test_logout_fits_a_terminal_of_80_columns(login: Callable[..., Result], site: Site, home: Path) -> None:
    login()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XNAT_URL": site.url, "NO_COLOR": "1"}
    terminal = Terminal(home, environment)
    try:
        shown, code = terminal.run(f"stty cols 80; {sys.executable} -m xnatctl auth logout")
    finally:
        terminal.close()
    assert code == 0
    lines = shown.splitlines()
    assert lines[0].split() == ["State", "Server", "User", "Source"]
    assert lines[2].split("   ")[0] == "logged out"
    assert len(lines) == 3


# nobody is asked by commands that only look


@pytest.mark.parametrize("command", ["auth status", "doctor"])
def test_a_command_that_only_looks_does_not_prompt(command: str, site: Site, home: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XNAT_URL": site.url, "NO_COLOR": "1"}
    terminal = Terminal(home, environment)
    try:
        shown, code = terminal.run(f"{sys.executable} -m xnatctl {command}")
    finally:
        terminal.close()
    assert code != 0
    assert "User name" not in shown
    assert "needs a terminal" not in shown
    assert "this command does not prompt for a password" in " ".join(shown.split())
    assert "xnatctl auth login" in shown


# sources of plugins that store

SAFE = """
from pathlib import Path
from xnatctl.api import *

HERE = Path({folder!r})

@hookimpl
def xnatctl_credential_sources():
    verbs = frozenset({{"get", "store", "erase"}})
    return [CredentialSourceSpec(name="safe", summary="a safe", target="dist_safe_safe:Safe", order=25, verbs=verbs)]

class Safe:
    def get(self, request):
        {get}

    def store(self, request, credential):
        (HERE / "kept").write_text(f"{{credential.username}} {{credential.secret}}")

    def erase(self, request):
        {erase}
"""
GET = """
        if not (HERE / "kept").exists():
            return None
        user, secret = (HERE / "kept").read_text().split()
        return SessionToken(username=user, secret=secret, source="the safe")
"""
ERASE = """
        there = (HERE / "kept").exists()
        (HERE / "kept").unlink(missing_ok=True)
        return there
"""


@pytest.fixture
def safe(install: Callable[..., dict[str, str]], home: Path) -> Callable[..., dict[str, str]]:
    def make(get: str = GET, erase: str = ERASE, config: str = "store: safe\n") -> dict[str, str]:
        (home / "c.yaml").write_text(config)
        source = SAFE.format(folder=str(home), get=get.strip(), erase=erase.strip())
        return {**install("safe", source), "XNATCTL_CONFIG": str(home / "c.yaml")}

    return make


def test_login_stores_only_where_the_configuration_says(
    cli: Callable[..., Result], safe: Callable[..., dict[str, str]], site: Site, home: Path
) -> None:
    env = safe()
    words = ("auth", "login", "--username", "alice", "--password-stdin")
    done = cli(*words, env=env, stdin=f"{PASSWORD}\n")
    assert done.code == 0, done.err
    assert tokens(home) == []
    assert (home / "kept").read_text().split()[1] in site.sessions
    assert cli("auth", "status", "-o", "json", env=env).document["source"] == "the safe"
    assert cli("auth", "logout", env=env).code == 0
    assert site.sessions == {}
    assert not (home / "kept").exists()
    (home / "c.yaml").write_text("")
    assert cli(*words, env=env, stdin=f"{PASSWORD}\n").code == 0
    assert not (home / "kept").exists()
    assert len(tokens(home)) == 1


@pytest.mark.parametrize("name", ["environment", "nowhere"])
def test_a_store_that_cannot_store_is_found_before_the_login(
    name: str, cli: Callable[..., Result], safe: Callable[..., dict[str, str]], site: Site
) -> None:
    env = safe(config=f"store: {name}\n")
    for verb in ("login", "logout"):
        done = cli("auth", verb, env={**env, **ENV})
        assert done.code == 2
        assert f"The credential source {name}" in done.err
        assert "Sources that can: safe, token." in done.err
    assert site.calls == []


def test_login_warns_when_no_command_would_ask_the_store(cli: Callable[..., Result], site: Site, home: Path) -> None:
    for order, warned in (("[environment]", True), ("[environment, token]", False)):
        (home / "c.yaml").write_text(f"credential_sources: {order}\n")
        done = cli("auth", "login", env={**ENV, "XNATCTL_CONFIG": str(home / "c.yaml")})
        assert done.code == 0, done.err
        assert ("credential_sources does not name token" in done.err) == warned


def test_logout_sends_no_password_as_a_cookie_and_does_not_erase_it(
    cli: Callable[..., Result], safe: Callable[..., dict[str, str]], site: Site, home: Path
) -> None:
    (home / "asked").touch()
    env = safe(
        get='return Password(username="alice", secret="CANARY0PASSWORD", source="the safe")',
        erase='(HERE / "asked").write_text("erased"); return True',
    )
    done = cli("auth", "logout", env=env)
    assert done.code == 2
    assert "No session token is stored" in done.err
    assert site.calls == []
    assert (home / "asked").read_text() == ""


def test_a_store_that_erases_nothing_and_says_so_cannot_loop(
    cli: Callable[..., Result], safe: Callable[..., dict[str, str]], site: Site
) -> None:
    fresh = (
        'import os; return SessionToken(username="alice", secret="CANARY0" + os.urandom(8).hex(), source="the safe")'
    )
    done = cli("auth", "logout", env=safe(get=fresh, erase="return True"))
    assert done.code == 8
    for word in ("safe", "dist-safe 1.0", "told to erase"):
        assert word in done.err
    assert "CANARY" not in done.err
    assert site.calls == ["DELETE /data/JSESSION"]


VAULT = """
from xnatctl.api import *

@hookimpl
def xnatctl_credential_sources():
    option = Option(name="token", help="The login.", secret=True, envvar="VAULT_TOKEN", required=True)
    verbs = frozenset({verbs!r})
    return [CredentialSourceSpec(name="vault", summary="a vault", target="dist_vault_vault:Vault", order=10,
                                 options=(option,), verbs=verbs)]

class Vault:
    def get(self, request):
        raise AuthenticationError(f"the vault refuses {{request.options['token']}} and {{request}}")
"""


@pytest.mark.parametrize("where", ["variable", "profile"])
def test_a_secret_option_of_a_source_is_masked_also_where_the_source_repeats_it(
    where: str, cli: Callable[..., Result], install: Callable[..., dict[str, str]], site: Site, home: Path
) -> None:
    section = "" if where == "variable" else ", credentials: {vault: {token: CANARY0VAULT}}"
    (home / "c.yaml").write_text(f"profiles:\n  a: {{url: '{site.url}'{section}}}\n")
    env = {
        **install("vault", VAULT.format(verbs=["get"])),
        "XNATCTL_CONFIG": str(home / "c.yaml"),
        "XNAT_URL": "",
        **({"VAULT_TOKEN": "CANARY0VAULT"} if where == "variable" else {}),
    }
    for command in (("auth", "status"), ("doctor",), ("auth", "login"), ("config", "show")):
        done = cli(*command, "-vv", "-o", "json", "--log-file", str(home / "log"), env=env)
        assert "CANARY" not in done.out + done.err, command
        assert "CANARY" not in (home / "log").read_text()
    assert "the vault refuses" in cli("auth", "status", env=env).err


def test_verbs_of_a_source_that_this_version_does_not_know_are_named(
    cli: Callable[..., Result], install: Callable[..., dict[str, str]]
) -> None:
    done = cli("auth", "status", env=install("vault", VAULT.format(verbs=["get", "renews"])))
    assert "sets CredentialSourceSpec.verbs (renews), which this version of xnatctl does not know" in done.err


def test_a_source_without_get_is_broken(cli: Callable[..., Result], install: Callable[..., dict[str, str]]) -> None:
    done = cli("auth", "status", env={**ENV, **install("vault", VAULT.format(verbs=["renew"]))})
    assert (done.code, done.out.count("alice")) == (0, 1)
    assert "the verbs of the credential source vault must contain get" in done.err


@pytest.mark.parametrize(
    ("get", "erase"),
    [
        ('return SessionToken(username="alice", secret="CANARY0SESSION")', "return False"),
        ('return SessionToken(username="robot", secret="CANARY0SESSION")', "return True"),
    ],
    ids=["not stored", "another user"],
)
def test_logout_ends_no_session_that_was_not_stored_for_the_user(
    get: str, erase: str, cli: Callable[..., Result], safe: Callable[..., dict[str, str]], site: Site
) -> None:
    done = cli("auth", "logout", "--username", "alice", env=safe(get=get, erase=erase))
    assert done.code == 2
    assert "No session token is stored" in done.err
    assert site.calls == []


@pytest.mark.parametrize(
    ("get", "says"),
    [
        ("return SessionToken(secret=5)", "`secret` is not text"),
        ('return SessionToken(secret="CANARY0", expires="soon")', "`expires` is not a number"),
        ('import os; return SessionToken(username=os.urandom(4).hex(), secret="CANARY0")', "told to erase"),
    ],
)
def test_logout_names_a_store_that_returns_what_it_must_not(
    get: str, says: str, cli: Callable[..., Result], safe: Callable[..., dict[str, str]]
) -> None:
    done = cli("auth", "logout", env=safe(get=get, erase="return True"))
    assert done.code == 8
    assert says in done.err
    assert "dist-safe 1.0" in done.err
    assert "CANARY" not in done.err


def test_headers_and_certificates_are_not_stored(
    cli: Callable[..., Result], safe: Callable[..., dict[str, str]], site: Site
) -> None:
    env = safe(get='return Headers(headers={"Authorization": "Bearer CANARY0TOKEN"})', config="")
    done = cli("auth", "login", env=env)
    assert done.code == 3
    assert "safe gives goes with every request, so there is nothing to store" in done.err
    assert site.calls == []


# every format, and no secret in any


@pytest.mark.parametrize("form", ["table", "json", "ndjson", "csv", "tsv", "yaml"])
def test_every_format_names_server_and_user(form: str, login: Callable[..., Result], site: Site) -> None:
    out = login("alice", "-o", form).out
    assert "alice" in out
    assert site.url in out


CANARIES = re.compile(r"Canary-p|CANARY0|wrong-canary")


def test_no_secret_is_printed_logged_or_kept_anywhere_but_in_the_token_file(
    cli: Callable[..., Result], site: Site, home: Path
) -> None:
    site.aliases["0a1b"] = ("alice", "CANARY0ALIAS")
    log = str(home / "log")
    said = [
        cli("auth", "login", "--username", "alice", "--password", PASSWORD, "-vv", "--log-file", log),
        cli("auth", "status", "-vv", "--log-file", log),
        cli("auth", "status", "-vv", "--log-file", log, env=ENV),
        cli("auth", "status", "-vv", env={"XNAT_TOKEN": "0a1b:CANARY0ALIAS"}),
        cli("auth", "status", "-vv", env={"XNAT_TOKEN": "0a1b:CANARY0WRONG"}),
        cli("auth", "status", "-vv", env={"XNAT_TOKEN": "CANARY0HALF"}),
        cli("auth", "status", "-vv", "--username", "alice", "--password", "wrong-canary"),
        cli("auth", "status", "-vv", "--url", "http://alice:CANARY0URL@127.0.0.1:1"),
        cli("config", "show", "-vv", "-o", "json", env={**ENV, "XNAT_TOKEN": "0a1b:CANARY0ALIAS"}),
        cli("config", "show", "-vv", "--username", "alice", "--password", PASSWORD),
        cli("doctor", "-vv", "--log-file", log, env=ENV),
    ]  # fmt: skip
    for result in said:
        # The request lines of httpx are there, so that the search is not in vain.
        assert not CANARIES.search(result.out), result.out
        assert not CANARIES.search(result.err), result.err
    assert "HTTP Request" in said[0].err
    assert "HTTP Request" in (home / "log").read_text()
    assert_private(home / "log")
    (file,) = tokens(home)
    assert CANARIES.search(file.read_text())
    file.unlink()
    assert not CANARIES.search(written(home))


def test_doctor_says_once_what_is_wrong_with_the_settings(cli: Callable[..., Result]) -> None:
    done = cli("doctor", "--url", "http://127.0.0.1:9", env=ENV)
    assert (done.out + done.err).count("are for another one (XNAT_URL) and not used.") == 1


# the connection comes before the question, and one cause is shown once


@pytest.fixture
def terminal(home: Path) -> Iterator[Terminal]:
    with closing(Terminal(home, {"PATH": os.environ["PATH"], "HOME": str(home), "NO_COLOR": "1"})) as shell:
        yield shell


NOWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize("command", ["auth login", "session list -P DEMO"])
def test_a_mistyped_address_is_reported_before_anything_is_asked(terminal: Terminal, command: str) -> None:
    shown, code = terminal.run(f"{sys.executable} -m xnatctl {command} --url {NOWHERE}")
    assert code == 4
    assert f"Cannot reach {NOWHERE}" in shown
    assert "User name" not in shown


def test_a_server_that_is_no_xnat_gets_no_password(terminal: Terminal, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/xapi/siteConfig/buildInfo").respond_with_data("no", status=404)
    url = httpserver.url_for("")[:-1]
    shown, code = terminal.run(f"{sys.executable} -m xnatctl auth login --url {url}")
    assert code == 4
    assert "is not an XNAT server" in shown
    assert "User name" not in shown
    assert len(httpserver.log) == 1


def test_the_server_is_tried_once_and_only_before_a_question(
    terminal: Terminal, cli: Callable[..., Result], site: Site
) -> None:
    """This one tells guests nothing, which is no reason not to log in."""
    tried = "GET /xapi/siteConfig/buildInfo"
    _, code = terminal.run(f"{sys.executable} -m xnatctl auth login --url {site.url}", ("alice", "wrong"))
    assert code == 3
    assert site.calls.count(tried) == 1
    assert cli("auth", "login", env=ENV).code == 0
    assert site.calls.count(tried) == 1


def test_a_question_after_a_login_that_ended_says_why(terminal: Terminal, site: Site) -> None:
    run = f"{sys.executable} -m xnatctl"
    _, code = terminal.run(f"{run} auth login --url {site.url}", ("alice", PASSWORD))
    assert code == 0
    site.sessions.clear()
    shown, _ = terminal.run(f"{run} session list -P DEMO --url {site.url}", (PASSWORD,))
    assert "The stored login has ended." in shown.partition(f"Password of alice for {site.url}: ")[0]


def test_doctor_shows_one_cause_once(cli: Callable[..., Result]) -> None:
    done = cli("doctor", "--url", NOWHERE, "-o", "json", env={**ENV, "XNAT_URL": NOWHERE})
    assert done.code == 4
    checks = {check["check"]: check for check in json.loads(done.out)["checks"]}
    assert checks["server"]["status"] == "failed"
    assert (checks["login"]["status"], checks["login"]["hint"]) == ("skipped", "")
    assert checks["login"]["message"] == "not tried: the server cannot be reached"
    assert done.out.count("Cannot reach") == 1
    done = cli("doctor", env={"XNAT_URL": ""})
    assert done.code == 2
    assert "not tried: the check of the server failed" in done.out
    assert (done.out + done.err).count("No XNAT server is configured.") == 1


@pytest.mark.parametrize(
    ("command", "typed", "question"),
    [
        ("auth login --url {url}", (), "User name for {url}: "),
        ("auth login --url {url}", ("alice",), "Password of alice for {url}: "),
        ("config remove-profile a", (), "a is the default profile. Delete it? [y/N]: "),
    ],
)
def test_a_message_after_ctrl_c_begins_below_the_question(
    terminal: Terminal, home: Path, site: Site, command: str, typed: tuple[str, ...], question: str
) -> None:
    """In the next line, without an empty one between, and without the ^C that the terminal wrote."""
    (home / ".config" / "xnatctl").mkdir(parents=True)
    (home / ".config" / "xnatctl" / "config.yaml").write_text(f"profiles: {{a: {{url: '{site.url}'}}}}")
    asked = question.format(url=site.url)
    line = f"{sys.executable} -m xnatctl {command.format(url=site.url)}"
    shown, code = terminal.run(line, typed, interrupted=asked.split(" for")[0])
    assert code == 130
    assert stripped(shown).endswith(f"{asked}\nError: Interrupted.\n"), shown
