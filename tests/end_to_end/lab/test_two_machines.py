"""Two machines upload under one label at random moments: a session never holds two studies, and reruns converge."""

from __future__ import annotations

import json
import time

import pytest

from xnatctl.testing import write_exam

pytestmark = [pytest.mark.once, pytest.mark.lab]


def studies(server, exams):
    """The studies of what each archived session holds on the server's disk."""
    of = {uid: exam.study_instance_uid for exam in exams for uid in exam.instances}
    found = {}
    for entry in server.instances():
        if entry["place"] == "archive" and entry["catalogued"]:
            found.setdefault(entry["session"], set()).add(of[entry["sop_instance_uid"]])
    return found


def test_no_session_ever_holds_two_studies(lab, full, dice, tmp_path, elsewhere):
    other = write_exam(tmp_path / "other", series=2, instances=10, seed=99, clutter=False)
    for turn in range(40 if full else 1):
        lab.start_over()
        lab.sandbox.state.version = dice.choice(["1.8.3", "1.8.11"])
        lab.sandbox.switches.archive_seconds = dice.choice([0.0, 0.0, 0.3])
        policies = [dice.choice(["delete", "append", "none"]) for _ in range(2)]
        directories = [lab.exam.directory, dice.choice([other.directory, lab.exam.directory])]
        environments = [lab.environment, {**lab.environment, **elsewhere, "XDG_STATE_HOME": str(tmp_path / f"m{turn}")}]
        orders = [
            (
                "session",
                "upload",
                str(directory),
                "-P",
                "DEMO",
                "-S",
                "s",
                "-E",
                "e",
                "-o",
                "json",
                "--overwrite",
                policy,
            )
            for directory, policy in zip(directories, policies, strict=True)
        ]
        running = []
        for order, environment in zip(orders, environments, strict=True):
            running.append(lab.nursery.start(*lab.program, *order, env=environment))
            time.sleep(dice.random() * 0.4)
        what = [turn, lab.sandbox.state.version, policies, directories[0] == directories[1]]
        codes = []
        for each in running:
            out, err = each.communicate()
            assert b"Traceback" not in err, err
            codes.append((each.wait(), json.loads(out)["error"]))
        lab.sandbox.switches.archive_seconds = 0.0
        lab.quiet()
        assert all(len(found) == 1 for found in studies(lab.sandbox, [lab.exam, other]).values()), (what, codes)
        assert {code for code, _ in codes} <= {0, 5, 6, 7}, (what, codes)
        for order, environment in zip(orders, environments, strict=True):
            for _ in range(2):
                child = lab.nursery.start(*lab.program, *order, env=environment)
                out, err = child.communicate()
                if child.wait() in (0, 7):
                    break
            assert child.wait() in (0, 7), (what, codes, json.loads(out)["error"])
        assert all(len(found) == 1 for found in studies(lab.sandbox, [lab.exam, other]).values()), (what, codes)
        held = {entry["sop_instance_uid"] for entry in lab.sandbox.instances()}
        assert held >= set(lab.exam.instances) or 7 in {code for code, _ in codes}, (what, codes)
