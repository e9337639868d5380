"""What of an exam goes where, and what is refused before the first byte."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import pytest
from systems import needs_case, needs_posix_names, refuse_to_open

from xnatctl.api import NotFound, Overwrite, Placement, Refused, UploadPlan, UsageError
from xnatctl.api.commands import plan_session_upload
from xnatctl.model.plan import UploadRequest
from xnatctl.model.refs import Destination
from xnatctl.testing import write_exam
from xnatctl_exam.choices import Choices
from xnatctl_exam.planner import plan_exam
from xnatctl_exam.plugin import xnatctl_plan_upload


@pytest.fixture
def root(tmp_path):
    """Two series, a folder of logs, a nested protocol, top-level files, an empty and a hidden folder."""
    exam = write_exam(tmp_path / "exam", series=2, instances=3, seed=1, clutter=False).directory
    files = {
        "Physio/pulse.log": b"pulse",
        "Physio/run 1/resp#1.log": b"resp",
        "Physio/empty.log": b"",
        "Protocol/a/b/protocol.pdf": b"%PDF",
        "report.pdf": b"%PDF-1.4",
        "screen shot.png": b"\x89PNG",
        "series 1/notes.txt": b"beside an image",
        ".hidden": b"x",
        "Physio/.DS_Store": b"x",
    }
    for name, content in files.items():
        (exam / name).parent.mkdir(parents=True, exist_ok=True)
        (exam / name).write_bytes(content)
    (exam / "Empty").mkdir()
    return exam


def ask(root, *, transport="tar", placement=Placement.ARCHIVE, overwrite=Overwrite.DELETE, verify=True, **choices):
    return UploadRequest(
        command="session upload-exam",
        path=str(root),
        destination=Destination(server="http://x", project="P", subject="S", session="E"),
        transport=transport,
        workers=4,
        placement=placement,
        most_workers=9,
        overwrite=overwrite,
        verify=verify,
        options=Choices(**choices).beside({"compress": "auto"}),
    )


def plan(root, **choices):
    return plan_exam(ask(root, **choices))


def resources(made):
    return {
        stage.resource.label: {item.name: item.path for item in stage.items}
        for stage in made.stages
        if stage.kind == "resource"
    }


def reasons(made):
    return {entry.path: entry.reason for entry in made.excluded}


def test_folders_and_files_at_the_top_become_resources(root):
    made = plan(root)
    assert resources(made) == {
        "MISC": {"report.pdf": "report.pdf", "screen shot.png": "screen shot.png"},
        "Physio": {
            "pulse.log": "Physio/pulse.log",
            "run 1/resp#1.log": "Physio/run 1/resp#1.log",
            "empty.log": "Physio/empty.log",
        },
        "Protocol": {"a/b/protocol.pdf": "Protocol/a/b/protocol.pdf"},
    }
    why = reasons(made)
    assert why["Empty"] == "empty folder"
    assert why[".hidden"] == why["Physio/.DS_Store"] == "hidden"
    assert why["series 1/notes.txt"].startswith("not DICOM, in a folder with DICOM (--attach-nested LABEL")
    assert set(why) == {"Empty", ".hidden", "Physio/.DS_Store", "series 1/notes.txt"}
    assert made.warnings == ()


def test_the_stages_stand_in_their_order_and_the_images_are_those_of_session_upload(root):
    made = plan(root)
    assert [stage.kind for stage in made.stages] == ["session", "await-archive", "resource", "resource", "resource"]
    assert len(made.stages[0].items) == 6
    assert made.stages[0].transport_options == {"compress": "auto"}, "nothing of the exam reaches the transport"
    session = plan_session_upload(replace(ask(root), command="session upload", options={"compress": "auto"}))
    assert made.stages[:1] == session.stages
    same = ("root", "destination", "workers", "most_workers", "placement", "overwrite", "invalid")
    assert [getattr(made, name) for name in same] == [getattr(session, name) for name in same]
    assert made.stages[1].options["seconds"] == 900
    assert {stage.transport for stage in made.stages[2:]} == {"resource"}
    assert all("bypasses anonymisation" in stage.name for stage in made.stages[2:])
    assert all(stage.options.get("verify") for stage in made.stages if stage.transport)
    assert not any(stage.options.get("verify") for stage in plan_exam(ask(root, verify=False)).stages)


def test_a_plan_and_its_request_are_plain_data(root):
    request = ask(root, misc_label="X", labels={"Physio": "P1"})
    again = UploadRequest.from_document(json.loads(json.dumps(request.as_document())))
    assert again == request
    made = plan_exam(again)
    assert UploadPlan.from_document(json.loads(json.dumps(made.as_document()))) == made


def test_only_its_own_command_is_planned(root):
    request = ask(root)
    assert xnatctl_plan_upload(request) is not None
    other = UploadRequest.from_document({**request.as_document(), "command": "session upload"})
    assert xnatctl_plan_upload(other) is None


def test_the_policy_for_existing_sessions_holds_for_files(root):
    def options(made):
        return {stage.options["overwrite"] for stage in made.stages if stage.kind == "resource" and stage.items}

    assert options(plan_exam(ask(root))) == {True}
    assert options(plan_exam(ask(root, overwrite=Overwrite.APPEND))) == {False}
    assert options(plan_exam(ask(root, overwrite=Overwrite.NONE))) == {False}


# content decides


@pytest.mark.parametrize("damage", ["whole", "cut", "duplicate", "zip", "deep"])
def test_a_folder_that_holds_dicom_is_never_a_resource(root, damage):
    image = next(path for path in (root / "series 1").iterdir() if path.name != "notes.txt").read_bytes()
    other = write_exam(root.parent / "other", series=1, instances=1, seed=1, clutter=False)
    (fresh,) = other.instances.values()
    target = root / "Protocol" / "looks like.txt"
    if damage == "whole":
        target.write_bytes(fresh.path.read_bytes())
    elif damage == "cut":
        target.write_bytes(image[:300])
    elif damage == "duplicate":
        target.write_bytes(image)
    elif damage == "deep":
        target = root / "Protocol" / "a" / "b" / "c" / "x"
        target.parent.mkdir()
        target.write_bytes(fresh.path.read_bytes())
    else:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("1", image)
        target.write_bytes(packed.getvalue())
    made = plan(root)
    assert set(resources(made)) == {"MISC", "Physio"}
    assert "--attach-nested" in reasons(made)["Protocol/a/b/protocol.pdf"]
    nested = resources(plan(root, attach_nested="NESTED"))["NESTED"]
    assert set(nested) == {"Protocol/a/b/protocol.pdf", "series 1/notes.txt"}, "and DICOM is not taken along"


def test_packed_files_that_hold_or_may_hold_dicom_stay_behind_and_are_named(root):
    image = next((root / "series 2").iterdir()).read_bytes()
    for name, members in {
        "images.zip": {"1": image},
        "texts.zip": {"1": b"text"},
        "Physio/both.zip": {"2": b"PK\3\4" + b"x" * 600},
    }.items():
        with zipfile.ZipFile(root / name, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
    made = plan(root)
    assert "texts.zip" in resources(made)["MISC"]
    assert "images.zip" not in resources(made)["MISC"]
    assert [(entry.path, entry.reason) for entry in made.unreadable] == [
        ("images.zip", "a packed file that holds DICOM")
    ]
    (physio,) = (stage for stage in made.stages if stage.resource and stage.resource.label == "Physio" and stage.items)
    assert [entry.path for entry in physio.unreadable] == ["Physio/both.zip"]
    assert "both.zip" not in resources(made)["Physio"]
    assert not any("texts.zip" in note for note in made.warnings)
    assert any("images.zip" in note for note in made.warnings)
    assert any("Physio/both.zip" in note and "--attach-unknown" in note for note in made.warnings)
    bare = plan(root, skip_resources=True)
    assert {entry.path for entry in bare.unreadable} == {"images.zip", "Physio/both.zip"}
    later = plan(root, attach_only=True)
    assert reasons(later)["images.zip"] == "DICOM (--attach-only)"
    assert later.unreadable == ()
    known = plan_exam(replace(ask(root), attach_unknown=True))
    assert "both.zip" in resources(known)["Physio"]
    assert [entry.path for entry in known.unreadable] == ["images.zip"]


def test_links_into_a_dicom_folder_give_no_way_round(root):
    (root / "Alias").symlink_to(root / "series 1")
    (root / "Protocol" / "images").symlink_to(root / "series 2")
    made = plan(root)
    assert set(resources(made)) == {"MISC", "Physio", "Protocol"}
    assert set(resources(made)["Protocol"]) == {"a/b/protocol.pdf"}
    assert len(made.stages[0].items) == 6


# labels


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("Raw Data", "Raw_Data"),
        ("2024", "_2024"),
        ("a.b", "a_b"),
        ("日本", "__"),
        pytest.param("x\udcff", "x_", marks=needs_posix_names),
        ("%41", "_41"),
    ],
)
def test_a_name_that_is_no_label_is_made_one_and_the_plan_says_so(root, folder, label):
    (root / folder).mkdir()
    (root / folder / "1").write_bytes(b"x")
    made = plan(root)
    assert resources(made)[label] == {"1": f"{folder}/1"}
    assert any(note.startswith(f"Folder {folder} becomes resource {label}: ") for note in made.warnings)
    assert resources(plan(root, labels={folder: "MINE"}))["MINE"] == {"1": f"{folder}/1"}


def test_digits_that_are_no_key_are_a_matter_of_letters(root):
    """Superscripts and other scripts' digits are not what the server reads as a key; they are cleaned like any other."""
    (root / "٤٢").mkdir()
    (root / "٤٢" / "x").write_bytes(b"x")
    assert "__" in resources(plan(root))


