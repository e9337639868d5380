"""`config init` at a terminal: what it asks, what it says to mistakes, and that it writes all or nothing."""

from __future__ import annotations

import getpass
import os
import re
import ssl
import subprocess
import sys
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest
import yaml
from programs import required_program
from pytest_httpserver import HTTPServer
from terminal import Terminal, stripped

from xnatctl.cli.app import App
from xnatctl.cli.setup import Setup
from xnatctl.errors import Interrupted

pytestmark = pytest.mark.once

FILE = Path("config", "xnatctl", "config.yaml")


END = object()


class Typed:
    """Standard input with answers, END for the end of input; an exception is raised in the place of an answer."""

    def __init__(self, *answers):
        self.left = list(answers)

    def readline(self):
        answer = self.left.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return "" if answer is END else f"{answer}\n"

    def password(self, prompt, stream):
        stream.write(prompt)
        line = self.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")


@pytest.fixture
def talk(environment, monkeypatch):
    """Hold a conversation in this process; returns the answers and what was said."""
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "HOME"):
        monkeypatch.setenv(name, environment[name])
    for name in list(os.environ):
        if name.startswith("XNAT"):
            monkeypatch.delenv(name)

    def hold(*answers):
        typed, said = Typed(*answers), StringIO()
        monkeypatch.setattr(sys, "stdin", typed)
        monkeypatch.setattr(sys, "stderr", said)
        monkeypatch.setattr(getpass, "getpass", typed.password)
        app = App()
        with closing(app):
            answered = Setup(app).run()
        assert not typed.left
        return answered, said.getvalue()

    return hold


def test_mistakes_are_asked_for_again(talk, sandbox, httpserver):
    """A wrong address, a server that is no XNAT, a wrong password, an unknown and a read-only project."""
    httpserver.expect_request("/xapi/siteConfig/buildInfo").respond_with_data("no", status=404)
    sandbox.add_project("READ", roles={"alice": "collaborator"})
    answered, said = talk(
        "lab",
        *("ftp://x", "http://127.0.0.1:1", httpserver.url_for("")[:-1], sandbox.url),
        *("alice", "n0tright", "", "alice"),
        *("NOWHERE", "READ", "DEMO", "maybe", "y", "y"),
    )
    assert answered.name == "lab"
    assert answered.settings == {"url": sandbox.url, "username": "alice", "default_project": "DEMO"}
    assert answered.keeps
    for text in (
        "not an http or https URL", "Cannot reach http://127.0.0.1:1", "is not an XNAT server", "XNAT 1.8.11",
        "locks an account", "knows you as alice", "You can write to: DEMO, MANUAL.", "There is no project NOWHERE",
        "You cannot write to project READ",
    ):  # fmt: skip
        assert text in said
    assert "n0tright" not in said
    refused = [entry for entry in sandbox.requests if entry["status"] == 401]
    assert len(refused) == 1, "a wrong password is sent once"


def test_a_wrong_password_does_not_mask_what_is_typed_openly(talk, sandbox):
    """The user types his own name as the password: a mask in its place would confirm the password, too."""
    sandbox.add_user("carol", "right")
    answered, said = talk("carol", sandbox.url, "carol", "carol", "", "right", "n", "")
    assert answered.settings["username"] == "carol"
    assert "[secret]" not in said
    assert "User name [carol]: " in said
    assert "Profile carol:" in said
    assert "  username: carol" in said


def test_disagreeing_at_the_end_asks_again_with_the_same_answers(talk, sandbox):
    first = ("lab", sandbox.url, "alice", "alice", "DEMO", "n", "n")
    answered, _ = talk(*first, "", "", "", "alice", "-", "", "")
    assert answered.settings == {"url": sandbox.url, "username": "alice"}
    assert answered.keeps


def test_no_projects_and_no_login(talk, sandbox):
    sandbox.add_user("carol", "carol")
    answered, said = talk("", sandbox.url, "carol", "carol", "n", "")
    assert "You cannot write to any project" in said
    assert (answered.name, answered.settings, answered.keeps) == (
        "xnat", {"url": sandbox.url, "username": "carol"}, False,
    )  # fmt: skip
    answered, said = talk("", sandbox.url, "carol", "", "")
    assert answered.client is None
    assert "The login was not tested." in said


