"""The disk is compared with a plan before it is sent: names, sizes, times and inodes."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from xnatctl.delivery.planning import plan_session_upload
from xnatctl.delivery.relisting import SourceChanges, source_changes
from xnatctl.model.plan import UploadPlan, UploadRequest
from xnatctl.model.refs import Destination
from xnatctl.testing import write_exam


@pytest.fixture
def exam(tmp_path: Path) -> Any:
    return write_exam(tmp_path / "exam", series=2, instances=4, seed=3)


def planned(path: Path) -> UploadPlan:
    where = Destination(server="", project="P", subject="S", session="E")
    return plan_session_upload(
        UploadRequest(command="session upload", path=str(path), destination=where, transport="tar", workers=1)
    )


def test_each_kind_of_change_is_named(exam: Any) -> None:
    plan = planned(exam.directory)
    assert source_changes(plan) == SourceChanges(changed=[], vanished=[], touched=[], others=[])
    gone, grown, touched, *_ = plan.items
    (exam.directory / gone.path).unlink()
    with open(exam.directory / grown.path, "ab") as file:
        file.write(b"\0")
    os.utime(exam.directory / touched.path, ns=(0, touched.status.mtime_ns))
    (exam.directory / "new.dcm").write_bytes((exam.directory / touched.path).read_bytes())
    (exam.directory / "notes.log").write_text("does not matter")
    noticed = [touched.path] if os.name == "posix" else []  # the status has no change time
    assert source_changes(plan) == SourceChanges(
        changed=[grown.path], vanished=[gone.path], touched=noticed, others=["new.dcm"]
    )


def test_members_of_an_archive_file_change_with_it(exam: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "exam.zip", "w") as archive:
        for instance in exam.instances.values():
            archive.write(instance.path, instance.path.name)
    plan = planned(tmp_path / "exam.zip")
    assert source_changes(plan).changed == []
    os.utime(tmp_path / "exam.zip", ns=(0, 0))
    assert sorted(source_changes(plan).changed) == sorted(item.path for item in plan.items)
    (tmp_path / "exam.zip").unlink()
    assert len(source_changes(plan).vanished) == len(plan.items)


def test_a_directory_that_cannot_be_reached_has_vanished(exam: Any) -> None:
    plan = planned(exam.directory)
    exam.directory.rename(exam.directory.with_name("moved"))
    exam.directory.write_text("a file")
    assert len(source_changes(plan).vanished) == len(plan.items)
