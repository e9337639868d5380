"""Transport `resource`; `resource upload` and `resource list`."""

from __future__ import annotations

from xnatctl.api import CommandSpec, Payload, TransportSpec, hookimpl


@hookimpl
def xnatctl_transports() -> list[TransportSpec]:
    """Files into a resource."""
    return [
        TransportSpec(
            name="resource",
            summary="files into a resource: as zip bundles that the server unpacks, a single file as it is",
            target="xnatctl_resource.transport:ResourceTransport",
            payload=Payload.RESOURCE,
        )
    ]


@hookimpl
def xnatctl_commands() -> list[CommandSpec]:
    """Sending and looking."""
    return [
        CommandSpec(
            path="resource upload",
            summary="Upload files to a resource; bypasses anonymisation.",
            target="xnatctl_resource.cli:resource_upload",
        ),
        CommandSpec(
            path="resource list",
            summary="List the resources of a session, scan, subject or project.",
            target="xnatctl_resource.cli:resource_list",
        ),
    ]