@pytest.mark.parametrize(
    "pair", [("Raw Data", "Raw_Data"), ("Raw Data", "Raw.Data"), pytest.param(("physio", "Physio"), marks=needs_case)]
)
def test_two_folders_for_one_resource_are_refused_with_a_way_out(root, pair):
    for name in pair:
        (root / name).mkdir(exist_ok=True)
        (root / name / f"only in {name}").write_bytes(b"x")
    with pytest.raises(Refused) as caught:
        plan(root)
    assert all(f"{name}/" in caught.value.message for name in pair)
    assert "--resource-label FOLDER=LABEL" in caught.value.hint
    assert "OTHER" in resources(plan(root, labels={pair[0]: "OTHER"}))
    # Asked for, they go together.
    together = plan(root, labels=dict.fromkeys(pair, "BOTH"))
    assert {f"only in {name}" for name in pair} <= set(resources(together)["BOTH"])
    assert any("go together into resource BOTH" in note for note in together.warnings)


def test_a_folder_called_misc_holds_the_files_at_the_top_too(root):
    (root / "MISC").mkdir()
    (root / "MISC" / "inner.txt").write_bytes(b"x")
    made = plan(root)
    assert set(resources(made)["MISC"]) == {"inner.txt", "report.pdf", "screen shot.png"}
    assert any("MISC/ and the files at the top go together into resource MISC" in note for note in made.warnings)
    (root / "MISC" / "report.pdf").write_bytes(b"another one")
    with pytest.raises(Refused, match=r"MISC/report.pdf and report.pdf would overwrite each other"):
        plan(root)
    assert set(resources(plan(root, misc_label="TOP"))) == {"MISC", "Physio", "Protocol", "TOP"}
    (root / "MISC" / "report.pdf").unlink()
    (root / "MISC" / "report.pdf").mkdir()
    (root / "MISC" / "report.pdf" / "inside").write_bytes(b"a folder where a file would be")
    with pytest.raises(Refused, match="overwrite each other"):
        plan(root)


