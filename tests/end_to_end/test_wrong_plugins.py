"""Each wrong plugin, installed: no exit code 0 with less than promised, no other plugin disabled, no secret shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from zoo import SECRET, SESSION, WRONG

pytestmark = pytest.mark.once

UPLOAD = ("session", "upload", "-P", "DEMO", "-S", "s", "-E", "e", "-o", "json")
IMPATIENT = Path(__file__).parents[1] / "support" / "impatient.py"
#: What no size shows, and what `--verify checksum` finds by reading stored files.
ALTERED = {"alters-one-byte", "alters-one-file"}
#: Sending may wait: a server may be slow. What ends it is an interrupt.
WAITS = {"blocks"}
#: What no transport to a receiver can be caught at: only the kit compares the bytes.
UNSEEN = {"receiver-alters-one-byte"}
#: What the gate runs; the laboratory runs all.
GATE = {
    "loses-an-item",
    "alters-one-byte",
    "alters-one-file",
    "receiver-never-ends",
    "source-raises",
    "formatter-exits",
    "planner-cuts-items",
    "stage-exits",
    "check-exits",
    "observer-mutates",
    "os._exit",
}


def some(names):
    """Parameters, of which those that the gate does not run are for the laboratory."""
    return [pytest.param(name, marks=() if name in GATE else pytest.mark.lab) for name in names]


def wrong(contract):
    left_out = WAITS | UNSEEN
    return some(name for name, wrong in WRONG.items() if wrong.contract == contract and name not in left_out)


BYSTANDER = (
    "from xnatctl.api import FormatterSpec, hookimpl\n"
    "@hookimpl\ndef xnatctl_formatters():\n"
    "    return [FormatterSpec(name='lines', summary='lines', target='dist_bystander_bystander:Lines')]\n"
    "class Lines:\n    def render(self, document, out):\n        out.write('here\\n')\n"
)


@pytest.fixture
def installed(install):
    """Installs a source as the plugin `wrong` beside another one that is fine; the variables that make both seen."""

    def put(source: str) -> dict[str, str]:
        install("bystander", BYSTANDER)
        return {**install("wrong", source, version="7.7"), "WRONG_TOKEN": SECRET}

    return put


@pytest.fixture
def judge(xnatctl, tmp_path):
    """What holds after every command: others work, and the secret is nowhere."""

    def check(done, env: dict[str, str]) -> None:
        listed = xnatctl("plugins", "list", "--check", "-o", "json", env=env)
        states = {plugin["name"]: plugin["status"] for plugin in listed.document["plugins"]}
        assert set(states.values()) - {"active", "unmet"} <= {"broken"}
        assert states.pop("wrong") in ("active", "broken")
        assert set(states.values()) <= {"active", "unmet"}
        assert xnatctl("plugins", "list", "-o", "lines", env=env).out == "here\n"
        assert SECRET not in done.out + done.err
        for path in (tmp_path / "home").rglob("*"):
            assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path

    return check


@pytest.fixture
def upload(xnatctl, alice, exam):
    def run(env: dict[str, str], *arguments: object, path: Path | None = None):
        where = path or exam.directory
        return xnatctl(*UPLOAD, *map(str, arguments), where, env={**alice, **env}, program=(IMPATIENT,))

    return run


def test_the_transports_without_a_mistake_work(installed, upload, judge, sandbox, exam, assert_exactly, tmp_path):
    env = installed(f"{SESSION}\nclass T(Good):\n    pass\n")
    done = upload(env, "--mode", "wrong")
    assert done.code == 0, done.err
    judge(done, env)
    assert_exactly(sandbox, exam.digests, place="archive", label="e")


@pytest.mark.parametrize("name", wrong("TransportContract"))
def test_a_wrong_transport_to_a_session_is_harmless(installed, upload, judge, sandbox, exam, assert_exactly, name):
    env = installed(WRONG[name].source)
    done = upload(env, "--mode", "wrong", *(["--verify", "checksum"] if name in ALTERED else []))
    judge(done, env)
    if name in ALTERED:
        assert done.code == 6
        assert {difference["kind"] for difference in done.document["verification"]["differences"]} == {"checksum"}
    elif done.code == 0:
        assert_exactly(sandbox, exam.digests, place="archive", label="e")
    elif done.code == 8:
        assert "plugin wrong, dist-wrong 7.7" in done.err
    assert "Traceback" not in done.err
    assert not done.out or json.loads(done.out)["schema"]


@pytest.mark.parametrize("name", wrong("ReceiverTransportContract"))
def test_a_wrong_transport_to_a_receiver_is_harmless(installed, upload, judge, exam, tmp_path, name, digest):
    env, folder = installed(WRONG[name].source), tmp_path / "inbox"
    folder.mkdir()
    done = upload(env, "--mode", "wrong", "--into", folder)
    judge(done, env)
    if done.code == 0:
        assert {digest(path) for path in folder.iterdir()} == set(exam.digests.values())
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", wrong("CredentialSourceContract"))
def test_a_wrong_credential_source_is_harmless(installed, upload, judge, sandbox, exam, assert_exactly, name):
    env = {**installed(WRONG[name].source), "XNAT_USER": "", "XNAT_PASS": ""}
    done = upload(env)
    judge(done, env)
    if done.code == 0:
        assert_exactly(sandbox, exam.digests, place="archive", label="e")
    assert "opensesame" not in done.out + done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", wrong("FormatterContract"))
def test_a_wrong_output_format_is_harmless(
    installed, xnatctl, upload, judge, alice, exam, sandbox, assert_exactly, name
):
    env = installed(WRONG[name].source)
    done = upload(env, "-o", "wrong")
    judge(done, env)
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    if name in ("formatter-raises", "formatter-exits", "formatter-writes-nothing"):
        assert done.code not in (0, 2, 7, 8), "something was sent, and the report was not shown"
        assert "plugin wrong, dist-wrong 7.7" in done.err
    assert "noise" not in done.out


@pytest.mark.parametrize("name", wrong("PlannerContract"))
def test_a_wrong_planner_is_refused(installed, upload, judge, sandbox, name):
    env = installed(WRONG[name].source)
    done = upload(env)
    judge(done, env)
    assert done.code in (7, 8)
    assert "wrong" in done.document["error"]["message"]
    assert not sandbox.instances()


@pytest.mark.parametrize("name", wrong("StageContract"))
def test_a_wrong_stage_is_harmless(installed, upload, judge, sandbox, exam, assert_exactly, name):
    env = installed(WRONG[name].source)
    done = upload(env)
    judge(done, env)
    if done.code == 0:
        assert_exactly(sandbox, exam.digests, place="archive", label="e")


@pytest.mark.parametrize("name", wrong("CheckContract"))
def test_a_wrong_check_is_a_failed_line(installed, xnatctl, judge, alice, name):
    env = installed(WRONG[name].source)
    done = xnatctl("doctor", "-o", "json", env={**alice, **env})
    judge(done, env)
    checks = {row["check"]: row["status"] for row in done.document["checks"]}
    assert checks["wrong"] == "failed"
    assert checks["login"] == "ok"
    assert done.code != 0


@pytest.mark.parametrize("name", wrong("ObserverContract"))
def test_a_wrong_observer_changes_nothing(installed, upload, judge, sandbox, exam, assert_exactly, name):
    env = installed(WRONG[name].source)
    done = upload(env)
    judge(done, env)
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    assert {item["outcome"] for item in done.document["items"]} == {"verified"}
    if name != "observer-prints":
        assert "The observer of plugin wrong (dist-wrong 7.7) gets no further events" in done.err


LEAVES = {
    "os._exit": "def send(self, batch, emit):\n        os._exit(0)",
    "os._exit-while-describing": "def batches(self, items, workers):\n        os._exit(0)",
    "os.execv": "def send(self, batch, emit):\n        os.execv('/bin/true', ['true'])",
}


@pytest.mark.parametrize("how", some(LEAVES))
def test_a_plugin_that_ends_the_process_does_not_make_it_a_success(installed, upload, judge, how):
    env = installed(f"{SESSION}\nclass T(Good):\n    {LEAVES[how]}\n")
    done = upload(env, "--mode", "wrong")
    judge(done, env)
    assert done.code != 0
    assert "wrong" in done.err


@pytest.mark.parametrize(
    "code",
    ["import atexit; atexit.register(os._exit, 0)", "import atexit; atexit.register(print, 'noise')"],
)
@pytest.mark.parametrize("fails", [True, False])
def test_exit_handlers_change_neither_the_document_nor_the_exit_code(installed, upload, code, fails, tmp_path):
    env = installed(f"{SESSION}\n{code}\nclass T(Good):\n    pass\n")
    done = upload(env, "--mode", "wrong", path=tmp_path / "nothing" if fails else None)
    assert (done.code == 0) is not fails, done.err
    assert json.loads(done.out)


def test_a_thread_that_a_plugin_left_does_not_keep_the_process(installed, upload):
    body = "def close(self):\n        threading.Thread(target=time.sleep, args=(3600,), name='left').start()"
    env = installed(f"{SESSION}\nclass T(Good):\n    {body}\n")
    done = upload(env, "--mode", "wrong")
    assert done.code == 0, done.err
    assert "Warning: the thread left of a plugin kept the process from ending" in done.err
    assert json.loads(done.out)["status"] == "complete"


AT_IMPORT = {
    "changes-directory": "os.chdir('/')",
    "ignores-signals": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "replaces-stdout": "sys.stdout = io.StringIO()",
    "closes-stderr": "os.close(2)",
    "exits": "sys.exit(0)",
    "ends": "os._exit(0)",
    "raises-base-exception": "raise BaseException('odd')",
    "huge-text": "raise ValueError('x' * 10**6)",
}


@pytest.mark.parametrize("how", some(AT_IMPORT))
def test_what_a_page_does_at_import_changes_nothing(installed, xnatctl, how, exam, alice, sandbox, assert_exactly):
    env = installed(f"import io, os, sys\n{AT_IMPORT[how]}\n")
    arguments = (*UPLOAD, exam.directory.name)
    done = xnatctl(*arguments, env={**alice, **env}, cwd=exam.directory.parent)
    assert done.code == 0, done.err
    assert json.loads(done.out)["status"] == "complete"
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    assert len(done.err) < 10_000


def test_junk_events_are_left_out_with_one_warning(installed, upload):
    env = installed(WRONG["junk-events"].source)
    done = upload(env, "--mode", "wrong")
    assert done.code == 0, done.err
    assert done.err.count("Events of plugin wrong (dist-wrong 7.7) are left out: str is not an Event") == 1
