"""`campaign submit`: prints the job script of a campaign for a batch system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from xnatctl.api import Column, Document, UsageError
from xnatctl.api.commands import App, WholeNumber, common_options, pass_unchecked, server_options
from xnatctl.api.system import split_command
from xnatctl_campaign.folder import Campaign
from xnatctl_campaign.server_choice import budget_of, commands_of, use_server
from xnatctl_campaign.slurm import SlurmJob, array_width, job_script

_HELP = """Print the job script of a campaign for a batch system; nothing is submitted.

The script holds a job array: each task is one campaign run with its shard of the rows. There are as many tasks as the
server budget of the profile allows sessions, divided by --sessions-per-task. SLURM sends SIGUSR1 before the time limit,
so that the rows in work end. The script holds no secret: the tasks log in with the profile or the variables of the
shell that calls sbatch.
"""


@click.command(name="submit", help=_HELP, short_help="Print the job script of a campaign for SLURM.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--slurm", is_flag=True, help="For SLURM.")
@click.option("--time", metavar="TIME", default="", help="Time limit of a task, as for sbatch: 12:00:00 or 2-00:00:00.")
@click.option("--partition", metavar="NAME", default="", help="Partition of SLURM.")
@click.option(
    "--sessions-per-task",
    type=WholeNumber(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Rows that a task delivers at once.",
)
@click.option(
    "--tasks",
    type=WholeNumber(min=1),
    metavar="N",
    help="Number of tasks.  [default: as many as may run at once]",
)
@click.option(
    "--output-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder for the logs of the tasks.  [default: where sbatch is called]",
)
@click.option(
    "--sbatch",
    "more",
    multiple=True,
    metavar="OPTION",
    help="Another option of sbatch, such as --sbatch=--account=LAB; can be repeated.",
)
@server_options
@common_options
@pass_unchecked
def submit(
    app: App,
    directory: Path,
    slurm: bool,
    time: str,
    partition: str,
    sessions_per_task: int,
    tasks: int | None,
    output_dir: Path | None,
    more: tuple[str, ...],
) -> None:
    """Print the script, which names the folder and the interpreter by absolute paths."""
    if not slurm:
        raise UsageError("Name the batch system.", hint="Add --slurm.")
    campaign = Campaign(directory)
    use_server(app, campaign)
    folder = Path(os.path.abspath(directory))
    at_once = array_width(budget_of(app)["sessions"], sessions_per_task, campaign.info.rows)
    words = split_command(commands_of(app).command("campaign", "run", folder))[1:]
    job = SlurmJob(
        name=folder.name,
        command=(sys.executable, "-m", "xnatctl", *words),
        tasks=tasks or at_once,
        at_once=at_once,
        sessions=sessions_per_task,
        time=time,
        partition=partition,
        output_dir=str(output_dir.absolute()) if output_dir else "",
        more=more,
    )
    script = job_script(job)
    if app.format_name() == "table":
        app.print_text(script)
        return
    schema = "xnatctl.campaign-job/1"
    data = {
        "schema": schema,
        "campaign": str(folder),
        "system": "slurm",
        "tasks": job.tasks,
        "at_once": min(at_once, job.tasks),
        "sessions_per_task": sessions_per_task,
        "script": script,
    }
    app.render(Document(schema=schema, data=data, columns=(Column(key="script", fit="wrap"),), rows=[data]))
