"""Who is logged in as whom: flags, then environment, kept token, profile, netrc, helper, prompt; against the sandbox."""

from __future__ import annotations

import json
import os
import stat
import sys

import pytest
from systems import assert_private, needs_posix_modes, write_secret

pytest.importorskip("werkzeug", reason="the sandbox extra is not installed")

from xnatctl_sandbox.server import Sandbox


@pytest.fixture
def sandbox(tmp_path):
    with Sandbox(tmp_path / "xnat") as server:
        yield server


@pytest.fixture
def who(xnatctl, sandbox):
    """`auth status`: (user, source) or the exit code."""

    def ask(*arguments, env=None, stdin=""):
        done = xnatctl(
            "auth", "status", "-o", "json", *arguments, env={"XNAT_URL": sandbox.url, **(env or {})}, stdin=stdin
        )
        return (done.document["user"], done.document["source"]) if done.code == 0 else done.code

    return ask


def write_config(home, text):
    path = home / "config" / "xnatctl" / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)


ALICE = {"XNAT_USER": "alice", "XNAT_PASS": "alice"}


def test_flags_win_over_the_environment(who):
    assert who("--username", "bob", "--password", "bob", env=ALICE) == ("bob", "the command line")
    assert who("--username", "bob", "--password-stdin", env=ALICE, stdin="bob\n") == ("bob", "the command line")


def test_a_named_user_is_never_somebody_else(who):
    assert who("--username", "bob", env=ALICE) == 3
    assert who("--username", "bob", "--password", "wrong", env=ALICE) == 3


def test_environment_then_profile(who, home, sandbox):
    write_config(home, f"profiles:\n  p:\n    url: {sandbox.url}\n    username: bob\n    password: bob\n")
    assert who()[0] == "bob"
    assert who(env=ALICE) == ("alice", "variables XNAT_USER and XNAT_PASS")


def test_secrets_of_a_profile_go_to_its_own_server_only(who, home):
    write_config(home, "profiles:\n  p:\n    url: https://elsewhere.example\n    username: bob\n    password: bob\n")
    assert who() == 3, "XNAT_URL names another server than the profile"


def test_alias_tokens(who, sandbox):
    from xnatctl_sandbox.world.records import AliasToken

    sandbox.state.tokens["a-b-c"] = AliasToken(
        alias="a-b-c", secret="s3cret", login="alice", created=sandbox.state.clock.now()
    )
    assert who(env={"XNAT_TOKEN": "a-b-c:s3cret"}) == ("alice", "variable XNAT_TOKEN")
    assert who(env={"XNAT_TOKEN": "no-colon"}) == 3
    assert who(env={"XNAT_TOKEN": "no colon"}) == 2
    assert who(env={"XNAT_TOKEN": "a-b-c:wrong"}) == 3


def test_netrc(who, home):
    path = home / ".netrc"
    write_secret(path, "machine 127.0.0.1 login alice password alice\n")
    assert who() == ("alice", str(path))
    if os.name == "posix":
        path.chmod(0o644)
        assert who() == 2


def test_a_helper_command(who, home, sandbox, tmp_path):
    helper = tmp_path / "helper.py"
    helper.write_text(
        "import json, sys\nasked = json.load(sys.stdin)\nassert sys.argv[-1] == 'get' and asked['server']\n"
        "print(json.dumps({'username': 'alice', 'password': 'alice'}))\n"
    )
    config = f"profiles:\n  p:\n    url: {sandbox.url}\n    credential_helper: [{sys.executable}, {helper}]\n"
    write_config(home, config)
    assert who()[0] == "alice"
    helper.write_text("raise SystemExit(3)")
    assert who() == 3
    write_config(home, f"profiles:\n  p:\n    url: {sandbox.url}\n    credential_helper: [/no/such/program]\n")
    assert who() == 3


def test_the_order_can_be_changed(who, home, sandbox):
    profile = f"profiles:\n  p:\n    url: {sandbox.url}\n    username: alice\n    password: alice\n"
    write_config(home, profile)
    assert who(env=ALICE)[1].startswith("variable")
    write_config(home, f"{profile}credential_sources: [profile, environment]\n")
    assert "profile" in who(env=ALICE)[1]
    write_config(home, f"{profile}credential_sources: [nobody]\n")
    assert who(env=ALICE) == 2


