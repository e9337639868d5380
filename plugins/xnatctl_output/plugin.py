"""Output formats, and progress on stderr."""

from __future__ import annotations

from xnatctl.api import Emit, Event, FormatterSpec, hookimpl

requires_api = 1


@hookimpl
def xnatctl_formatters() -> list[FormatterSpec]:
    """The values of `-o`."""
    return [
        FormatterSpec(name="table", summary="for people", target="xnatctl_output.table:Table"),
        FormatterSpec(name="json", summary="one document", target="xnatctl_output.structured:Json"),
        FormatterSpec(
            name="ndjson", summary="one row per line", target="xnatctl_output.structured:Ndjson", streams=True
        ),
        FormatterSpec(name="csv", summary="comma-separated rows", target="xnatctl_output.separated:Csv", streams=True),
        FormatterSpec(name="tsv", summary="tab-separated rows", target="xnatctl_output.separated:Tsv", streams=True),
        FormatterSpec(name="yaml", summary="one document", target="xnatctl_output.structured:Yaml", modules=("yaml",)),
    ]


@hookimpl
def xnatctl_on_event(event: Event, store: dict[str, Emit]) -> None:
    """Progress; its module is imported with the first event."""
    if "observe" not in store:  # an import statement for each event costs more than the event
        from xnatctl_output.progress import observer

        store["observe"] = observer(store)
    store["observe"](event)
