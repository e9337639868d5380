"""An error that says that nothing was sent (exit codes 2, 7, 8) never ends a run that has sent something."""

from __future__ import annotations

import os

import pytest

from xnatctl.testing.exam import write_exam

NAMES = ("-P", "DEMO", "-S", "s", "-E", "e")
#: Raises an error of the class LATE at the place AT, after the first request or file.
PLUGIN = """
import os, pathlib
import click
import xnatctl.api as api
from xnatctl.api import *
from xnatctl.api.commands import common_options, pass_app, server_options
from xnatctl.api.packing import plain_body

def late(place):
    if os.environ["AT"] == place:
        raise getattr(api, os.environ["LATE"])("Too late for this. Nothing was sent.")

@hookimpl
def xnatctl_transports():
    return [
        TransportSpec(name="one", summary="one by one", target="dist_late_late:One"),
        TransportSpec(name="drop", summary="into a folder", target="dist_late_late:Drop", settle="none"),
        TransportSpec(name="files", summary="one by one", target="dist_late_late:Files", payload=Payload.RESOURCE),
    ]

@hookimpl
def xnatctl_formatters():
    return [FormatterSpec(name="late", summary="nothing", target="dist_late_late:Formatter")]

@hookimpl
def xnatctl_commands():
    return [CommandSpec(path="late write", summary="write", target="dist_late_late:write")]

class Formatter:
    def render(self, document, out):
        late("format")
        out.write(document.schema)

class One:
    sent = 0
    def __init__(self, context):
        self.context = context
    def __enter__(self):
        return self
    def __exit__(self, *error):
        if type(self).sent:
            late("exit")
    def describe(self):
        return {}
    def batches(self, items, workers):
        return cut_batches(items, workers, max_files=1)
    def probe(self):
        pass
    def rest(self):
        late("rest")
    def send(self, batch, emit):
        if type(self).sent:
            late("send")
        type(self).sent += 1
        return self.deliver(batch, emit)
    def deliver(self, batch, emit):
        body = plain_body(batch.items[0], self.context.open_item)
        return self.context.importer.deliver(
            batch.items, handler="gradual-DICOM", content_type="application/dicom", body=body, emit=emit)
    def close(self):
        pass

class Drop:
    sent = 0
    def __init__(self, context):
        self.context = context
    def describe(self):
        return {}
    def send(self, batch, emit):
        if type(self).sent:
            late("send")
        type(self).sent += 1
        for item in batch.items:
            with self.context.open_item(item) as reader:
                pathlib.Path(item.name).write_bytes(reader.read())
            yield ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED)
    def close(self):
        if type(self).sent:
            late("exit")

class Files(One):
    def deliver(self, batch, emit):
        item = batch.items[0]
        return self.context.writer.put_file(item, body=plain_body(item, self.context.open_item), emit=emit)

@click.command()
@server_options
@common_options
@pass_app
def write(app):
    app.connect().request("PUT", "/data/projects/DEMO/subjects/new")
    late("command")
"""


@pytest.fixture
def exam(tmp_path):
    exam = write_exam(tmp_path / "exam", series=1, instances=3, seed=5, clutter=False)
    for name in ("a", "b"):
        (folder := exam.directory / name).mkdir()
        for number in (1, 2):
            (folder / f"{number}.txt").write_text(f"{name}{number}\n")
    return exam


SEND = ("session", "upload", "EXAM")
UPLOAD = (*SEND, *NAMES)
EXAM = ("session", "upload-exam", "EXAM", *NAMES)
FILES = ("resource", "upload", "-P", "DEMO", "--project-level", "R", "EXAM/a")
#: Where it is raised, the command, and the exit codes that tell the truth.
CASES = {
    "second request": ("send", (*UPLOAD, "--mode", "one", "--workers", "1"), {5}),
    "end of a worker": ("exit", (*UPLOAD, "--mode", "one", "--workers", "1"), {6}),
    "waiting worker": ("rest", (*UPLOAD, "--mode", "one", "--workers", "2"), {5, 6}),
    "report": ("format", (*UPLOAD, "-o", "late"), {1}),
    "exam, second request": ("send", (*EXAM, "--mode", "one", "--workers", "1"), {5}),
    "exam, report": ("format", (*EXAM, "-o", "late"), {1}),
    "receiver, second batch": ("send", (*SEND, "--mode", "drop", "--workers", "1"), {5}),
    "receiver, end of a worker": ("exit", (*SEND, "--mode", "drop", "--workers", "1"), {6}),
    "receiver, report": ("format", (*SEND, "--mode", "drop", "-o", "late"), {1}),
    "resource, second file": ("send", (*FILES, "--mode", "files"), {5}),
    "resource, end": ("exit", (*FILES, "--mode", "files"), {6}),
    "resource, report": ("format", (*FILES, "-o", "late"), {1}),
    "split studies": ("send", (*UPLOAD, "--split-studies", "--mode", "one", "--workers", "1"), {5}),
    "split studies, report": ("format", (*UPLOAD, "--split-studies", "-o", "late"), {1}),
    "another command": ("command", ("late", "write"), {1}),
}


