"""The examples of `--help`, run as they stand against a sandbox."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import pytest

from xnatctl.cli.app import App
from xnatctl.cli.help import commands_in
from xnatctl.cli.lazy import LazyGroup, examples_of
from xnatctl.cli.main import Root
from xnatctl.testing import write_exam
from xnatctl_sandbox.server import Sandbox

#: In this order. Each may need what those before it have done.
RUN = (
    "config set-profile", "config use", "config show", "config path", "config list-profiles", "auth status", "doctor",
    "session upload", "session verify", "session list", "session show", "scan list", "session upload-exam",
    "resource upload", "resource list", "prearchive list", "prearchive show", "prearchive archive",
    "upload status", "upload resume", "session upload-dicom", "campaign scan", "campaign plan", "campaign run",
    "campaign status", "campaign report", "campaign submit", "plugins list", "plugins show", "upload forget",
    "config remove-profile",
)  # fmt: skip
#: Examples that are not run, and why.
NOT_HERE = {
    "xnatctl prearchive archive DEMO 20260131_143000123 s01_mr --overwrite append": "the first example has archived it",
    "xnatctl prearchive archive DEMO 20260131_143000123 s01_mr --subject s02 --dry-run": "the same",
    "xnatctl campaign plan manifest.csv campaign --only-valid": "the first example has made the folder",
    "xnatctl campaign run campaign --only 1,5-8": "this campaign has one row",
    "xnatctl session upload-dicom exam --host xnat.example.org --port 8104 --called-aet XNAT --verify -P DEMO": "the "
    "first example has sent it without --verify",
    "xnatctl config remove-profile lab": "it asks, because lab is the default",
}


def examples(path):
    app = App()
    app.external = False
    group = Root()
    at = group.context_class(group, info_name="xnatctl", obj=app)
    for name in path.split():
        assert isinstance(group, LazyGroup)
        _, group, _ = group.resolve_command(at, [name])
        at = group.context_class(group, parent=at, info_name=name)
    return commands_in(examples_of(at))


@pytest.fixture
def receiving(tmp_path):
    with Sandbox(tmp_path / "xnat", dicom_port=0) as server:
        yield server


@pytest.mark.lab
@pytest.mark.once
def test_examples_work_as_they_stand(xnatctl, receiving, tmp_path):
    sandbox = receiving
    alice = {"XNAT_URL": sandbox.url, "XNAT_USER": "alice", "XNAT_PASS": "alice"}
    exam = tmp_path / "exam"
    write_exam(exam, series=3, instances=5, clutter=False)
    (exam / "report.pdf").write_text("a report")
    shutil.make_archive(str(exam), "zip", exam)
    for folder in ("bids", "nifti", "protocols"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file.txt").write_text(folder)
    for number, folder in enumerate(("waits", "data/incoming/a", "data/exams/a"), start=1):
        write_exam(tmp_path / folder, series=1, instances=2, clutter=False, seed=number)
    waits = ("session", "upload", "waits", "-P", "DEMO", "-S", "s02", "-E", "waits", "--prearchive")
    assert xnatctl(*waits, env=alice).code == 0
    failed = []
    for path in RUN:
        for line in examples(path):
            words = re.match(r".*?xnatctl ((?:'[^']*'|[^|>)<'])+)(?:> (\S+))?", line)
            if words is None or line in NOT_HERE:  # a command of another program
                continue
            given = real(words[1], xnatctl, alice, sandbox, tmp_path)
            done = xnatctl(*shlex.split(given), env=alice)
            if words[2] and not (tmp_path / words[2]).exists():
                (tmp_path / words[2]).write_text(done.out)
            if done.code:
                failed.append((line, done.code, done.err[:300]))
    assert not failed, "\n".join(map(str, failed))


def real(words, xnatctl, alice, sandbox, folder):
    """The example with what differs from server to server."""
    words = words.replace("https://xnat.example.org", sandbox.url).replace("xnat.example.org", "127.0.0.1")
    words = words.replace("8104", str(sandbox.state.dicom_port)).replace("/data/", f"{folder}/data/")
    if "XNAT_E00001" in words:
        rows = xnatctl("session", "list", "-P", "DEMO", "-o", "json", env=alice).document["sessions"]
        words = words.replace("XNAT_E00001", rows[0]["id"])
    if "20260131_143000123" in words:
        rows = xnatctl("prearchive", "list", "-o", "json", env=alice).document["sessions"]
        words = words.replace("20260131_143000123 s01_mr", f"{rows[0]['timestamp']} waits")
    if "4f0c2a1b" in words:
        rows = json.loads(xnatctl("upload", "status", "-o", "json").out)["uploads"]
        words = words.replace("4f0c2a1b", next(row["id"] for row in rows if row["state"] == "complete"))
    return words
