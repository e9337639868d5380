"""What goes wrong with an exam, and what a second run makes of it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.once

FILES = {"path": "/files", "method": "PUT"}


def by_label(report):
    return {entry["label"]: entry for entry in report["resources"]}


def test_a_read_only_user_sends_nothing(upload_exam, sandbox, root, exam_writes):
    done = upload_exam(root, env={"XNAT_USER": "bob", "XNAT_PASS": "bob"})
    assert done.code == 3, done.err
    assert done.document["error"]["code"] == "permission"
    assert exam_writes(sandbox) == []


def test_a_read_only_user_attaches_nothing(upload_exam, sandbox, root, attached, exam_writes):
    assert upload_exam(root, "--skip-resources").code == 0
    before = len(exam_writes(sandbox))
    done = upload_exam(root, "--attach-only", env={"XNAT_USER": "bob", "XNAT_PASS": "bob"})
    assert done.code == 3, done.err
    assert exam_writes(sandbox)[before:] == []
    assert attached(sandbox) == {}


def test_a_resource_that_holds_other_files_keeps_them(upload_exam, xnatctl, sandbox, alice, root, attached, tmp_path):
    assert upload_exam(root, "--skip-resources").code == 0
    note = tmp_path / "kept.txt"
    note.write_bytes(b"somebody else's")
    (session,) = sandbox.state.experiments.values()
    assert xnatctl("resource", "upload", session.id, "Physio", note, env=alice).code == 0
    done = upload_exam(root)
    assert done.code == 0, done.err
    root.files["Physio"]["kept.txt"] = hashlib.sha256(b"somebody else's").hexdigest()
    assert attached(sandbox) == root.files


@pytest.mark.parametrize(("policy", "code"), [("delete", 0), ("append", 5)])
def test_a_file_that_is_there_with_other_content(
    upload_exam, xnatctl, sandbox, alice, root, attached, tmp_path, policy, code
):
    """`delete` replaces what matches, `append` refuses it by name; the other resources are completed either way."""
    assert upload_exam(root, "--skip-resources").code == 0
    old = tmp_path / "pulse.log"
    old.write_bytes(b"an older measurement")
    (session,) = sandbox.state.experiments.values()
    assert xnatctl("resource", "upload", session.id, "Physio", old, env=alice).code == 0
    before = attached(sandbox)["Physio"]
    done = upload_exam(root, "--overwrite", policy, "--attach-only")
    assert done.code == code, done.err
    if code:
        assert "pulse.log" in done.err
        assert attached(sandbox) == {**root.files, "Physio": before}
        assert by_label(done.document)["Physio"]["error"]["exit_code"] == 7
        assert by_label(done.document)["MISC"]["error"] is None
    else:
        assert attached(sandbox) == root.files


def test_one_failed_resource_does_not_stop_the_others_and_resuming_finishes_it(
    upload_exam, xnatctl, sandbox, alice, root, attached, exam_writes, tmp_path
):
    """Resource Physio is there, and takes no file."""
    assert upload_exam(root, "--skip-resources").code == 0
    note = tmp_path / "kept.txt"
    note.write_bytes(b"kept")
    root.files["Physio"]["kept.txt"] = hashlib.sha256(b"kept").hexdigest()
    (session,) = sandbox.state.experiments.values()
    assert xnatctl("resource", "upload", session.id, "Physio", note, env=alice).code == 0
    (physio,) = session.resources
    match = {"path": f"/resources/({physio.pk}|Physio)/files", "method": "PUT"}
    sandbox.faults.load([{"match": match, "nth": list(range(1, 400)), "action": "status", "status": 403}])
    done = upload_exam(root)
    assert done.code == 5, done.err
    assert done.document["status"] == "partial"
    assert "1 of 3 resources" in done.document["error"]["message"]
    assert attached(sandbox) == {**root.files, "Physio": {"kept.txt": root.files["Physio"]["kept.txt"]}}
    assert by_label(done.document)["Physio"]["error"] is not None
    assert by_label(done.document)["MISC"]["error"] is None
    sandbox.faults.load([])

    row = next(row for row in xnatctl("upload", "status", "-o", "json").document["uploads"] if row["undelivered"])
    assert row["undelivered"] == 2
    assert row["state"] != "complete"
    blocked = xnatctl("upload", "resume", row["id"], env={**alice, "XNATCTL_BLOCK_PLUGINS": "exam"})
    assert blocked.code == 8, "core must not plan something else in its place"
    before = len(exam_writes(sandbox))
    done = xnatctl("upload", "resume", row["id"], "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert len(exam_writes(sandbox)[before:]) == 1
    assert attached(sandbox) == root.files
    rows = xnatctl("upload", "status", "-o", "json").document["uploads"]
    assert {(row["undelivered"], row["state"]) for row in rows} == {(0, "complete")}


def test_catalog_conflicts_on_every_third_request(upload_exam, sandbox, root, attached, assert_exactly):
    for number in range(30):
        root.add(f"Many {number % 3}/{number}.txt", b"x" * number, f"Many_{number % 3}", f"{number}.txt")
    sandbox.switches.catalog_conflict_every = 3
    done = upload_exam(root)
    assert done.code == 0, done.err
    assert attached(sandbox) == root.files
    assert_exactly(sandbox, root.digests, place="archive", label="e")


@pytest.mark.parametrize(
    "fault",
    [
        {"action": "cut-before-body"},
        {"action": "cut-at-byte", "bytes": 100},
        {"action": "rst"},
        {"action": "store-then-cut"},
    ],
    ids=lambda fault: fault["action"],
)
def test_a_cut_connection(upload_exam, sandbox, root, attached, fault):
    """The first and the third request that carries files."""
    root.add("Physio/long.dat", b"0123456789" * 20_000)
    sandbox.faults.load([{"match": FILES, "nth": [1, 3], **fault}])
    done = upload_exam(root)
    assert done.code == 0, done.err
    assert attached(sandbox) == root.files


@pytest.mark.parametrize("how", ["blocked", "unmet"])
def test_without_the_transport_of_resources_the_plan_is_refused(
    upload_exam, sandbox, root, install, attached, exam_writes, how
):
    if how == "blocked":
        environment = {"XNATCTL_BLOCK_PLUGINS": "resource"}
    else:
        source = (
            "from xnatctl.api import *\n"
            "@hookimpl\ndef xnatctl_transports():\n"
            "    return [TransportSpec(name='resource', summary='s', target='x:y', payload=Payload.RESOURCE,\n"
            "                          modules=('no_such_module',))]\n"
        )
        environment = {**install("needy", source), "XNATCTL_BLOCK_PLUGINS": "resource"}
    for more in ((), ("--attach-only", "--dry-run")):
        done = upload_exam(root, *more, env=environment)
        assert done.code == 8, (more, done.err)
        assert "resource" in done.err
    assert exam_writes(sandbox) == []
    if how == "blocked":
        done = upload_exam(root, "--skip-resources", env=environment)
        assert done.code == 0, done.err
        assert attached(sandbox) == {}


def test_an_exam_of_images_alone_needs_no_such_transport(upload_exam, sandbox, root, assert_exactly):
    for path in list(root.directory.iterdir()):
        if not path.name.startswith("series"):
            path.rename(root.directory.parent / path.name)
    done = upload_exam(root, env={"XNATCTL_BLOCK_PLUGINS": "resource"})
    assert done.code == 0, done.err
    assert_exactly(sandbox, root.digests, place="archive", label="e")


def test_the_dry_run_is_a_tree_and_json_and_asks_the_server_nothing(upload_exam, xnatctl, sandbox, alice, root):
    document = upload_exam(root, "--dry-run").document
    assert document["schema"] == "xnatctl.plan/1"
    sends = [stage for stage in document["stages"] if stage["transport"]]
    assert [(stage["resource"] or {}).get("label") for stage in sends] == [None, "MISC", "Physio", "Protocol"]
    assert document["batches"] >= 4
    done = xnatctl("session", "upload-exam", root.directory, "-P", "DEMO", "-S", "s", "-E", "e", "--dry-run", env=alice)
    assert "├── Physio/     -> resource Physio (2 files" in done.out
    assert "└── report.pdf  -> resource MISC" in done.out
    assert "bypasses anonymisation" in done.out
    assert sandbox.requests == []


#: Flags -> what is said of them; each is a usage error before anything is asked of a server.
USAGE = {
    "--skip-resources --attach-only": "exclude each other",
    "--attach-only --mode zip": "--mode cannot be combined with --attach-only",
    "--attach-only --prearchive": "--prearchive cannot be combined",
    "--attach-only --direct-archive": "--direct-archive cannot be combined",
    "--attach-only --compress never": "--compress cannot be combined",
    "--attach-only --overwrite none": "--overwrite none and --attach-only exclude each other",
    "--skip-resources --misc-label X": "--misc-label cannot be combined with --skip-resources",
    "--skip-resources --attach-nested X": "--attach-nested cannot be combined",
    "--skip-resources --resource-label Physio=X": "--resource-label cannot be combined",
    "--resource-label Physio": "FOLDER=LABEL",
    "--resource-label a/b=c": "FOLDER=LABEL",
    "--resource-label Physio=A --resource-label Physio=B": "two labels",
    "--resource-label Phisio=A": "not a folder that can be attached",
    "--misc-label 12": "digits alone",
    "--wait -1": "--wait",
    "--wait nan": "is not a number",
    "--mode resource": "does not deliver to a session",
    "--mode cstore": "does not deliver to a session",
}
#: Every line of standard input as the flags of one command, in one process; a line of JSON for each.
MANY = """
import contextlib, io, json, sys
from xnatctl.cli.main import run
for line in sys.stdin.read().splitlines():
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run([*sys.argv[1:], *line.split()])
    print(json.dumps([code, json.loads(out.getvalue())["error"]]))
"""


def test_flags_that_contradict_each_other_are_usage_errors(environment, alice, sandbox, root):
    lines = [f"-S s {flags}" for flags in USAGE] + [""]
    done = subprocess.run(
        [sys.executable, "-c", MANY, "session", "upload-exam", root.directory, *["-P", "DEMO", "-E", "e", "-o", "json"]],
        env={**environment, **alice}, input="\n".join([*lines, "--"]), capture_output=True, text=True, check=False,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(USAGE) + 2, done.stderr
    for (flags, said), (code, error) in zip(USAGE.items(), answers, strict=False):
        assert code == error["exit_code"] == 2, (flags, error)
        assert said in error["message"], flags
    assert all("-S SUBJECT" in error["message"] for _, error in answers[-2:]), "images go to a subject"
    assert sandbox.requests == []
