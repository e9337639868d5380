"""The checks of `campaign plan` that compare rows with each other, and with a project: which rows they name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from xnatctl.api import Overwrite
from xnatctl.api.xnat import PrearchiveRow, SessionInfo
from xnatctl_campaign.checks.destinations import check_destinations
from xnatctl_campaign.checks.labels import check_labels
from xnatctl_campaign.checks.patients import check_patients
from xnatctl_campaign.checks.sessions import check_parent, check_project, check_session
from xnatctl_campaign.checks.studies import check_resource_sources, check_studies
from xnatctl_campaign.facts import Facts, rows_text
from xnatctl_campaign.finding import Finding
from xnatctl_campaign.row import Kind, Row
from xnatctl_campaign.server import Project


def _facts(number: int, **given: Any) -> Facts:
    fields = {name: given.pop(name) for name in [*given] if name in Facts.__slots__}
    row = Row(
        **{
            "number": number,
            "line": number + 1,
            "path": f"s{number}",
            "project": "P",
            "subject": f"S{number}",
            "session": f"E{number}",
            **given,
        }
    )
    return Facts(**{"row": row, "path": f"/data/{row.path}", "project": row.project, "study": f"1.{number}", **fields})


def _seen(findings: Iterable[Finding]) -> dict[int, list[tuple[str, bool]]]:
    found: dict[int, list[tuple[str, bool]]] = {}
    for finding in findings:
        found.setdefault(finding.row, []).append((str(finding.code), finding.blocks))
    return found


_E1 = SessionInfo(id="XNAT_E00001", label="E1", project="P", subject_label="S1", subject_id="XNAT_S00001", uid="1.1")


def _project(*sessions: SessionInfo, **given: Any) -> Project:
    by_study: dict[str, list[SessionInfo]] = {}
    for session in sessions:
        by_study.setdefault(session.uid, []).append(session)
    return Project(
        id="P",
        sessions={session.label: session for session in sessions},
        cases={session.label.casefold(): session.label for session in sessions},
        by_study=by_study,
        **given,
    )


def test_rows_of_a_message_are_counted() -> None:
    assert rows_text([7]) == "Row 7"
    assert rows_text([1, 2, 3, 9]) == "Rows 1, 2, 3 and 9"
    assert rows_text([1, 2, 3, 4, 9]) == "Rows 1, 2, 3, 4 and 9"
    assert rows_text([*range(1, 2001)]) == "Rows 1, 2, 3 and 1,997 more"


def test_two_rows_of_one_destination_differ_in_case_only() -> None:
    rows = [_facts(1, session="visit"), _facts(2, session="Visit", project="p"), _facts(3, session="other")]
    assert _seen(check_destinations(rows)) == {1: [("destination-twice", True)], 2: [("destination-twice", True)]}


def test_a_resource_is_a_destination_of_its_own() -> None:
    resource = {"kind": Kind.RESOURCE, "session": "E1", "study": ""}
    rows = [
        _facts(1, resources=("NIFTI",), kind=Kind.EXAM),
        _facts(2, resources=("BIDS",), **resource),
        _facts(3, resources=("nifti",), **resource),
    ]
    assert _seen(check_destinations(rows)) == {1: [("destination-twice", True)], 3: [("destination-twice", True)]}


def test_one_study_in_two_rows() -> None:
    rows = [
        _facts(1, study="1.9"),
        _facts(2, study="1.9"),
        _facts(3, study="1.8", path="/data/all"),
        _facts(4, study="1.8", path="/data/all/one"),
        _facts(5, study="1.7", path="/data/x"),
        _facts(6, study="1.7", path="/data/x"),
        _facts(7, study="1.6"),
        _facts(8, study="1.6", project="Q"),
        _facts(9, study="1.5", path="/data/y"),
        _facts(10, study="1.4", path="/data/y"),
    ]
    assert _seen(check_studies(rows)) == {
        1: [("study-twice", True)],
        2: [("study-twice", True)],
        3: [("path-inside", True)],
        4: [("path-inside", True)],
        5: [("source-twice", True)],
        6: [("source-twice", True)],
        7: [("study-twice", False)],
        8: [("study-twice", False)],
    }


def test_files_of_two_resources_may_be_the_same() -> None:
    resource = {"kind": Kind.RESOURCE, "study": "", "path": "/data/files"}
    rows = [_facts(1, **resource), _facts(2, **resource), _facts(3, path="/data/files")]
    assert _seen(check_resource_sources(rows)) == {1: [("source-twice", False)], 2: [("source-twice", False)]}


def test_patients_are_compared_and_not_named() -> None:
    rows = [
        _facts(1, subject="A", patients=("doe",)),
        _facts(2, subject="a", patients=("roe",)),
        _facts(3, subject="B", patients=("poe",)),
        _facts(4, subject="C", patients=("poe",)),
        _facts(5, subject="A"),  # no patient is known
    ]
    found = [*check_patients(rows, same_patient=False)]
    assert _seen(found) == {
        1: [("patients-mixed", True)],
        2: [("patients-mixed", True)],
        3: [("patient-twice", False)],
        4: [("patient-twice", False)],
    }
    assert not any(name in finding.message for finding in found for name in ("doe", "roe", "poe"))
    assert _seen(check_patients(rows[:2], same_patient=True)) == {
        1: [("patients-mixed", False)],
        2: [("patients-mixed", False)],
    }


def test_new_labels_must_be_clean_and_existing_ones_need_not() -> None:
    odd = replace(_E1, label="E 1")
    row = _facts(1, session="E 1", subject="S 1")
    assert _seen(check_labels(row, _project())) == {1: [("label-refused", True)] * 2}
    assert _seen(check_labels(row, _project(odd, subjects=frozenset({"s 1"})))) == {}
    resource = _facts(2, kind=Kind.RESOURCE, resource="12", session="E 1")
    (finding,) = check_labels(resource, _project())
    assert finding.hint == "Use '_12'."


@pytest.mark.parametrize(
    ("row", "overwrite", "expected"),
    [
        ({}, Overwrite.DELETE, [("session-there", False)]),
        ({}, Overwrite.NONE, [("session-exists", True)]),
        ({"subject": "xnat_s00001"}, Overwrite.APPEND, [("session-there", False)]),
        ({"subject": "S2"}, Overwrite.DELETE, [("session-other-subject", True), ("session-there", False)]),
        ({"study": "1.2"}, Overwrite.DELETE, [("session-other-study", True)]),
        ({"session": "e1", "study": "1.3"}, Overwrite.DELETE, [("session-case", False)]),
        ({"session": "E9"}, Overwrite.DELETE, [("study-elsewhere", True)]),
        ({"session": "E9", "study": "1.3"}, Overwrite.DELETE, []),
        ({"session": "E9", "study": ""}, Overwrite.DELETE, []),
    ],
)
def test_clashes_with_sessions_that_are_there(
    row: dict[str, str], overwrite: Overwrite, expected: list[tuple[str, bool]]
) -> None:
    found = _seen(check_session(_facts(1, **row), _project(_E1), overwrite))
    assert found == ({1: expected} if expected else {})


def test_a_duplicate_on_the_server_does_not_block_the_session_that_is_named() -> None:
    copy = replace(_E1, id="XNAT_E00002", label="copy")
    found = _seen(check_session(_facts(1), _project(_E1, copy), Overwrite.DELETE))
    assert found == {1: [("session-there", False), ("study-elsewhere", False)]}


@pytest.mark.parametrize(
    ("name", "subject", "blocks"), [("E1", "S1", False), ("E1", "S2", True), ("E7", "S2", False), ("E1", "", False)]
)
def test_a_study_that_waits_in_the_prearchive(name: str, subject: str, blocks: bool) -> None:
    waiting = PrearchiveRow(
        project="P", timestamp="20240101_000000", folder=name, name=name, status="READY", subject=subject, tag="1.1"
    )
    found = _seen(check_session(_facts(1), _project(waiting={"1.1": [waiting]}), Overwrite.DELETE))
    assert found == {1: [("study-waiting", blocks)]}


def test_a_resource_needs_its_session() -> None:
    row = _facts(2, kind=Kind.RESOURCE, resource="BIDS", session="E1", subject="S1", study="")
    assert _seen(check_parent(row, _project(), {}, ())) == {2: [("session-missing", True)]}
    assert _seen(check_parent(row, _project(), {("p", "e1"): 1}, ())) == {2: [("session-later", False)]}
    assert _seen(check_parent(row, _project(), {("p", "e1"): 1}, {1})) == {2: [("session-missing", True)]}
    assert _seen(check_parent(row, _project(_E1), {}, ())) == {}
    other = replace(row, row=replace(row.row, subject="S2"))
    assert _seen(check_parent(other, _project(_E1), {}, ())) == {2: [("session-other-subject", True)]}


def test_a_project_must_be_there_and_writable() -> None:
    missing, read_only = Project(id="P", exists=False, writable=False), Project(id="P", writable=False)
    assert _seen(check_project(_facts(1), missing, "https://x", "a")) == {1: [("project-missing", True)]}
    assert _seen(check_project(_facts(1), read_only, "https://x", "a")) == {1: [("project-read-only", True)]}
    assert _seen(check_project(_facts(1), Project(id="P"), "https://x", "a")) == {}
