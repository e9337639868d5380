"""Plans a campaign: checks every row, and freezes the valid ones into a folder.

Each plan is written as soon as it is made, and a small record of the row is kept for the checks that compare rows with
each other and with the server.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import xnatctl
from xnatctl.api import Overwrite
from xnatctl.api.commands import App
from xnatctl.api.xnat import XnatClient
from xnatctl_campaign.checks.destinations import check_destinations
from xnatctl_campaign.checks.labels import check_labels, new_labels
from xnatctl_campaign.checks.patients import check_patients
from xnatctl_campaign.checks.sessions import check_accession_id, check_parent, check_project, check_session
from xnatctl_campaign.checks.studies import check_resource_sources, check_studies
from xnatctl_campaign.facts import Facts
from xnatctl_campaign.finding import Finding
from xnatctl_campaign.folder import CampaignInfo, Draft, ExcludedRow, now
from xnatctl_campaign.manifest import Manifest
from xnatctl_campaign.requests import Choices, RequestMaker
from xnatctl_campaign.row import Kind, Row
from xnatctl_campaign.server import Project, find_project, read_project
from xnatctl_campaign.sources import PlannedRow, RowPlanner, by_path

#: Seconds between two reports of progress.
_EVERY = 0.2
#: Code of rows that the manifest excludes by `ignore_reason`.
IGNORED = "ignored"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanChoices:
    """The options of `campaign plan`. `lease` is in seconds."""

    only_valid: bool = False
    same_patient: bool = False
    lease: float = 60.0
    sources: Choices = field(default_factory=Choices)


@dataclass(kw_only=True)
class CampaignPlan:
    """The result. `frozen` is None if nothing was written. `rows` and `ignored` count rows of the manifest.

    `files` and `bytes` are those of the rows without a finding that blocks.
    """

    server: str
    rows: int
    ignored: int
    findings: Sequence[Finding]
    files: int = 0
    bytes: int = 0
    frozen: CampaignInfo | None = None

    @property
    def blocked(self) -> frozenset[int]:
        """The numbers of the rows that cannot be delivered; 0 stands for the whole manifest."""
        return frozenset(finding.row for finding in self.findings if finding.blocks)


def plan_campaign(app: App, manifest: Manifest, directory: Path, choices: PlanChoices) -> CampaignPlan:
    """Check all rows and freeze the valid ones, if all are valid or `only_valid` is chosen.

    Raises Refused for a folder that is in use, and the errors of a server that cannot be asked.
    """
    with Draft(directory) as draft:
        return _Planning(app, app.connect(), manifest, draft, choices).run()


class _Planning:
    """One run of `campaign plan`."""

    def __init__(self, app: App, client: XnatClient, manifest: Manifest, draft: Draft, choices: PlanChoices) -> None:
        self._app = app
        self._client = client
        self._manifest = manifest
        self._draft = draft
        self._choices = choices
        self._findings: list[Finding] = list(manifest.findings)
        self._blocked = set(manifest.blocked)

    def run(self) -> CampaignPlan:
        readable = [row for row in self._manifest.rows if row.number not in self._blocked]
        checked = [row for row in readable if not row.ignore_reason]
        projects = {name: find_project(self._client, name) for name in dict.fromkeys(row.project for row in checked)}
        facts = [*self._plan_rows(checked, projects)]
        facts.sort(key=lambda each: each.row.number)
        self._check_together(facts)
        self._check_server(facts, projects)
        self._findings.sort(key=lambda finding: (finding.row, finding.line))
        return self._result(facts, ignored=len(readable) - len(checked))

    def _add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._findings.append(finding)
            if finding.blocks:
                self._blocked.add(finding.row)

    @property
    def _hopeless(self) -> bool:
        """Whether nothing will be frozen, so that plans need not be written."""
        return 0 in self._blocked or (bool(self._blocked) and not self._choices.only_valid)

    def _plan_rows(self, rows: Sequence[Row], projects: Mapping[str, Project]) -> Iterator[Facts]:
        """Plan all rows and write their plans."""
        groups = by_path(rows, lambda row: _real_path(self._manifest.source(row)))
        campaign = os.path.realpath(self._draft.directory)
        requests = RequestMaker(self._app, self._client.server, self._choices.sources)
        own_rows = frozenset(
            _real_path(self._manifest.source(row)) for row in self._manifest.rows if row.kind is Kind.DICOM
        )
        planner = RowPlanner(self._app, requests, self._choices.sources, projects, campaign, own_rows)
        progress = _Progress(self._app, len(rows))
        for path, group in groups:
            progress.show()
            for planned in planner.plan(group, self._manifest.source(group[0]), path):
                progress.examined += planned.files_seen
                yield self._written(planned)

    def _written(self, planned: PlannedRow) -> Facts:
        self._add(planned.findings)
        facts = planned.facts
        if planned.plan is None or facts.row.number in self._blocked or self._hopeless:
            return facts
        return facts.with_frozen(self._draft.add(facts.row, planned.plan))

    def _check_together(self, facts: Sequence[Facts]) -> None:
        """The checks that compare rows with each other."""
        self._add(check_destinations(facts))
        self._add(check_studies(facts))
        self._add(check_resource_sources(facts))
        self._add(check_patients(facts, same_patient=self._choices.same_patient))

    def _check_server(self, facts: Sequence[Facts], projects: Mapping[str, Project]) -> None:
        """The checks that compare rows with the server."""
        by_project: dict[str, list[Facts]] = {}
        for each in facts:
            by_project.setdefault(each.row.project, []).append(each)
        makers = {
            (each.project.casefold(), each.row.session.casefold()): each.row.number
            for each in facts
            if each.sends_images
        }
        read = {name: self._read(projects[name], rows) for name, rows in by_project.items()}
        for each in facts:
            self._add(self._row_and_server(each, read[each.row.project]))
        for each in facts:  # now it is known which rows make their sessions
            project = read[each.row.project]
            if project.exists and not each.sends_images:
                self._add(check_parent(each, project, makers, self._blocked))

    def _read(self, project: Project, rows: Sequence[Facts]) -> Project:
        """The project with the sessions and subjects that these rows need."""
        if not project.exists:
            return project
        return read_project(
            self._client,
            project,
            labels={each.row.session for each in rows},
            subjects=new_labels(each.row.subject for each in rows),
            studies={each.study for each in rows} - {""},
        )

    def _row_and_server(self, facts: Facts, project: Project) -> Iterator[Finding]:
        yield from check_project(facts, project, self._client.server, self._client.login_name or "this user")
        if not project.exists:
            return
        yield from check_labels(facts, project)
        if facts.sends_images:
            yield from check_accession_id(self._client, facts, project)
            overwrite = Overwrite(facts.row.overwrite or str(self._app.settings.overwrite.value))
            yield from check_session(facts, project, overwrite)

    def _result(self, facts: Sequence[Facts], *, ignored: int) -> CampaignPlan:
        valid = [each.frozen for each in facts if each.frozen is not None and each.row.number not in self._blocked]
        plan = CampaignPlan(
            server=self._client.server, rows=len(self._manifest.rows), ignored=ignored, findings=self._findings
        )
        if self._hopeless or not valid:
            return plan
        info = CampaignInfo(
            server=self._client.server,
            manifest=os.path.abspath(self._manifest.path),
            manifest_sha256=self._manifest.sha256,
            rows=0,
            excluded=0,
            created=now(),
            version=xnatctl.__version__,
            lease=self._choices.lease,
        )
        plan.files, plan.bytes = sum(row.files for row in valid), sum(row.bytes for row in valid)
        plan.frozen = self._draft.freeze(info, valid, self._excluded())
        return plan

    def _excluded(self) -> Iterator[ExcludedRow]:
        """The rows that are not frozen, each with the first of its findings that block."""
        reasons: dict[int, Finding] = {}
        for each in self._findings:
            if each.blocks:
                reasons.setdefault(each.row, each)
        for row in self._manifest.rows:
            if (finding := reasons.get(row.number)) is not None:
                yield ExcludedRow(row=row, code=finding.code, reason=finding.message)
            elif row.ignore_reason:
                yield ExcludedRow(row=row, code=IGNORED, reason=row.ignore_reason)


class _Progress:
    """Shows how many files were examined for all rows."""

    def __init__(self, app: App, rows: int) -> None:
        self._app = app
        self._message = f"examining files of {rows:,} row{'' if rows == 1 else 's'}"
        self._next = 0.0
        self.examined = 0

    def show(self) -> None:
        if (clock := time.monotonic()) >= self._next:
            self._next = clock + _EVERY
            self._app.begin_inventory(self._message, self.examined)


def _real_path(source: str) -> str:
    """The path without symbolic links, by which rows of one source are found."""
    try:
        return os.path.realpath(source)
    except (OSError, ValueError):
        return source
