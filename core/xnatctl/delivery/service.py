"""Delivers plans, with locks, journal, report and errors. Needs no command line.

`deliver` runs one plan, `deliver_many` several, each with its own journal and report.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from xnatctl.delivery.context import RunContext
from xnatctl.delivery.endings import end, interrupted
from xnatctl.delivery.executor import execute
from xnatctl.delivery.opening import exclusively, open_journal
from xnatctl.delivery.reporting import unsendable_items
from xnatctl.delivery.services import Services
from xnatctl.delivery.stopping import StopToken
from xnatctl.errors import Interrupted, UsageError, XnatctlError
from xnatctl.model.plan import SESSION, UploadPlan
from xnatctl.model.report import Report, Status
from xnatctl.operating_system.files import as_followed
from xnatctl.redaction import MASK
from xnatctl.xnat.client import XnatClient
from xnatctl.xnat.listing import SessionInfo


def deliver(plan: UploadPlan, services: Services) -> Report:
    """Run a plan. Raises no expected error: `report.failure` is the error of the run."""
    report, rerun = new_report(plan), services.commands.rerun()
    stop = services.stop or StopToken()
    runs: list[RunContext] = []
    try:
        _deliver(plan, replace(services, stop=stop), stop, report, runs)
    except (KeyboardInterrupt, Interrupted) as interrupt:
        end(report, interrupted(interrupt, rerun if runs else None, stop.reason, state=report.state), rerun)
    except XnatctlError as error:
        # What fails after a stop fails because of it.
        why = interrupted(stop.error(), rerun if runs else None, stop.reason, state=report.state)
        end(report, why if stop.requested else error, rerun)
    return report


def _deliver(plan: UploadPlan, services: Services, stop: StopToken, report: Report, runs: list[RunContext]) -> None:
    """Run a plan; appends its context to `runs` before anything is sent."""
    _require_secrets(plan)
    specs = [services.stage(stage.kind).spec for stage in plan.stages]
    stop.check()
    # Sending to a receiver needs no login to XNAT; following the studies does.
    client = services.connect() if any(spec.server for spec in specs) else None
    with _supervised(client, stop):
        _run(plan, services, client, report, runs)


@contextmanager
def _supervised(client: XnatClient | None, stop: StopToken) -> Iterator[None]:
    """Inside, a stop cuts the requests of the client and lets it send no other one."""
    if client is None:
        yield
        return
    with client.supervised(stop.check), stop.cutting(client.abort):
        yield


def _run(
    plan: UploadPlan, services: Services, client: XnatClient | None, report: Report, runs: list[RunContext]
) -> None:
    session = None
    if client is not None and not plan.hands_over:
        plan = replace(plan, destination=replace(plan.destination, server=client.server))
        plan, session = _located(client, plan, services)
        report.destination = plan.destination
    with open_journal(services, plan) as journal:
        context = RunContext(
            plan,
            services,
            report,
            journal=journal,
            client=client,
            session=session,
            exclusively=lambda key: exclusively(services, "resource", key),
        )
        context.facts.update(journal_facts(plan, services))
        runs.append(context)
        execute(context)


def _require_secrets(plan: UploadPlan) -> None:
    """Raise UsageError for a plan that was stored and read again, and whose secret options are masked."""
    for stage in plan.sending:
        for name, value in stage.transport_options.items():
            if value == MASK:
                raise UsageError(
                    f"The plan does not hold the value of the secret option {name} of transport {stage.transport}.",
                    hint="Put the value into the options of the stage before the plan is delivered.",
                )


def _located(client: XnatClient, plan: UploadPlan, services: Services) -> tuple[UploadPlan, SessionInfo | None]:
    """The plan with its destination as the server names it, if the first kind of stage can locate it."""
    kind = services.stage(plan.stages[0].kind)
    if kind.spec.locate is None:
        return plan, None
    locate = kind.load(kind.spec.locate)
    with kind.blaming():
        found, session = locate(client, plan)
        if not isinstance(found, UploadPlan) or not isinstance(session, SessionInfo | None):
            raise TypeError("locate returned something else than a plan, and a session or None")
    # What is sent was compared with the disk before, so nothing but the destination is taken over.
    return replace(plan, destination=found.destination), session


def new_report(plan: UploadPlan) -> Report:
    """The report of a run that has not begun."""
    transports = dict.fromkeys(stage.transport for stage in plan.stages if stage.transport)
    return Report(
        command=plan.command,
        status=Status.FAILED,
        destination=plan.destination,
        transport="+".join(transports),
        excluded=list(plan.excluded),
        warnings=list(plan.warnings),
        sources=list(plan.paths),
    )


def journal_facts(plan: UploadPlan, services: Services) -> dict[str, str]:
    """The facts about a run that the journal stores; the session of an earlier run is kept."""
    facts = {
        "destination": json.dumps(asdict(plan.destination)),
        "root": json.dumps(plan.root),
        "sources": json.dumps(plan.paths),
        "unsendable": json.dumps([[item.path, item.outcome, item.reason] for item in unsendable_items(plan)]),
    }
    if plan.request is not None:
        facts["request"] = _request_text(plan, services)
    if any(stage.kind == SESSION for stage in plan.stages):
        return {**facts, "placement": str(plan.placement), "sends": "session"}
    return {**facts, "sends": "resources"}


def _absolute(path: str) -> str:
    return os.path.abspath(as_followed(path))


def _request_text(plan: UploadPlan, services: Services) -> str:
    """The request as JSON, from which another process can plan again in any directory."""
    assert plan.request is not None
    request = replace(
        plan.request,
        path=_absolute(plan.request.path),
        sources=tuple(map(_absolute, plan.request.sources)),
        destination=plan.destination,
    )
    flags = [list(flag) for flag in services.commands.server if flag[0] != "--url"]  # the destination names the server
    return json.dumps({"request": request.as_document(), "wait": services.wait, "flags": flags})
