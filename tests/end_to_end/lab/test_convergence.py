"""Whatever happens outside between two runs: at most two reruns end with 0, and the server holds what the disk holds."""

from __future__ import annotations

import shutil

import pytest

pytestmark = pytest.mark.once
IMPORT = {"path": "/services/import"}


def _another_machine(lab, do):
    assert do(lab.exam.directory) == 0


def _another_series(lab, do):
    """Somebody completes the session from elsewhere and adds a series of the same study that is not on this disk."""
    import pydicom

    folder = lab.home / "more"
    shutil.copytree(lab.exam.directory, folder)
    for number, instance in enumerate(list(lab.exam.instances.values())[:3]):
        ds = pydicom.dcmread(instance.path)
        ds.SeriesInstanceUID, ds.SeriesNumber = "1.2.826.0.1.77", 77
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.77.{number}"
        ds.save_as(folder / f"more{number}")
    assert do(folder) == 0


def _delete_sent(lab, do):
    for uid in lab.arrivals()[:2]:
        lab.exam.instances.pop(uid).path.unlink(missing_ok=True)


def _delete_unsent(lab, do):
    for uid in sorted(set(lab.exam.instances) - set(lab.arrivals()))[:2]:
        lab.exam.instances.pop(uid).path.unlink()


def _delete_both(lab, do):
    _delete_sent(lab, do)
    _delete_unsent(lab, do)


def _server_loses_all(lab, do):
    for experiment in list(lab.sandbox.state.experiments.values()):
        lab.sandbox.remove_experiment(experiment)
    lab.sandbox.state.prearchive.clear()
    lab.sandbox.state.direct.clear()
    shutil.rmtree(lab.sandbox.directory / "prearchive", ignore_errors=True)


def _copied_elsewhere(lab, do):
    """The disk is restored from a backup: other inodes and change times, the same bytes."""
    away = lab.home / "backup"
    shutil.copytree(lab.exam.directory, away)
    shutil.rmtree(lab.exam.directory)
    shutil.copytree(away, lab.exam.directory)


CHANGES = [
    _another_machine,
    _another_series,
    _delete_sent,
    _delete_unsent,
    _delete_both,
    _server_loses_all,
    _copied_elsewhere,
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("interrupted", ["sending", "settling"])
def test_at_most_two_reruns(lab, xnatctl, elsewhere, change, interrupted, full):
    if interrupted == "settling" and not full:
        pytest.skip("the lab environment runs it")

    def do(folder):
        return xnatctl("session", "upload", folder, "-P", "DEMO", "-S", "s", "-E", "e", env=elsewhere).code

    if interrupted == "sending":
        lab.sandbox.faults.load([{"match": IMPORT, "nth": list(range(20, 999)), "action": "status", "status": 403}])
    else:
        lab.sandbox.faults.load(
            [{"match": {"path": "direct-archive|services/archive"}, "action": "status", "status": 403}]
        )
    code, _ = lab.upload("gradual").run()
    assert code != 0
    lab.sandbox.faults.load([])
    change(lab, do)
    codes = []
    while (not codes or codes[-1] != 0) and len(codes) < 2:
        code, report = lab.run()
        codes.append(code)
    assert codes[-1] == 0, (codes, report["error"])
    held = {entry["sop_instance_uid"] for entry in lab.sandbox.instances() if entry["place"] == "archive"}
    assert set(lab.exam.instances) <= held
    if change in (_delete_unsent, _delete_both) and interrupted == "sending":
        assert any("no longer on this disk" in text for text in report["warnings"])
    assert lab.run()[0] == 0


@pytest.mark.parametrize("change", [_delete_sent, _delete_both, _copied_elsewhere])
def test_at_most_two_reruns_of_what_is_left_for_review(lab, xnatctl, change):
    lab.sandbox.faults.load([{"match": IMPORT, "nth": list(range(20, 999)), "action": "status", "status": 403}])
    assert lab.upload("gradual", "--prearchive").run()[0] != 0
    lab.sandbox.faults.load([])
    change(lab, None)
    codes = [lab.run()[0] for _ in range(2)]
    assert codes[-1] == 0, codes
    held = {entry["sop_instance_uid"] for entry in lab.sandbox.instances() if entry["place"] == "prearchive"}
    assert set(lab.exam.instances) <= held
    if change is _delete_sent:
        assert xnatctl("upload", "status", "--unfinished", "-q").out == "", "they were counted"
