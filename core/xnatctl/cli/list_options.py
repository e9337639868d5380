"""The options of every list: `--columns`, `--filter`, `--sort-by`, `--limit`. Their values are stored in the `App`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import click

from xnatctl.cli.app import App
from xnatctl.cli.help import option_group
from xnatctl.cli.listing import Listing, parse_condition, parse_sort
from xnatctl.cli.numbers import WholeNumber
from xnatctl.model.document import Column

F = TypeVar("F", bound=Callable[..., Any])

HEADING: Final = "Rows and columns"


def list_options(columns: Sequence[Column]) -> Callable[[F], F]:
    """`--columns`, `--filter`, `--sort-by` and `--limit` for a command that renders these columns.

    `App.render` obeys them in every format. The document says by `listed` where its rows are in `data`.
    """
    options = (
        column_option(columns),
        click.option(
            "--filter",
            "conditions",
            multiple=True,
            metavar="CONDITION",
            expose_value=False,
            callback=_storing(columns, lambda given: {"conditions": tuple(map(parse_condition, given))}),
            shell_complete=_completing(columns),
            help="Only rows for which COLUMN=VALUE holds, in quotes; also != ~ (contains) < > <= >=. Repeatable.",
        ),
        click.option(
            "--sort-by",
            metavar="COLUMN",
            expose_value=False,
            callback=_storing(columns, lambda given: {"sort": tuple(map(parse_sort, _names(given)))}),
            shell_complete=_completing(columns),
            help="Sort rows; -COLUMN or COLUMN:desc sorts in descending order.",
        ),
        click.option(
            "--limit",
            type=WholeNumber(min=1),
            metavar="N",
            expose_value=False,
            callback=_storing(columns, lambda given: {"limit": given}),
            help="Only the first N rows, after --filter and --sort-by.",
        ),
    )

    return option_group(HEADING, *options)


def column_option(columns: Sequence[Column]) -> Callable[[F], F]:
    """`--columns` alone, for a command that renders these columns of one row, or of a fixed number of rows."""
    return option_group(
        HEADING,
        click.option(
            "--columns",
            metavar="NAMES",
            expose_value=False,
            callback=_storing(columns, lambda given: {"columns": tuple(_names(given))}),
            shell_complete=_completing(columns),
            help=f"Only these columns, in this order: {', '.join(_keys(columns))}.",
        ),
    )


def _keys(columns: Sequence[Column]) -> list[str]:
    return list(dict.fromkeys(column.key for column in columns))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _storing(columns: Sequence[Column], parse: Callable[[Any], dict[str, Any]]) -> Callable[..., None]:
    """A callback that stores what an option chooses, and refuses a column that the list does not have."""

    def store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        app = context.find_object(App)
        if app is None or context.resilient_parsing or value in (None, ()):
            return
        app.listing = replace(app.listing or Listing(), **parse(value))
        app.listing.check(columns)

    return store


def _completing(columns: Sequence[Column]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Completes the last of several names that commas separate."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        return [f"{before}{comma}{key}" for key in _keys(columns) if key.startswith(begun)]

    return complete
