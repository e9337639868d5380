"""Two rows with one destination."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xnatctl_campaign.codes import Code
from xnatctl_campaign.facts import Facts, rows_text
from xnatctl_campaign.finding import Finding

_Place = tuple[str, str, str]


def check_destinations(rows: Iterable[Facts]) -> Iterator[Finding]:
    """Yield a finding for each row whose session or resource is also that of another row.

    Labels are compared without case: XNAT looks up subjects in this way (xnat-import 1.6), and names folders on disk
    after sessions and resources.
    """
    taken: dict[_Place, list[Facts]] = {}
    for facts in rows:
        for place in _places(facts):
            taken.setdefault(place, []).append(facts)
    for (_, _, resource), sharing in taken.items():
        if len(sharing) == 1:
            continue
        names = rows_text([facts.row.number for facts in sharing])
        for facts in sharing:
            where = f"resource {resource} of session" if resource else "session"
            yield facts.finding(
                Code.DESTINATION_TWICE,
                f"{names} deliver to the same {where} {facts.row.session} of project {facts.project}.",
                hint="Give each row its own label, or join the rows into one with a path that holds all files.",
            )


def _places(facts: Facts) -> Iterator[_Place]:
    """The session and the resources of a row. A session label is unique in its project, whatever the subject."""
    session = (facts.project.casefold(), facts.row.session.casefold())
    if facts.sends_images:
        yield (*session, "")
    for label in dict.fromkeys(label.casefold() for label in facts.resources):
        yield (*session, label)
