"""The hooks that a plugin may implement, each with its signature and when it is called.

Three kinds: *register* (returns specs; called once), *ask* (first result wins; an exception stops
the command and names the plugin), *tell* (observe; what it raises is logged and dropped).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

from xnatctl.model.events import Event
from xnatctl.model.plan import UploadPlan, UploadRequest
from xnatctl.plugin.specs import (
    CheckSpec,
    CommandSpec,
    CredentialSourceSpec,
    ExecutorSpec,
    FormatterSpec,
    ReportWriterSpec,
    StageSpec,
    TransportSpec,
)

#: The pluggy project name and the entry-point group.
PROJECT = "xnatctl"

hookspec = pluggy.HookspecMarker(PROJECT)
#: Marks a function as the implementation of the hook of its name.
hookimpl = pluggy.HookimplMarker(PROJECT)


class XnatctlSpecs:
    """All hooks."""

    @hookspec
    def xnatctl_transports(self) -> Iterable[TransportSpec]:  # type: ignore[empty-body]  # specs have no body
        """Register transports; their names are the values of `--mode`."""

    @hookspec
    def xnatctl_credential_sources(self) -> Iterable[CredentialSourceSpec]:  # type: ignore[empty-body]
        """Register sources of credentials."""

    @hookspec
    def xnatctl_formatters(self) -> Iterable[FormatterSpec]:  # type: ignore[empty-body]
        """Register output formats; their names are the values of `--output`."""

    @hookspec
    def xnatctl_commands(self) -> Iterable[CommandSpec]:  # type: ignore[empty-body]
        """Register commands; the path's first word is the group."""

    @hookspec
    def xnatctl_checks(self) -> Iterable[CheckSpec]:  # type: ignore[empty-body]
        """Register lines of `xnatctl doctor`."""

    @hookspec
    def xnatctl_stages(self) -> Iterable[StageSpec]:  # type: ignore[empty-body]
        """Register kinds of stages; their names are the values of `Stage.kind`."""

    @hookspec
    def xnatctl_executors(self) -> Iterable[ExecutorSpec]:  # type: ignore[empty-body]
        """Register ways to run the rows of a campaign, which chooses one by its name."""

    @hookspec
    def xnatctl_report_writers(self) -> Iterable[ReportWriterSpec]:  # type: ignore[empty-body]
        """Register what keeps the reports of uploads; their options are flags of every command that uploads."""

    @hookspec(firstresult=True)
    def xnatctl_plan_upload(self, request: UploadRequest) -> UploadPlan | None:
        """Plan an upload, or return None to leave it to the next; core answers last."""

    @hookspec
    def xnatctl_on_event(self, event: Event, store: dict[str, Any]) -> None:
        """Observe a run. Called in the main thread, fed from a queue.

        `store` is a dict of this plugin alone, empty at first, which lasts as long as the process's command.
        """
