"""kill -9 while several studies are on their way, one more study, and the same command: one session for each."""

from __future__ import annotations

import shutil
import time

import pytest

from xnatctl.testing.exam import write_exam

pytestmark = [pytest.mark.once, pytest.mark.lab]


def write(directory, seed, date):
    return write_exam(directory, series=2, instances=4, seed=seed, study_date=date, clutter=False)


def sessions(sandbox):
    """What the archive holds: label -> SOP Instance UID -> SHA-256; every copy counts."""
    found: dict[str, dict[str, str]] = {}
    for entry in sandbox.instances():
        assert (entry["place"], entry["catalogued"]) == ("archive", True), entry
        session = found.setdefault(entry["session"], {})
        assert entry["sop_instance_uid"] not in session
        session[entry["sop_instance_uid"]] = entry["sha256"]
    return found


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", ["1.8.11", "1.8.3"])
def test_killed_at_random_moments(lab, dice, full, tmp_path, version):
    """The new study is the earliest, and would be the first if those before it had no labels yet."""
    lab.sandbox.state.version = version
    root = tmp_path / "export"
    visits = [write(root / str(number), number, f"20240{number}01") for number in range(1, 4)]
    names = ("-P", "DEMO", "-S", "s", "-E", "e", "--split-studies", "--mode", "gradual", "-o", "json")
    lab.arguments = ("session", "upload", str(root), *names)
    begun = time.monotonic()
    assert lab.run()[0] == 0
    length = time.monotonic() - begun
    for number in range(40 if full else 3):
        lab.start_over()
        lab.kill_after(dice.uniform(0.15, length))
        lab.quiet()
        before = {there.uid: there.label for there in lab.sandbox.state.experiments.values()}
        earlier = write(root / "0", 100 + number, "20230101")
        code, report = lab.run()
        assert code == 0, (lab.log, report and report["error"])
        found = sessions(lab.sandbox)
        labels = {study["study_instance_uid"]: study["session"] for study in report["studies"]}
        assert found == {labels[study.study_instance_uid]: study.digests for study in (*visits, earlier)}
        assert sorted(labels.values()) == ["e", "e_2", "e_3", "e_4"]
        assert before.items() <= labels.items()
        shutil.rmtree(root / "0")
