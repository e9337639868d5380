"""Compares the plan of a third-party planner with the request and with the disk.

A planner may exclude files with a reason. It may not drop a file, send it elsewhere, or omit the stages that verify the
delivery, because exit code 0 would then be false.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from operator import attrgetter

from xnatctl.errors import Refused
from xnatctl.model.plan import Stage, UploadPlan, UploadRequest

#: The fields that determine the sent bytes and their name.
_IDENTITY = attrgetter(
    *("file", "source.container", "source.member", "source.offset", "size"),
    *("sop_instance_uid", "study_instance_uid", "series_instance_uid"),
)

#: Options of a stage that determine how much it verifies.
_PROOFS = ("verify", "checksum", "exact")


def check_plan(plan: UploadPlan, own: UploadPlan, request: UploadRequest, planner: str) -> UploadPlan:
    """Check a plan against our `own` plan of the same request; returns it with our listing of the disk.

    Raises Refused if the plan does not match the request; `planner` names its plugin in the message. Raises TypeError,
    ValueError or AttributeError for a plan that does not have the parts that `UploadPlan` describes.
    """
    _check_shape(plan)
    for problem in _problems(plan, own, request):
        raise Refused(
            f"The plan of {planner} does not match the request: it {problem}.",
            hint="Nothing was sent. This is a bug in the plugin. Block the plugin and report the bug to its author.",
        )
    return replace(plan, listing=own.listing, root=own.root, sources=own.sources, follow_symlinks=own.follow_symlinks)


def _check_shape(plan: UploadPlan) -> None:
    """Raise for a plan that could not be carried out or kept: here the guard names its planner."""
    if not isinstance(plan.stages, Sequence):
        raise TypeError("its stages are no sequence")
    if not isinstance(plan.workers, int) or plan.workers < 1 or not isinstance(plan.most_workers, int):
        raise ValueError("its number of workers is not a number above 0")
    json.dumps([asdict(replace(plan, stages=(), request=None)), plan.warnings])
    if not all(isinstance(warning, str) for warning in plan.warnings):
        raise TypeError("a warning is no text")
    for stage in plan.stages:
        if not isinstance(stage.items, Sequence):
            raise TypeError(f"the items of stage {stage.name} are no sequence")
        json.dumps([stage.kind, stage.name, stage.steps, dict(stage.options), dict(stage.transport_options)])
        for item in stage.items:
            _ = item.status  # unpacks it


def _problems(plan: UploadPlan, own: UploadPlan, request: UploadRequest) -> Iterable[str]:
    if plan.destination != request.destination:
        yield "names another destination"
    if (plan.placement, plan.overwrite) != (request.placement, request.overwrite):
        yield "names another placement or overwrite policy"
    sends = plan.sending
    if not any(stage.items for stage in sends) and any(stage.items for stage in own.sending):
        yield "sends nothing"
    sent = {item.path: item for stage in sends for item in stage.items}
    accounted = {entry.path for entry in (*plan.excluded, *plan.unsendable) if entry.reason.strip()}
    accounted |= {entry.path for stage in sends for entry in stage.unreadable}
    for item in own.items:
        planned = sent.get(item.path)
        if planned is None and item.path not in accounted:
            yield f"leaves out {item.path} without a reason"
        elif planned is not None and _IDENTITY(planned) != _IDENTITY(item):
            yield f"differs from the disk in {item.path}"
    unsendable = {entry.path for stage in sends for entry in stage.unreadable} | {e.path for e in plan.unsendable}
    for entry in (*own.unsendable, *(entry for stage in own.stages for entry in stage.unreadable)):
        if entry.path not in unsendable and entry.path not in sent:
            yield f"does not say that {entry.path} cannot be sent ({entry.reason})"
    yield from _missing_steps(plan, own)


def _missing_steps(plan: UploadPlan, own: UploadPlan) -> Iterable[str]:
    """Each stage of our own plan must be present, in order, and verify at least as much."""
    left = list(plan.stages)
    for stage in own.stages:
        found = next((number for number, planned in enumerate(left) if _same_step(planned, stage)), None)
        if found is None:
            yield f"does not {stage.steps[-1] if stage.steps else stage.name}"
        else:
            del left[: found + 1]


def _same_step(planned: Stage, own: Stage) -> bool:
    same = (planned.kind, planned.resource) == (own.kind, own.resource)
    return same and all(planned.options.get(name) for name in _PROOFS if own.options.get(name))