def test_a_folder_that_differs_from_misc_in_capitals_only_is_refused(root):
    (root / "misc").mkdir()
    (root / "misc" / "x").write_bytes(b"x")
    with pytest.raises(Refused, match="differ only in case"):
        plan(root)
    assert {"misc", "TOP"} <= set(resources(plan(root, misc_label="TOP")))


@pytest.mark.parametrize("label", ["a b", "", "42", "a/b", "é"])
@pytest.mark.parametrize("name", ["misc_label", "attach_nested"])
def test_labels_that_a_person_chose_must_be_labels(root, name, label):
    with pytest.raises(UsageError, match="cannot be the label of a resource"):
        plan(root, **{name: label})
    with pytest.raises(UsageError, match="cannot be the label of a resource"):
        plan(root, labels={"Physio": label})


def test_a_label_for_a_folder_that_is_not_there_is_a_usage_error(root):
    with pytest.raises(UsageError, match="names Phisio") as caught:
        plan(root, labels={"Phisio": "X"})
    assert "Physio, Protocol" in caught.value.hint
    with pytest.raises(UsageError, match="names series 1"):
        plan(root, labels={"series 1": "X"})


# what to do


def test_skip_resources_sends_images_alone(root):
    made = plan(root, skip_resources=True)
    assert [stage.kind for stage in made.stages] == ["session"]
    assert reasons(made)["Physio/pulse.log"] == "not DICOM (--skip-resources)"
    assert reasons(made)["series 1/notes.txt"] == "not DICOM (--skip-resources)"


