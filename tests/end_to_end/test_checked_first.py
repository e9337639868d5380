"""What can be known before the first byte is checked before it: nothing is asked of a server, and nothing changes."""

from __future__ import annotations

import socket

import pytest

from xnatctl.cli.app import App
from xnatctl.cli.builtin import BUILTIN
from xnatctl.cli.main import _command
from xnatctl.plugin.manager import PluginManager
from xnatctl.plugin.policy import policy_from
from xnatctl.plugin.registry import Registry

UPLOAD = ("session", "upload", "{exam}", "-P", "DEMO", "-S", "s", "-E", "e")
EXAM = ("session", "upload-exam", "{exam}", "-P", "DEMO", "-S", "s", "-E", "e")
DICOM = ("session", "upload-dicom", "{exam}", "--host", "127.0.0.1", "--port", "{port}", "--called-aet", "XNAT")
RESOURCE = ("resource", "upload", "-P", "DEMO", "--project-level", "NOTES", "{exam}")
ROW = ("DEMO", "20240101_000000", "row")
#: Every command, as it would be run; those that are not here change nothing and ask nobody.
COMMANDS = [
    UPLOAD, EXAM, DICOM, RESOURCE, (*UPLOAD, "--split-studies"), (*UPLOAD, "--dry-run"), (*UPLOAD, "--mode", "gradual"),
    ("session", "verify", "{exam}", "-P", "DEMO", "-S", "s", "-E", "e"), ("session", "list", "-P", "DEMO"),
    ("session", "show", "e", "-P", "DEMO"), ("scan", "list", "e", "-P", "DEMO"), ("resource", "list", "e", "-P", "DEMO"),
    ("prearchive", "list"), ("prearchive", "show", *ROW), ("prearchive", "archive", *ROW),
    ("prearchive", "delete", *ROW, "--yes"), ("auth", "login"), ("auth", "logout"), ("auth", "status"), ("doctor",),
    ("config", "init"), ("config", "set-profile", "lab", "--url", "https://lab.example"), ("config", "use", "lab"),
    ("config", "list-profiles"), ("config", "remove-profile", "lab", "--yes"),
    ("plugins", "block", "zip"), ("plugins", "unblock", "zip"), ("upload", "status"), ("upload", "forget", "e", "--yes"),
    ("campaign", "scan", "{exam}", "-P", "DEMO"), ("campaign", "plan", "m.csv", "c"), ("campaign", "run", "c"),
    ("campaign", "retry", "c"), ("campaign", "status", "c"), ("campaign", "report", "c"), ("campaign", "submit", "c", "--slurm"),
    ("campaign", "watch", "{exam}", "--quiet", "60", "--rules", "r.yaml"),
    ("receipt", "verify", "r.json", "{exam}"),
]  # fmt: skip
BROKEN = """
from xnatctl.api import FormatterSpec, hookimpl
@hookimpl
def xnatctl_formatters():
    return [FormatterSpec(name="broken", summary="", target="no_such_module:X"),
            FormatterSpec(name="unmet", summary="", target="json:loads", modules=("no_such_module",), extra="ours")]
"""


