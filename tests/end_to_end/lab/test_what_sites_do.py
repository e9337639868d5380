"""What a site's rules do to data - filter, reject, rename - is named file by file, exit code 6; the rest arrives."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.once
PLACES = {"--direct-archive": "archive", "--prearchive": "prearchive"}


@pytest.fixture
def some(lab):
    """Five instances of the second series."""
    return sorted(uid for uid, instance in lab.exam.instances.items() if "series 2" in str(instance.path))[:5]


def named(report, *outcomes):
    return sorted(item["sop_instance_uid"] for item in report["items"] if item["outcome"] in outcomes)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mode", ["tar", "zip", "gradual"])
def test_a_series_that_a_filter_drops(lab, mode, place):
    lab.sandbox.state.projects["DEMO"].series_filter = ("Phantom 2",)
    code, report = lab.upload(mode, place).hasten().run()
    assert (code, report["status"]) == (6, "partial"), report["error"]
    dropped = sorted(uid for uid, instance in lab.exam.instances.items() if "series 2" in str(instance.path))
    assert named(report, "missing", "filtered") == dropped
    assert all(item["reason"] for item in report["items"] if item["outcome"] in ("missing", "filtered"))
    assert {entry["place"] for entry in lab.sandbox.instances()} == {PLACES[place]}
    assert len(lab.sandbox.instances()) == 40


@pytest.mark.parametrize("version", ["1.8.3", "1.8.11"])
@pytest.mark.parametrize("mode", ["tar", "zip", "gradual"])
def test_instances_that_anonymisation_rejects(lab, some, mode, version):
    lab.sandbox.state.version = version
    lab.sandbox.switches.rejected_instances = set(some)
    code, report = lab.upload(mode).hasten().run()
    assert code == 6, report["error"]
    assert named(report, "missing", "filtered") == some
    assert len(lab.sandbox.instances()) == 55
    assert {entry["place"] for entry in lab.sandbox.instances()} == {"archive"}


@pytest.mark.parametrize("mode", ["tar", "gradual"])
def test_in_the_prearchive_rejected_instances_are_named(lab, some, mode):
    """The server lists no UIDs there (xnat-import 6.2); they are read from its files."""
    lab.sandbox.switches.rejected_instances = set(some)
    code, report = lab.upload(mode, "--prearchive").hasten().run()
    assert code == 6, report["error"]
    if mode == "gradual":
        assert named(report, "filtered") == some
    else:
        differences = report["verification"]["differences"]
        assert {difference["kind"] for difference in differences} == {"missing"}
        assert sorted(difference["sop_instance_uid"] for difference in differences) == sorted(some)


@pytest.mark.parametrize("mode", ["tar", "gradual"])
def test_instances_that_anonymisation_renames(lab, mode):
    lab.sandbox.switches.remap_uids = True
    code, report = lab.upload(mode).hasten().run()
    assert code == 6, report["error"]
    renamed = sorted(d["sop_instance_uid"] for d in report["verification"]["differences"] if d["kind"] == "remapped")
    assert renamed == sorted(lab.exam.instances)
    assert len(lab.sandbox.instances()) == 60


def test_what_the_server_lost_is_found_by_verify_too(lab, some, xnatctl, alice):
    """At any later time."""
    lab.sandbox.switches.lost_instances = set(some)
    assert lab.upload("tar").hasten().run()[0] == 6
    done = xnatctl("session", "verify", lab.exam.directory, "-P", "DEMO", "-S", "s", "-E", "e", "-o", "json", env=alice)
    assert done.code == 6
    assert named(done.document, "missing") == some