def test_attach_only_waits_and_sends_no_image(root):
    made = plan(root, attach_only=True, wait=0)
    assert [stage.kind for stage in made.stages[:2]] == ["await-archive", "resource"]
    assert made.stages[0].options["seconds"] == 0
    assert not any(item.sop_instance_uid for item in made.items)
    assert set(resources(made)) == {"MISC", "Physio", "Protocol"}
    assert sum(reason == "DICOM (--attach-only)" for reason in reasons(made).values()) == 6


def test_attach_only_needs_no_dicom_and_the_rest_does(tmp_path):
    (tmp_path / "exam" / "Physio").mkdir(parents=True)
    (tmp_path / "exam" / "Physio" / "a").write_bytes(b"x")
    root = tmp_path / "exam"
    assert set(resources(plan(root, attach_only=True))) == {"Physio"}
    with pytest.raises(NotFound, match="No DICOM files") as caught:
        plan(root)
    assert "--attach-only" in caught.value.hint


def test_nothing_but_dicom_is_a_session_and_has_nothing_to_attach(tmp_path):
    root = write_exam(tmp_path / "exam", series=1, instances=2, clutter=False).directory
    assert [stage.kind for stage in plan(root).stages] == ["session"]
    with pytest.raises(NotFound, match="holds 2 DICOM instances, and --attach-only sends no DICOM"):
        plan(root, attach_only=True)
    (next(root.iterdir()) / "note.txt").write_bytes(b"x")
    with pytest.raises(NotFound) as caught:
        plan(root, attach_only=True)
    assert "--attach-nested" in caught.value.hint


def test_what_is_no_directory_is_no_exam_root(root, tmp_path):
    packed = tmp_path / "exam.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a", "x")
    for path in (packed, root / "report.pdf", next((root / "series 2").iterdir())):
        with pytest.raises(UsageError, match="an exam root is a directory"):
            plan(path)
    with pytest.raises(NotFound):
        plan(tmp_path / "nowhere")
    (tmp_path / "void").mkdir()
    with pytest.raises(NotFound, match="is empty"):
        plan(tmp_path / "void")
    with pytest.raises(NotFound, match="nothing to attach"):
        plan(tmp_path / "void", attach_only=True)


def test_several_studies_are_refused_as_in_session_upload(root):
    write_exam(root / "another", series=1, instances=1, seed=77, clutter=False)
    with pytest.raises(Refused, match="holds 2 studies"):
        plan(root)
    assert set(resources(plan(root, attach_only=True))) == {"MISC", "Physio", "Protocol"}


def test_a_root_that_lies_one_level_deeper_is_pointed_at(root, tmp_path):
    outer = tmp_path / "outer"
    outer.mkdir()
    root.rename(outer / "EXAM")
    made = plan(outer)
    assert resources(made) == {}
    assert any(f"when the exam root is {outer / 'EXAM'}" in note for note in made.warnings)


def test_unreadable_files_are_passed_on_once(root, monkeypatch):
    refuse_to_open(monkeypatch, "pulse.log")
    made = plan(root)
    bad = {
        stage.resource.label: [entry.path for entry in stage.unreadable] for stage in made.stages if stage.unreadable
    }
    assert bad == {"Physio": ["Physio/pulse.log"]}
    assert made.unreadable == ()
    assert "pulse.log" not in resources(made)["Physio"]
    # Where it could be an image, or where nothing is attached, the session is not complete without it.
    (root / "Physio").rename(root / "series 1" / "Physio")
    assert [entry.path for entry in plan(root).unreadable] == ["series 1/Physio/pulse.log"]
    (root / "series 1" / "Physio").rename(root / "Physio")
    assert [entry.path for entry in plan(root, skip_resources=True).unreadable] == ["Physio/pulse.log"]
