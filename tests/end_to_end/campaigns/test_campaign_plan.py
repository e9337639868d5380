"""`campaign plan`: every row is checked against disk, manifest and sandbox, all findings come at once, nothing is sent."""

from __future__ import annotations

import csv
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from children import HANGS
from terminal import Terminal

from xnatctl.testing.exam import Exam, write_exam
from xnatctl_campaign.folder import Campaign

Write = Callable[..., Path]
WEIGHED = Path(__file__).parents[2] / "support" / "weighed.py"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def study(data: Path) -> Callable[..., Exam]:
    """Writes a small study below `data`."""

    def write(name: str, seed: int, patient: str = "", *, series: int = 1, instances: int = 2) -> Exam:
        return write_exam(
            data / name,
            series=series,
            instances=instances,
            rows=4,
            columns=4,
            seed=seed,
            clutter=False,
            patient_id=patient or f"patient {seed}",
        )

    return write


@pytest.fixture
def manifest(data: Path) -> Write:
    """Writes a manifest beside the studies."""

    def write(rows: Iterable[Mapping[str, object]], name: str = "m.csv") -> Path:
        listed = list(rows)
        columns = list(
            dict.fromkeys(["path", "project", "subject", "session", *(key for row in listed for key in row)])
        )
        path = data / name
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(listed)
        return path

    return write


def _row(path: str, number: int, **given: object) -> dict[str, object]:
    return {"path": path, "project": "DEMO", "subject": f"S{number}", "session": f"E{number}", **given}


def _codes(document: Any) -> dict[int, list[str]]:
    """The codes by row; a warning has a question mark."""
    found: dict[int, list[str]] = {}
    for finding in document["findings"]:
        mark = "" if finding["severity"] == "error" else "?"
        found.setdefault(finding["row"], []).append(finding["code"] + mark)
    return {row: sorted(codes) for row, codes in found.items()}


