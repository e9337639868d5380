"""`--overwrite append` where the session holds some of the instances already."""

from __future__ import annotations

import shutil

import pytest

from xnatctl.testing import write_exam

pytestmark = pytest.mark.once
NAMES = ("-P", "DEMO", "-S", "s", "-E", "e", "-o", "json")


@pytest.fixture
def own(tmp_path):
    """Two series of six instances."""
    return write_exam(tmp_path / "own", series=2, instances=6, seed=5, clutter=False)


@pytest.fixture
def append(xnatctl, alice, own):
    def run(*more):
        return xnatctl("session", "upload", own.directory, *NAMES, "--overwrite", "append", *more, env=alice)

    return run


@pytest.fixture
def arrivals(sandbox):
    def listed():
        import json

        record = sandbox.directory / "received.jsonl"
        lines = record.read_text().splitlines() if record.exists() else []
        return [json.loads(line)["sop_instance_uid"] for line in lines]

    return listed


def test_only_what_is_new_is_sent(xnatctl, sandbox, elsewhere, own, append, arrivals, assert_exactly, tmp_path):
    """The first series and two instances of the second are there, sent from another machine."""
    part = tmp_path / "part"
    shutil.copytree(own.directory / "series 1", part / "series 1")
    second = sorted((own.directory / "series 2").iterdir())
    for path in second[:2]:
        shutil.copyfile(path, part / path.name)
    assert xnatctl("session", "upload", part, *NAMES, env=elsewhere).code == 0
    before = set(arrivals())
    done = append()
    assert done.code == 0, done.err
    assert sorted(arrivals()[8:]) == sorted(set(own.instances) - before)
    report = done.document
    assert (report["counts"]["sent"], report["counts"]["skipped"], report["counts"]["verified"]) == (4, 8, 12)
    notes = {
        item["sop_instance_uid"] for item in report["items"] if "not delivered by this upload" in str(item["note"])
    }
    assert notes == before
    (warning,) = [text for text in report["warnings"] if "held 8 of 12 instances already" in text]
    assert "8 by MD5" in warning
    assert_exactly(sandbox, own.digests, place="archive", label="e")


def test_nothing_is_sent_where_everything_is_there(xnatctl, sandbox, elsewhere, own, append, arrivals, assert_exactly):
    assert xnatctl("session", "upload", own.directory, *NAMES, env=elsewhere).code == 0
    sandbox.state.site["checksums"] = False
    for resource in (r for e in sandbox.state.experiments.values() for s in e.scans.values() for r in s.resources):
        resource.entries = {name: _without_sum(entry) for name, entry in resource.entries.items()}
    for _ in range(2):
        done = append()
        assert done.code == 0, done.err
        assert len(arrivals()) == 12
        assert (done.document["counts"]["sent"], done.document["counts"]["skipped"]) == (0, 12)
        (warning,) = [text for text in done.document["warnings"] if "held 12 of 12 instances already" in text]
        assert "12 by SOP Instance UID and size" in warning
    assert_exactly(sandbox, own.digests, place="archive", label="e")


def _without_sum(entry):
    from dataclasses import replace

    return replace(entry, md5="")


@pytest.mark.parametrize("how", ["cut", "other"])
def test_other_content_is_refused_by_name(xnatctl, sandbox, elsewhere, own, append, arrivals, tmp_path, how):
    """The stored instance is cut, or the one on disk was corrected since, to the same length."""
    assert xnatctl("session", "upload", own.directory, *NAMES, env=elsewhere).code == 0
    victim = min((own.directory / "series 2").iterdir())
    data = bytearray(victim.read_bytes())
    if how == "cut":
        (stored,) = [e for e in sandbox.instances() if e["sha256"] == own.instances[_uid(own, victim)].sha256]
        _shorten(sandbox, stored)
    else:
        data[-1] ^= 1
        victim.write_bytes(data)
    done = append()
    assert done.code == 7, done.err
    assert len(arrivals()) == 12
    assert f"series 2/{victim.name}" in done.document["error"]["message"]
    assert "--overwrite delete" in done.document["error"]["hint"]
    again = append("--overwrite", "delete")
    assert again.code == 0, again.err


def _uid(own, path):
    return next(uid for uid, one in own.instances.items() if one.path == path)


def _shorten(sandbox, stored):
    from dataclasses import replace
    from pathlib import Path

    path = Path(stored["path"])
    path.write_bytes(path.read_bytes()[:-100])
    for experiment in sandbox.state.experiments.values():
        for scan in experiment.scans.values():
            for resource in scan.resources:
                if entry := resource.entries.get(path.name):
                    resource.entries[path.name] = replace(entry, size=entry.size - 100, md5="0" * 32)


def test_an_interrupted_append_converges(xnatctl, sandbox, elsewhere, own, append, assert_exactly):
    """The row was archived, and the answer and everything after it were lost."""
    assert xnatctl("session", "upload", own.directory / "series 1", *NAMES, env=elsewhere).code == 0
    commit = {"method": "POST", "path": "/data/prearchive/.*"}
    sandbox.faults.load([{"match": commit, "nth": 2, "action": "store-then-status", "status": 400}])
    assert append().code == 6
    sandbox.faults.end()
    done = append()
    assert done.code == 0, done.err
    assert_exactly(sandbox, own.digests, place="archive", label="e")


@pytest.mark.parametrize("refused", [[2], [2, 3]])
def test_what_was_to_be_sent_again_is_ours_in_the_next_run(xnatctl, sandbox, elsewhere, own, append, arrivals, refused):
    """XNAT makes the one new instance shorter, nothing explains that, and sending it again fails."""
    first, *others = sorted((own.directory / "series 2").iterdir())
    for path in others:
        path.unlink()
    assert xnatctl("session", "upload", own.directory / "series 1", *NAMES, env=elsewhere).code == 0
    theirs = {entry["sop_instance_uid"]: entry["sha256"] for entry in sandbox.instances()}
    sandbox.switches.site_script = {"PatientName": "A"}
    shutil.rmtree(own.directory / "series 1")
    sandbox.faults.load([{"match": {"path": "/services/import"}, "nth": refused, "action": "status", "status": 403}])
    codes = [append().code for _ in refused]
    assert 0 not in codes
    done = append()
    assert done.code == 0, done.err
    stored = {entry["sop_instance_uid"]: entry for entry in sandbox.instances()}
    assert {uid: entry["sha256"] for uid, entry in stored.items() if uid in theirs} == theirs
    assert stored[_uid(own, first)]["place"] == "archive"
    assert append().code == 0