def test_nothing_found_names_what_was_asked(xnatctl, sandbox):
    done = xnatctl("auth", "status", "-o", "json", env={"XNAT_URL": sandbox.url})
    assert done.code == 3
    assert "environment" in done.document["error"]["message"]
    assert "xnatctl auth login" in done.document["error"]["hint"]


# the kept token


def token_files(home):
    return list((home / "state" / "xnatctl" / "tokens").glob("*.json"))


def test_login_keeps_a_token_that_others_use_and_logout_ends_it(xnatctl, sandbox, who, home):
    env = {"XNAT_URL": sandbox.url}
    os.umask(0)
    done = xnatctl("auth", "login", "--username", "alice", "--password-stdin", "-o", "json", env=env, stdin="alice\n")
    os.umask(0o022)
    assert done.code == 0, done.err
    assert done.document["user"] == "alice"
    (path,) = token_files(home)
    assert_private(path)
    if os.name == "posix":
        assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    token = json.loads(path.read_text())["token"]
    assert token not in done.out + done.err
    before = len(sandbox.requests)
    assert who() == ("alice", "session token of auth login")
    assert "POST" not in {r["method"] for r in sandbox.requests[before:]}, "no new login was made"
    assert who()[0] == "alice", "using it does not end it"
    assert xnatctl("auth", "logout", env=env).code == 0
    assert token_files(home) == []
    assert who() == 3
    assert not sandbox.accounts.open_sessions("alice")
    assert xnatctl("auth", "logout", env=env).code == 2


def test_an_expired_token_leads_to_the_next_source(xnatctl, sandbox, who):
    env = {"XNAT_URL": sandbox.url}
    assert xnatctl("auth", "login", env={**env, **ALICE}).code == 0
    sandbox.accounts.end_all("alice")
    assert who() == 3
    assert who(env={"XNAT_TOKEN": ""}) == 3
    assert xnatctl("session", "list", "-P", "DEMO", env={**env, "XNAT_USER": "alice", "XNAT_PASS": "alice"}).code == 0


def test_tokens_are_kept_by_server_and_user(xnatctl, sandbox, home, who):
    env = {"XNAT_URL": sandbox.url}
    for user in ("alice", "bob"):
        assert xnatctl("auth", "login", "--username", user, "--password-stdin", env=env, stdin=f"{user}\n").code == 0
    assert len(token_files(home)) == 2
    assert who("--username", "alice")[0] == "alice"
    assert who("--username", "bob")[0] == "bob"


@needs_posix_modes
def test_a_token_that_others_can_read_is_not_used(xnatctl, sandbox, home, who):
    assert xnatctl("auth", "login", env={"XNAT_URL": sandbox.url, **ALICE}).code == 0
    token_files(home)[0].chmod(0o644)
    assert who() == 3


def test_password_on_the_command_line_is_warned_about_once(xnatctl, sandbox):
    done = xnatctl("auth", "status", "--username", "alice", "--password", "alice", env={"XNAT_URL": sandbox.url})
    assert done.code == 0
    assert done.err.count("process list") == 1


@pytest.mark.parametrize("canary", ["c4n4ry-p4ss/w+rd"])
def test_secrets_stay_out_of_everything(xnatctl, sandbox, home, tmp_path, canary):
    sandbox.state.users["alice"].password = canary
    env = {"XNAT_URL": sandbox.url, "XNAT_USER": "alice", "XNAT_PASS": canary}
    log = tmp_path / "log.jsonl"
    write_config(home, f"profiles:\n  p:\n    url: {sandbox.url}\n    username: alice\n    password: {canary}\n")
    outputs = []
    for arguments in (
        ["config", "show"], ["config", "show", "-o", "json"], ["auth", "status", "-vv", "--log-file", str(log)],
        ["session", "list", "-P", "DEMO", "-vv", "--log-file", str(log)], ["session", "list", "-P", "NO", "-vv"],
        ["doctor", "-v"], ["auth", "login", "-v"],
    ):  # fmt: skip
        done = xnatctl(*arguments, env=env)
        outputs += [done.out, done.err]
    if log.exists():
        outputs.append(log.read_text())
        assert_private(log)
    import base64

    for form in (canary, base64.b64encode(f"alice:{canary}".encode()).decode(), "c4n4ry"):
        assert not any(form in output for output in outputs)
