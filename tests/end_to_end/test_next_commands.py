"""What a reader is told to run can be copied: it reaches the same server, as the same user, with the same plugins."""

from __future__ import annotations

import pytest

from xnatctl.model.commands import Commands
from xnatctl.operating_system.command_line import quote_word, split_command


def test_words_are_quoted_and_the_server_is_named() -> None:
    commands = Commands(root=[["--block-plugin", "x"]], server=[["--url", "http://x"], ["--insecure"]])
    assert commands.command("prearchive", "show", "P", "20240101_1", "a b") == (
        f"xnatctl --block-plugin x prearchive show P 20240101_1 {quote_word('a b')} --url http://x --insecure"
    )
    assert commands.command("upload", "status", server=False) == "xnatctl --block-plugin x upload status"


def test_the_command_again_names_what_only_a_variable_said() -> None:
    server = [["--url", "http://x"], ["--profile", "p"], ["--username", "u"]]
    given = ["session", "upload", "d", "--profile=p", "--username", "u", "--password", "s3cret", "--dry-run"]
    assert (
        Commands(server=server, arguments=given).rerun()
        == "xnatctl session upload d --profile=p --username u --url http://x"
    )


@pytest.mark.parametrize("by_flag", [True, False])
def test_hints_name_the_server(xnatctl, sandbox, alice, by_flag) -> None:
    env = {"XNAT_USER": "alice", "XNAT_PASS": "alice"} if by_flag else alice
    flags = ("--url", sandbox.url) if by_flag else ()
    for arguments, told in (
        (("session", "show", "nope", "-P", "DEMO"), "session list -P DEMO"),
        (("scan", "list", "-E", "nope", "-P", "DEMO"), "session list -P DEMO"),
        (("prearchive", "show", "DEMO", "20240101_1", "nope"), "prearchive list -P DEMO"),
        (("prearchive", "delete", "DEMO", "20240101_1", "nope", "--yes"), "prearchive list -P DEMO"),
    ):
        done = xnatctl(*arguments, *flags, env=env)
        assert done.code == 2
        assert f"xnatctl {told} --url {sandbox.url}\n" in done.err
    done = xnatctl("--no-external-plugins", "session", "show", "nope", "-P", "DEMO", *flags, env=env)
    assert f"xnatctl --no-external-plugins session list -P DEMO --url {sandbox.url}\n" in done.err


def test_what_a_profile_says_is_named_by_the_profile(xnatctl, sandbox) -> None:
    made = xnatctl("config", "set-profile", "play", "--url", sandbox.url)
    assert made.code == 0
    env = {"XNAT_USER": "alice", "XNAT_PASS": "alice"}
    done = xnatctl("session", "show", "nope", "-P", "DEMO", "--profile", "play", env=env)
    assert "xnatctl session list -P DEMO --profile play\n" in done.err
    done = xnatctl("session", "show", "nope", "-P", "DEMO", env=env)
    assert "xnatctl session list -P DEMO\n" in done.err, "the default needs no name"


def test_the_step_after_a_new_profile_can_be_taken(xnatctl, sandbox) -> None:
    for name in ("play", "my site"):
        made = xnatctl("config", "set-profile", name, "--url", sandbox.url)
        (line,) = [line for line in made.out.splitlines() if line.startswith("Next: xnatctl ")]
        words = split_command(line.removeprefix("Next: xnatctl "))
        done = xnatctl(*words, "-o", "json", env={"XNAT_USER": "alice", "XNAT_PASS": "alice"})
        assert (done.code, done.document["server"]) == (0, sandbox.url)


def test_a_resumed_upload_is_told_with_the_profile_and_the_user(xnatctl, sandbox, own_exam) -> None:
    assert xnatctl("config", "set-profile", "play", "--url", sandbox.url).code == 0
    sandbox.faults.load([{"match": {"path": "direct-archive"}, "action": "status", "status": 500}])
    upload = ("session", "upload", own_exam.directory, "-P", "DEMO", "-S", "s", "-E", "e", "--wait", "2")
    given = ("--profile", "play", "--username", "alice")
    done = xnatctl(*upload, *given, "-o", "json", env={"XNAT_PASS": "alice"})
    assert done.code == 4
    assert done.document["counts"]["sent"] == 60
    assert done.document["next"] == [" ".join(["xnatctl", *map(str, upload), *given, "-o", "json"])]
    sandbox.faults.end()
    told = xnatctl("upload", "status").out
    (line,) = [line for line in told.splitlines() if line.startswith("Next: ")]
    _, _, *words = line.split()
    assert words[-4:] == [*given]
    assert xnatctl(*words, env={"XNAT_PASS": "alice"}).code == 0


LOGIN = {"XNAT_USER": "alice", "XNAT_PASS": "alice"}


@pytest.mark.parametrize("way", ["--url", "XNAT_URL", "--profile", "XNAT_PROFILE", "default", "XNATCTL_CONFIG"])
def test_a_printed_command_works_in_a_new_shell(xnatctl, sandbox, tmp_path, way) -> None:
    """One without the variables that chose the server, and where another profile may be the default."""
    for name, url in (("first", "http://127.0.0.1:1"), ("play", sandbox.url)):
        assert xnatctl("config", "set-profile", name, "--url", url).code == 0
    file = tmp_path / "config.yaml"
    file.write_text(f"profiles: {{only: {{url: '{sandbox.url}'}}}}")
    if way == "default":
        assert xnatctl("config", "use", "play").code == 0
    value = {"--url": sandbox.url, "XNAT_URL": sandbox.url, "XNATCTL_CONFIG": str(file)}.get(way, "play")
    flags = (way, value) if way.startswith("--") else ()
    variables = {way: value} if way.isupper() else {}
    done = xnatctl("session", "show", "nope", "-P", "DEMO", *flags, env={**LOGIN, **variables})
    assert done.code == 2, done.err
    (words,) = [line.partition("xnatctl ")[2] for line in done.err.splitlines() if "xnatctl session list" in line]
    assert xnatctl(*split_command(words), env=LOGIN).code == 0, words


@pytest.mark.parametrize("variable", ["XNAT_PROFILE", "XNAT_URL"])
def test_the_step_after_a_new_profile_does_not_depend_on_variables(xnatctl, sandbox, variable) -> None:
    assert xnatctl("config", "set-profile", "first", "--url", "http://127.0.0.1:1").code == 0
    env = {variable: "play" if variable == "XNAT_PROFILE" else "http://127.0.0.1:1"}
    made = xnatctl("config", "set-profile", "play", "--url", sandbox.url, env=env)
    (line,) = [line for line in made.out.splitlines() if line.startswith("Next: xnatctl ")]
    words = split_command(line.removeprefix("Next: xnatctl "))
    for shell in (env, {}):
        login = ("--username", "alice", "--password-stdin", "-o", "json")
        done = xnatctl(*words, *login, env=shell, stdin="alice")
        assert (done.code, done.document["server"]) == (0, sandbox.url), (shell, done.err)
