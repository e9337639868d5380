"""Runs a plan without the command line: services from parts that a test chooses."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xnatctl_cstore.plugin
import xnatctl_exam.plugin
import xnatctl_resource.plugin
from xnatctl.delivery.builtin import STAGES
from xnatctl.delivery.context import RunContext
from xnatctl.delivery.executor import execute
from xnatctl.delivery.service import new_report
from xnatctl.delivery.services import Services, StageKind
from xnatctl.errors import UsageError
from xnatctl.model.commands import Commands
from xnatctl.plugin.guard import Guard
from xnatctl.plugin.guarded import guarded_receiver

KINDS = {
    **STAGES,
    **{
        spec.name: spec
        for plugin in (xnatctl_cstore.plugin, xnatctl_exam.plugin, xnatctl_resource.plugin)
        for spec in plugin.xnatctl_stages()
    },
}


def load(target: str) -> Any:
    """What a target of a spec names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _kind(name: str) -> StageKind:
    if name not in KINDS:
        raise UsageError(f"There is no stage {name!r}.")
    return StageKind(spec=KINDS[name], load=load)


@dataclass(frozen=True)
class _Tested:
    """The plugin of a transport that a test names."""

    name: str = "tested"
    origin: str = "tests 1.0"
    ours: bool = True


def receiving(make: Callable[..., Any]) -> Callable[..., Any]:
    """A receiver transport as the registry hands it to the engine."""
    return lambda context: guarded_receiver(
        Guard(), "The transport", _Tested(), make, context, context.destination.server
    )


def services(transports: Mapping[str, Callable[..., Any]], journals: Path, **more: Any) -> Services:
    """Services with these transports, and with the kinds of stage of core and of our plugins."""
    options = {"tell": lambda event: None, "commands": Commands(arguments=["again"]), **more}
    return Services(
        transport=lambda name: transports[name],
        stage=_kind,
        journals=journals,
        **options,
    )


def run_in(plan, made: Services, **more: Any):
    """Execute a plan in a context of its own. Returns the report and the error that it ended with."""
    report = new_report(plan)
    try:
        execute(RunContext(plan, made, report, **more))
    except Exception as error:
        return report, error
    return report, None