def test_the_choices_for_a_certificate_of_its_own(talk, tmp_path):
    openssl = required_program("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")
    names = ("-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run([openssl, *new, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with HTTPServer(host="127.0.0.1", ssl_context=context) as server:
        server.expect_request("/xapi/siteConfig/buildInfo").respond_with_json({"version": "1.9.0"})
        url = server.url_for("")[:-1]
        end = ("alice", "", "y")  # without a login
        answered, said = talk("lab", url, "2", *end)
        assert answered.settings == {"url": url, "verify_tls": False, "username": "alice"}
        assert all(f"  {number}  " in said for number in (1, 2, 3))
        answered, said = talk("lab", url, "3", url, "1", str(tmp_path / "none.pem"), "1", str(certificate), *end)
        assert f"The certificate file {tmp_path / 'none.pem'} cannot be used: No such file or directory." in said
        assert "Hint:" not in said
        assert answered.settings == {"url": url, "ca_cert": str(certificate), "username": "alice"}


STEPS = 7


@pytest.mark.parametrize("how", [KeyboardInterrupt(), END], ids=["ctrl-c", "ctrl-d"])
def test_ending_at_any_step_writes_nothing(talk, sandbox, home, how):
    answers = ("lab", sandbox.url, "alice", "alice", "DEMO", "y", "y")
    assert len(answers) == STEPS
    for step in range(STEPS):
        with pytest.raises(Interrupted, match="nothing was written") as ended:
            talk(*answers[:step], how)
        assert ended.value.exit_code == 130
        assert not (home / FILE).exists()
        assert not list(home.rglob("*token*"))


@pytest.fixture
def terminal(environment, home):
    with closing(Terminal(home, {**environment, "COLUMNS": "100"})) as shell:
        yield shell


INIT = f"{sys.executable} -m xnatctl config init"


def test_at_a_terminal(terminal, sandbox, home, xnatctl):
    shown, code = terminal.run(INIT, ("lab", sandbox.url, "alice", "n0tright", "", "alice", "", "y", "y"))
    assert code == 0, shown
    assert "The default profile is lab." in shown
    assert "n0tright" not in shown
    assert "To end it: xnatctl auth logout" in shown
    assert "Next: xnatctl doctor" in shown
    assert yaml.safe_load((home / FILE).read_text()) == {"profiles": {"lab": {"url": sandbox.url, "username": "alice"}}}
    assert xnatctl("auth", "status").code == 0, "the login was kept"
    shown, code = terminal.run(INIT, ("two", sandbox.url, "bob", "bob", "n", "y"))
    assert code == 0, shown
    assert "The default profile is lab." in shown
    assert "Next: xnatctl auth login --profile two" in shown
    assert yaml.safe_load((home / FILE).read_text())["default_profile"] == "lab"
    assert xnatctl("auth", "status", "--profile", "two").code == 3
    ended = [entry for entry in sandbox.requests if entry["method"] == "DELETE" and entry["path"] == "/data/JSESSION"]
    assert len(ended) == 1, "the session that is not kept was ended"
    shown, code = terminal.run(INIT, ("three", sandbox.url, "bob", "bob", "y", "y"))
    assert code == 0, shown
    assert "To end it: xnatctl auth logout --profile three" in shown
    assert "Next: xnatctl doctor --profile three" in shown
    assert [title in shown for title in ("Profile ", "File ", "URL")] == [True] * 3
    assert xnatctl("auth", "logout", "--profile", "three").code == 0
    assert xnatctl("auth", "status", "--profile", "three").code == 3
    assert xnatctl("auth", "status").code == 0, "the login of the default profile stays"


def test_the_password_is_hidden_and_can_be_interrupted(terminal, sandbox, home):
    shown, code = terminal.run(INIT, ("lab", sandbox.url, "alice"), interrupted="Password of alice")
    assert code == 130
    assert "Password of alice (hidden; empty to skip the login): \n\r\x1b[2K" in shown, (
        "the message has a line of its own"
    )
    assert stripped(shown).endswith("Error: Interrupted: nothing was written.\n")
    assert not (home / FILE).exists()


PROFILE = {
    "username": "alice", "default_project": "DEMO", "timeout": 600, "verify_tls": False, "workers": 3,
    "options": {"bwlimit": "1M"}, "password": "alice-old",
}  # fmt: skip


@pytest.fixture
def profile(sandbox, home):
    """Write a profile `lab`; returns a function that gives it as the file has it after `config init`."""
    file = home / FILE
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump({"profiles": {"lab": {"url": f"{sandbox.url}/", **PROFILE}}}))
    return lambda: yaml.safe_load(file.read_text())["profiles"]["lab"]


def test_a_profile_keeps_what_is_not_asked_for(terminal, sandbox, profile):
    """Enter at every question: the present values are offered."""
    shown, code = terminal.run(INIT, ("lab", "y", "", "", "", "y"))
    assert code == 0, shown
    assert profile() == {"url": sandbox.url, **PROFILE}
    assert f"Address of the server [{sandbox.url}/]: " in shown
    assert "User name [alice]: " in shown
    assert all(f"  {line}\n" in shown for line in ("timeout: 600", "default_project: DEMO", "password: (as before)"))
    assert "alice-old" not in shown


def test_another_user_and_no_project(terminal, sandbox, profile):
    sandbox.add_user("carol", "right")
    sandbox.add_project("OTHER", roles={"carol": "owner"})
    shown, code = terminal.run(INIT, ("lab", "y", "", "carol", "right", "-", "n", "y"))
    assert code == 0, shown
    assert "Not kept, because it is for alice: password." in shown
    without = {key: value for key, value in PROFILE.items() if key not in ("password", "default_project")}
    assert profile() == {"url": sandbox.url, **without, "username": "carol"}


def test_another_server_gets_nothing_that_belongs_to_the_old_one(terminal, sandbox, profile):
    other = sandbox.url.replace("127.0.0.1", "localhost")
    shown, code = terminal.run(INIT, ("lab", "y", other, "bob", "", "y"))
    assert code == 0, shown
    gone = "username, default_project, verify_tls, password"
    assert sorted(gone.split(", ")) == sorted(re.search(r"for another server: ([^.]+)\.", shown)[1].split(", "))
    kept = {"timeout": 600, "workers": 3, "options": {"bwlimit": "1M"}}
    assert profile() == {"url": other, "username": "bob", **kept}


def test_without_a_terminal_it_writes_a_file_to_start_from(xnatctl, home):
    for flags in ((), ("--template",)):
        assert xnatctl("config", "init", *flags).code == 0
        assert (home / FILE).read_text().startswith("# Configuration of xnatctl.")
        assert xnatctl("config", "init", *flags).code == 7
        (home / FILE).unlink()
