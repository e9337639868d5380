"""The digests of what was sent, which a program asks for before it removes files."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from xnatctl.api import Destination, UploadRequest
from xnatctl.api.commands import deliver, has_content, make_services, plan_session_upload, sent_digests
from xnatctl.cli.app import App


def test_the_journal_knows_the_digest_of_each_file_also_when_a_later_run_skipped_it(
    own_exam, alice, monkeypatch, tmp_path
):
    for name, value in {**alice, "XNATCTL_STATE_DIR": str(tmp_path / "state")}.items():
        monkeypatch.setenv(name, value)
    app = App([])
    plan = plan_session_upload(
        UploadRequest(
            command="session upload",
            path=str(own_exam.directory),
            destination=Destination(server="", project="DEMO", subject="s1", session="s1_mr"),
            transport="tar",
            workers=2,
        )
    )
    try:
        for _ in range(2):
            services = make_services(app)
            with app.guard.redirected():
                report = deliver(plan, services)
            assert report.failure is None
            digests = sent_digests(services, replace(plan, destination=report.destination))
            assert digests.keys() == {item.path for item in plan.items}
            assert all(has_content(item, digests[item.path]) for item in plan.items)
    finally:
        app.close()
    first = plan.items[0]
    Path(first.file).write_bytes(hashlib.sha256(b"other").digest())
    assert digests[first.path]
