"""Which study gets which label: decided without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from xnatctl.delivery.journal.summaries import Summary
from xnatctl.errors import Refused
from xnatctl.inventory.by_study import StudyInventory
from xnatctl.inventory.walk import scan_path
from xnatctl.model.refs import Destination
from xnatctl.testing.exam import write_exam
from xnatctl_session.labels import Holder, JournalLabels, LabelSeries, OfflineLabels, assign

FAMILY = LabelSeries(base="E")


class Server:
    """Numbers and the studies under them."""

    def __init__(self, **held):
        self.held = {int(name[1:]): study for name, study in held.items()}

    def numbers(self, study):
        return {number for number, there in self.held.items() if there == study}

    def holder(self, number):
        study = self.held.get(number)
        return Holder(study=study, words=f"it holds {study}") if study else None


def journal(label, study, *, updated=0.0, project="P", problem=None):
    where = Destination(server="S", project=project, subject="s", session=label)
    return Summary(
        id=label, path=Path(label), destination=where, phase="sending", root="", updated=updated, request={},
        counts={}, study=study, problem=problem,
    )  # fmt: skip


def remembered(*journals):
    return JournalLabels(journals, server="S", project="p", label_series=FAMILY)


def labels(studies, server=None, *journals, **more):
    found, warnings = assign(list(studies), FAMILY, remembered(*journals), server or OfflineLabels(), **more)
    return " ".join(found[study].removeprefix("E").lstrip("_") or "1" for study in studies), warnings


@pytest.mark.parametrize(
    ("label", "number"),
    [("E", 1), ("E_2", 2), ("E_10", 10), ("E_1", None), ("E_02", None), ("E_x", None), ("E_2_2", None), ("EE_2", None),
     ("e", None), ("", None), ("E_", None)],
)  # fmt: skip
def test_labels_have_numbers(label, number):
    assert FAMILY.number(label) == number
    assert number is None or FAMILY.label(number) == label


@pytest.mark.parametrize(
    ("studies", "server", "expected", "passed"),
    [
        ("abc", Server(), "1 2 3", []),
        ("zab", Server(n1="a", n2="b"), "3 1 2", []),
        ("zb", Server(n1="a", n2="b"), "3 2", ["E"]),
        ("ab", Server(n2="x", n3="y"), "1 4", ["E_2", "E_3"]),
        ("ab", Server(n1="a", n2="a"), "1 3", ["E_2"]),
        ("ab", Server(n7="b"), "1 7", []),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_who_has_a_label_keeps_it_and_the_others_get_free_ones(studies, server, expected, passed):
    found, warnings = labels(studies, server)
    assert found == expected
    assert [warning.split()[1] for warning in warnings] == passed


def test_the_label_that_was_named_is_refused_when_it_holds_a_stranger():
    with pytest.raises(Refused, match="E is taken by another study"):
        labels("ab", Server(n1="x"))
    assert labels("ab", Server(n1="x"), look_only=True)[0] == "1 2"
    assert labels("ab", Server(n1="x", n3="b"), look_only=True)[0] == "2 3"


def test_journals_know_what_the_server_does_not_show():
    assert labels("zab", Server(), journal("E", "a"), journal("E_2", "b"))[0] == "3 1 2"
    # The server's word counts more; where it shows a study twice, the journal decides.
    assert labels("ab", Server(n3="a"), journal("E", "a"))[0] == "3 1"
    assert labels("a", Server(n2="a", n3="a"), journal("E_3", "a"))[0] == "3"
    # Another UID than the one that was sent there: it stays where it is, to be refused there rather than doubled.
    assert labels("ab", Server(n1="x", n2="y"), journal("E", "a"), journal("E_2", "b"))[0] == "1 2"


def test_only_journals_of_this_family_on_this_server_count():
    others = [journal("F_2", "a"), journal("E_2", "a", project="Q"), journal("E_2", "a", problem="damaged")]
    assert labels("ab", Server(), *others)[0] == "1 2"
    assert labels("a", Server(), journal("E_2", "a", updated=1), journal("E_3", "a", updated=2))[0] == "3"


def write(directory, seed, date, **more):
    return write_exam(directory, series=1, instances=2, seed=seed, study_date=date, clutter=False, **more)


def test_studies_are_in_order_of_time_and_those_without_a_date_last(tmp_path):
    dates = {"d": "", "c": "20240101", "b": "2023.12.31", "a": "20240201"}
    exams = {name: write(tmp_path / name, ord(name), date) for name, date in dates.items()}
    found = [study.uid for study in StudyInventory(scan_path(str(tmp_path))).studies]
    assert found == [exams[name].study_instance_uid for name in "bcad"]


def test_what_is_no_instance_belongs_to_the_study_beside_which_it_lies(tmp_path):
    one, two = write(tmp_path / "x" / "one", 1, "20240101"), write(tmp_path / "x" / "two", 2, "20240102")
    for name in ("note", "x/note", "x/one/note", "x/one/deep/note", "y/note"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("no image")
    by_study = StudyInventory(scan_path(str(tmp_path)))
    left = [{entry.path for entry in by_study.of_study(exam.study_instance_uid).excluded} for exam in (one, two)]
    assert left[0] == {"note", "x/note", "y/note", "x/one/note", "x/one/deep/note"}
    assert left[1] == {"note", "x/note", "y/note"}
    assert by_study.owners("/outside/of/all") == by_study.owners("note")
    assert by_study.of_study("1.2.3") is None


def test_padding_makes_no_other_patient(tmp_path):
    write(tmp_path / "one", 1, "20240101", patient_id="ID1")
    write(tmp_path / "two", 2, "20240102", patient_id="ID1\0")
    write(tmp_path / "three", 3, "20240103", patient_id="ID1 ")
    assert len(set().union(*StudyInventory(scan_path(str(tmp_path))).patients().values())) == 1
