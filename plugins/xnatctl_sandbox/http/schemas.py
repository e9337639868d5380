"""Schemas of the data types, reduced to what xnatpy needs to build its classes (xnat-api 9)."""

from __future__ import annotations

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<xs:schema targetNamespace="http://nrg.wustl.edu/{}" xmlns:xs="http://www.w3.org/2001/XMLSchema"
 xmlns:xnat="http://nrg.wustl.edu/xnat" xmlns:xdat="http://nrg.wustl.edu/xdat"
 elementFormDefault="qualified" attributeFormDefault="unqualified">
"""


def _type(name: str, base: str | None, elements: str = "", attributes: str = "") -> str:
    inner = f"<xs:sequence>{elements}</xs:sequence>{attributes}"
    if base is not None:
        inner = f'<xs:complexContent><xs:extension base="xnat:{base}">{inner}</xs:extension></xs:complexContent>'
    return f'<xs:complexType name="{name}">{inner}</xs:complexType>\n'


def _text(name: str) -> str:
    return f'<xs:element name="{name}" type="xs:string" minOccurs="0"/>'


def _attribute(name: str, kind: str = "string") -> str:
    return f'<xs:attribute name="{name}" type="xs:{kind}"/>'


def _list(outer: str, inner: str, kind: str) -> str:
    return (
        f'<xs:element name="{outer}" minOccurs="0"><xs:complexType><xs:sequence>'
        f'<xs:element name="{inner}" type="xnat:{kind}" minOccurs="0" maxOccurs="unbounded"/>'
        "</xs:sequence></xs:complexType></xs:element>"
    )


def _element(name: str, kind: str) -> str:
    return f'<xs:element name="{name}" type="xnat:{kind}"/>\n'


_SESSIONS = ("mr", "ct", "pet", "us", "cr", "dx", "mg", "nm", "xa", "rf", "sr", "seg", "ecg", "rtImage", "otherDicom")


def _xnat() -> str:
    parts = [
        _HEAD.format("xnat"),
        _element("Project", "projectData"),
        _element("Subject", "subjectData"),
        *(_element(f"{name[0].upper()}{name[1:]}Session", f"{name}SessionData") for name in _SESSIONS),
        *(_element(f"{name[0].upper()}{name[1:]}Scan", f"{name}ScanData") for name in _SESSIONS),
        _type("abstractResource", None, _text("note"), _attribute("label") + _attribute("file_count", "integer")),
        _type("resource", "abstractResource", "", _attribute("URI") + _attribute("format") + _attribute("content")),
        _type("resourceCatalog", "resource"),
        _type(
            "projectData",
            None,
            _text("name") + _text("description") + _list("resources", "resource", "abstractResource"),
            _attribute("ID") + _attribute("secondary_ID"),
        ),
        _type("abstractDemographicData", None),
        _type(
            "subjectData",
            None,
            _list("experiments", "experiment", "subjectAssessorData")
            + _list("resources", "resource", "abstractResource"),
            _attribute("ID") + _attribute("project") + _attribute("label"),
        ),
        _type(
            "experimentData",
            None,
            _text("date") + _text("time") + _text("note") + _list("resources", "resource", "abstractResource"),
            _attribute("ID") + _attribute("project") + _attribute("label"),
        ),
        _type("subjectAssessorData", "experimentData", _text("subject_ID")),
        _type("imageAssessorData", "experimentData", _text("imageSession_ID")),
        _type(
            "imageSessionData",
            "subjectAssessorData",
            _list("scans", "scan", "imageScanData") + _list("assessors", "assessor", "imageAssessorData"),
            _attribute("UID") + _attribute("modality"),
        ),
        _type(
            "imageScanData",
            None,
            _text("image_session_ID")
            + _text("note")
            + _text("quality")
            + _text("series_description")
            + _text("frames")
            + _list("file", "file", "abstractResource"),
            _attribute("ID") + _attribute("type") + _attribute("UID") + _attribute("modality"),
        ),
        *(_type(f"{name}SessionData", "imageSessionData") for name in _SESSIONS),
        *(_type(f"{name}ScanData", "imageScanData") for name in _SESSIONS),
        "</xs:schema>\n",
    ]
    return "".join(parts)


#: Name -> document.
SCHEMAS = {"xnat": _xnat(), "xdat": f"{_HEAD.format('xdat')}</xs:schema>\n"}
