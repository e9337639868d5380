"""Trouble in the middle: lost answers, bursts, an ended session, an interrupt. Nothing is lost, nothing is there twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from children import HANGS
from kept import kept

UPLOAD = ("-P", "DEMO", "-S", "s", "-E", "e")
IMPORT = {"path": "/services/import"}


@pytest.mark.once
@pytest.mark.parametrize("mode", ["tar", "zip", "gradual"])
@pytest.mark.parametrize(
    "rule",
    [
        {"nth": [1, 3], "action": "store-then-cut"},
        {"nth": [1, 2], "action": "cut-before-body"},
        {"nth": [2, 4], "action": "rst"},
        {"nth": 2, "action": "cut-at-byte", "bytes": 2000},
        {"nth": [2, 3], "action": "status", "status": 503, "headers": {"Retry-After": "1"}},
        {"nth": [1, 2], "action": "status", "status": 500},
    ],
    ids=lambda rule: rule["action"] + str(rule.get("status", "")),
)
def test_what_was_cut_goes_again_and_is_there_once(hasty, sandbox, alice, exam, assert_exactly, mode, rule):
    sandbox.faults.load([{"match": IMPORT, **rule}])
    done = hasty("session", "upload", exam.directory, *UPLOAD, "--mode", mode, "--workers", "4", env=alice)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


#: The calls that settle a session: what they are matched by, the server's version, which of the matching ones.
SETTLING = {
    "archive": ({"path": "/services/archive"}, "1.8.3", 1),
    "build": ({"path": "/data/prearchive/"}, "1.8.3", 1),
    "commit": ({"path": "/data/prearchive/"}, "1.8.3", 2),
    "direct": ({"path": "/xapi/direct-archive"}, "1.8.11", 1),
}


@pytest.fixture
def settling(xnatctl, hasty, sandbox, alice, exam, assert_exactly):
    """A function that uploads while one settling call meets a fault, and returns how often that call was made.

    The upload must end well all the same.
    """

    def run(call, **fault):
        match, sandbox.state.version, nth = SETTLING[call]
        more, path, expected = (), exam.directory, exam.digests
        if call == "commit":
            assert xnatctl("session", "upload", exam.directory / "series 1", *UPLOAD, env=alice).code == 0
            more, path = ("--overwrite", "append"), exam.directory / "series 2"
            expected = {u: d for u, d in exam.digests.items() if "series 3" not in str(exam.instances[u].path)}
        before = len(sandbox.requests)
        sandbox.faults.load([{"match": {"method": "POST", **match}, "nth": nth, **fault}])
        done = hasty("session", "upload", path, *UPLOAD, *more, env=alice)
        assert done.code == 0, done.err
        assert_exactly(sandbox, expected, place="archive", label="e")
        return sum(r["method"] == "POST" and match["path"] in r["path"] for r in sandbox.requests[before:]) - (nth - 1)

    return run


@pytest.mark.once
@pytest.mark.parametrize("call", SETTLING)
def test_a_lost_answer_while_settling_is_looked_into_not_repeated(settling, call):
    assert settling(call, action="store-then-cut") == 1


@pytest.mark.once
@pytest.mark.parametrize("action", ["cut-before-body", "rst"])
@pytest.mark.parametrize("call", SETTLING)
def test_a_settling_call_that_never_arrived_is_made_again(settling, call, action):
    """The row says that nothing has begun: waiting for it would be waiting for ever."""
    assert settling(call, action=action) == 2


@pytest.mark.once
def test_files_of_a_running_upload_are_never_sent_while_the_server_archives(
    xnatctl, sandbox, alice, exam, assert_exactly
):
    """With building and archiving slow as on a real server, nothing arrives late."""
    sandbox.switches.build_seconds = sandbox.switches.archive_seconds = 0.5
    for version in ("1.8.3", "1.8.11"):
        sandbox.state.version = version
        label = "e" + version.replace(".", "")
        done = xnatctl(
            "session", "upload", exam.directory, "-P", "DEMO", "-S", "s", "-E", label, "--workers", "8", env=alice
        )
        assert done.code == 0, done.err
    assert all(entry["catalogued"] for entry in sandbox.instances())
    assert len(sandbox.instances()) == 2 * len(exam.instances)


def test_instances_that_the_server_loses_are_named(xnatctl, sandbox, alice, exam):
    lost = sorted(exam.instances)[:3]
    sandbox.switches.lost_instances = set(lost)
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "-o", "json", env=alice)
    assert done.code == 6
    report = done.document
    assert sorted(d["sop_instance_uid"] for d in report["verification"]["differences"]) == lost
    assert sorted(i["sop_instance_uid"] for i in report["items"] if i["outcome"] == "missing") == lost
    assert report["counts"]["verified"] == len(exam.instances) - 3


def test_what_is_sent_again_counts_as_sent(xnatctl, sandbox, alice, exam):
    """Proven by the journal, and short in the prearchive all the same."""
    sandbox.switches.lost_instances = {min(exam.instances)}
    arguments = ("session", "upload", exam.directory, *UPLOAD, "--prearchive", "-o", "json")
    assert xnatctl(*arguments, env=alice).code == 6
    sandbox.switches.lost_instances = set()
    again = xnatctl(*arguments, env=alice)
    assert again.code == 0, again.err
    assert (again.document["counts"]["sent"], again.document["counts"]["skipped"]) == (1, len(exam.instances) - 1)


@pytest.mark.once
@pytest.mark.parametrize("place", ["--direct-archive", "--prearchive"])
@pytest.mark.parametrize("mode", ["tar", "gradual"])
def test_a_series_that_the_site_filters_is_named_and_the_rest_arrives(xnatctl, sandbox, alice, exam, mode, place):
    sandbox.state.projects["DEMO"].series_filter = ("Phantom 2",)
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "--mode", mode, place, "-o", "json", env=alice)
    assert done.code == 6, done.err
    report = done.document
    assert report["status"] == "partial"
    named = {item["path"] for item in report["items"] if item["outcome"] in ("missing", "filtered")}
    if mode == "gradual" or place == "--direct-archive":
        assert len(named) == 20
        assert all("series 2" in path for path in named)
    assert {entry["place"] for entry in sandbox.instances()} == {"archive" if "direct" in place else "prearchive"}
    assert len(sandbox.instances()) == 40


def test_uids_that_anonymisation_changes_are_said(xnatctl, sandbox, alice, exam):
    sandbox.switches.remap_uids = True
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "-o", "json", env=alice)
    assert done.code == 6
    assert {d["kind"] for d in done.document["verification"]["differences"]} >= {"remapped"}


def test_no_verify_says_that_nothing_was_checked(xnatctl, sandbox, alice, exam):
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "--no-verify", "-o", "json", env=alice)
    assert done.code == 0
    assert done.document["verification"]["level"] == "none"
    assert done.document["counts"]["verified"] == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_while_a_plugin_is_told_something_is_no_fault_of_the_plugin(
    xnatctl, install, sandbox, alice, exam, assert_exactly, number, code
):
    observer = (
        "import os, signal\nfrom xnatctl.api import EventKind, hookimpl\n"
        "@hookimpl\ndef xnatctl_on_event(event):\n"
        f"    if event.kind is EventKind.ITEM_DONE and not os.environ.get('GO_ON'):\n"
        f"        signal.raise_signal({int(number)})\n"
    )
    env = {**alice, **install("watcher", observer)}
    arguments = ("session", "upload", exam.directory, *UPLOAD, "--mode", "gradual")
    done = xnatctl(*arguments, env=env)
    assert done.code == code, done.err
    assert "Finish with: xnatctl session upload" in done.err
    done = xnatctl(*arguments, env={**env, "GO_ON": "1"})
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


@pytest.mark.parametrize(
    ("number", "code", "times"),
    [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 1), (signal.SIGHUP, 129, 1), (signal.SIGTERM, 143, 2)],
)
def test_an_interrupt_ends_at_once_and_the_same_command_finishes(
    xnatctl, nursery, environment, sandbox, alice, exam, assert_exactly, number, code, times
):
    """Twice is what `timeout` does: once to the process, once to its group."""
    sandbox.faults.load([{"match": IMPORT, "nth": 5, "action": "hold", "seconds": 2 * HANGS}])
    arguments = ["session", "upload", str(exam.directory), *UPLOAD, "--mode", "gradual", "--workers", "2", "-o", "json"]
    running = nursery.start("-m", "xnatctl", *arguments, env={**environment, **alice})
    while sum("services/import" in r["path"] for r in sandbox.requests) < 20:
        time.sleep(0.02)  # the held request keeps the run alive; the others go on beside it
        assert running.poll() is None
    for _ in range(times):
        os.kill(running.pid, number)
    out, err = running.communicate()  # which is less than the request is held
    assert running.returncode == code, err
    report = json.loads(out)
    assert report["status"] == "interrupted"
    assert report["counts"]["found"] == len(exam.instances), "the report of the run, not of one that never began"
    assert report["next"][0].startswith("xnatctl session upload")
    assert b"Traceback" not in err
    sandbox.faults.load([])
    assert xnatctl("session", "upload", exam.directory, *UPLOAD, env=alice).code == 0
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    assert not sandbox.accounts.open_sessions("alice"), "the session was closed all the same"


LOGOUT = {"match": {"method": "DELETE", "path": "JSESSION"}, "action": "hold", "seconds": 2 * HANGS}


@pytest.fixture
def interrupted(nursery, environment, sandbox, alice, exam):
    """Upload, and send each signal when the server has seen a request; returns exit code, report and stderr."""

    def run(*signals):
        arguments = ["session", "upload", str(exam.directory), *UPLOAD, "--mode", "gradual", "-o", "json"]
        running = nursery.start("-m", "xnatctl", *arguments, env={**environment, **alice})
        for number, seen in signals:
            while not any(seen(request) for request in list(sandbox.requests)):
                time.sleep(0.01)
                assert running.poll() is None, running.err
            os.kill(running.pid, number)
            time.sleep(0.6 if len(signals) > 1 else 0)  # sooner, it is the twin of the first
        out, err = running.communicate()
        assert b"Traceback" not in err
        return running.returncode, json.loads(out), err.decode()

    return run


def logging_out(request):
    return request["method"] == "DELETE"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_the_logout_lets_the_report_stand(interrupted, sandbox, exam, assert_exactly, number, code):
    sandbox.faults.load([LOGOUT])
    ended, report, said = interrupted((number, logging_out))
    assert (ended, report["status"]) == (code, "complete")
    assert "Interrupted while logging out" in said
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


#: xnatctl with a logout that waits for the server without end, unless an interrupt shortens it.
PATIENT = "import sys; from xnatctl.cli import main; from xnatctl.xnat import client; client.LOGOUT_TIMEOUT = 1e6; "


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_does_not_wait_for_its_logout(nursery, environment, sandbox, alice, number):
    listing = {"match": {"path": "/data/projects/DEMO/experiments"}, "action": "hold", "seconds": 600}
    sandbox.faults.load([{**LOGOUT, "seconds": 600}, listing])
    arguments = ["session", "list", "-P", "DEMO"]
    running = nursery.start("-c", f"{PATIENT}sys.exit(main.main())", *arguments, env={**environment, **alice})
    while not any("/experiments" in request["path"] for request in list(sandbox.requests)):
        time.sleep(0.01)
        assert running.poll() is None, running.err
    os.kill(running.pid, number)
    _, err = running.communicate()
    assert running.returncode == 128 + number
    assert any(map(logging_out, sandbox.requests))
    assert b"Traceback" not in err
    sandbox.faults.end()


@pytest.mark.once
def test_a_second_signal_during_the_logout_lets_the_report_stand(interrupted, sandbox):
    """The first one interrupts the upload; the second ends the program, if the logout has not ended by itself."""
    sandbox.faults.load([LOGOUT, {"match": IMPORT, "nth": 2, "action": "hold", "seconds": 2 * HANGS}])
    ended, report, _ = interrupted((signal.SIGINT, lambda r: "import" in r["path"]), (signal.SIGTERM, logging_out))
    assert (ended in (130, 143), report["status"]) == (True, "interrupted")


@pytest.mark.once
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_document_is_written_lets_it_be_whole(xnatctl, install, sandbox, alice, exam, number):
    """A formatter that is interrupted between two lines."""
    formatter = (
        "import signal\nfrom xnatctl.api import FormatterSpec, hookimpl\n"
        "class Slow:\n"
        "    def render(self, document, stream):\n"
        "        stream.write('first\\n')\n"
        f"        signal.raise_signal({int(number)})\n"
        "        stream.write('last\\n')\n"
        "@hookimpl\ndef xnatctl_formatters():\n"
        "    return [FormatterSpec(name='slow', summary='slow', target=f'{__name__}:Slow')]\n"
    )
    env = {**alice, **install("slow", formatter)}
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, "-o", "slow", env=env)
    assert done.out == "first\nlast\n"
    assert done.code == 128 + number, done.err
    assert "Traceback" not in done.err


@pytest.mark.once
def test_a_limit_of_memory_is_named(nursery, environment, sandbox, alice, exam):
    """Under ulimit -v, whatever fails first: one sentence that says so, and the same command finishes."""
    script = (
        "import resource, sys\n"
        "from xnatctl.cli.main import main\n"
        "import xnatctl.cli.uploading, xnatctl.delivery.service, xnatctl.xnat.client\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "most = used + int(sys.argv.pop(1)) * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        "main()\n"
    )
    codes = set()
    for left in (1, 3, 6, 9, 14, 20, 30, 60):
        arguments = ["session", "upload", str(exam.directory), *UPLOAD, "--no-resume", "--overwrite", "delete"]
        running = nursery.start("-c", script, str(left), *arguments, env={**environment, **alice})
        _, err = running.communicate()
        codes.add(running.returncode)
        assert b"Traceback" not in err, (left, err)
        assert b"Unexpected" not in err, (left, err)
        assert running.returncode in (0, 1, 5), (left, err)
        assert not running.returncode or b"memory" in err.lower(), (left, err)
    assert {0, 1} <= codes


@pytest.mark.once
def test_a_program_that_was_told_to_ignore_a_signal_does(environment, sandbox, alice, exam, assert_exactly):
    """`nohup xnatctl ... &`, and the terminal is closed."""
    sandbox.faults.load([{"match": IMPORT, "nth": 2, "action": "delay", "seconds": 1}])
    line = f"trap '' HUP; exec {sys.executable} -m xnatctl session upload {exam.directory} {' '.join(UPLOAD)}"
    running = subprocess.Popen(
        ["bash", "-c", line], env={**environment, **alice}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while not any("services/import" in r["path"] for r in sandbox.requests):
        time.sleep(0.02)
        assert running.poll() is None
    os.kill(running.pid, signal.SIGHUP)
    _, err = running.communicate()
    assert running.returncode == 0, err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


@pytest.mark.once
def test_real_samples_of_every_kind_go_up_unchanged(xnatctl, sandbox, alice, tmp_path):
    """pydicom's files: compressed, big-endian, deflated, without preamble. Grouped by study, one session each."""
    from pathlib import Path

    import pydicom

    from xnatctl.inventory.walk import scan_path

    source = Path(pydicom.__file__).parent / "data" / "test_files"
    studies = scan_path(str(source)).studies
    picked = sorted(studies, key=lambda study: -len(study.items))[:4]
    kinds = {"1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"}
    picked += [s for s in studies if s not in picked and kinds & {i.transfer_syntax_uid for i in s.items}][:6]
    seen = set()
    for number, study in enumerate(picked):
        directory = tmp_path / f"study{number}"
        directory.mkdir()
        for index, item in enumerate(study.items):
            (directory / str(index)).write_bytes(Path(item.file).read_bytes())
            seen.add(item.transfer_syntax_uid)
        done = xnatctl(
            "session",
            "upload",
            directory,
            "-P",
            "DEMO",
            "-S",
            f"s{number}",
            "-E",
            f"e{number}",
            "-o",
            "json",
            env=alice,
        )
        assert done.code == 0, done.err
    expected = {kept(item.file) for study in picked for item in study.items}
    stored = [kept(entry["path"]) for entry in sandbox.instances()]
    assert len(stored) == len(set(stored))
    assert set(stored) == expected
    assert len(seen & kinds) >= 3


def test_a_new_session_that_ends_before_its_first_request_is_opened_again(
    xnatctl, sandbox, alice, exam, assert_exactly
):
    """As when two workers meet the end of a session shortly after each other."""
    sandbox.faults.load(
        [
            {"match": {"path": "services/import"}, "action": "expire-session", "nth": [2]},
            {"match": {"path": "users/username"}, "action": "expire-session", "nth": [2]},
        ]
    )
    done = xnatctl("session", "upload", exam.directory, *UPLOAD, env=alice)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