def test_a_valid_manifest_is_frozen_whole(xnatctl, sandbox, alice, study, manifest, data, tmp_path):
    exams = [study(f"s{number}", number) for number in (1, 2)]
    (data / "files").mkdir()
    (data / "files" / "notes.txt").write_text("notes")
    (data / "s2" / "extra").mkdir()
    (data / "s2" / "extra" / "protocol.txt").write_text("protocol")
    rows = [
        _row("s1", 1),
        _row("s2", 2, kind="exam", overwrite="append"),
        _row("files", 1, kind="resource", resource="NOTES"),
        _row("gone", 4, ignore_reason="not consented"),
    ]
    done = xnatctl("campaign", "plan", manifest(rows), tmp_path / "c", "--lease", "30", "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert _codes(done.document) == {3: ["session-later?"]}
    assert {name: done.document[name] for name in ("rows", "valid", "excluded", "ignored", "files")} == {
        "rows": 4,
        "valid": 3,
        "excluded": 0,
        "ignored": 1,
        "files": 6,
    }
    assert done.document["next"].startswith(f"xnatctl campaign run {tmp_path / 'c'}")
    campaign = Campaign(tmp_path / "c")
    assert (campaign.info.server, campaign.info.lease, campaign.info.rows) == (sandbox.url, 30.0, 3)
    plans = {frozen.number: campaign.plan(frozen) for frozen in campaign.rows()}
    assert [plan.command for plan in plans.values()] == ["session upload", "session upload-exam", "resource upload"]
    assert {item.sop_instance_uid for item in plans[1].items} == set(exams[0].instances)
    assert [stage.kind for stage in plans[2].stages] == ["session", "await-archive", "resource"]
    assert str(plans[2].overwrite) == "append"
    assert [item.name for item in plans[3].items] == ["notes.txt"]
    assert all(plan.destination.server == sandbox.url and plan.request is not None for plan in plans.values())
    (excluded,) = campaign.excluded()
    assert (excluded.row.number, excluded.code, excluded.reason) == (4, "ignored", "not consented")
    assert {request["method"] for request in sandbox.requests if "JSESSION" not in request["path"]} == {"GET"}


def _bad_rows(study: Callable[..., Exam], data: Path) -> tuple[list[dict[str, object]], dict[int, list[str]]]:
    """A manifest in which nearly every row has something else wrong, and the expected codes."""
    study("good", 1)
    study("several/a", 2)
    study("several/b", 3)
    study("twins/one", 4)
    study("twins/two", 4)
    study("outer/inner", 5)
    study("mixed1", 6, "zzdoe")
    study("mixed2", 7, "zzroe")
    study("again1", 8, "zzpoe")
    study("again2", 9, "zzpoe")
    damaged = study("damaged", 10)
    first = next(iter(damaged.instances.values())).path
    first.write_bytes(first.read_bytes()[:-20])
    for number in range(11, 21):
        study(f"s{number}", number)
    (data / "empty").mkdir()
    (data / "texts").mkdir()
    (data / "texts" / "a.txt").write_text("a")
    (data / "out").mkdir()
    changed = sum(path.stat().st_size for path in (data / "s11").rglob("*") if path.is_file())
    rows = [
        (_row("good", 1), []),
        (_row("absent", 2), ["path-missing"]),
        (_row("empty", 3), ["nothing-to-send"]),
        (_row("texts", 4), ["nothing-to-send"]),
        (_row("several", 5), ["several-studies"]),
        (_row("good", 6, study_instance_uid="1.2.3"), ["study-missing"]),
        (_row("twins/one", 7), ["study-twice", "patient-twice?"]),
        (_row("twins/two", 8), ["study-twice", "patient-twice?"]),
        (_row("outer", 9), ["path-inside", "patient-twice?"]),
        (_row("outer/inner", 10), ["path-inside", "patient-twice?"]),
        (_row("mixed1", 11), ["patients-mixed"]),
        (_row("mixed2", 11, session="E12"), ["patients-mixed"]),
        (_row("again1", 13), ["patient-twice?"]),
        (_row("again2", 14), ["patient-twice?"]),
        (_row("damaged", 15), ["files-unreadable"]),
        (_row("s11", 16, files=2, bytes=changed + 1), ["source-changed"]),
        (_row("s12", 17, session="E 17"), ["label-refused"]),
        (_row("s13", 18, session="dup"), ["destination-twice"]),
        (_row("s14", 19, session="DUP"), ["destination-twice"]),
        (_row("s15", 20, project="NOWHERE"), ["project-missing"]),
        (_row("s16", 21, project="PRIVATE"), ["project-missing"]),
        (_row("s17", 22, mode="cstore"), ["mode-refused"]),
        (_row("s18", 23, mode="carrier-pigeon"), ["mode-refused"]),
        (_row("texts", 24, kind="resource", resource="TEXTS"), ["session-missing"]),
        (_row("texts", 1, kind="resource", resource="A B"), ["label-refused", "session-later?", "source-twice?"]),
        (_row(".", 26, kind="resource", resource="ALL"), ["campaign-in-source", "session-missing"]),
    ]
    expected = {number: sorted(codes) for number, (_, codes) in enumerate(rows, 1) if codes}
    expected[24] = ["session-missing", "source-twice?"]
    return [row for row, _ in rows], expected


def test_all_findings_come_at_once_and_nothing_is_written(xnatctl, sandbox, alice, study, manifest, data):
    rows, expected = _bad_rows(study, data)
    before = sorted(path.name for path in data.iterdir())
    path = manifest(rows)
    done = xnatctl("campaign", "plan", path, data / "out" / "c", "-o", "json", env=alice)
    assert done.code == 7, done.err
    assert _codes(done.document) == expected
    assert [finding["row"] for finding in done.document["findings"]] == sorted(
        finding["row"] for finding in done.document["findings"]
    )
    assert all(finding["line"] == finding["row"] + 1 for finding in done.document["findings"])
    assert (done.document["campaign"], done.document["next"]) == (None, None)
    assert "--only-valid" in done.err
    assert sorted(path.name for path in data.iterdir()) == sorted([*before, "m.csv"])
    assert not any((data / "out").iterdir())
    assert not any(name in done.out + done.err for name in ("zzdoe", "zzroe", "zzpoe"))

    done = xnatctl("campaign", "plan", path, data / "out" / "c", "--only-valid", "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert _codes(done.document) == expected
    written = [path.read_bytes() for path in (data / "out" / "c").rglob("*") if path.is_file()]
    assert not any(name in content for content in written for name in (b"zzdoe", b"zzroe", b"zzpoe"))
    campaign = Campaign(data / "out" / "c")
    assert [frozen.number for frozen in campaign.rows()] == [1, 13, 14]
    assert [campaign.plan(frozen).destination.session for frozen in campaign.rows()] == ["E1", "E13", "E14"]
    reasons = {row.row.number: row.code for row in campaign.excluded()}
    assert set(reasons) == set(range(1, 27)) - {1, 13, 14}
    assert all(code in expected[number] for number, code in reasons.items())

    done = xnatctl("campaign", "plan", path, data / "out" / "c", "--only-valid", env=alice)
    assert done.code == 7, "a campaign folder is not used again"


def test_clashes_with_the_server(xnatctl, sandbox, alice, study, manifest, tmp_path):
    for number, session in ((1, "taken"), (2, "held"), (3, "mine")):
        there = ("-P", "DEMO", "-S", f"S{number}", "-E", session)
        assert xnatctl("session", "upload", study(f"s{number}", number).directory, *there, env=alice).code == 0
    waiting = ("-P", "DEMO", "-S", "S6", "-E", "E6", "--prearchive")
    assert xnatctl("session", "upload", study("s6", 6).directory, *waiting, env=alice).code == 0
    for number in (4, 5):
        study(f"s{number}", number)
    rows = [
        _row("s4", 1, session="taken"),  # another study
        _row("s2", 2, subject="else", session="held"),
        _row("s3", 3, session="elsewhere"),
        _row("s1", 1, session="taken", project="DEMO"),
        _row("s5", 5, session="Mine"),
        _row("s6", 6),
    ]
    done = xnatctl("campaign", "plan", manifest(rows), tmp_path / "c", "-o", "json", env=alice)
    assert done.code == 7, done.err
    assert _codes(done.document) == {
        1: ["destination-twice", "patients-mixed", "session-other-study"],
        2: ["session-other-subject", "session-there?"],
        3: ["study-elsewhere"],
        4: ["destination-twice", "patients-mixed", "session-there?"],
        5: ["session-case?"],
        6: ["study-waiting?"],
    }
    strict = [{**rows[3], "overwrite": "none"}]
    done = xnatctl("campaign", "plan", manifest(strict), tmp_path / "c", "-o", "json", env=alice)
    assert (done.code, _codes(done.document)) == (7, {1: ["session-exists"]})
    bob = {**alice, "XNAT_USER": "bob", "XNAT_PASS": "bob"}
    done = xnatctl("campaign", "plan", manifest(rows[4:5]), tmp_path / "c", env=bob)
    assert done.code == 7
    assert "project-read-only" in done.out


def test_rows_that_share_a_directory_take_their_own_study(xnatctl, sandbox, alice, study, manifest, data, tmp_path):
    exams = [study(f"all/{number}", number, "same") for number in range(4)]
    flat = data / "flat"
    flat.mkdir()
    for exam in exams:
        for number, instance in enumerate(exam.instances.values()):
            shutil.copy(instance.path, flat / f"{exam.study_instance_uid}-{number}")
    rows = [
        _row("flat", 1, session=f"E{number}", study_instance_uid=exam.study_instance_uid, files=2)
        for number, exam in enumerate(exams)
    ]
    done = xnatctl("campaign", "plan", manifest(rows), tmp_path / "c", "-o", "json", env=alice)
    assert done.code == 0, done.err
    campaign = Campaign(tmp_path / "c")
    planned = [{item.sop_instance_uid for item in campaign.plan(frozen).items} for frozen in campaign.rows()]
    assert planned == [set(exam.instances) for exam in exams]


def test_people_see_the_findings_by_code_in_80_columns(xnatctl, sandbox, alice, manifest, tmp_path):
    rows = [_row(f"absent {number}", number) for number in range(50)]
    done = xnatctl("campaign", "plan", manifest(rows), tmp_path / "c", env=alice)
    assert done.code == 7
    assert "Error path-missing: rows 1, 2, 3 and 47 more" in done.out
    assert "  and 47 more (-o csv lists all)" in done.out
    assert len(done.out.splitlines()) < 10
    listed = xnatctl("campaign", "plan", manifest(rows), tmp_path / "c", "-o", "csv", env=alice)
    assert [row["row"] for row in csv.DictReader(listed.out.splitlines())] == [str(number) for number in range(1, 51)]
    quiet = xnatctl("campaign", "plan", manifest(rows), tmp_path / "c", "-q", env=alice)
    assert quiet.out.split() == [str(number) for number in range(1, 51)]


def test_up_to_twenty_findings_of_a_code_are_shown_all(xnatctl, sandbox, alice, manifest, tmp_path):
    rows = [_row(f"absent {number}", number) for number in range(20)]
    done = xnatctl("campaign", "plan", manifest(rows), tmp_path / "c", env=alice)
    assert all(f"  Row {number} " in done.out for number in range(1, 21))
    assert " more" not in done.out


def test_a_folder_that_holds_a_campaign_can_be_run(xnatctl, sandbox, alice, study, manifest, tmp_path):
    study("one", 1)
    assert xnatctl("campaign", "plan", manifest([_row("one", 1)]), tmp_path / "c", env=alice).code == 0
    again = xnatctl("campaign", "plan", manifest([_row("one", 1)]), tmp_path / "c", env=alice)
    assert (again.code, f"xnatctl campaign run {tmp_path / 'c'}" in again.err) == (7, True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    other = xnatctl("campaign", "plan", manifest([_row("one", 1)]), tmp_path / "other", env=alice)
    assert (other.code, "campaign run" in other.err, "Name another folder." in other.err) == (7, False, True)


def test_findings_fit_a_terminal(environment, sandbox, alice, study, manifest, data, tmp_path):
    rows, _ = _bad_rows(study, data)
    path = manifest(rows)
    terminal = Terminal(tmp_path, {**environment, **alice})
    shown, code = terminal.run(f"COLUMNS=80 xnatctl campaign plan {path} {data / 'out' / 'c'} 2> errors")
    terminal.close()
    assert code == 7
    assert "Error destination-twice" in shown
    words = {word for line in shown.splitlines() if len(line) > 80 for word in line.split() if len(word) > 40}
    longer = [line for line in shown.splitlines() if len(line) > 80 and not words.intersection(line.split())]
    assert not longer, "only a path or a UID is longer than the terminal is wide"


def test_a_secret_of_a_transport_is_not_in_the_folder(xnatctl, sandbox, alice, study, manifest, tmp_path, install):
    """The options of a foreign transport are frozen, but for the secret ones."""
    plugin = install("vault", _VAULT)
    study("s1", 1)
    env = {**alice, **plugin, "VAULT_KEY": "correct horse battery", "VAULT_PLACE": "shelf"}
    done = xnatctl("campaign", "plan", manifest([_row("s1", 1, mode="vault")]), tmp_path / "c", "-o", "json", env=env)
    assert done.code == 0, done.err
    assert not any(b"correct horse" in path.read_bytes() for path in (tmp_path / "c").rglob("*") if path.is_file())
    campaign = Campaign(tmp_path / "c")
    (plan,) = [campaign.plan(frozen) for frozen in campaign.rows()]
    assert plan.sending[0].transport == "vault"
    assert plan.sending[0].transport_options["place"] == "shelf"
    done = xnatctl(
        "campaign",
        "plan",
        manifest([_row("s1", 1, mode="vault")]),
        tmp_path / "d",
        "-o",
        "json",
        env={**alice, **plugin},
    )
    assert _codes(done.document) == {1: ["option-refused"]}


_VAULT = """
from xnatctl.api import Option, TransportSpec, hookimpl

@hookimpl
def xnatctl_transports():
    return [TransportSpec(name="vault", summary="a vault", target="xnatctl_zip.transport:TarTransport", options=(
        Option(name="key", type=str, help="the key", envvar="VAULT_KEY", secret=True, required=True),
        Option(name="place", type=str, help="the place", envvar="VAULT_PLACE"),
    ))]
"""


def test_an_interrupt_leaves_nothing_behind(nursery, environment, sandbox, alice, study, manifest, tmp_path):
    study("s1", 1)
    sandbox.faults.load([{"match": {"path": "/projects/DEMO/experiments"}, "action": "delay", "seconds": HANGS}])
    arguments = ("campaign", "plan", manifest([_row("s1", 1)]), tmp_path / "deep" / "c")
    command = nursery.start(
        "-m", "xnatctl", *map(str, arguments), env={**environment, **alice}, cwd=tmp_path, stdin=b""
    )
    while not any(request["path"].endswith("/DEMO") for request in sandbox.requests):
        time.sleep(0.01)
    while not any((tmp_path / "deep").glob("*")):
        time.sleep(0.01)
    command.send_signal(signal.SIGTERM)
    assert command.wait() == 143
    assert not (tmp_path / "deep").exists()


def test_the_folder_is_not_made_where_there_is_no_server(xnatctl, study, manifest, tmp_path):
    study("s1", 1)
    env = {"XNAT_URL": "http://127.0.0.1:9", "XNAT_USER": "a", "XNAT_PASS": "a"}
    done = xnatctl("campaign", "plan", manifest([_row("s1", 1)]), tmp_path / "deep" / "c", env=env)
    assert done.code == 4, done.err
    assert not (tmp_path / "deep").exists()


def test_what_a_scan_finds_can_be_planned(xnatctl, sandbox, alice, study, data, tmp_path):
    """Studies alone in folders, two that share one, one in a folder of another, and one in an archive file."""
    exams = {f"{number}": study(f"tree/{number}", number, series=2) for number in (1, 2)}
    exams["3"] = study("tree/2/below", 3)
    for number in (4, 5):
        exams[f"{number}"] = exam = study(f"apart/{number}", number)
        for instance in exam.instances.values():
            shutil.copy(instance.path, data / "tree" / f"{number}-{instance.path.name}")
    exams["6"] = packed = study("apart/6", 6)
    shutil.make_archive(str(data / "tree" / "zipped" / "six"), "zip", packed.directory)
    names = ("-P", "DEMO", "-S", "{PatientID}", "-E", "{PatientID}")
    found = xnatctl("campaign", "scan", data / "tree", *names, "--manifest", data / "m.csv")
    assert found.code == 0, found.err
    rows = (data / "m.csv").read_text().replace("patient ", "p")
    (data / "m.csv").write_text(rows)
    done = xnatctl("campaign", "plan", data / "m.csv", tmp_path / "c", "-o", "json", env=alice)
    assert done.code == 0, done.err + done.out
    campaign = Campaign(tmp_path / "c")
    planned = {
        campaign.plan(frozen).destination.session: {item.sop_instance_uid for item in campaign.plan(frozen).items}
        for frozen in campaign.rows()
    }
    assert planned == {f"p{number}": set(exam.instances) for number, exam in exams.items()}

    lines = rows.replace("patient ", "p").splitlines(keepends=True)
    ignored = [line.replace("\n", "not now\n") if "six.zip" in line else line for line in lines]
    (data / "m.csv").write_text("".join(ignored))
    done = xnatctl("campaign", "plan", data / "m.csv", tmp_path / "d", "-o", "json", env=alice)
    assert done.code == 0, done.err
    assert (done.document["valid"], done.document["ignored"]) == (5, 1)


_SMALL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
from xnatctl.cli.main import main
main()
"""


def test_a_full_disk_leaves_nothing_behind(xnatctl, sandbox, alice, study, manifest, tmp_path):
    study("s1", 1, instances=5)
    path = manifest([_row("s1", 1)])
    done = xnatctl("campaign", "plan", path, tmp_path / "deep" / "c", program=("-c", _SMALL_DISK), env=alice)
    assert done.code == 1, done.err
    assert f"Cannot write {tmp_path / 'deep' / 'c'}" in done.err
    assert not (tmp_path / "deep").exists()


@pytest.mark.lab
def test_memory_holds_no_plans(xnatctl, sandbox, alice, study, manifest, tmp_path):
    """A plan of 20 instances takes some 20 KiB of memory, and the record of a row 2 KiB."""
    peaks = []
    for count in (200, 1200):
        for number in range(count):
            study(f"s{number}", number, instances=20)
        rows = [_row(f"s{number}", number) for number in range(count)]
        path, weight = manifest(rows, f"m{count}.csv"), tmp_path / f"peak{count}"
        done = xnatctl("campaign", "plan", path, tmp_path / f"c{count}", program=(WEIGHED, weight), env=alice)
        assert done.code == 0, done.err
        peaks.append(int(weight.read_text()))
    assert (peaks[1] - peaks[0]) / 1000 < 6, "KiB a row"
