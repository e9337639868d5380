"""Every interruption with every change that somebody makes meanwhile: at most two reruns of the same command converge.

They end with 0, and the server holds what the disk holds then; or with a refusal that names what a person must decide,
and the way out that it prints leads to 0. What the server holds is its own record.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from contextlib import suppress

import pydicom
import pytest
from children import HANGS
from kept import assert_kept

from xnatctl.operating_system.command_line import split_command
from xnatctl.testing import write_exam

pytestmark = pytest.mark.once
FULL = os.environ.get("XNATCTL_LAB") == "full"

# how the upload goes, and where it is interrupted

VERSION = {"direct": "1.8.11", "staged": "1.8.3", "none": "1.8.3", "prearchive": "1.8.11", "append": "1.8.11"}
OPTIONS = {"none": ("--overwrite", "none"), "append": ("--overwrite", "append"), "prearchive": ("--prearchive",)}
IMPORT = {"method": "POST", "path": "/services/import"}
BUILD = {"method": "POST", "path": "/data/prearchive/"}
DIRECT = {"method": "POST", "path": "/xapi/direct-archive"}
ARCHIVE = {"method": "POST", "path": "/services/archive"}
#: By phase and mode: the request at which the client dies, the how manieth, and whether the server carries it out.
POINTS = {
    "first": lambda _: (IMPORT, 1, "delay"),
    "middle": lambda _: (IMPORT, 5, "delay"),
    "sent": lambda mode: (DIRECT if mode == "direct" else BUILD, 1, "hold"),
    "settling": lambda mode: (
        {"direct": DIRECT, "prearchive": BUILD, "append": BUILD}.get(mode, ARCHIVE),
        2 if mode == "append" else 1,
        "delay",
    ),
    "verifying": lambda mode: (
        {
            "method": "GET",
            "path": "/data/prearchive/.*/scans" if mode == "prearchive" else "/data/experiments/.*/scans",
        },
        2 if mode == "append" else 1,
        "hold",
    ),
}


def place(mode, phase):
    """Where what was sent lies when the client is gone."""
    if mode == "prearchive":
        return "row"
    if phase in ("settling", "verifying"):
        return "session"
    return "direct" if mode == "direct" else "row"


# what happens meanwhile


class Outside:
    """The changes; each is a method."""

    def __init__(self, lab, where):
        self.lab, self.where = lab, where
        self.others = lab.sandbox.others
        self.some = sorted(lab.exam.instances)
        self.count = 0

    @property
    def sent(self):
        """Instances of ours in the order in which the server stored them."""
        return [uid for uid in self.lab.arrivals() if uid in self.lab.exam.instances]

    def _copies(self, number, **changes):
        """Instances of nobody's disk: copies of ours with other UIDs."""
        self.count += 1
        folder = self.lab.home / f"theirs {self.count}"
        folder.mkdir()
        for count, instance in enumerate(list(self.lab.exam.instances.values())[:number]):
            ds = pydicom.dcmread(instance.path)
            for keyword, value in changes.items():
                setattr(ds, keyword, value)
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.77.{self.count}.{count}"
            ds.save_as(folder / str(count))
        return sorted(map(str, folder.iterdir()))

    def _store(self, files):
        where = "archive" if self.where == "session" else "prearchive"
        self.others.store(files, label="e", place=where)

    def nothing(self):
        pass

    def series_added(self):
        self._store(self._copies(2, SeriesInstanceUID="1.2.826.0.1.77", SeriesNumber=77))

    def foreign_instances(self):
        self._store(self._copies(2))

    def source_deleted(self):
        gone = [*self.some, *self.sent][-1]
        self.lab.exam.instances.pop(gone).path.unlink()

    def source_rewritten(self):
        uid = [*self.some, *self.sent][-1]
        path = self.lab.exam.instances[uid].path
        data = path.read_bytes()
        path.write_bytes(data[:-16] + bytes(255 - byte for byte in data[-16:]))

    def source_restored(self):
        away = self.lab.home / "backup"
        shutil.copytree(self.lab.exam.directory, away)
        shutil.rmtree(self.lab.exam.directory)
        shutil.copytree(away, self.lab.exam.directory)

    def stored_cut(self):
        self.others.cut(self.sent[-1], **({"keep": 200} if self.where == "row" else {"lose": 40}), noticed=True)

    def instance_lost(self):
        self.others.drop_instance(self.sent[-1])

    def scan_dropped(self):
        assert self.others.drop_scan("1", label="e")

    def row_deleted(self):
        assert self.others.delete_row("e")

    def row_archived(self):
        self.others.archive_row("e")

    def row_archived_elsewhere(self):
        self.others.archive_row("e", to_label="other")

    def row_renamed(self):
        self.others.rename_row("e", "other")

    def row_moved(self):
        self.others.move_row("e", "MANUAL")

    def session_deleted(self):
        assert self.others.delete_session("e")

    def session_renamed(self):
        self.others.change_session("e", to_label="other")

    def other_subject(self):
        self.others.change_session("e", to_subject="somebody")


