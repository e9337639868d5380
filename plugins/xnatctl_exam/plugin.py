"""The command `session upload-exam`, its planner and its stage."""

from __future__ import annotations

from xnatctl.api import CommandSpec, StageSpec, UploadPlan, UploadRequest, hookimpl

requires_api = 1

#: The command that this plugin plans.
COMMAND = "session upload-exam"


@hookimpl
def xnatctl_commands() -> list[CommandSpec]:
    """One command."""
    return [
        CommandSpec(
            path=COMMAND,
            summary="Upload a scanner export: images as a session, the rest as resources.",
            target="xnatctl_exam.cli:upload_exam",
            page="how-to/upload-an-exam.md",
            examples=(
                "# Images, and the other folders and files as resources.",
                "xnatctl session upload-exam exam -P DEMO -S s01 -E s01_mr",
                "# Show the destination of each file; sends nothing.",
                "xnatctl session upload-exam exam -P DEMO -S s01 -E s01_mr --dry-run",
                "# Later: only the resources, for a session that was archived meanwhile.",
                "xnatctl session upload-exam exam -P DEMO -E s01_mr --attach-only",
            ),
        )
    ]


@hookimpl
def xnatctl_stages() -> list[StageSpec]:
    """The stage `await-archive`."""
    return [
        StageSpec(
            name="await-archive",
            summary="wait until the session is archived, and compare it with its images",
            target="xnatctl_exam.await_archive:AwaitArchiveRunner",
        )
    ]


@hookimpl
def xnatctl_plan_upload(request: UploadRequest) -> UploadPlan | None:
    """The plan of an exam; None for other uploads."""
    if request.command != COMMAND:
        return None
    from xnatctl_exam.planner import plan_exam

    return plan_exam(request)
