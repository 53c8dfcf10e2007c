"""What can be wrong with a disk image."""

from __future__ import annotations

from images.errors import CaptureError


class VhdError(CaptureError):
    """A disk image is not sound: truncated, damaged, of a kind that is not supported, or beyond what a reader will hold in memory."""

    title = "the disk image is not sound"
    default_hint = (
        "the image is damaged, cut off or of another kind: fetch or capture it again, and compare its SHA-256 with provenance.json"
    )


class VhdNotFoundError(VhdError):
    """A file, key or partition that every Windows disk has is not on this one."""

    title = "the disk image is not complete"
    default_hint = "give the whole disk of a Windows machine"
