"""The DICOM keywords whose values can be read from a header (PS3.6): those that all instances of a series share."""

from __future__ import annotations

from collections.abc import Iterable

from xnatctl.errors import UsageError

#: Tags of text and numbers in text, from patient to equipment (PS3.3 C.7.1 to C.7.5, C.7.1.3 and C.4.13).
KEYWORDS: dict[str, int] = {
    "PatientName": 0x00100010,
    "PatientID": 0x00100020,
    "IssuerOfPatientID": 0x00100021,
    "PatientBirthDate": 0x00100030,
    "PatientSex": 0x00100040,
    "OtherPatientIDs": 0x00101000,
    "PatientAge": 0x00101010,
    "PatientSize": 0x00101020,
    "PatientWeight": 0x00101030,
    "EthnicGroup": 0x00102160,
    "PatientComments": 0x00104000,
    "PatientIdentityRemoved": 0x00120062,
    "ClinicalTrialSponsorName": 0x00120010,
    "ClinicalTrialProtocolID": 0x00120020,
    "ClinicalTrialProtocolName": 0x00120021,
    "ClinicalTrialSiteID": 0x00120030,
    "ClinicalTrialSiteName": 0x00120031,
    "ClinicalTrialSubjectID": 0x00120040,
    "ClinicalTrialSubjectReadingID": 0x00120042,
    "ClinicalTrialTimePointID": 0x00120050,
    "ClinicalTrialTimePointDescription": 0x00120051,
    "StudyInstanceUID": 0x0020000D,
    "StudyID": 0x00200010,
    "StudyDate": 0x00080020,
    "StudyTime": 0x00080030,
    "StudyDescription": 0x00081030,
    "AccessionNumber": 0x00080050,
    "ReferringPhysicianName": 0x00080090,
    "RequestedProcedureDescription": 0x00321060,
    "SeriesInstanceUID": 0x0020000E,
    "SeriesNumber": 0x00200011,
    "SeriesDate": 0x00080021,
    "SeriesTime": 0x00080031,
    "SeriesDescription": 0x0008103E,
    "Modality": 0x00080060,
    "ProtocolName": 0x00181030,
    "BodyPartExamined": 0x00180015,
    "OperatorsName": 0x00081070,
    "PerformingPhysicianName": 0x00081050,
    "PerformedProcedureStepID": 0x00400253,
    "PerformedProcedureStepDescription": 0x00400254,
    "Manufacturer": 0x00080070,
    "ManufacturerModelName": 0x00081090,
    "InstitutionName": 0x00080080,
    "InstitutionAddress": 0x00080081,
    "InstitutionalDepartmentName": 0x00081040,
    "StationName": 0x00081010,
    "DeviceSerialNumber": 0x00181000,
    "SoftwareVersions": 0x00181020,
    "MagneticFieldStrength": 0x00180087,
}


def check_keywords(keywords: Iterable[str]) -> None:
    """Raise UsageError for a keyword that `header_values` does not read, with those that are written alike."""
    for keyword in keywords:
        if keyword not in KEYWORDS:
            raise UsageError(f"The DICOM keyword {keyword!r} is not known here.", hint=_hint(keyword))


def _hint(keyword: str) -> str:
    import difflib

    names = {name.lower(): name for name in KEYWORDS}
    close = difflib.get_close_matches(keyword.lower(), names, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(names[name] for name in close)}?"
    return f"There are: {', '.join(sorted(KEYWORDS))}."
