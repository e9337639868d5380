"""No plugin can make the program end with 0 when less than what was asked for is proven."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.once

UPLOAD = ("-P", "DEMO", "-S", "s", "-E", "e")

#: Ways in which a plugin can try to end the program, or to pass for a success.
ENDINGS = {
    "sys.exit(0)": "sys.exit(0)",
    "SystemExit without a code": "raise SystemExit",
    "click's exit": "raise click.exceptions.Exit(0)",
    "an error that says 0": "raise Fine('fine')",
    "an error that says 256": "raise Worse('fine')",
    "a BaseException of its own": "raise Stop",
    "GeneratorExit": "raise GeneratorExit",
    "os._exit(0)": "os._exit(0)",
}

PREAMBLE = """
import os, sys, click
from xnatctl.api import *

class Fine(XnatctlError):
    exit_code = 0
class Worse(XnatctlError):
    exit_code = 256
class Stop(BaseException):
    pass
"""

SOURCE = """
@hookimpl
def xnatctl_credential_sources():
    return [CredentialSourceSpec(name="leaver", summary="leaves", target="dist_leaver_leaver:Leaver", order=0)]

class Leaver:
    def get(self, request):
        {ending}
"""

FORMATTER = """
@hookimpl
def xnatctl_formatters():
    return [FormatterSpec(name="leaver", summary="leaves", target="dist_leaver_leaver:Leaver")]

class Leaver:
    def render(self, document, out):
        {ending}
"""

CHECK = """
@hookimpl
def xnatctl_checks():
    return [CheckSpec(name="leaver", summary="leaves", target="dist_leaver_leaver:check")]

def check(app):
    {ending}
"""

PLANNER = """
@hookimpl
def xnatctl_plan_upload(request):
    {ending}
"""

TRANSPORT = """
@hookimpl
def xnatctl_transports():
    return [TransportSpec(name="leaver", summary="leaves", target="dist_leaver_leaver:Leaver")]

class Leaver:
    def __init__(self, context):
        self.context = context
    def __enter__(self):
        return self
    def __exit__(self, *error):
        pass
    def describe(self):
        return {{}}
    def batches(self, items, workers):
        return cut_batches(items, workers)
    def send(self, batch, emit):
        {ending}
    def close(self):
        pass
"""


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize(
    ("source", "flags"),
    [
        pytest.param(SOURCE, (), id="credential source"),
        pytest.param(PLANNER, (), id="planner"),
        pytest.param(TRANSPORT, ("--mode", "leaver"), id="transport"),
    ],
)
def test_an_upload_that_a_plugin_ends_is_no_success(
    xnatctl, sandbox, alice, exam, install, stored, source, flags, ending
):
    env = {**alice, **install("leaver", PREAMBLE + source.format(ending=ending))}
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, *flags, "-o", "json", env=env)
    assert done.code not in (0, 2, 130), done.err
    assert done.document["error"], "the document says that it failed"
    assert "Traceback" not in done.err
    assert not stored(sandbox)


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_formatter_that_ends_the_program_after_the_upload_is_no_success(
    xnatctl, sandbox, alice, exam, install, ending, assert_exactly
):
    env = {**alice, **install("leaver", PREAMBLE + FORMATTER.format(ending=ending))}
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "-o", "leaver", env=env)
    assert done.code == 1, "nothing was refused: the images are there, and only the report is missing"
    assert "leaver" in done.err or "Error: fine" in done.err
    assert "Traceback" not in done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_check_that_ends_the_program_has_failed(xnatctl, alice, install, ending):
    env = {**alice, **install("leaver", PREAMBLE + CHECK.format(ending=ending))}
    done = xnatctl("doctor", "-o", "json", env=env)
    assert done.code == 1
    assert {check["check"]: check["status"] for check in done.document["checks"]}["leaver"] == "failed"


@pytest.mark.parametrize(
    "ending",
    [
        "import atexit; atexit.register(os._exit, 0); raise ValueError",
        "import threading; threading.Thread(target=os._exit, args=(0,)).start(); raise ValueError",
        "pid = os.fork(); pid or os._exit(0); os.waitpid(pid, 0); raise ValueError",
    ],
    ids=["at exit", "in a thread", "in a child process"],
)
def test_what_a_plugin_left_behind_does_not_end_the_program(xnatctl, alice, exam, install, stored, sandbox, ending):
    env = {**alice, **install("leaver", PREAMBLE + PLANNER.format(ending=ending))}
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "-o", "json", env=env)
    assert done.code == 8, done.err
    assert "ValueError" in done.document["error"]["message"]
    assert not stored(sandbox)


def test_a_command_of_a_plugin_ends_as_it_says(xnatctl, install):
    source = """