@pytest.fixture
def receiver():
    """A port where nobody may call."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening.getsockname()[1]
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.fixture
def run(monkeypatch, environment, alice, receiver, tmp_path, exam, capsys):
    """One command, in this process: its exit code, and what it said."""
    for name, value in {**environment, **alice}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    places = {"exam": str(exam.directory), "port": str(receiver), "tmp": str(tmp_path)}

    def command(*words, env=None):
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value.format_map(places))
        app = App()
        try:
            code = _command(app, [word.format_map(places) for word in words])
        finally:
            app.close()
        return code, capsys.readouterr().err

    return command


def untouched(sandbox, home):
    assert sandbox.requests == []
    assert sandbox.instances() == []
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_format_that_cannot_be_had_is_refused_first(run, sandbox, home, words):
    code, said = run(*words, "-o", "nosuch")
    assert (code, said.count("There is no output format 'nosuch'")) == (2, 1), said
    untouched(sandbox, home)


@pytest.mark.parametrize("words", [UPLOAD, EXAM, DICOM, RESOURCE, ("auth", "login")], ids=" ".join)
@pytest.mark.parametrize(("form", "why"), [("broken", "cannot be loaded"), ("unmet", "needs no_such_module")])
def test_a_formatter_that_is_broken_or_lacks_something_is_refused_first(
    run, sandbox, home, install, monkeypatch, words, form, why
):
    monkeypatch.syspath_prepend(install("forms", BROKEN)["PYTHONPATH"])
    code, said = run(*words, "-o", form)
    assert code == 8, said
    assert why in said
    untouched(sandbox, home)


FAULTS = {
    "a format of the configuration": ((), {"XNATCTL_CONFIG": "{tmp}/output.yaml"}, "There is no output format 'nosuch'"),
    "a wrong configuration": ((), {"XNATCTL_CONFIG": "{tmp}/wrong.yaml"}, "wrong.yaml, line 1, column 1: unknown setting"),
    "an unknown profile": (("--profile", "nosuch"), {}, "There is no profile 'nosuch'"),
    "an unknown profile in a variable": ((), {"XNAT_PROFILE": "nosuch"}, "There is no profile 'nosuch'"),
    "a URL that is none": (("--url", "ftp://x"), {}, "--url"),
    "a timeout that is no number": (("--timeout", "nan"), {}, "'nan' is not a number"),
    "a timeout in a variable": ((), {"XNAT_TIMEOUT": "soon"}, "XNAT_TIMEOUT"),
    "a patience that is no number": (("--retry-for", "x"), {}, "'x' is not a number"),
    "a patience without end": (("--retry-for", "inf"), {}, "'inf' is not a number"),
    "a patience below zero": (("--retry-for", "-1"), {}, "--retry-for"),
    "a wait that is no number": (("--lock-wait", "nan"), {}, "'nan' is not a number"),
    "a log that cannot be written": (("--log-file", "{tmp}/nosuch/log"), {}, "Cannot write the log file"),
    "a log that is a directory": (("--log-file", "{tmp}"), {}, "--log-file"),
    "a log on a full disk": (("--log-file", "/dev/full/log"), {}, "Cannot write the log file"),
    "a state directory that is a file": ((), {"XNATCTL_STATE_DIR": "{tmp}/file"}, "Cannot create the directory"),
    "a state directory that cannot be made": ((), {"XNATCTL_STATE_DIR": "/proc/nosuch"}, "Cannot create the directory"),
    "a state directory that cannot be written": ((), {"XNATCTL_STATE_DIR": "{tmp}/state"}, "Cannot write in the directory"),
    "a plugin that is not there": (("--block-plugin", "sandbx"), {}, "Did you mean sandbox?"),
}  # fmt: skip
LOGIN_FAULTS = {
    "a token of neither kind": ((), {"XNAT_TOKEN": "a b"}, "XNAT_TOKEN holds neither kind of token"),
    "half an alias token": ((), {"XNAT_TOKEN": "ab12:"}, "XNAT_TOKEN holds an alias token without alias or secret"),
    "a user with a colon": ((), {"XNAT_USER": "a:b"}, "must not hold a colon"),
    "an empty user": (("--username", ""), {}, "--username is empty"),
    "an unknown source": ((), {"XNATCTL_CONFIG": "{tmp}/sources.yaml"}, "credential_sources names 'nosuch'"),
}  # fmt: skip


@pytest.fixture
def wrong_files(tmp_path, monkeypatch):
    (tmp_path / "output.yaml").write_text("output: nosuch\n")
    (tmp_path / "wrong.yaml").write_text("outptu: json\n")  # codespell:ignore outptu
    (tmp_path / "sources.yaml").write_text("credential_sources: [nosuch]\n")
    (tmp_path / "file").write_text("")
    journals = tmp_path / "state" / "journals"
    journals.parent.mkdir()
    # Permissions do not hold for the superuser: a directory of the kernel takes no file from anybody.
    journals.symlink_to("/proc/self")


def before_first(words, fault):
    """`--block-plugin` stands before the command, everything else behind it."""
    more, env, why = fault
    return ((*more, *words) if more[:1] == ("--block-plugin",) else (*words, *more)), env, why


@pytest.mark.parametrize("words", [UPLOAD, EXAM, RESOURCE, (*UPLOAD, "--split-studies")], ids=" ".join)
@pytest.mark.parametrize("fault", [*FAULTS, *LOGIN_FAULTS])
def test_what_is_wrong_with_an_upload_is_said_first(run, sandbox, home, wrong_files, words, fault):
    arguments, env, why = before_first(words, {**FAULTS, **LOGIN_FAULTS}[fault])
    code, said = run(*arguments, env=env)
    assert code in (2, 8), said
    assert why in said
    untouched(sandbox, home)


#: Without --verify no XNAT is asked, and its options are refused.
OF_THE_SERVER = {"an unknown profile", "a URL that is none", "a timeout that is no number"}


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in OF_THE_SERVER])
def test_what_is_wrong_with_an_upload_to_a_receiver_is_said_first(run, sandbox, home, wrong_files, fault):
    arguments, env, why = before_first(DICOM, FAULTS[fault])
    code, said = run(*arguments, env=env)
    assert code in (2, 8), said
    assert why in said
    untouched(sandbox, home)


def test_a_format_that_cannot_be_had_is_refused_before_an_upload_goes_on(run, sandbox):
    assert run(*UPLOAD)[0] == 0
    before = len(sandbox.requests)
    code, said = run("upload", "resume", "e", "-o", "nosuch")
    assert (code, said.count("There is no output format 'nosuch'")) == (2, 1), said
    assert len(sandbox.requests) == before


def test_every_command_is_in_the_table():
    registry = Registry(PluginManager(policy_from(block=(), external=False, configured=lambda: ([], None))))
    known = {*registry.commands(level=1), *(spec.path for spec in BUILTIN)}
    listed = {path for path in known for words in COMMANDS if " ".join(words).startswith(path)}
    read_only = {
        "campaign work",  # the worker of a run, whose standard output holds messages
        "completion",
        "config path",
        "config show",
        "plugins check",
        "plugins list",
        "plugins new",
        "plugins show",
        "upload resume",
        "sandbox start",
        "sandbox demo",
    }
    assert known - listed - read_only == set()
