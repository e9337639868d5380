"""Commands `campaign ...`."""

from __future__ import annotations

from xnatctl.api import CommandSpec, ExecutorSpec, Option, hookimpl

requires_api = 1


@hookimpl
def xnatctl_commands() -> list[CommandSpec]:
    """Campaigns, from the manifest to the report."""
    return [
        CommandSpec(
            path="campaign scan",
            summary="Find studies, and write a manifest of them.",
            target="xnatctl_campaign.scan_cli:scan",
        ),
        CommandSpec(
            path="campaign plan",
            summary="Check a manifest and freeze it into a campaign folder.",
            target="xnatctl_campaign.plan_cli:plan",
        ),
        CommandSpec(
            path="campaign status",
            summary="Show how the rows of a campaign stand.",
            target="xnatctl_campaign.status_cli:status",
        ),
        CommandSpec(
            path="campaign report",
            summary="Write the report of a campaign.",
            target="xnatctl_campaign.report_cli:report",
        ),
        CommandSpec(
            path="campaign submit",
            summary="Print the job script of a campaign for SLURM.",
            target="xnatctl_campaign.submit_cli:submit",
        ),
        CommandSpec(
            path="campaign watch",
            summary="Send the studies that arrive in a folder.",
            target="xnatctl_campaign.watch.cli:watch",
        ),
        CommandSpec(
            path="campaign run",
            summary="Deliver the rows of a campaign.",
            target="xnatctl_campaign.run_cli:run",
        ),
        CommandSpec(
            path="campaign retry",
            summary="Deliver again the rows that failed.",
            target="xnatctl_campaign.run_cli:retry",
        ),
        CommandSpec(
            path="campaign work",
            summary="Deliver the rows whose numbers are read from standard input.",
            target="xnatctl_campaign.work_cli:work",
        ),
    ]


@hookimpl
def xnatctl_executors() -> list[ExecutorSpec]:
    """The values of `--executor`."""
    return [
        ExecutorSpec(
            name="local",
            summary="Deliver rows by worker processes on this machine.",
            target="xnatctl_campaign.local:LocalExecutor",
        ),
        ExecutorSpec(
            name="dask",
            summary="Deliver rows on the workers of a Dask cluster.",
            target="xnatctl_campaign.dask_executor:DaskExecutor",
            elsewhere=True,
            options=(
                Option(
                    name="scheduler",
                    help="Dask: address of the scheduler, such as tcp://HOST:8786, or path of a scheduler file.",
                    required=True,
                ),
                Option(
                    name="wait_for_workers",
                    type=float,
                    default=60.0,
                    help="Dask: how many seconds to wait when the cluster has no workers.",
                ),
            ),
            modules=("distributed",),
            extra="dask",
        ),
    ]