@hookimpl
def xnatctl_commands():
    return [CommandSpec(path="lab quit", summary="ends", target="dist_leaver_leaver:quit")]

@click.command()
@click.argument("code", type=int)
def quit(code):
    sys.exit(code)
"""
    env = install("leaver", PREAMBLE + source)
    assert [xnatctl("lab", "quit", code, env=env).code for code in ("0", "3")] == [0, 3]


FAULTY = """
from dataclasses import replace
from xnatctl.api import *

@hookimpl
def xnatctl_plan_upload(request):
    from xnatctl.api.commands import plan_session_upload
    plan = plan_session_upload(request)
    send, *others = plan.stages
    {change}
    return plan
"""

CHANGES = {
    "leaves a file out": (
        "plan = replace(plan, stages=(replace(send, items=list(send.items)[1:]), *others))",
        "leaves",
    ),
    "names another session": (
        "plan = replace(plan, destination=replace(plan.destination, session='other'))",
        "destination",
    ),
    "names another project": (
        "plan = replace(plan, destination=replace(plan.destination, project='OTHER'))",
        "destination",
    ),
    "has no stages": ("plan = replace(plan, stages=())", "nothing"),
    "has stages without files": ("plan = replace(plan, stages=(replace(send, items=()), *others))", "nothing"),
    "leaves in the prearchive": ("plan = replace(plan, placement='prearchive')", "placement"),
    "sends one file for another": (
        (
            "one, two = list(send.items)[:2]\n"
            "    swapped = [replace(one, source=Source(path=two.file), size=two.size), *list(send.items)[1:]]\n"
            "    plan = replace(plan, stages=(replace(send, items=swapped), *others))"
        ),
        "differs",
    ),
    "does not verify": ("plan = replace(plan, stages=(replace(send, options={}), *others))", "compare"),
    "does not settle": ("plan = replace(plan, stages=(replace(send, kind='receiver'), *others))", "compare"),
    "is no plan inside": ("plan = replace(plan, stages=(1, 2))", "failed"),
}


@pytest.mark.parametrize(("change", "word"), CHANGES.values(), ids=CHANGES)
def test_a_plan_that_is_not_what_was_asked_for_is_refused(xnatctl, sandbox, alice, exam, install, stored, change, word):
    env = {**alice, **install("planner", FAULTY.format(change=change))}
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "-o", "json", env=env)
    assert done.code in (7, 8), done.err
    assert "dist-planner" in done.document["error"]["message"]
    assert word in done.document["error"]["message"]
    assert not stored(sandbox)
    assert not [r for r in sandbox.requests if "services/import" in r["path"]]


def test_a_plan_that_excludes_with_a_reason_is_carried_out(xnatctl, sandbox, alice, exam, install):
    change = (
        "left = list(send.items)[0]\n"
        "    plan = replace(plan, stages=(replace(send, items=list(send.items)[1:]), *others),\n"
        "                   excluded=(*plan.excluded, Exclusion(path=left.path, reason='a localizer')))"
    )
    env = {**alice, **install("planner", FAULTY.format(change=change))}
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "-o", "json", env=env)
    assert done.code == 0, done.err
    assert "a localizer" in [entry["reason"] for entry in done.document["excluded"]]


@pytest.mark.parametrize(
    "flags", [("-o", "no-such"), ("-o", "leaver"), ()], ids=["unknown", "cannot be loaded", "configured"]
)
def test_an_output_format_that_cannot_be_had_stops_the_upload_before_anything_is_sent(
    xnatctl, sandbox, alice, exam, install, home, flags
):
    source = FORMATTER.format(ending="pass").replace(":Leaver", ":Nothing")
    env = {**alice, **install("leaver", PREAMBLE + source)}
    if not flags:
        (home / "config" / "xnatctl").mkdir(parents=True)
        (home / "config" / "xnatctl" / "config.yaml").write_text("output: no-such\n")
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, *flags, env=env)
    assert done.code in (2, 8), done.err
    assert not sandbox.instances()


def test_a_plan_for_a_resource_is_compared_with_the_disk_too(xnatctl, sandbox, alice, exam, install, tmp_path):
    assert xnatctl("session", "upload", exam.directory, *UPLOAD, env=alice).code == 0
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(name)
    source = FAULTY.format(change=CHANGES["leaves a file out"][0])
    source = source.replace("xnatctl.api.commands", "xnatctl_resource.planning").replace(
        "plan_session", "plan_resource"
    )
    env = {**alice, **install("planner", source)}
    done = xnatctl("resource", "upload", "e", "NOTES", folder, "-P", "DEMO", "-o", "json", env=env)
    assert done.code == 7, done.err
    assert "leaves out a.txt" in done.document["error"]["message"]


#: A plugin of every kind whose parts print: by Python, by the descriptor and in a child.
PRINTING = """
import atexit, os, subprocess
from xnatctl.api import *

