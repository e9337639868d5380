"""A plugin as it was written for version 1 of the API. It must go on working: change nothing here."""

from xnatctl.api import (
    CheckResult,
    CheckSpec,
    CommandSpec,
    CredentialSourceSpec,
    FormatterSpec,
    Option,
    StageSpec,
    TransportSpec,
    hookimpl,
)

requires_api = 1

NAME = __name__


@hookimpl
def xnatctl_transports():
    return [
        TransportSpec(
            name="old",
            summary="into a folder",
            target=f"{NAME}:Old",
            settle="none",
            options=(
                Option(name="old_folder", help="The folder.", envvar="OLD_FOLDER"),
                Option(name="old_level", help="The level.", type=int, default=3),
                Option(name="old_form", help="The form.", type=("a", "b"), default="a"),
                Option(name="old_quick", help="Quickly.", type=bool, default=False),
            ),
            destination=f"{NAME}:address",
            default_workers=2,
        )
    ]


@hookimpl
def xnatctl_credential_sources():
    return [CredentialSourceSpec(name="old", summary="a source", target=f"{NAME}:Source", order=60)]


@hookimpl
def xnatctl_formatters():
    return [FormatterSpec(name="old", summary="a list", target=f"{NAME}:Form")]


@hookimpl
def xnatctl_commands():
    return [CommandSpec(path="old hello", summary="Say hello.", target=f"{NAME}:hello")]


@hookimpl
def xnatctl_checks():
    return [CheckSpec(name="old", summary="a check", target=f"{NAME}:check")]


@hookimpl
def xnatctl_stages():
    return [StageSpec(name="old", summary="a stage", target=f"{NAME}:Stage", server=False)]


@hookimpl
def xnatctl_plan_upload(request):
    return None


@hookimpl
def xnatctl_on_event(event, store):
    store["events"] = store.get("events", 0) + 1


class Old:
    def __init__(self, context):
        self.context = context


def address(options):
    return f"old:{options['old_folder']}"


class Source:
    def get(self, request):
        return None


class Form:
    def render(self, document, out):
        for row in document.rows:
            out.write(" ".join(str(row.get(column.key)) for column in document.columns) + "\n")


def check(app):
    return CheckResult(status="ok", message="the old check is content")


class Stage:
    def __init__(self, context, stage):
        pass


def __getattr__(name):
    if name == "hello":
        import click

        return click.command()(lambda: click.echo("hello from the old plugin"))
    raise AttributeError(name)
