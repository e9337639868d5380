"""One study in two rows, or one source in two rows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator

from xnatctl_campaign.codes import Code
from xnatctl_campaign.facts import Facts, rows_text
from xnatctl_campaign.finding import Finding

#: Rows of one study that are compared by path; of more rows the message names the study only.
_COMPARED = 100


def check_studies(rows: Iterable[Facts]) -> Iterator[Finding]:
    """Yield a finding for each row whose study another row sends as well.

    In one project this blocks. In another project it is a warning: a site may keep a study in two projects.
    """
    by_study: dict[str, list[Facts]] = {}
    for facts in rows:
        if facts.study:
            by_study.setdefault(facts.study, []).append(facts)
    for study, sharing in by_study.items():
        if len(sharing) == 1:
            continue
        projects: dict[str, list[Facts]] = {}
        for facts in sharing:
            projects.setdefault(facts.project.casefold(), []).append(facts)
        for same in projects.values():
            if len(same) > 1:
                yield from _in_one_project(study, same)
        if len(projects) > 1:
            yield from _in_several_projects(study, sharing)


def check_resource_sources(rows: Iterable[Facts]) -> Iterator[Finding]:
    """Yield a warning for each resource row whose source is that of another resource row in the same project."""
    by_path: dict[tuple[str, str], list[Facts]] = {}
    for facts in rows:
        if not facts.sends_images:
            by_path.setdefault((facts.project.casefold(), facts.path), []).append(facts)
    for sharing in by_path.values():
        if len(sharing) > 1:
            names = rows_text([facts.row.number for facts in sharing])
            for facts in sharing:
                yield facts.finding(
                    Code.SOURCE_TWICE,
                    f"{names} send the same files: {facts.row.path}.",
                    hint="Check the paths of these rows.",
                    blocks=False,
                )


def _in_one_project(study: str, sharing: list[Facts]) -> Iterator[Finding]:
    names = rows_text([facts.row.number for facts in sharing])
    paths = Counter(facts.path for facts in sharing)
    for facts in sharing:
        code, hint = Code.STUDY_TWICE, "Keep one of the rows. XNAT keeps a study in one session of a project."
        if paths[facts.path] > 1:
            code, hint = Code.SOURCE_TWICE, "Remove all but one of the rows."
        elif len(paths) <= _COMPARED and any(_nested(facts.path, path) for path in paths):
            code, hint = Code.PATH_INSIDE, "One path is inside the other: keep the row with the outer path."
        yield facts.finding(code, f"{names} send study {study}.", hint=hint)


def _in_several_projects(study: str, sharing: list[Facts]) -> Iterator[Finding]:
    names = rows_text([facts.row.number for facts in sharing])
    for facts in sharing:
        yield facts.finding(
            Code.STUDY_TWICE,
            f"{names} send study {study}, to different projects.",
            hint="Check that the study belongs into each of these projects.",
            blocks=False,
        )


def _nested(one: str, other: str) -> bool:
    return one != other and (one.startswith(_inside(other)) or other.startswith(_inside(one)))


def _inside(path: str) -> str:
    """The beginning of every path below a path."""
    return path if path.endswith(os.sep) else path + os.sep
