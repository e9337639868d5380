"""When a study is quiet, and when it is tried again. The clock is the test's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from systems import needs_links

from xnatctl.api import SourceChanged
from xnatctl.api.commands import scan_listed
from xnatctl.testing import write_exam
from xnatctl_campaign.watch.inbox import Identity, Inbox, InboxStudy
from xnatctl_campaign.watch.listing import FileState, Listing, list_inbox
from xnatctl_campaign.watch.proofs import Proofs
from xnatctl_campaign.watch.schedule import Attempts
from xnatctl_campaign.watch.sender import require_same

QUIET = 10.0


class Folder:
    """An inbox whose files are lines of the test: path -> what its content says, and a number that changes with it."""

    def __init__(self):
        self.files = {}
        self.closed = {}
        self.reads = []
        self.inbox = Inbox(self._identify, QUIET)

    def _identify(self, path):
        self.reads.append(path)
        what = self.files[path][0]
        return Identity(damaged="cut") if what == "cut" else Identity(study="" if what == "text" else what)

    def look(self, at):
        states = {path: FileState(1, number, number, 1) for path, (_, number) in self.files.items()}
        self.inbox.update(Listing(files=states, closed=self.closed), at)
        studies = self.inbox.studies()
        restless = self.inbox.restless(studies, at)
        return {study.uid for study in studies if study.uid not in restless}


@pytest.fixture
def folder():
    return Folder()


def test_a_study_is_quiet_when_nothing_of_it_changed_for_long_enough(folder):
    folder.files = {"a/1": ("A", 1), "a/2": ("A", 1), "b/1": ("B", 1)}
    assert folder.look(0) == set()
    assert folder.look(9.9) == set()
    assert folder.look(10) == {"A", "B"}
    folder.files["a/2"] = ("A", 2)
    assert folder.look(11) == {"B"}
    folder.files["c/deep/3"] = ("A", 1)  # in another folder
    assert folder.look(15) == {"B"}
    assert folder.look(21) == {"B"}
    assert folder.look(25) == {"A", "B"}
    del folder.files["c/deep/3"]
    assert folder.look(30) == {"B"}
    assert folder.look(40) == {"A", "B"}
    assert folder.reads.count("a/1") == 1  # read when it changes, and not again


def test_a_file_whose_study_is_not_known_holds_up_the_studies_beside_it(folder):
    folder.files = {"in/a/1": ("A", 1), "in/b/1": ("B", 1), "c/1": ("C", 1), "0": ("R", 1)}
    folder.look(0)
    assert folder.look(10) == {"A", "B", "C", "R"}
    folder.files["in/a/new.tmp"] = ("cut", 1)
    assert folder.look(11) == {"B", "C", "R"}
    folder.files["in/a/new.tmp"] = ("text", 2)
    folder.files["in/log"] = ("text", 1)  # above both
    assert folder.look(12) == {"C", "R"}
    del folder.files["in/a/new.tmp"], folder.files["in/log"]
    folder.files["in/a/2"] = ("A", 1)  # renamed into place
    assert folder.look(13) == {"C", "R"}
    assert folder.look(22.9) == {"C", "R"}
    assert folder.look(23) == {"A", "B", "C", "R"}
    folder.files["d/x"] = ("cut", 1)  # beside no study
    assert folder.look(24) == {"A", "B", "C", "R"}
    folder.files["x"] = ("cut", 1)  # beside the files that lie directly in the inbox
    assert folder.look(25) == {"A", "B", "C"}


def test_two_studies_in_one_folder_do_not_hold_up_each_other(folder):
    folder.files = {"x/a": ("A", 1), "x/b": ("B", 1)}
    folder.look(0)
    folder.files["x/b2"] = ("B", 1)
    assert folder.look(10) == {"A"}
    folder.files["x/a"] = ("B", 2)  # a file that belongs to the other study now
    folder.files["x/a2"] = ("A", 1)
    assert folder.look(20) == set()
    assert folder.look(30) == {"A", "B"}


def test_damaged_files_beside_a_study_belong_to_it(folder):
    folder.files = {"x/a": ("A", 1), "x/cut": ("cut", 1), "y/b": ("B", 1), "cut": ("cut", 1)}
    folder.look(0)
    studies = {study.uid: set(study.suspects) for study in folder.inbox.studies()}
    assert studies == {"A": {"x/cut"}, "B": set()}
    before = {study.uid: study.signature for study in folder.inbox.studies()}
    folder.files["x/cut"] = ("cut", 2)
    folder.look(1)
    after = {study.uid: study.signature for study in folder.inbox.studies()}
    assert (after["A"] != before["A"], after["B"] == before["B"]) == (True, True)


def test_a_folder_that_cannot_be_read_for_a_while_makes_nothing_vanish(folder):
    folder.files = {"x/a": ("A", 1), "x/a2": ("A", 1), "y/b": ("B", 1)}
    folder.look(0)
    kept = dict(folder.files)
    folder.files, folder.closed = {"y/b": ("B", 1)}, {"x": "Permission denied"}
    assert folder.look(20) == {"B"}
    assert {study.uid: len(study.files) for study in folder.inbox.studies()} == {"A": 2, "B": 1}
    folder.files, folder.closed = kept, {}
    assert folder.look(25) == {"B"}
    assert folder.look(30) == {"A", "B"}


def test_a_folder_that_could_never_be_read_holds_up_the_studies_beside_it(folder):
    folder.files = {"x/a": ("A", 1), "y/b": ("B", 1), "r": ("R", 1)}
    folder.closed = {"x/closed": "Permission denied", "z": "Permission denied"}
    folder.look(0)
    assert folder.look(10) == {"B", "R"}
    folder.closed = {}
    assert folder.look(11) == {"A", "B", "R"}


def test_damaged_files_beside_no_study_are_told_when_they_are_quiet(folder):
    folder.files = {"x/a": ("A", 1), "x/cut": ("cut", 1), "y/cut": ("cut", 1)}
    folder.look(0)
    assert folder.inbox.strays(folder.inbox.studies(), 9) == {}
    assert folder.inbox.strays(folder.inbox.studies(), 10) == {"y/cut": "cut"}


def test_what_the_watcher_removes_makes_nothing_restless(folder):
    folder.files = {"x/a": ("A", 1), "x/a2": ("A", 1)}
    folder.look(0)
    del folder.files["x/a"]
    folder.inbox.removed(["x/a"])
    assert folder.look(10) == {"A"}
    assert [set(study.files) for study in folder.inbox.studies()] == [{"x/a2"}]


def test_proofs_outlive_a_start_and_end_with_their_study(tmp_path, monkeypatch):
    monkeypatch.setenv("XNATCTL_STATE_DIR", str(tmp_path))
    proofs = Proofs("key")
    proofs.add("A", "1")
    proofs.add("B", "1")
    again = Proofs("key")
    assert (again.holds("A", "1"), again.holds("A", "2"), again.holds("C", "1")) == (True, False, False)
    again.forget({"A"})
    assert (Proofs("key").holds("A", "1"), Proofs("key").holds("B", "1")) == (True, False)
    again.forget(set())
    assert not Proofs("key").holds("A", "1")
    assert not Proofs("other").holds("A", "1")


@needs_links
def test_a_listing_holds_regular_files_and_names_links(tmp_path):
    inbox = tmp_path / "in"
    (inbox / "a").mkdir(parents=True)
    (inbox / "a" / "1").write_bytes(b"12")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "2").write_bytes(b"")
    (inbox / "link").symlink_to(tmp_path / "other")
    (inbox / "a" / "file").symlink_to(tmp_path / "other" / "2")
    found = list_inbox(str(inbox))
    status = (inbox / "a" / "1").stat()
    assert found.files == {"a/1": (2, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)}
    assert sorted(found.links) == ["a/file", "link"]
    with pytest.raises(FileNotFoundError):
        list_inbox(str(tmp_path / "none"))


def test_what_failed_is_tried_again_on_a_change_or_after_a_delay_that_doubles():
    attempts = Attempts(10)
    assert attempts.is_due("A", "1", 0)
    assert [attempts.failed("A", "1", at) for at in (0, 10, 30)] == [10, 20, 40]
    assert (attempts.is_due("A", "1", 69), attempts.is_due("A", "1", 70)) == (False, True)
    assert attempts.is_due("A", "2", 31)
    assert attempts.failures("A") == 3
    assert attempts.failed("A", "2", 31) == 10
    attempts.settled("A", "2")
    assert not attempts.is_due("A", "2", 1e9)
    assert attempts.is_due("A", "3", 40)
    attempts.forget(set())
    assert attempts.is_due("A", "2", 40)
    assert max(attempts.server.failed(0) for _ in range(100)) == 640
    attempts.server.succeeded()
    assert attempts.server.failed(0) == 10


@pytest.mark.parametrize("known", [True, False], ids=["change time", "no change time"])
def test_files_as_they_were_listed_are_sent_and_changed_ones_are_not(tmp_path, known):
    """The status of Windows has the time of the creation where other systems have that of the change."""
    exam = write_exam(tmp_path / "in", series=1, instances=2, seed=1, clutter=False)
    files = list_inbox(str(tmp_path / "in")).files
    found = scan_listed(str(tmp_path / "in"), list(files))
    if not known:
        stamps = [item.status._replace(ctime_ns=0).packed for item in found.items]
        items = tuple(replace(item, stamp=stamp) for item, stamp in zip(found.items, stamps, strict=True))
        found = replace(found, items=items)
    study = InboxStudy(uid=exam.study_instance_uid, files=files, suspects={})
    require_same(found, study)
    first = min(files)
    for change in ({"size": 1}, {"mtime_ns": 1}):
        with pytest.raises(SourceChanged):
            require_same(found, replace(study, files={**files, first: files[first]._replace(**change)}))
