"""What a server repeats of a file is masked; what the user named, and what a failure is known by, is not."""

from __future__ import annotations

import pytest

from xnatctl.delivery.redactor import PatientRedactor
from xnatctl.inventory.identity import identifying
from xnatctl.inventory.walk import scan_path
from xnatctl.model.plan import Overwrite, Placement, Stage, UploadPlan
from xnatctl.model.refs import Destination
from xnatctl.testing.exam import EXPLICIT, IMPLICIT, write_exam

pydicom = pytest.importorskip("pydicom", reason="the dicom extra is not installed")

VALUES = {
    "PatientName": "Quux^Ann^Mary",
    "PatientID": "QX-0815",
    "PatientBirthDate": "19010203",
    "AccessionNumber": "AC99",
}


@pytest.fixture(params=[EXPLICIT, IMPLICIT, pydicom.uid.DeflatedExplicitVRLittleEndian])
def plan(request, tmp_path):
    exam = write_exam(tmp_path / "exam", series=1, instances=2, clutter=False)
    for instance in exam.instances.values():
        ds = pydicom.dcmread(instance.path)
        for keyword, value in VALUES.items():
            setattr(ds, keyword, value)
        ds.file_meta.TransferSyntaxUID = request.param
        pydicom.dcmwrite(instance.path, ds, enforce_file_format=True)
    found = scan_path(str(exam.directory))
    return plan_of(found.items)


def plan_of(items, **where):
    destination = Destination(**{"server": "", "project": "P", "subject": "s", "session": "e", **where})
    stage = Stage(kind="session", name="send", transport="tar", items=items)
    return UploadPlan(
        command="session upload", root="/", destination=destination, workers=1, placement=Placement.ARCHIVE,
        overwrite=Overwrite.DELETE, stages=(stage,),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("no place for Quux^Ann^Mary here", "no place for [patient] here"),
        ("QUUX, mary", "[patient], [patient]"),
        ("patient qx-0815.", "patient [patient]."),
        ("born 19010203 (1901-02-03)", "born [patient] ([patient])"),
        ("AC99/7", "[patient]/7"),
        ("Annotation of Marys Quuxes", "Annotation of Marys Quuxes"),
        ("", ""),
    ],
)
def test_values_and_parts_of_names_are_masked_as_whole_words(plan, said, left):
    discretion = PatientRedactor(plan)
    assert discretion(said) == left
    assert discretion.of(plan.items[0], said) == left


def test_other_characters_too(tmp_path):
    exam = write_exam(tmp_path / "exam", series=1, instances=1, clutter=False)
    (instance,) = exam.instances.values()
    ds = pydicom.dcmread(instance.path)
    ds.SpecificCharacterSet = "ISO_IR 144"
    ds.OtherPatientNames = "Иванов^Пётр"
    ds.save_as(instance.path)
    discretion = PatientRedactor(plan_of(scan_path(str(exam.directory)).items))
    assert discretion("для Пётр Иванов нет места") == "для [patient] нет места"


def test_what_the_user_named_stays(plan):
    named = plan_of(plan.items, subject="QX-0815", session="quux")
    assert PatientRedactor(named)("session Quux of QX-0815 of Mary") == "session Quux of QX-0815 of [patient]"


def test_what_a_failure_is_known_by_stays(tmp_path):
    exam = write_exam(tmp_path / "exam", series=1, instances=1, clutter=False)
    (instance,) = exam.instances.values()
    ds = pydicom.dcmread(instance.path)
    ds.PatientName = "Read^Unable^Dicom"
    ds.save_as(instance.path)
    discretion = PatientRedactor(plan_of(scan_path(str(exam.directory)).items))
    assert discretion("unable to read DICOM object x") == "unable to read DICOM object x"


def test_a_long_value_is_known_by_its_beginning_and_a_cut_one_at_the_end(tmp_path):
    exam = write_exam(tmp_path / "exam", series=1, instances=1, clutter=False)
    (instance,) = exam.instances.values()
    ds = pydicom.dcmread(instance.path)
    ds.PatientComments = "a very long comment about a person"
    ds.PatientName = "Quuxenberg^Ann"
    ds.save_as(instance.path)
    discretion = PatientRedactor(plan_of(scan_path(str(exam.directory)).items))
    assert discretion("said: a very long comment ab...") == "said: [patient]..."
    assert discretion(f"{'x' * 55} Quuxen") == f"{'x' * 55} [patient]"
    assert discretion("Quuxen") == "Quuxen"


def test_a_file_that_is_gone_tells_nothing_and_hurts_nobody(plan, tmp_path):
    for item in plan.items:
        (tmp_path / "exam" / item.path).unlink()
    assert PatientRedactor(plan)("Quux^Ann") == "Quux^Ann"


def test_no_bytes_make_it_fail():
    assert identifying(b"") == frozenset()
    assert identifying(b"\x10\x00\x10\x00PN\xff\xff") == frozenset()
    assert identifying(b"\x10\x00\x20\x00LO\x04\x00\xff\xfe\xfd\xfc" * 3)
