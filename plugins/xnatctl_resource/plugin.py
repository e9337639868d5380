"""Transport `resource`; `resource upload` and `resource list`."""

from __future__ import annotations

from xnatctl.api import CommandSpec, Payload, StageSpec, TransportSpec, UploadPlan, UploadRequest, hookimpl

requires_api = 1


@hookimpl
def xnatctl_transports() -> list[TransportSpec]:
    """The transport `resource`."""
    return [
        TransportSpec(
            name="resource",
            summary="files to a resource: as zip bundles that the server unpacks, a single file unchanged",
            target="xnatctl_resource.transport:ResourceTransport",
            payload=Payload.RESOURCE,
        )
    ]


@hookimpl
def xnatctl_commands() -> list[CommandSpec]:
    """The commands `resource upload` and `resource list`."""
    return [
        CommandSpec(
            path="resource upload",
            summary="Upload files to a resource; bypasses anonymisation.",
            target="xnatctl_resource.cli:resource_upload",
            page="how-to/upload-resources.md",
            examples=(
                "# A folder, to a session by its accession ID.",
                "xnatctl resource upload XNAT_E00001 BIDS ./bids",
                "# To a session by its label, in a project; replaces what differs.",
                "xnatctl resource upload s01_mr NIFTI ./nifti -P DEMO --overwrite",
                "# To scan 3 of a session, and to a project.",
                "xnatctl resource upload s01_mr NIFTI ./nifti -P DEMO --scan 3",
                "xnatctl resource upload DOCUMENTS ./protocols -P DEMO --project-level",
            ),
        ),
        CommandSpec(
            path="resource list",
            summary="List the resources of a session, scan, subject or project.",
            target="xnatctl_resource.cli:resource_list",
            page="how-to/upload-resources.md",
            examples=(
                "# The resources of a session and of its scans.",
                "xnatctl resource list s01_mr -P DEMO",
                "# Those of a project.",
                "xnatctl resource list -P DEMO --project-level",
            ),
        ),
    ]


@hookimpl
def xnatctl_stages() -> list[StageSpec]:
    """The stage `resource`."""
    return [
        StageSpec(
            name="resource",
            summary="files to resources in parallel, each compared with the disk",
            target="xnatctl_resource.stage:ResourceGroup",
            locate="xnatctl_resource.parent:locate",
            grouped=True,
            goes_on=True,
        )
    ]


@hookimpl
def xnatctl_plan_upload(request: UploadRequest) -> UploadPlan | None:
    """The plan of an upload to a resource."""
    if request.resource is None:
        return None
    from xnatctl_resource.planning import plan_resource_upload

    return plan_resource_upload(request)
