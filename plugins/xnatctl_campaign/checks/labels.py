"""Labels that XNAT would change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xnatctl.api import ResourceRef, clean_label
from xnatctl_campaign.codes import Code
from xnatctl_campaign.facts import Facts
from xnatctl_campaign.finding import Finding
from xnatctl_campaign.row import Kind
from xnatctl_campaign.server import Project


def new_labels(labels: Iterable[str]) -> frozenset[str]:
    """Those of the labels that XNAT would change, so that they are valid only if they exist."""
    return frozenset(label for label in labels if clean_label(label) != label)


def check_labels(facts: Facts, project: Project) -> Iterator[Finding]:
    """Yield a finding for each label that XNAT would change when it makes a subject, session or resource of that name.

    What exists already may be named as it is (xnat-import 1.6).
    """
    row = facts.row
    if facts.sends_images:
        if not project.session(row.session):
            yield from _label(facts, "session", row.session)
        if not project.has_subject(row.subject):
            yield from _label(facts, "subject", row.subject)
    if row.kind is Kind.RESOURCE and (problem := ResourceRef.label_problem(row.resource)) is not None:
        yield facts.finding(
            Code.LABEL_REFUSED,
            f"{row.resource!r} cannot be the label of a resource: {problem}.",
            hint=f"Use {ResourceRef.clean_label(row.resource)!r}.",
        )


def _label(facts: Facts, noun: str, label: str) -> Iterator[Finding]:
    if clean_label(label) != label:
        yield facts.finding(
            Code.LABEL_REFUSED,
            f"XNAT would rename the new {noun} {label!r}: it keeps only letters, digits, _ and - in labels.",
            hint=f"Use {clean_label(label)!r}, which is XNAT's form of it.",
        )
