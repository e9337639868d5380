"""A plan is JSON, and a process that knows nothing else carries it out."""

from __future__ import annotations

import json
import subprocess
import sys

from xnatctl.delivery.planning import plan_session_upload
from xnatctl.model.plan import UploadPlan, UploadRequest
from xnatctl.model.refs import Destination

DELIVER = """
import json, sys
from pathlib import Path

import xnatctl_zip.transport
from xnatctl.delivery.builtin import STAGES
from xnatctl.delivery.service import deliver
from xnatctl.delivery.services import Services, StageKind
from xnatctl.delivery.session.runner import SessionRunner
from xnatctl.model.plan import UploadPlan
from xnatctl.plugin.credentials import Password
from xnatctl.xnat.client import XnatClient

assert "click" not in sys.modules
document = json.loads(Path(sys.argv[1]).read_text())
plan = UploadPlan.from_document(document)
with XnatClient(plan.destination.server) as client:
    client.login(lambda: Password(username="alice", secret="alice"))
    report = deliver(plan, Services(
        transport=lambda name: {"tar": xnatctl_zip.transport.TarTransport}[name],
        stage=lambda kind: StageKind(spec=STAGES[kind], load=lambda target: SessionRunner),
        journals=Path(sys.argv[2]),
        connect=lambda: client,
        tell=lambda event: None,
    ))
assert "click" not in sys.modules
print(json.dumps(report.as_document()))
"""


def test_another_process_carries_out_a_plan(sandbox, exam, tmp_path, assert_exactly):
    where = Destination(server=sandbox.url, project="DEMO", subject="s", session="e")
    request = UploadRequest(
        command="session upload", path=str(exam.directory), destination=where, transport="tar", workers=2
    )
    plan = plan_session_upload(request)
    text = json.dumps(plan.as_document())
    assert UploadPlan.from_document(json.loads(text)) == plan
    (tmp_path / "plan.json").write_text(text)
    journals = tmp_path / "journals"
    journals.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DELIVER, tmp_path / "plan.json", journals],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["status"], report["counts"]["verified"]) == ("complete", len(exam.digests))
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    assert list(journals.glob("*.sqlite"))
