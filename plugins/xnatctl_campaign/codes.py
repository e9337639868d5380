"""The codes of the findings of `campaign plan`. The reference page of findings lists them; a test compares both."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """What can be wrong with a row when it is planned."""

    # the source
    PATH_MISSING = "path-missing"
    PATH_UNREADABLE = "path-unreadable"
    NOTHING_TO_SEND = "nothing-to-send"
    FILES_UNREADABLE = "files-unreadable"
    INSTANCE_CONFLICT = "instance-conflict"
    SEVERAL_STUDIES = "several-studies"
    STUDY_MISSING = "study-missing"
    SOURCE_CHANGED = "source-changed"
    CAMPAIGN_IN_SOURCE = "campaign-in-source"
    PLAN_REFUSED = "plan-refused"
    PLAN_WARNING = "plan-warning"
    # the transport
    MODE_REFUSED = "mode-refused"
    OPTION_REFUSED = "option-refused"
    # the labels
    LABEL_REFUSED = "label-refused"
    LABEL_IS_ID = "label-is-id"
    # other rows
    DESTINATION_TWICE = "destination-twice"
    SOURCE_TWICE = "source-twice"
    PATH_INSIDE = "path-inside"
    STUDY_TWICE = "study-twice"
    PATIENTS_MIXED = "patients-mixed"
    PATIENT_TWICE = "patient-twice"
    # the server
    PROJECT_MISSING = "project-missing"
    PROJECT_READ_ONLY = "project-read-only"
    SESSION_OTHER_SUBJECT = "session-other-subject"
    SESSION_OTHER_STUDY = "session-other-study"
    SESSION_EXISTS = "session-exists"
    SESSION_THERE = "session-there"
    SESSION_CASE = "session-case"
    SESSION_MISSING = "session-missing"
    SESSION_LATER = "session-later"
    STUDY_ELSEWHERE = "study-elsewhere"
    STUDY_WAITING = "study-waiting"
