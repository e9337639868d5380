"""The exams of several studies that the tests of `--split-studies` upload, and looks at what came of them."""

from __future__ import annotations

from xnatctl.testing.exam import write_exam

NAMES = ("-P", "DEMO", "-S", "subj", "-E", "visit")
IMPORT = {"path": "/services/import"}
#: Folder, seed and date: the order of names, of UIDs and of time are three.
VISITS = {"b": (1, "20240101"), "c": (2, "20240201"), "a": (3, "20240301")}


def write_study(directory, seed, date, **more):
    return write_exam(directory, series=2, instances=3, seed=seed, study_date=date, clutter=False, **more)


def by_number(visits, *labels):
    return dict(zip(labels or ("visit", "visit_2", "visit_3"), visits.studies, strict=True))


def labels_of(report):
    return {study["study_instance_uid"]: study["session"] for study in report["studies"]}


def imports(sandbox):
    return [request for request in sandbox.requests if "services/import" in request["path"]]


def sandbox_id(sandbox, label):
    (found,) = [e.id for e in sandbox.state.experiments.values() if e.label == label]
    return found
