"""The link to an image's VHD on the page of the run that built it, or that found it built already."""

from __future__ import annotations

from prefect.artifacts import create_link_artifact
from prefect.context import FlowRunContext

from infra.azure.disk_capture import CapturedVhd


def show_vhd(image: str, version: str, vhd: CapturedVhd) -> None:
    """Show the VHD as an artifact of the flow run; outside a run nothing."""
    if FlowRunContext.get() is None:
        return
    create_link_artifact(
        vhd.url,
        link_text=f"{image} {version} (VHD)",
        key=f"{image}-vhd",
        description=f"{vhd.size_bytes} bytes, sha256 {vhd.sha256}; reading it needs access to the storage account",
    )