def late():
    print("noise", flush=True)
    os.write(1, b"noise")

atexit.register(late)

def loud():
    print("noise")
    os.write(1, b"noise")
    subprocess.run(["echo", "noise"], check=True)

loud()

@hookimpl
def xnatctl_transports():
    loud()
    return [TransportSpec(name="loud", summary="x", target="dist_leaver_leaver:Loud")]

@hookimpl
def xnatctl_credential_sources():
    return [CredentialSourceSpec(name="loud", summary="x", target="dist_leaver_leaver:Source", order=1)]

@hookimpl
def xnatctl_checks():
    return [CheckSpec(name="loud", summary="x", target="dist_leaver_leaver:check")]

@hookimpl
def xnatctl_on_event(event):
    loud()

@hookimpl
def xnatctl_plan_upload(request):
    loud()

def check(app):
    loud()
    return CheckResult(status="ok", message="fine")

class Source:
    def get(self, request):
        loud()

def Loud(context):
    from xnatctl_zip.transport import TarTransport
    class Transport(TarTransport):
        def describe(self):
            loud()
            return super().describe()
        def send(self, batch, emit):
            loud()
            return super().send(batch, emit)
    return Transport(context)
"""


@pytest.mark.parametrize("words", ["doctor", "session list -P DEMO", "plugins show leaver", "upload status"])
def test_what_a_plugin_prints_is_not_in_the_document(xnatctl, alice, install, words):
    done = xnatctl(*words.split(), "-o", "json", env={**alice, **install("leaver", PRINTING)})
    assert done.code == 0, done.err
    assert "noise" not in done.out
    assert done.document


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_what_a_transport_prints_is_not_in_the_report(xnatctl, alice, exam, install, dry):
    env = {**alice, **install("leaver", PRINTING)}
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "--mode", "loud", "-o", "json", *dry, env=env)
    assert done.code == 0, done.err
    assert "noise" not in done.out
    assert done.document
    assert "noise" in done.err


HOARDER = """
from xnatctl.api import *

@hookimpl
def xnatctl_credential_sources():
    return [CredentialSourceSpec(name="hoarder", summary="x", target="dist_leaver_leaver:Store", order=1,
                                 verbs=frozenset({"get", "store", "erase"}))]

class Store:
    def get(self, request):
        return SessionToken(username="alice", secret="A" * 32)
    def store(self, request, credential):
        pass
    def erase(self, request):
        return True
"""


def test_a_store_that_only_says_that_it_forgot_does_not_keep_logout_from_ending(xnatctl, alice, install, tmp_path):
    (tmp_path / "c.yaml").write_text("store: hoarder\n")
    env = {**alice, **install("leaver", HOARDER), "XNATCTL_CONFIG": str(tmp_path / "c.yaml")}
    done = xnatctl("auth", "logout", env=env)
    assert done.code == 8
    assert "dist-leaver 1.0" in done.err
    assert "still returns a session token of alice that it was told to erase" in done.err


def test_the_traceback_of_a_check_is_where_v_and_the_log_find_it(xnatctl, alice, install, tmp_path):
    env = {**alice, **install("leaver", PREAMBLE + CHECK.format(ending="raise ValueError('of a patient')"))}
    loud = xnatctl("doctor", "-v", env=env)
    assert "plugin failed" in loud.err
    assert "ValueError: of a patient" in loud.err
    assert "in check" in loud.err
    quiet = xnatctl("doctor", "--log-file", tmp_path / "log", env=env)
    assert "Traceback" not in quiet.err
    (line,) = [line for line in (tmp_path / "log").read_text().splitlines() if "plugin failed" in line]
    assert "dist-leaver 1.0" in line
    assert "dist_leaver_leaver.py" in line
    assert "of a patient" not in line
