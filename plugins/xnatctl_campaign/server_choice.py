"""The server of a campaign, which no option changes, its budget, and the commands that go to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from xnatctl.api import Commands, UsageError
from xnatctl.api.commands import App
from xnatctl.api.system import split_command
from xnatctl_campaign.folder import Campaign


def use_server(app: App, campaign: Campaign) -> None:
    """Choose the server that the campaign was planned for. Raises UsageError if an option names another one."""
    server, given = campaign.info.server, app.given.get("url")
    if given is None:
        app.given |= {"url": server, "recorded": "campaign"}
    elif given.rstrip("/") != server:
        raise UsageError(
            f"This campaign was planned for {server}, not for {given}.",
            hint="Omit --url. For another server, plan the manifest again into another folder.",
        )
    app.check_frame()


def commands_of(app: App) -> Commands:
    """Commands for hints; they need no --url, because the campaign names its server."""
    commands = app.commands
    return replace(commands, server=[flag for flag in commands.server if flag[0] != "--url"])


def budget_of(app: App) -> Mapping[str, int]:
    """The budget of the server, from the profile; sessions are no more than requests."""
    budget = asdict(app.settings.server_budget)
    return {**budget, "sessions": min(budget["sessions"], budget["requests"])}


def requests_of(budget: Mapping[str, int]) -> int:
    """How many requests each session may have in flight."""
    return max(1, budget["requests"] // budget["sessions"])


def sessions_of(budget: Mapping[str, int], wanted: int | None) -> int:
    """How many rows to deliver at once. Raises UsageError for more than the budget allows."""
    most = budget["sessions"]
    if wanted is not None and wanted > most:
        raise UsageError(
            f"--sessions {wanted} is more than the server budget allows: {most}.",
            hint="Raise server_budget in the profile, if the administrator of the server agrees.",
        )
    return most if wanted is None else wanted


def worker_words(app: App, campaign: Campaign, *, recheck: bool) -> list[str]:
    """The command of a worker after `xnatctl`, with the same plugins, profile and user; the run reads its messages."""
    words = split_command(commands_of(app).command("campaign", "work", campaign.directory.absolute()))[1:]
    words.append("--no-color")
    words += ["--recheck"] if recheck else []
    retry_for = app.given.get("retry_for")
    return words if retry_for is None else [*words, "--retry-for", str(retry_for)]
