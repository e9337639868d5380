"""The rules of an inbox: which are refused, and which study goes where."""

from __future__ import annotations

import pytest

from xnatctl.api import UsageError
from xnatctl_campaign.watch.rules import NoPlace, Rules

MR = {"Modality": "MR", "PatientID": "p1", "StudyDate": "20240115", "StationName": "MR750-2"}
CT = {**MR, "Modality": "CT"}
PLACE = 'project: DEMO\n  subject: "{PatientID}"\n  session: "{PatientID}_{StudyDate:%Y}"\n'


@pytest.fixture
def rules(tmp_path):
    def parse(text, modes=("tar", "zip"), encoding="utf-8"):
        path = tmp_path / "rules.yaml"
        path.write_bytes(text.encode(encoding))
        return Rules(str(path), modes)

    return parse


def test_the_first_rule_that_matches_counts(rules):
    found = rules(
        f"- match: {{Modality: CT}}\n  {PLACE}"
        f'- match: {{Modality: MR, StationName: "MR750*"}}\n  mode: zip\n  overwrite: none\n  {PLACE}'
        f"- match: {{}}\n  {PLACE}"
    )
    place = found.place([MR])
    assert (place.rule, place.project, place.subject, place.session) == (2, "DEMO", "p1", "p1_2024")
    assert (place.mode, place.overwrite) == ("zip", "none")
    assert found.place([CT]).rule == 1
    assert found.place([{**MR, "StationName": "mr750-2"}]).rule == 3  # upper and lower case differ
    assert found.keywords == ["Modality", "PatientID", "StationName", "StudyDate"]


def test_a_value_is_whole_and_a_list_holds_alternatives(rules):
    found = rules(f"- match: {{Modality: [CT, PT], PatientID: 'p?'}}\n  {PLACE}")
    assert found.place([CT]).rule == 1
    assert found.place([MR]) is None
    assert found.place([{**CT, "PatientID": "p12"}]) is None


def test_one_series_that_matches_is_enough_and_all_series_must_have_the_same_labels(rules):
    found = rules(f"- match: {{Modality: CT}}\n  {PLACE}")
    assert found.place([MR, CT]).session == "p1_2024"
    with pytest.raises(NoPlace, match=r"rule 1 gives its series different labels as session"):
        found.place([MR, {**CT, "StudyDate": "20230115"}])
    with pytest.raises(NoPlace, match="rule 1 gives no subject: PatientID is empty"):
        found.place([{**CT, "PatientID": ""}])


def test_every_error_is_named_with_file_and_rule(rules, tmp_path):
    with pytest.raises(UsageError) as caught:
        rules(
            "- 7\n"
            '- {match: [], project: 3, subject: "", session: "{PatientId}", colour: red}\n'
            "- {match: {Modality: 1, Colour: x, StudyDate: []}, project: P, subject: '{', mode: rsync, overwrite: maybe}\n"
            f"- match: {{Modality: MR}}\n  {PLACE}"
        )
    assert caught.value.exit_code == 2
    first, *lines = caught.value.message.splitlines()
    assert first == f"{tmp_path / 'rules.yaml'} has 13 errors:"
    text = "\n".join(lines)
    for wanted in (
        "Rule 1: it is no mapping",
        "Rule 2: unknown key 'colour'",
        "Rule 2: match: it is no mapping",
        "Rule 2: project: it is no text: put 3 into quotes",
        "Rule 2: subject: it is empty",
        "Rule 2: session: ",
        "Rule 3: match: the value of Modality is no text: put 1 into quotes",
        "Rule 3: match: the list of values of StudyDate is empty",
        "Rule 3: subject: Template '{'",
        "Rule 3: session is missing",
        "Rule 3: mode: 'rsync' is no transport that sends sessions; there are tar, zip",
        "Rule 3: overwrite: 'maybe' is none of delete, append, none",
    ):
        assert wanted in text, wanted
    assert "Rule 4" not in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no list of rules"),
        ("match: {}", "holds no list of rules"),
        ("- match: {Modality: MR\n", "line 2: this is not YAML"),
        ("- {project: A, project: B}", "the key 'project' stands twice"),
        ("- \x00", "control characters"),
        ("- " + "x" * (1 << 20), "longer than 1 MiB"),
    ],
)
def test_a_file_that_holds_no_rules_is_refused(rules, text, said):
    with pytest.raises(UsageError, match=said):
        rules(text)


def test_other_encodings(rules, tmp_path):
    text = f"- match: {{Modality: MR}}\n  {PLACE}"
    assert rules(text, encoding="utf-8-sig").place([MR]).rule == 1
    with pytest.raises(UsageError, match="is not UTF-8"):
        rules(text, encoding="utf-16")
    with pytest.raises(UsageError, match=r"Cannot read the rules in .*none.yaml: No such file"):
        Rules(str(tmp_path / "none.yaml"), ())
