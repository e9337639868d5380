"""A command of a plugin delivers a frozen plan, in the session that another process opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xnatctl.delivery.planning import plan_session_upload
from xnatctl.model.plan import UploadRequest
from xnatctl.model.refs import Destination
from xnatctl.plugin.credentials import Password
from xnatctl.xnat.client import XnatClient

#: Reads a plan, and session tokens from standard input: the first one, then one at each renewal.
PAGE = """
from xnatctl.api import CommandSpec, hookimpl
requires_api = 1

@hookimpl
def xnatctl_commands():
    return [CommandSpec(path="row deliver", target="row_cli:command", summary="Deliver a row.")]
"""
COMMAND = """
import json, sys
from pathlib import Path
import click
from xnatctl.api import UploadPlan
from xnatctl.api.commands import deliver, make_services, pass_app, server_options

@click.command()
@click.argument("plan", type=Path)
@click.argument("journals", type=Path)
@server_options
@pass_app
def command(app, plan, journals):
    plan = UploadPlan.from_document(json.loads(plan.read_text()))
    next_token = lambda: sys.stdin.readline().strip()
    connect = lambda: app.join_session(next_token(), lambda rejected: next_token(), username="alice")
    with app.guard.redirected():
        report = deliver(plan, make_services(app, journals=journals, connect=connect))
    print(json.dumps(report.as_document()))
"""


@pytest.fixture
def parent(sandbox):
    with XnatClient(sandbox.url) as client:
        client.login(lambda: Password(username="alice", secret="alice"))
        yield client


@pytest.fixture
def row(sandbox, exam, tmp_path, install, xnatctl):
    """Runs the command with these lines on its standard input."""
    variables = install("rows", PAGE)
    (Path(variables["PYTHONPATH"]) / "row_cli.py").write_text(COMMAND)
    where = Destination(server=sandbox.url, project="DEMO", subject="s", session="e")
    request = UploadRequest(
        command="session upload", path=str(exam.directory), destination=where, transport="tar", workers=2
    )
    (tmp_path / "plan.json").write_text(json.dumps(plan_session_upload(request).as_document()))

    def run(*lines):
        command = ("row", "deliver", tmp_path / "plan.json", tmp_path / "journals", "--url", sandbox.url)
        return xnatctl(*command, env=variables, stdin="".join(f"{line}\n" for line in lines))

    return run


def logins(sandbox):
    calls = [request for request in sandbox.requests if request["path"].endswith("/data/JSESSION")]
    return [request["method"] for request in calls]


def test_it_neither_logs_in_nor_out(sandbox, exam, home, tmp_path, parent, row, assert_exactly):
    done = row(parent.shared_session())
    assert done.code == 0, done.err
    assert done.document["status"] == "complete"
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    assert logins(sandbox) == ["POST"]
    assert parent.get_json("/data/projects", {"format": "json"})  # the session is still open
    assert list((tmp_path / "journals").glob("*.sqlite"))
    assert list(home.rglob("*.sqlite")) == []


def test_a_token_that_is_over_is_replaced_by_the_next_one(sandbox, exam, parent, row, assert_exactly):
    done = row("0" * 32, parent.shared_session())
    assert done.code == 0, done.err
    assert_exactly(sandbox, exam.digests, place="archive", label="e")
    assert logins(sandbox) == ["POST"]
    assert parent.shared_session() not in done.err
