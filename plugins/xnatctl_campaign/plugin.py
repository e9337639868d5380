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
            page="how-to/scan-an-archive.md",
            examples=(
                "# Labels from the DICOM headers.",
                "xnatctl campaign scan /data/incoming -P DEMO -S '{PatientID}' \\",
                "    -E '{PatientID}_{StudyDate:%Y%m%d}' --manifest manifest.csv",
                "# Labels to be filled in by hand.",
                "xnatctl campaign scan /data/incoming -P DEMO > manifest.csv",
                "# One row for each exam root below a folder.",
                "xnatctl campaign scan /data/exams -P DEMO --kind exam --manifest exams.csv",
            ),
        ),
        CommandSpec(
            path="campaign plan",
            summary="Check a manifest and freeze it into a campaign folder.",
            target="xnatctl_campaign.plan_cli:plan",
            page="how-to/plan-a-campaign.md",
            examples=(
                "# Check everything, and freeze the plan into the folder campaign.",
                "xnatctl campaign plan manifest.csv campaign",
                "# Go on without the rows that have errors.",
                "xnatctl campaign plan manifest.csv campaign --only-valid",
            ),
        ),
        CommandSpec(
            path="campaign status",
            summary="Show how the rows of a campaign stand.",
            target="xnatctl_campaign.status_cli:status",
            page="how-to/report-on-a-campaign.md",
            examples=(
                "# How the rows stand, also while workers work.",
                "xnatctl campaign status campaign",
                "# For a script: whether every row is proven.",
                "xnatctl campaign status campaign -o json | jq .complete",
            ),
        ),
        CommandSpec(
            path="campaign report",
            summary="Write the report of a campaign.",
            target="xnatctl_campaign.report_cli:report",
            page="how-to/report-on-a-campaign.md",
            examples=(
                "# Both reports, in campaign/reports.",
                "xnatctl campaign report campaign",
                "# A CSV file with a name of its own.",
                "xnatctl campaign report campaign --csv march.csv",
            ),
        ),
        CommandSpec(
            path="campaign submit",
            summary="Print the job script of a campaign for SLURM.",
            target="xnatctl_campaign.submit_cli:submit",
            page="how-to/run-on-a-cluster.md",
            examples=(
                "# Write the job script, then submit it.",
                "xnatctl campaign submit campaign --slurm --time 12:00:00 > job.sh",
                "sbatch job.sh",
                "# With an account of the cluster, at most 4 tasks.",
                "xnatctl campaign submit campaign --slurm --time 12:00:00 --tasks 4 \\",
                "    --sbatch=--account=lab > job.sh",
            ),
        ),
        CommandSpec(
            path="campaign watch",
            summary="Send the studies that arrive in a folder.",
            target="xnatctl_campaign.watch.cli:watch",
            page="how-to/watch-an-inbox.md",
            examples=(
                "# Send a study 5 minutes after its last file arrived.",
                "xnatctl campaign watch /data/inbox --quiet 300 --rules rules.yaml",
                "# Move what was proven to have arrived; handle what is there, and end.",
                "xnatctl campaign watch /data/inbox --quiet 300 --rules rules.yaml \\",
                "    --after-proof move --move-to /data/sent --once",
            ),
        ),
        CommandSpec(
            path="campaign run",
            summary="Deliver the rows of a campaign.",
            target="xnatctl_campaign.run_cli:run",
            page="how-to/run-a-campaign.md",
            examples=(
                "# Deliver every row; run it again after anything but exit code 0.",
                "xnatctl campaign run campaign",
                "# Try some rows first.",
                "xnatctl campaign run campaign --only 1,5-8",
                "# Stop beginning rows after two hours.",
                "xnatctl campaign run campaign --max-duration 2h",
            ),
        ),
        CommandSpec(
            path="campaign retry",
            summary="Deliver again the rows that failed.",
            target="xnatctl_campaign.run_cli:retry",
            page="how-to/run-a-campaign.md",
            examples=(
                "# Deliver again all rows that failed.",
                "xnatctl campaign retry campaign",
                "# Only some of them.",
                "xnatctl campaign retry campaign --only 1,5-8",
            ),
        ),
        CommandSpec(
            path="campaign work",
            summary="Deliver the rows whose numbers are read from standard input.",
            target="xnatctl_campaign.work_cli:work",
            page="how-to/run-on-a-cluster.md",
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