ANYWHERE = ("nothing", "series_added", "foreign_instances", "source_deleted", "source_rewritten", "source_restored")
STORED = ("stored_cut", "instance_lost", "scan_dropped")
CHANGES = {
    "direct": (*ANYWHERE, "stored_cut"),
    "row": (
        *(*ANYWHERE, *STORED, "row_deleted", "row_archived", "row_archived_elsewhere", "row_renamed", "row_moved"),
    ),
    "session": (*ANYWHERE, *STORED, "session_deleted", "session_renamed", "other_subject"),
}
CASES = [
    (mode, phase, change)
    for mode in VERSION
    for phase in POINTS
    for change in (ANYWHERE if phase == "first" else CHANGES[place(mode, phase)])
]
#: Where a person must decide: under which name the data belong, and whether what nobody can compare is archived.
NAMES = {"row_archived", "row_archived_elsewhere", "row_renamed", "row_moved", "session_renamed", "other_subject"}


def is_for_a_person(mode, change):
    """Whether the same command may go on refusing. With `append` nothing is replaced."""
    replaced = mode == "append" and change in ("source_rewritten", "stored_cut")
    return change in NAMES or replaced


#: What the suite runs of the table.
SOME = [
    ("direct", "middle", "series_added"),
    ("staged", "middle", "row_renamed"),
    ("none", "sent", "row_archived"),
    ("prearchive", "verifying", "stored_cut"),
    ("append", "settling", "nothing"),
]
assert set(SOME) <= set(CASES)


def held(lab, label, where):
    return {
        entry["sop_instance_uid"]: entry for entry in lab.sandbox.instances()
        if (entry["project"], entry["session"]) == ("DEMO", label) and entry["place"] in ("archive", where)
    }  # fmt: skip


def assert_true(lab, mode, report, label="e"):
    """Exit 0 is true: every instance on disk is in the session, whole and listed."""
    where = "prearchive" if mode == "prearchive" else "archive"
    found = held(lab, label, where)
    for uid, instance in lab.exam.instances.items():
        assert uid in found, (uid, report["warnings"])
        assert found[uid]["catalogued"]
        assert_kept(found[uid]["path"], instance.path)


@pytest.fixture
def small_exam(tmp_path):
    return write_exam(tmp_path / "exam", series=2, instances=5, seed=11, clutter=False)


def interrupt(lab, match, nth, action, how):
    lab.sandbox.faults.load([{"match": match, "nth": nth, "action": action, "seconds": HANGS}])
    (rule,) = lab.sandbox.faults._rules
    running = lab.start()
    while not rule["_done"]:
        time.sleep(0.005)
        assert running.poll() is None, (running.err, running.out)
    running.send_signal(how)
    running.communicate()
    lab.sandbox.faults.end()
    lab.quiet()


def settled(lab, where):
    """Wait until the server has carried out what the client asked for before it died."""
    while where == "session" and (lab.sandbox.state.direct or lab.sandbox.state.prearchive):
        time.sleep(0.005)
    lab.quiet()


def rerun(lab):
    """At most two reruns; exit code and report of the last."""
    code, report = lab.run()
    if code not in (0, 7):
        code, report = lab.run()
    return code, report


def follow(lab, xnatctl, alice, report, label):
    """Do what the refusal says, the way that keeps most; the label, exit code and report of the command after that."""
    error = report["error"]
    assert error["code"] in ("refused", "verification", "not-archived"), error
    assert error["hint"], error
    options = ()
    archive = [split_command(text)[1:] for text in report["next"] if text.startswith("xnatctl prearchive archive")]
    if archive:
        for command in archive:
            assert xnatctl(*command, env=alice).code == 0
    elif named := re.search(r"xnatctl session upload .*", error["hint"]):
        words = split_command(named[0].rstrip("."))[1:]
        label = words[words.index("-E") + 1]
        lab.arguments = tuple(words)
        return (label, *lab.run())
    elif named := re.search(r"Upload with (-S) ([^,. ]+)", error["hint"]):
        options = named.groups()
    else:
        options = (
            next(way for way in ("--overwrite append", "--overwrite delete", "--no-resume") if way in error["hint"])
        ).split()
    lab.arguments = (*lab.arguments, *options)
    return (label, *lab.run())


@pytest.mark.parametrize(("mode", "phase", "change"), CASES if FULL else SOME)
def test_it_converges(lab, xnatctl, alice, mode, phase, change):
    lab.sandbox.state.version = VERSION[mode]
    outside = Outside(lab, place(mode, phase))
    if mode == "append":
        files = [str(instance.path) for instance in lab.exam.instances.values()]
        theirs = outside._copies(2, SeriesInstanceUID="1.2.826.0.1.88", SeriesNumber=88)
        lab.sandbox.others.store([*theirs, files[0]], label="e", place="archive")
    lab.upload("gradual", *OPTIONS.get(mode, ()), workers=1).hasten()
    # A client that ends in good order logs out, and the server refuses what it had asked for before.
    how = signal.SIGKILL if phase in ("middle", "settling") else signal.SIGTERM
    interrupt(lab, *POINTS[phase](mode), how)
    if phase == "settling":
        settled(lab, outside.where)
    with suppress(*([ValueError] if phase == "first" else [])):
        getattr(outside, change)()
    code, report = rerun(lab)
    label = "e"
    for _ in range(2):  # one decision may lead to another: where the data belong, and then to archive them
        if code != 0:
            assert is_for_a_person(mode, change), (code, report["error"], lab.log[-2:])
            label, code, report = follow(lab, xnatctl, alice, report, label)
    assert code == 0, (report["error"], lab.log)
    assert_true(lab, mode, report, label)
