"""An upload that an earlier version of the program was killed in is finished by this one.

`data/journal-killed-while-sending.sql` is a journal that was written before stages were plugins: a gradual upload by
direct archive, killed with five of twelve files accepted and one on its way.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from xnatctl.delivery.journal.store import journal_key
from xnatctl.model.refs import Destination
from xnatctl.plugin.credentials import Password
from xnatctl.testing import write_exam
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.http.request import whole
from xnatctl.xnat.importing import send_import

DUMP = Path(__file__).parent / "data" / "journal-killed-while-sending.sql"


@pytest.fixture
def killed(sandbox, tmp_path):
    """The journal, the files, and a server that has what the journal says. Returns the exam and the variables."""
    exam = write_exam(tmp_path / "exam", series=2, instances=6, seed=3, clutter=False)
    where = Destination(server=sandbox.url, project="DEMO", subject="s", session="e")
    folder = tmp_path / "state" / "xnatctl" / "journals"
    folder.mkdir(parents=True, mode=0o700)
    text = DUMP.read_text().replace("{SERVER}", sandbox.url).replace("{ROOT}", str(exam.directory))
    journal = folder / f"{journal_key(where)}.sqlite"
    db = sqlite3.connect(journal)
    db.executescript(text)
    rows = db.execute("SELECT path FROM items WHERE outcome IN ('accepted', 'sending')").fetchall()
    db.close()
    journal.chmod(0o600)
    with XnatClient(sandbox.url) as client:
        client.login(lambda: Password(username="alice", secret="alice"))
        for (path,) in rows:
            body = whole((exam.directory / path.decode()).read_bytes())
            kind = {"handler": "gradual-DICOM", "content_type": "application/dicom"}
            send_import(client, where, body=body, direct=True, **kind)
    assert len(sandbox.instances()) == 6
    return exam, {"XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.mark.parametrize("how", ["the same command", "upload resume"])
def test_it_is_finished_and_nothing_is_sent_without_need(xnatctl, sandbox, alice, killed, how, assert_exactly):
    exam, state = killed
    env = {**alice, **state}
    if how == "upload resume":
        done = xnatctl("upload", "resume", "DEMO/e", "-o", "json", env=env)
    else:
        command = ("session", "upload", exam.directory, "-P", "DEMO", "-S", "s", "-E", "e", "--mode", "gradual")
        done = xnatctl(*command, "-o", "json", env=env)
    assert done.code == 0, done.err
    counts = done.document["counts"]
    assert (counts["found"], counts["verified"]) == (12, 12)
    assert counts["skipped"] >= 5, "what was accepted is not sent again"
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
