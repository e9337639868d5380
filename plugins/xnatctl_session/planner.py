"""The planner of `--split-studies`: each study of PATH gets a plan and a session of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from itertools import count

from xnatctl.api import Refused, Report, UploadPlan, UploadRequest, counted
from xnatctl.api.commands import App, Inventory, PlanContext, PlanGroup, StudyInventory, Summary, in_order, studies_of
from xnatctl.api.xnat import XnatClient, find_destination
from xnatctl_session.labels import JournalLabels, LabelSeries, OfflineLabels, OnServer, assign, labels_in_order

_DRY = (
    "The upload assigns the labels: a study that the server holds under one of them keeps it, and labels that hold "
    "other studies are skipped."
)


def split_planner(app: App, *, same_patient: bool) -> Callable[[PlanContext], AbstractContextManager[PlanGroup]]:
    """Plans each study of PATH as a session of its own; nobody else gives labels of the series while they run.

    `same_patient`: different patients of the studies are one. Planning raises what `plan_session_upload` raises, and
    Refused for several patients and for labels that are taken.
    """

    @contextmanager
    def planner(context: PlanContext) -> Iterator[PlanGroup]:
        upload, request = context.upload, context.upload.request
        by_study = studies_of(request)
        warnings = [*by_study.inventory.notes, *check_patients(by_study, same_patient=same_patient)]
        if upload.dry_run:
            yield _dry_group(context, by_study, app.journals() if upload.resume else (), warnings)
            return
        client = context.connect()
        where = find_destination(client, request.destination, sends=True)
        request = replace(request, destination=where)
        with context.exclusively(f"{client.server} {where.project} {where.session}".casefold()):
            labels, label_warnings = labels_on(client, by_study, request, app.journals() if upload.resume else ())

            def plan(asked: UploadRequest, inventory: Inventory) -> UploadPlan:
                # All plans share one listing of the directory, which is compared again after all have ended.
                return replace(context.plan(asked, inventory), listing=by_study.inventory.listing)

            yield PlanGroup(
                plans=[*plans_of(by_study, request, labels, plan)],
                destination=where,
                warnings=[*warnings, *label_warnings],
                executor=partial(_announced, app),
            )

    return planner


def _dry_group(
    context: PlanContext, by_study: StudyInventory, journals: Iterable[Summary], warnings: Sequence[str]
) -> PlanGroup:
    """The plans with labels from the journals, or else the first free ones; contacts no server."""
    request = context.upload.request
    where = request.destination
    series = LabelSeries(base=where.session)
    known = JournalLabels(journals, server=where.server.rstrip("/"), project=where.project, label_series=series)
    labels, _ = assign([study.uid for study in by_study.studies], series, known, OfflineLabels())
    plans = [replace(plan, listing="") for plan in plans_of(by_study, request, labels, context.plan)]
    return PlanGroup(
        plans=plans,
        destination=where,
        warnings=[*warnings, _DRY],
        title=f"Would make {counted(len(plans), 'session')}, one for each study:",
    )


def _announced(
    app: App, plans: Sequence[UploadPlan], run: Callable[[UploadPlan], Report]
) -> Iterator[tuple[int, Report]]:
    """Run the plans in order, and say of each one which it is."""
    numbers = count(1)

    def announced(plan: UploadPlan) -> Report:
        app.info(
            f"Session {plan.destination.session} ({next(numbers)} of {len(plans):,}): "
            f"{counted(len(plan.items), 'instance')} of study {plan.items[0].study_instance_uid}"
        )
        return run(plan)

    return in_order(plans, announced)


def check_patients(by_study: StudyInventory, *, same_patient: bool) -> tuple[str, ...]:
    """Warnings about studies with different patients, which would become sessions of one subject.

    Raises Refused unless `same_patient` is True.
    """
    notes = by_study.patient_notes()
    if not notes or len(by_study.studies) < 2:
        return ()
    number = by_study.number_of_patients
    holds = "hold" if by_study.inventory.sources else "holds"
    if same_patient:
        return (f"The studies name {number:,} patients; --same-patient treats them as one patient.",)
    raise Refused(
        f"{by_study.inventory.named} {holds} studies of different patients ({number:,} patients), and all would become "
        f"sessions of one subject:\n{by_study.table(notes)}",
        hint="Upload the studies of each patient separately, with the right subject. If all are of one "
        "patient under several IDs or names, add --same-patient.",
    )


def labels_on(
    client: XnatClient,
    by_study: StudyInventory,
    request: UploadRequest,
    journals: Iterable[Summary],
    *,
    look_only: bool = False,
) -> tuple[dict[str, str], list[str]]:
    """The label of each study on a server, and warnings; the request names project and subject as the server does.

    Raises Refused.
    """
    where = request.destination
    series = LabelSeries(base=where.session)
    known = JournalLabels(journals, server=client.server, project=where.project, label_series=series)
    shown = OnServer(client, where.project, series, known)
    labels, passed = assign([study.uid for study in by_study.studies], series, known, shown, look_only=look_only)
    if not look_only:
        shown.refuse_misplaced(where.subject)
    return labels, [*passed, *shown.warnings]


def plans_of(
    by_study: StudyInventory,
    request: UploadRequest,
    labels: Mapping[str, str],
    plan: Callable[[UploadRequest, Inventory], UploadPlan],
) -> Iterator[UploadPlan]:
    """A separate plan for each study, in order of the labels."""
    where = request.destination
    for study, label in labels_in_order(labels, LabelSeries(base=where.session)):
        inventory = by_study.of_study(study)
        assert inventory is not None
        asked = replace(request, study_instance_uid=study, destination=replace(where, session=label))
        yield plan(asked, inventory)
