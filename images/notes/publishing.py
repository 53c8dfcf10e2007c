"""vhd-publishing-info.json: what a publisher needs to know about a captured VHD."""

from __future__ import annotations

import json

from images.notes.facts import ReleaseFacts


def render_publishing_info(facts: ReleaseFacts, *, sku: str, offer: str, vhd_sha256: str, vhd_size_bytes: int) -> str:
    """JSON with the fields AgentBaker's release pipeline reads, plus the hash and size that let a reader verify the blob.

    vhd_size_bytes counts the 512-byte footer. Field names: Azure/AgentBaker, vhdbuilder/packer/generate-vhd-publishing-info.sh.
    """
    info = {
        "vhd_url": facts.vhd_url,
        "os_name": "Windows",
        "sku_name": sku,
        "offer_name": offer,
        "hyperv_generation": facts.generation,
        "image_architecture": "x64",
        "image_version": facts.image_version,
        "security_type": "TrustedLaunch" if facts.trusted_launch else "Standard",
        "vhd_sha256": vhd_sha256,
        "vhd_size_bytes": vhd_size_bytes,
    }
    return json.dumps(info, indent=2) + "\n"
