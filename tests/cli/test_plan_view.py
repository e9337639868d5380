"""The plan of `--dry-run`, as a person and as a program read it."""

from __future__ import annotations

import io
from dataclasses import replace

from xnatctl.cli.plan_view import plan_document
from xnatctl.model.plan import (
    Exclusion,
    Overwrite,
    Placement,
    Series,
    Source,
    Stage,
    UploadItem,
    UploadPlan,
)
from xnatctl.model.refs import Destination, ResourceLevel, ResourceRef
from xnatctl_output.table import Table


def item(path, size=1024, **fields):
    return UploadItem(path=path, source=Source(path=f"/exam/{path}"), size=size, resource_name=path, **fields)


def image(path, series):
    return item(path, sop_instance_uid=path, series=Series(series_instance_uid=series, modality="MR"))


def resource(label, *paths):
    return Stage(
        kind="resource",
        name=f"attach resource {label}",
        transport="resource",
        items=tuple(item(path) for path in paths),
        resource=ResourceRef(label=label),
    )


def plan(*stages, excluded=(), unreadable=()):
    images = tuple(image(f"dicom/{series}/{number}", series) for series in "12" for number in range(3))
    return UploadPlan(
        command="session upload-exam",
        root="/exam",
        destination=Destination(server="http://x", project="P", subject="S", session="E"),
        workers=4,
        placement=Placement.ARCHIVE,
        overwrite=Overwrite.DELETE,
        stages=(
            Stage(
                kind="session",
                name="send DICOM by tar",
                steps=("send DICOM by tar", "archive"),
                transport="tar",
                items=images,
            ),
            *stages,
        ),
        excluded=tuple(Exclusion(path=path, reason=reason) for path, reason in excluded),
        unreadable=tuple(Exclusion(path=path, reason=reason) for path, reason in unreadable),
        warnings=("look twice",),
    )


def drawn(made):
    out = io.StringIO()
    Table().render(plan_document(made, description={}, batches=3), out)
    return out.getvalue().splitlines()


def test_a_plan_with_resources_is_a_tree():
    lines = drawn(
        plan(
            resource("Physio", "Physio/a.log", "Physio/run/b.log"),
            resource("MISC", "report.pdf"),
            excluded=[("Empty", "empty folder"), (".cache", "hidden"), ("dicom/1/notes.txt", "not DICOM")],
            unreadable=[("secret", "cannot be read: Permission denied")],
        )
    )
    assert lines[:8] == [
        "/exam",
        "├── Empty/      skipped: empty folder",
        "├── Physio/     -> resource Physio (2 files, 2.0 KiB)",
        "├── dicom/      -> session E (6 files, 6.0 KiB, 2 MR series)",
        "│   └── skipped: not DICOM: 1/notes.txt",
        "├── .cache      skipped: hidden",
        "├── report.pdf  -> resource MISC (1.0 KiB)",
        "└── secret      cannot be sent: cannot be read: Permission denied",
    ]
    assert lines[8:15] == [
        "Would send 6 instances (6.0 KiB) and 3 files in 2 resources (3.0 KiB) in 3 requests with 4 workers.",
        "Server: http://x",
        "Destination: archive of project P, subject S, session E",
        "1. Send DICOM by tar",
        "2. Archive",
        "3. Attach resource Physio",
        "4. Attach resource MISC",
    ]
    assert lines[15:17] == [
        "1 file cannot be sent, so the upload would end with exit code 5:",
        "  1 x cannot be read: Permission denied: secret",
    ]
    assert lines[-1] == "Warning: look twice"


def test_many_files_at_the_top_are_counted_and_odd_names_stay_on_their_line():
    names = [f"scan {number:02}.png" for number in range(30)]
    lines = drawn(plan(resource("MISC", "a\nb\x1b[31m.txt", *names)))
    assert "├── a\\x0ab\\x1b[31m.txt" in lines[2]
    assert lines[14] == "└── ... 19 more files   -> resource MISC (19 files, 19.0 KiB)"
    assert len([line for line in lines if "resource MISC" in line and "KiB)" in line and line[0] in "├└"]) == 13


def test_a_plan_of_resources_alone_says_what_carries_them():
    def headline(**ref):
        stages = tuple(replace(stage, resource=ResourceRef(label="R", **ref)) for stage in [resource("R", "a.txt")])
        summary = plan_document(replace(plan(), stages=stages), description={}, batches=1).summary
        assert summary[:2] == ("Would send 1 file (1.0 KiB) in 1 request with 4 workers.", "Server: http://x")
        return summary[2]

    assert headline() == "Destination: session E in project P"
    assert headline(level=ResourceLevel.SCAN, scan="3") == "Destination: scan 3 of session E in project P"
    assert headline(level=ResourceLevel.SUBJECT) == "Destination: subject S in project P"
    assert headline(level=ResourceLevel.PROJECT) == "Destination: project P"


def test_one_row_for_each_place_and_a_table_of_series_where_nothing_else_goes():
    document = plan_document(
        plan(resource("NESTED", "dicom/1/notes.txt"), excluded=[("dicom/2/x", "DICOMDIR")]), description={}, batches=2
    )
    assert [(row["path"], row["goes_to"], row["files"], row["note"]) for row in document.rows] == [
        ("dicom/", "session E", 6, "2 MR series"),
        ("dicom/", "resource NESTED", 1, ""),
        ("dicom/", "", 1, "skipped: DICOMDIR"),
    ]
    assert document.data["batches"] == 2
    quiet = plan_document(plan(), description={"tar": {"bundles": "tar"}}, batches=2)
    assert not any("undle" in line for line in quiet.summary), "people see the parameters of a transport with -v"
    assert quiet.data["transport"] == {"bundles": "tar"}
    plain = plan_document(plan(), description={"tar": {"bundles": "tar"}}, batches=2, details=True)
    assert plain.drawing == ()
    assert [row["files"] for row in plain.rows] == [3, 3]
    assert plain.summary[-3:-1] == ("Transport tar:", "  bundles: tar")
    assert plain.data["transport"] == {"bundles": "tar"}
    both = plan_document(
        plan(), description={"tar": {"a": "1", "b": "2"}, "resource": {"a": "3"}}, batches=2, details=True
    )
    assert both.summary[-6:-1] == ("Transport tar:", "  a: 1", "  b: 2", "Transport resource:", "  a: 3")
    assert both.data["transport"] == {"tar": {"a": "1", "b": "2"}, "resource": {"a": "3"}}
