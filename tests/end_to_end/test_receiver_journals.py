"""A transport that hands over has one journal for each address: another address gets everything, the same one nothing."""

from __future__ import annotations

import hashlib
import json

import pytest

from xnatctl.delivery.journal.store import journal_key
from xnatctl.model.refs import Destination
from xnatctl.testing.exam import write_exam

pytestmark = pytest.mark.once

NAMES = ("-P", "DEMO", "-S", "s", "-E", "e")
DROP = """
import pathlib
from xnatctl.api import *

def address_of(options):
    return f"folder:{options['into']}"

@hookimpl
def xnatctl_transports():
    return [TransportSpec(name="drop", summary="into a folder", target="dist_drop_drop:Drop", settle="none", DESTINATION
                          options=(Option(name="into", help="The folder.", required=True),
                                   Option(name="pace", help="How fast.", default="slow")))]

class Drop:
    def __init__(self, context):
        self.context = context
    def describe(self):
        return {"into": self.context.options["into"]}
    def send(self, batch, emit):
        for item in batch.items:
            with self.context.open_item(item) as reader:
                pathlib.Path(self.context.options["into"], item.name).write_bytes(reader.read())
            yield ItemOutcome(path=item.path, outcome=Outcome.ACCEPTED)
    def close(self):
        pass
"""


@pytest.fixture
def exam(tmp_path):
    return write_exam(tmp_path / "exam", series=1, instances=3, seed=5, clutter=False)


@pytest.fixture
def folders(tmp_path):
    made = [tmp_path / name for name in ("one", "two")]
    for folder in made:
        folder.mkdir()
    return made


def arrived(folder):
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("declared", [True, False])
def test_two_addresses_are_two_uploads(xnatctl, install, exam, folders, declared):
    env = install("drop", DROP.replace("DESTINATION", 'destination="dist_drop_drop:address_of",' if declared else ""))

    def upload(folder, *more):
        command = ("session", "upload", exam.directory, *NAMES, "--mode", "drop", "--into", folder, "-o", "json", *more)
        done = xnatctl(*command, env=env)
        assert done.code == 0, done.err
        return done.document

    for folder in folders:
        if declared:
            assert upload(folder, "--dry-run")["destination"]["server"] == f"folder:{folder}"
        report = upload(folder)
        assert report["counts"]["sent"] == 3
        if declared:
            assert report["destination"]["server"] == f"folder:{folder}"
        assert arrived(folder) == set(exam.digests.values())
        assert upload(folder)["counts"]["sent"] == 0
    if declared:
        assert upload(folders[0], "--pace", "fast")["counts"]["sent"] == 0, "pace is no part of the address"
    listed = xnatctl("upload", "status", "-o", "json", env=env).document["uploads"]
    assert len(listed) == 2
    if declared:
        assert {row["server"] for row in listed} == {f"folder:{folder}" for folder in folders}
    for row in listed:
        assert xnatctl("upload", "resume", row["id"], env=env).code == 0


def test_a_journal_of_an_earlier_version_goes_on_for_its_own_address_alone(
    xnatctl, install, exam, folders, tmp_path, home
):
    """Its name did not tell addresses apart; what it says of its request does."""
    env = install("drop", DROP.replace("DESTINATION", 'destination="dist_drop_drop:address_of",'))

    def upload(folder):
        command = ("session", "upload", exam.directory, *NAMES, "--mode", "drop", "--into", folder, "-o", "json")
        done = xnatctl(*command, env=env)
        assert done.code == 0, done.err
        return done

    upload(folders[0])
    journals = home / "state" / "xnatctl" / "journals"
    (path,) = journals.glob("*.sqlite")
    old = journal_key(Destination(server="", project="DEMO", subject="s", session="e"), str(exam.directory))
    path.rename(journals / f"{old}.sqlite")
    other = upload(folders[1])
    assert other.document["counts"]["sent"] == 3
    assert arrived(folders[1]) == set(exam.digests.values())
    assert upload(folders[0]).document["counts"]["sent"] == 0
    ids = {row["id"] for row in xnatctl("upload", "status", "-o", "json", env=env).document["uploads"]}
    assert len(ids) == 2
    assert old not in ids


def test_a_resumed_hand_over_sends_no_other_study(xnatctl, install, exam, folders, tmp_path):
    env = install("drop", DROP.replace("DESTINATION", ""))
    command = ("session", "upload", exam.directory, *NAMES, "--mode", "drop", "--into", folders[0], "-o", "json")
    assert xnatctl(*command, env=env).code == 0
    (row,) = xnatctl("upload", "status", "-o", "json", env=env).document["uploads"]
    exam.directory.rename(tmp_path / "away")
    write_exam(exam.directory, series=1, instances=2, seed=99, clutter=False)
    done = xnatctl("upload", "resume", row["id"], "-o", "json", env=env)
    assert done.code == 7
    assert "not part of the upload" in done.document["error"]["message"]
    assert arrived(folders[0]) == set(exam.digests.values())
    assert json.loads(done.out)["counts"]["sent"] == 0