#: Where the class may make a difference, each of those whose code says that nothing was sent.
CLASSES = [*((case, "UsageError") for case in CASES)]
CLASSES += [("second request", kind) for kind in ("Refused", "PluginUnavailable", "NotFound")]
CLASSES += [("end of a worker", "PluginUnavailable"), ("receiver, end of a worker", "Refused")]


@pytest.mark.parametrize(("case", "kind"), CLASSES)
def test_a_late_error_does_not_say_that_nothing_was_sent(xnatctl, alice, install, exam, case, kind):
    place, words, codes = CASES[case]
    env = {**alice, **install("late", PLUGIN), "AT": place, "LATE": kind}
    words = [word.replace("EXAM", str(exam.directory)) for word in words]
    done = xnatctl(*words, *([] if "-o" in words else ["-o", "json"]), env=env)
    assert done.code in codes, done.err
    headline = done.err.replace("Too late for this. Nothing was sent.", "")
    assert "nothing was sent" not in headline.lower()
    if done.out and case != "another command":
        assert done.document["status"] in ("partial", "failed")
        assert done.document["error"]["exit_code"] == done.code
        assert done.document["error"]["hint"] or done.document["next"]


def test_an_error_before_the_first_byte_still_says_so(xnatctl, sandbox, alice, install, exam):
    env = {**alice, **install("late", PLUGIN.replace("def probe(self):", "def probe(self):\n        late('probe')")),
           "AT": "probe", "LATE": "UsageError"}  # fmt: skip
    done = xnatctl("session", "upload", exam.directory, *NAMES, "--mode", "one", env=env)
    assert (done.code, sandbox.instances()) == (2, []), done.err
    assert "Nothing was sent." in done.out


def test_archiving_that_is_not_printed_is_no_usage_error(xnatctl, sandbox, alice, install, exam):
    env = {**alice, **install("late", PLUGIN), "AT": "format", "LATE": "UsageError"}
    done = xnatctl("session", "upload", exam.directory, *NAMES, "--prearchive", "-o", "json", env=env)
    assert done.code == 0, done.err
    words = done.document["next"][0].split()[1:]
    assert os.fspath(exam.directory) not in words
    archived = xnatctl(*words, "-o", "late", env=env)
    assert archived.code == 1, archived.err
    assert [session.label for session in sandbox.state.experiments.values()] == ["e"]


ODD = {"1": "50%", "2": "2;x", "3": "3,1", "4": "ALL", "5": "b\\c"}


@pytest.mark.parametrize("flags", [(), ("--prearchive",), ("--mode", "zip", "--overwrite", "append")])
def test_scans_whose_ids_no_url_can_carry(xnatctl, hasty, sandbox, alice, elsewhere, tmp_path, monkeypatch, flags):
    """The server names scans by Series Number, whatever is in it (xnat-import 4.1)."""
    from xnatctl_sandbox.receive import importer

    plain = importer._file_name
    monkeypatch.setattr(importer, "_file_name", lambda value: ODD.get(value) or plain(value))
    exam = write_exam(tmp_path / "odd", series=len(ODD), instances=2, seed=5, clutter=False)
    done = xnatctl("session", "upload", exam.directory, *NAMES, *flags, "-o", "json", env=alice)
    if "--prearchive" in flags:
        assert done.code == 6, done.err
        assert "cannot be used in a URL" in done.document["error"]["message"]
        shown = xnatctl(*done.document["next"][0].split()[1:], "-o", "json", env=alice)
        assert shown.code == 0, shown.err
        done = xnatctl("session", "upload", exam.directory, *NAMES, "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert done.document["verification"]["level"] == "size"
    assert {scan.id for one in sandbox.state.experiments.values() for scan in one.scans.values()} == set(ODD.values())
    again = xnatctl("session", "upload", exam.directory, *NAMES, *flags[:0], "-o", "json", env=elsewhere)
    assert again.code == 0, again.err
    assert xnatctl("session", "verify", exam.directory, *NAMES, "--verify", "checksum", env=elsewhere).code == 0
    listed = xnatctl("resource", "list", "e", "-P", "DEMO", "-o", "json", env=alice)
    assert listed.code == 0, listed.err
    assert {row["scan"]: row["files"] for row in listed.document["resources"]} == dict.fromkeys(ODD.values(), 2)


def test_a_scan_that_no_url_can_name_is_counted(xnatctl, sandbox, alice, elsewhere, tmp_path):
    exam = write_exam(tmp_path / "odd", series=2, instances=2, seed=5, clutter=False)
    assert xnatctl("session", "upload", exam.directory, *NAMES, env=alice).code == 0
    (session,) = sandbox.state.experiments.values()
    for scan, name in zip(session.scans.values(), ("/a", "1"), strict=True):
        scan.id, scan.type = name, "T1"
    done = xnatctl("session", "verify", exam.directory, *NAMES, "-o", "json", env=elsewhere)
    assert done.code == 0, done.err
    assert done.document["verification"]["levels"] == {"counted": 2, "size": 2}
    note = xnatctl("resource", "upload", "e", "NOTES", exam.directory, "-P", "DEMO", "--scan", "/a", env=alice)
    assert note.code == 7
    assert "No URL can address scan /a" in note.err
