"""Precedence with its origin, the configuration file, and clear words for everything unusable."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml
from systems import assert_private, needs_fifos, needs_posix_modes

from xnatctl.operating_system.command_line import quote_word


@pytest.fixture
def config(home):
    def write(text):
        path = home / "config" / "xnatctl" / "config.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def setting(xnatctl):
    """(value, origin) of one setting."""

    def ask(name, *arguments, env=None):
        done = xnatctl("config", "show", "-o", "json", *arguments, env=env)
        assert done.code == 0, done.err
        return next((row["value"], row["origin"]) for row in done.document["settings"] if row["setting"] == name)

    return ask


TWO = "profiles:\n  a:\n    url: https://a.example\n    timeout: 100\n    username: anna\n  b:\n    url: https://b.example\n"


def test_where_the_server_comes_from(setting, config, xnatctl):
    config(TWO)
    assert setting("url", "--url", "https://f.example", env={"XNAT_URL": "https://e.example"}) == (
        "https://f.example",
        "flag --url",
    )
    assert setting("url", env={"XNAT_URL": "https://e.example"}) == ("https://e.example", "variable XNAT_URL")
    assert setting("url", "--profile", "b") == ("https://b.example", "profile b")
    assert setting("url", env={"XNAT_PROFILE": "a"}) == ("https://a.example", "profile a")
    assert setting("profile_name", "--profile", "b", env={"XNAT_PROFILE": "a"}) == ("b", "flag --profile")
    assert setting("url") == (None, "default"), "two profiles, none chosen"
    config(f"default_profile: a\n{TWO}")
    assert setting("profile_name") == ("a", "default_profile")
    config("profiles:\n  only:\n    url: https://o.example\n")
    assert setting("profile_name") == ("only", "the only profile")


def test_where_the_timeout_comes_from(setting, config):
    config(f"default_profile: a\n{TWO}")
    assert setting("timeout") == (100.0, "profile a")
    assert setting("timeout", env={"XNAT_TIMEOUT": "43200"}) == (43200.0, "variable XNAT_TIMEOUT")
    assert setting("timeout", "--timeout", "5", env={"XNAT_TIMEOUT": "43200"}) == (5.0, "flag --timeout")
    assert setting("timeout", "--profile", "b") == (21600.0, "default")


def test_the_budget_of_the_profile_is_shown_with_its_origin(xnatctl, config):
    config("profiles:\n  a:\n    url: https://a.example\n    server_budget: {sessions: 8}\n")
    rows = {row["setting"]: (row["value"], row["origin"]) for row in show(xnatctl)}
    assert rows["server_budget.sessions"] == (8, "profile a")
    assert rows["server_budget.requests"] == (8, "default")
    assert rows["server_budget.archiving"] == (2, "default")
    elsewhere = {row["setting"]: row["value"] for row in show(xnatctl, "--url", "https://b.example")}
    assert elsewhere["server_budget.sessions"] == 4  # that of another server is not known


def show(xnatctl, *words):
    return xnatctl("config", "show", "-o", "json", *words).document["settings"]


@pytest.mark.parametrize("value", ["abc", "0", "-1", "inf", "nan"])
def test_a_bad_timeout_is_refused(xnatctl, value):
    done = xnatctl("config", "show", env={"XNAT_TIMEOUT": value})
    assert done.code == 2
    assert "XNAT_TIMEOUT" in done.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("profils: {}", "Did you mean profiles?"),
        ("profiles:\n  a:\n    ulr: x", "Did you mean profiles.a.url?"),
        ("profiles:\n  a:\n    timeout: soon", "profiles.a.timeout must be a number above zero"),
        ("profiles:\n  a:\n    workers: 0", "at least 1"),
        ("profiles:\n  a:\n    overwrite: maybe", "one of delete, append, none"),
        ("profiles:\n  a:\n    server_budget: 4", "server_budget must be a mapping"),
        (
            "profiles:\n  a:\n    server_budget: {requests: 0}",
            "server_budget.requests must be a whole number of at least",
        ),
        ("profiles:\n  a:\n    server_budget: {sesions: 2}", "Did you mean profiles.a.server_budget.sessions?"),
        ("profiles: [1]", "profiles must be a mapping"),
        ("just text", "expected a mapping"),
        ("a: [", "line"),
        ("default_profile: x", "does not name a profile"),
        ("plugins:\n  blok: [a]", "Did you mean plugins.block?"),
    ],
)
def test_an_unusable_file_is_said_with_file_and_key(xnatctl, config, text, words):
    path = config(text)
    done = xnatctl("config", "show", "-o", "json")
    assert done.code == 2
    said = done.document["error"]["message"] + str(done.document["error"]["hint"])
    assert words in said
    assert str(path) in said


def test_a_secret_of_the_wrong_type_is_not_shown(xnatctl, config):
    config("profiles:\n  a:\n    password: [c4n4ry]\n")
    done = xnatctl("config", "show")
    assert done.code == 2
    assert "c4n4ry" not in done.err


def test_an_unknown_profile_names_what_there_is(xnatctl, config):
    config(TWO)
    done = xnatctl("config", "show", "--profile", "c")
    assert done.code == 2
    assert "a, b" in done.err


def test_making_and_choosing_profiles_loses_nothing(xnatctl, config, home):
    path = config("output: json\nplugins:\n  block: [x]\n" + TWO)
    assert xnatctl("config", "set-profile", "a", "--timeout", "7").code == 0
    assert xnatctl("config", "set-profile", "c", "--url", "https://c.example/xnat/", "--workers", "2").code == 0
    assert xnatctl("config", "use", "c").code == 0
    document = yaml.safe_load(path.read_text())
    assert document["output"] == "json"
    assert document["plugins"] == {"block": ["x"]}
    assert document["profiles"]["a"] == {"url": "https://a.example", "timeout": 7.0, "username": "anna"}
    assert document["profiles"]["c"] == {"url": "https://c.example/xnat", "workers": 2}
    assert document["default_profile"] == "c"
    assert_private(path)
    assert xnatctl("config", "use", "nobody").code == 2
    assert xnatctl("config", "set-profile", "new", "--timeout", "7").code == 2
    assert xnatctl("config", "set-profile", "new", "--url", "ftp://x").code == 2


def test_a_second_profile_leaves_the_first_the_default(xnatctl, setting):
    first = xnatctl("config", "set-profile", "lab", "--url", "https://lab.example")
    assert "The default profile is lab.\nNext: xnatctl auth login\n" in first.out
    second = xnatctl("config", "set-profile", "my site", "--url", "https://site.example")
    assert "The default profile is lab.\n" in second.out
    name = quote_word("my site")
    assert f"To use this one: --profile {name}, or xnatctl config use {name}\n" in second.out
    assert f"Next: xnatctl auth login --profile {name}\n" in second.out
    assert setting("url") == ("https://lab.example", "profile lab")
    assert setting("profile_name") == ("lab", "default_profile")
    used = xnatctl("config", "use", "my site", "-o", "json").document
    assert (used["profile"], used["default_profile"]) == ("my site", "my site")
    changed = xnatctl("config", "set-profile", "lab", "--workers", "2")
    assert "The default profile is my site." in changed.out
    assert "Next:" not in changed.out


def test_a_profile_that_a_variable_names_can_be_made(xnatctl):
    env = {"XNAT_PROFILE": "lab"}
    told = xnatctl("auth", "status", env=env)
    assert "There is no profile 'lab' (variable XNAT_PROFILE)." in told.err
    assert "xnatctl config set-profile" in told.err
    assert xnatctl("config", "set-profile", "lab", "--url", "https://lab.example", env=env).code == 0
    assert "There is no profile" not in xnatctl("auth", "logout", env=env).err


def test_what_is_wrong_with_the_server_is_said_where_one_is_asked(xnatctl):
    env = {"XNAT_PROFILE": "nosuch", "XNAT_TIMEOUT": "soon"}
    assert xnatctl("plugins", "list", env=env).code == 0
    given = ("--username", "a", "--password-stdin")
    done = xnatctl("session", "list", "-P", "DEMO", *given, env=env, stdin="hush\n")
    assert done.code == 2
    assert "There is no profile 'nosuch'" in done.err


def test_profiles_are_listed_and_removed(xnatctl, config, setting):
    empty = xnatctl("config", "list-profiles")
    assert (empty.code, empty.out) == (
        0, "There is no profile. Create one: xnatctl config set-profile NAME --url https://...\n",
    )  # fmt: skip
    config(f"default_profile: a\n{TWO}    password: c4n4ry\n")
    listed = xnatctl("config", "list-profiles", "-o", "json")
    assert listed.document["default_profile"] == "a"
    a = {"profile": "a", "default": True, "active": True, "url": "https://a.example", "username": "anna"}
    b = {"profile": "b", "default": False, "active": False, "url": "https://b.example", "username": None}
    assert listed.document["profiles"] == [
        {**a, "default_project": None},
        {**b, "default_project": None},
    ]
    assert xnatctl("config", "remove-profile", "c").code == 2
    kept = xnatctl("config", "remove-profile", "a")
    assert (kept.code, "stdin is not a terminal" in kept.err, "Add --yes" in kept.err) == (2, True, True)
    assert setting("profile_name") == ("a", "default_profile")
    removed = xnatctl("config", "remove-profile", "a", "--yes")
    assert removed.code == 0
    assert "No profile is the default. There is: b.\nChoose it: xnatctl config use b, or --profile b" in removed.out
    assert setting("profile_name")[0] is None, "the next upload does not go to another server by itself"
    told = xnatctl("session", "list", "-P", "DEMO")
    assert (told.code, "xnatctl config use b" in told.err) == (2, True)
    removed = xnatctl("config", "remove-profile", "b").out
    assert "Profile b is deleted.\nDeleted with it: password.\nA session that auth login stored for it" in removed
    assert "There is no profile." in removed
    assert xnatctl("config", "set-profile", "c", "--url", "https://c.example").code == 0
    assert setting("profile_name") == ("c", "the only profile")


def test_without_a_default_a_new_profile_does_not_become_it_by_itself(xnatctl, config, setting):
    config(TWO)
    assert xnatctl("config", "use", "a").code == 0
    assert xnatctl("config", "remove-profile", "a", "--yes").code == 0
    assert xnatctl("config", "set-profile", "c", "--url", "https://c.example").code == 0
    assert setting("profile_name")[0] is None
    assert xnatctl("config", "use", "b").code == 0
    assert setting("profile_name") == ("b", "default_profile")


def test_with_several_profiles_and_no_default_the_error_names_them(xnatctl, config):
    config(TWO)
    done = xnatctl("session", "list", "-P", "DEMO")
    assert done.code == 2
    assert "none of the profiles a, b is the default" in done.err
    assert "--profile a or XNAT_PROFILE=a, or make it the default: xnatctl config use a\n" in done.err
    assert "No profile is the default. There are: a, b." in xnatctl("config", "list-profiles").out
    assert xnatctl("config", "use", "a").code == 0
    assert "No XNAT server" not in xnatctl("auth", "logout").err


def test_a_profile_without_a_server_is_named(xnatctl, config):
    config("profiles:\n  a: {username: anna}\n")
    done = xnatctl("session", "list", "-P", "DEMO")
    assert "Profile a has no XNAT server." in done.err
    assert "xnatctl config set-profile a --url" in done.err


def test_init_and_path(xnatctl, home):
    path = home / "config" / "xnatctl" / "config.yaml"
    assert xnatctl("config", "path", "-q").out.strip() == str(path)
    assert xnatctl("config", "init").code == 0
    assert xnatctl("config", "show").code == 0
    again = xnatctl("config", "init")
    assert again.code == 7
    assert xnatctl("config", "path", "-q", env={"XNATCTL_CONFIG": "/elsewhere.yaml"}).out.strip() == str(
        Path("/elsewhere.yaml")
    )


def test_the_working_directory_is_never_read(xnatctl, tmp_path):
    for name in ("config.yaml", ".xnatctl.yaml", "xnatctl.yaml"):
        (tmp_path / name).write_text("profiles:\n  evil:\n    url: https://evil.example\n")
    assert "evil" not in xnatctl("config", "show", "-o", "json").out


def test_insecure_is_loud(xnatctl, config):
    config("profiles:\n  a:\n    url: https://127.0.0.1:9\n    verify_tls: false\n")
    done = xnatctl("session", "list", "-P", "X", "--username", "u", "--password-stdin", stdin="p\n")
    assert "certificate" in done.err
    assert done.code == 4


def test_a_state_directory_that_cannot_be_made_is_said(xnatctl, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = xnatctl(
        "auth", "logout", env={"XNAT_URL": "http://127.0.0.1:9", "XNATCTL_STATE_DIR": str(blocked / "below")}
    )
    assert done.code == 2
    assert "Traceback" not in done.err


@needs_posix_modes
def test_files_are_private_from_the_first_moment(tmp_path, monkeypatch):
    from xnatctl.operating_system import private
    from xnatctl.settings.paths import write_private

    modes = []
    real = private.os.open

    def watch(path, flags, mode=0o777, **more):
        descriptor = real(path, flags, mode, **more)
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(private.os, "open", watch)
    before = os.umask(0)
    try:
        write_private(tmp_path / "a" / "b", "secret")
    finally:
        os.umask(before)
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_changes_at_the_same_time_are_all_kept(nursery, environment, home, tmp_path):
    names = [f"lab{number}" for number in range(8)]
    running = [
        nursery.start(
            "-m", "xnatctl", "config", "set-profile", name, "--url", f"https://{name}.example",
            env=environment, cwd=tmp_path,
        )
        for name in names
    ]  # fmt: skip
    for child in running:
        child.communicate()
    assert [child.wait() for child in running] == [0] * len(names)
    written = yaml.safe_load((home / "config" / "xnatctl" / "config.yaml").read_text())
    assert sorted(written["profiles"]) == names


@needs_fifos
@pytest.mark.parametrize("key", ["ca_cert", "client_cert", "client_key"])
def test_a_certificate_file_is_a_regular_file(xnatctl, config, tmp_path, key):
    (tmp_path / "c.pem").write_text("")
    os.mkfifo(tmp_path / "fifo")
    settings = {"client_cert": tmp_path / "c.pem", key: tmp_path / "fifo"}
    lines = "".join(f"    {name}: {value}\n" for name, value in settings.items())
    config(f"profiles:\n  a:\n    url: https://127.0.0.1:1\n{lines}")
    done = xnatctl("auth", "status")
    assert done.code == 2
    assert "is not a regular file" in done.err


@pytest.mark.parametrize("variables", [{}, {"LC_ALL": "C"}])
def test_a_password_on_standard_input_is_text(nursery, environment, variables):
    """As a shell of Windows may write it: in the code page of the country."""
    login = ("auth", "status", "--url", "http://127.0.0.1:1", "--username", "a", "--password-stdin")
    child = nursery.start("-m", "xnatctl", *login, env={**environment, **variables}, stdin=b"w\xf6rt\n")
    _, err = child.communicate()
    assert child.wait() == 2, err
    assert "The password on standard input is not UTF-8" in err.decode()
    assert "Traceback" not in err.decode()


def test_a_password_on_standard_input_has_an_end(xnatctl):
    done = xnatctl(
        "auth", "status", "--url", "http://127.0.0.1:1", "--username", "a", "--password-stdin", stdin="x" * 200_000
    )
    assert done.code == 4, "nobody listens there"
