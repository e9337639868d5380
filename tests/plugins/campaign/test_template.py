"""Templates of labels, the pattern of paths and the table of subjects."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnatctl.api import NotFound, Refused, UsageError
from xnatctl_campaign.renaming import read_renaming
from xnatctl_campaign.template import NoValue, PathPattern, Template, check_groups

VALUES = {
    "PatientID": " P1 ",
    "PatientName": "Doe^Jane",
    "StudyDate": "20240229",
    "StudyTime": "093015.123",
    "SeriesDate": "2024.01.02",
    "SeriesTime": "09:30",
    "AcquisitionDateTime": "20240229093015.5+0100",
    "StudyID": "",
    "number": "07",
}


@pytest.mark.parametrize(
    ("template", "label"),
    [
        ("plain", "plain"),
        ("{PatientID}", "P1"),
        ("sub-{number}_{PatientID}", "sub-07_P1"),
        ("{{{PatientID}}}", "{P1}"),
        ("{StudyDate}", "20240229"),
        ("{StudyDate:%Y%m%d}", "20240229"),
        ("{StudyDate:%Y-%m-%d}", "2024-02-29"),
        ("{StudyDate:%y%j}", "24060"),
        ("{StudyDate:at %d%%}", "at 29%"),
        ("{StudyTime:%H%M%S}", "093015"),
        ("{SeriesDate:%Y%m%d}{SeriesTime:%H%M%S}", "20240102093000"),
        ("{AcquisitionDateTime:%Y%m%d%H}", "2024022909"),
        ("é{PatientName}", "éDoe^Jane"),
        ("", ""),
    ],
)
def test_values_become_labels(template: str, label: str) -> None:
    assert Template(template, ["number"]).render(VALUES) == label


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{PatientID", "the { at character 1 is not closed"),
        ("a{PatientID}}", "the } at character 13 closes nothing"),
        ("a}b", "the } at character 2 closes nothing"),
        ("{}", "{} is no keyword"),
        ("{0}", "{0} is no keyword"),
        ("{PatientID.__class__}", "is no keyword"),
        ("{PatientID[0]}", "is no keyword"),
        ("{PatientID!r}", "is no keyword"),
        ("{ PatientID }", "is no keyword"),
        ("{PatientID:>10}", "PatientID is no date and no time"),
        ("{PatientID:{StudyDate}}", "closes nothing"),
        ("{number:%Y}", "number is a group of the path pattern"),
        ("{StudyDate:}", "no format after the colon"),
        ("{StudyDate:%H}", "a format of StudyDate has no directive %H"),
        ("{StudyTime:%Y}", "a format of StudyTime has no directive %Y"),
        ("{StudyDate:%c}", "no directive %c"),
        ("{StudyDate:%}", "no directive %"),
    ],
)
def test_every_error_is_explained(template: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        Template(template, ["number"])
    assert message in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize(
    ("template", "values", "message"),
    [
        ("{StudyID}", {}, "StudyID is empty"),
        ("{AccessionNumber}", {}, "AccessionNumber is empty"),
        ("{StudyDate:%Y}", {"StudyDate": "20240230"}, "StudyDate is no valid date"),
        ("{StudyDate:%Y}", {"StudyDate": "2024"}, "StudyDate is no valid date"),
        ("{StudyDate:%Y}", {"StudyDate": "٢٠٢٤٠١٠١"}, "StudyDate is no valid date"),
        ("{StudyTime:%H}", {"StudyTime": "2561"}, "StudyTime is no valid time"),
    ],
)
def test_a_value_that_is_missing_is_named_and_not_shown(template: str, values: dict[str, str], message: str) -> None:
    with pytest.raises(NoValue) as raised:
        Template(template).render({**VALUES, **values})
    assert str(raised.value) == message


def test_a_template_says_what_it_needs() -> None:
    template = Template("{number}_{PatientID}_{StudyDate:%Y}", ["number"])
    assert (template.keywords, template.groups) == ({"PatientID", "StudyDate"}, {"number"})


@given(st.text())
def test_escaped_text_is_itself(text: str) -> None:
    assert Template(text.replace("{", "{{").replace("}", "}}")).render({}) == text


@given(st.text(alphabet="{}:%YmdHPatientIDStudyDate.[]!()", max_size=30))
def test_any_template_is_read_or_refused(text: str) -> None:
    try:
        template = Template(text)
    except UsageError:
        return
    try:
        template.render(VALUES)
    except NoValue:
        assert template.keywords


def test_groups_of_paths() -> None:
    pattern = PathPattern(r"/sub-(?P<subject>\d+)(_(?P<visit>\w+))?/")
    assert pattern.values("/data/sub-01_a/x.dcm") == {"subject": "01", "visit": "a"}
    assert pattern.values("/data/sub-01/x.dcm") == {"subject": "01", "visit": ""}
    assert pattern.values("/data/x.dcm") is None
    check_groups(pattern, [Template("{visit}", pattern.groups)])
    check_groups(None, [Template("x")])
    with pytest.raises(UsageError, match=r"\{subject\}, \{visit\}"):
        check_groups(pattern, [Template("{PatientID}", pattern.groups)])
    for wrong in ("(", "no group", "(?P<1>x)"):
        with pytest.raises(UsageError, match="--path-pattern"):
            PathPattern(wrong)


def test_subjects_are_renamed(tmp_path: Path) -> None:
    file = tmp_path / "map.csv"
    file.write_bytes("\ufeffNew;Old\r\nA;1\r\nB;'=2\r\n\r\n".encode())
    renaming = read_renaming(file)
    assert (renaming["1"], renaming["=2"]) == ("A", "B")
    renaming.check(["1", "=2"])
    with pytest.raises(Refused) as raised:
        renaming.check(["3", "1", "2"])
    assert raised.value.message == f"{file} has no row for 2, 3."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin with the columns old,new"),
        (b"1,A\n2,B\n", "does not begin with the columns old,new"),
        (b"old,new,more\n1,A,x\n", "does not begin with the columns old,new"),
        (b"old,new\n1,A\n1,B\n2,\n,C\n3\n4,D,E\n", "line 3: '1' is there twice; line 4: new is empty; line 5: old is"),
        (b"old,new\n1,M\xfcller\n", "line 2: byte 0xFC (ü in Windows-1252) is not UTF-8"),
        (b'old,new\n1,"A\n2,B\n', "line 2: A quote is not closed"),
        (b"PK\x03\x04", "workbook"),
    ],
)
def test_a_bad_table_is_refused_with_lines(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "map.csv"
    file.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        read_renaming(file)
    assert message in raised.value.message


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.csv"):
        read_renaming(tmp_path / "none.csv")
