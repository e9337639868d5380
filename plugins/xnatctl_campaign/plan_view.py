"""The document of `campaign plan`: totals and findings, grouped by code for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xnatctl.api import Column, Document, counted, human_size
from xnatctl_campaign.facts import rows_text
from xnatctl_campaign.finding import Finding
from xnatctl_campaign.planning import CampaignPlan

SCHEMA = "xnatctl.campaign-plan/1"
_COLUMNS = (
    Column(key="row", numeric=True),
    Column(key="line", numeric=True),
    Column(key="severity"),
    Column(key="code"),
    Column(key="message", fit="wrap"),
    Column(key="hint", fit="wrap", drop=1),
)
#: Findings of one code that the table shows in full.
_SHOWN = 3
#: Up to so many findings of one code are shown all.
_ALL = 20


def plan_document(plan: CampaignPlan, directory: str, next_command: str) -> Document:
    """The document of a plan; `next_command` is printed if the campaign was frozen."""
    rows = [_row(finding) for finding in plan.findings]
    excluded = plan.blocked - {0}
    valid = plan.rows - plan.ignored - len(excluded) if 0 not in plan.blocked else 0
    return Document(
        schema=SCHEMA,
        data={
            "schema": SCHEMA,
            "campaign": directory if plan.frozen is not None else None,
            "server": plan.server,
            "rows": plan.rows,
            "valid": valid,
            "excluded": len(excluded),
            "ignored": plan.ignored,
            "files": plan.files,
            "bytes": plan.bytes,
            "codes": {code: len(group) for code, group in _by_code(plan.findings).items()},
            "findings": rows,
            "next": next_command if plan.frozen is not None else None,
        },
        columns=_COLUMNS,
        rows=rows,
        identifiers=tuple(str(number) for number in sorted(excluded)),
        drawing=tuple(_drawing(plan.findings)),
        summary=tuple(_summary(plan, valid, len(excluded), directory, next_command)),
    )


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "row": finding.row or None,
        "line": finding.line or None,
        "severity": "error" if finding.blocks else "warning",
        "code": str(finding.code),
        "message": finding.message,
        "hint": finding.hint,
    }


def _by_code(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(str(finding.code), []).append(finding)
    return groups


def _drawing(findings: Sequence[Finding]) -> Iterator[str]:
    """A paragraph for each code, first those that block."""
    for blocks in (True, False):
        for code, group in _by_code([finding for finding in findings if finding.blocks is blocks]).items():
            numbers = sorted({finding.row for finding in group} - {0})
            where = f": {rows_text(numbers).lower()}" if numbers else ""
            yield f"{'Error' if blocks else 'Warning'} {code}{where}"
            shown = group if len(group) <= _ALL else group[:_SHOWN]
            hints = {finding.hint for finding in shown}
            for finding in shown:
                hint = f" {finding.hint}" if finding.hint and len(hints) > 1 else ""
                yield f"  {finding.place}: {finding.message}{hint}"
            if len(group) > len(shown):
                yield f"  and {len(group) - len(shown):,} more (-o csv lists all)"
            if len(hints) == 1 and group[0].hint:
                yield f"  {group[0].hint}"
            yield ""


def _summary(plan: CampaignPlan, valid: int, excluded: int, directory: str, next_command: str) -> Iterator[str]:
    ignored = f", {plan.ignored:,} ignored by ignore_reason" if plan.ignored else ""
    if plan.frozen is None:
        yield f"{_rows(plan.rows)}: {valid:,} valid, {excluded:,} with errors{ignored}."
        return
    yield f"{_rows(plan.rows)}: {valid:,} frozen, {excluded:,} excluded{ignored}."
    yield f"Campaign {directory}: {counted(plan.files, 'file')} ({human_size(plan.bytes)}) for {plan.server}"
    yield f"Next: {next_command}"


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
