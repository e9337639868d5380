"""Runs a campaign on this machine: the rows, the login, the workers, the display and the closing report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xnatctl.api import Event, EventKind, Executor, ExecutorContext, Interrupted, RowResult, RowWork, XnatctlError
from xnatctl.api.commands import App, executor_options
from xnatctl.api.system import on_user_signal
from xnatctl_campaign.budget import Budget
from xnatctl_campaign.claims import Claims, Holding, claim_states
from xnatctl_campaign.closing import Ending, document_of, error_of
from xnatctl_campaign.display import Display
from xnatctl_campaign.folder import Campaign, now
from xnatctl_campaign.holder import new_worker
from xnatctl_campaign.ledger import Entry, Ledger, RowState
from xnatctl_campaign.outcomes import verified_of
from xnatctl_campaign.proof import Proof
from xnatctl_campaign.rows import RowIndex
from xnatctl_campaign.running import Run
from xnatctl_campaign.server_choice import budget_of, commands_of, sessions_of, worker_words
from xnatctl_campaign.shard import Shard
from xnatctl_campaign.shared_login import SharedLogin
from xnatctl_campaign.stopping import Stop
from xnatctl_campaign.tally import Tally
from xnatctl_campaign.worker_link import WorkerProcesses


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a run is asked for. `rows` are the numbers to deliver, `shard` is the part of the campaign that they are.

    `executor` is the name of an executor, `options` are its options as they were given. `sessions` is the number of
    rows at once, None for that of the budget. `recheck`: ask the server for proven rows too. The run stops after
    `stop_after` failures of one class in a row, and starts no row after `seconds`.
    """

    rows: Sequence[int]
    shard: Shard | None = None
    executor: str = "local"
    options: Mapping[str, Any] = field(default_factory=dict)
    sessions: int | None = None
    recheck: bool = False
    stop_after: int = 5
    seconds: float | None = None


class RowProof:
    """Which rows need no delivery. With `recheck` it is none, so that the server is asked for every row."""

    def __init__(self, proof: Proof, index: RowIndex, *, recheck: bool) -> None:
        self._proof = proof
        self._index = index
        self.recheck = recheck

    def holds(self, row: int) -> bool:
        """Whether a row is proven, and its files are as they were."""
        return not self.recheck and self._proof.holds(self._index[row])

    def refresh(self) -> None:
        """Read again what other workers did."""
        self._proof.refresh()


def carry_out(app: App, campaign: Campaign, index: RowIndex, proof: Proof, wish: Wish) -> None:
    """Deliver rows, render the report and end the command with its exit code."""
    begun = time.monotonic()
    tally = Tally(index, wish.rows)
    stop = Stop(wish.stop_after, wish.seconds)
    failure = _run(app, campaign, RowProof(proof, index, recheck=wish.recheck), wish, tally, stop)
    proof.refresh()
    ending = Ending(
        campaign=campaign,
        index=index,
        tally=tally,
        verified=verified_of(campaign.directory, index, set(wish.rows).__contains__),
        seconds=time.monotonic() - begun,
        stopped=stop.reason,
        stopped_code=stop.exit_code,
        failure=failure,
        rerun=commands_of(app).rerun(),
        retry=commands_of(app).command("campaign", "retry", campaign.directory),
    )
    error = error_of(ending)
    app.render(document_of(ending, error))
    if error is not None:
        app.report_error(error)
        app.exit_with(error.exit_code)


def _run(app: App, campaign: Campaign, proof: RowProof, wish: Wish, tally: Tally, stop: Stop) -> XnatctlError | None:
    """Deliver the rows; returns the error that ended this early, if any."""
    starter = _Starter(app, campaign, wish)
    with (
        Claims(campaign.directory, new_worker(), campaign.info.lease) as claims,
        Display(tally, say=app.say, quiet=app.quiet, color=app.color) as display,
        on_user_signal(lambda: stop.request("SIGUSR1 asked for it")),
    ):
        resources = tally.index.resources
        run = Run(
            (row for row in wish.rows if row not in resources),
            lambda: starter.start(claims, stop, display),
            proof=proof,
            stop=stop,
            watch=display,
            claims=claims,
            died=lambda result: enter_death(campaign, claims, result),
            later=[row for row in wish.rows if row in resources] if resources else (),
            others=() if wish.shard is None else _outside(campaign, tally.index, wish.shard),
        )
        try:
            run.carry_out()
        except (KeyboardInterrupt, Interrupted) as interrupt:
            number = getattr(interrupt, "number", None) or getattr(interrupt, "exit_code", 130) - 128
            return Interrupted("Interrupted.", signal_number=number)
        except XnatctlError as error:
            return error
    return None


class _Starter:
    """Starts the executor of a run. Raises what is wrong with the options before anything else is done."""

    def __init__(self, app: App, campaign: Campaign, wish: Wish) -> None:
        self._app = app
        self._campaign = campaign
        self._wish = wish
        self._budget = budget_of(app)
        self._sessions = sessions_of(self._budget, wish.sessions)
        self._provided = app.registry.executor(wish.executor)
        self._options = executor_options(app, wish.executor, wish.options)

    def start(self, claims: Claims, stop: Stop, display: Display) -> tuple[Executor, RowWork]:
        """Log in, for all workers of this machine, and make the executor."""
        app, campaign = self._app, self._campaign
        login = None
        if not self._provided.spec.elsewhere:
            with Budget(claims, self._budget, say=app.info).slot("sessions"), display.held():
                login = _log_in(app)
        context = ExecutorContext(
            workers=self._sessions, options=self._options, stop_requested=stop, emit=lambda event: _warn(app, event)
        )
        words = worker_words(app, campaign, recheck=self._wish.recheck)
        work = WorkerProcesses(str(campaign.directory.absolute()), words, self._budget, login, display)
        return app.registry.make_executor(self._provided, context), work


def _warn(app: App, event: Event) -> None:
    """Print the warnings of an executor."""
    if event.kind is EventKind.WARNING:
        app.warn(event.message)


def _outside(campaign: Campaign, index: RowIndex, shard: Shard) -> Iterator[int]:
    """The rows of other shards that a worker holds, or held when it died."""
    for state in claim_states(campaign.directory):
        if state.holding in (Holding.HELD, Holding.DEAD) and not shard.holds(state.row) and state.row in index:
            yield state.row


def enter_death(campaign: Campaign, claims: Claims, result: RowResult) -> None:
    """Enter in the ledger that a row failed because its worker died, unless another worker has it by now."""
    claim = claims.take(result.row)
    if claim is None:
        return
    name = new_worker()
    entry = Entry(
        row=result.row,
        generation=claim.generation,
        state=RowState.FAILED,
        worker=name,
        at=now(),
        exit_code=result.exit_code,
        code=result.code,
        reason=result.reason,
    )
    with Ledger(campaign.directory, name) as ledger:
        ledger.append(entry)
    claim.end()


def _log_in(app: App) -> SharedLogin | None:
    """Log in, for all workers; None where each worker has to log in by itself."""
    client = app.connect()
    app.tell(Event(kind=EventKind.COMMAND_DONE))  # the display of single uploads leaves the terminal
    return SharedLogin(client) if client.shared_session() else None
